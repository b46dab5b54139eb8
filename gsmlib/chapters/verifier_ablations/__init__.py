"""What makes a verifier good: targets, objective, size? (Section 4.3, Fig 6)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.verifier_ablations import figures, verdicts
from gsmlib.chapters.verifier_ablations.grid import grid, model_pairs, training_curve
from gsmlib.chapters.verifier_ablations.settings import SCALES, VerifierAblationSettings

__all__ = ["CHAPTER", "grid", "model_pairs", "training_curve"]

CHAPTER = Chapter(
    "05_verifier_ablations",
    VerifierAblationSettings,
    figures=(
        Figure("fig6a_token_or_solution", figures.fig6a, (1, 1, 2.9)),
        Figure("fig6b_joint_objective", figures.fig6b, (1, 1, 2.9)),
        Figure("fig6c_generator_and_verifier_size", figures.fig6c, (1, 1, 2.8)),
    ),
    claims=(
        Claim("C8", "fig6a", verdicts.c8),
        Claim("C9", "fig6b", verdicts.c9),
        Claim("C10", "fig6c", verdicts.c10),
    ),
    grid=grid,
    scales=SCALES,
)
