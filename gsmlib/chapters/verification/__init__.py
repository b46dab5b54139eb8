"""When does a verifier beat finetuning? (Section 4.2, Figs 4, 5 and 12)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.verification import figures, verdicts
from gsmlib.chapters.verification.errors import errors_table
from gsmlib.chapters.verification.grid import grid, pipeline_boxes, table
from gsmlib.chapters.verification.regime import regime_table, write_regime
from gsmlib.chapters.verification.settings import VerificationSettings

__all__ = [
    "CHAPTER",
    "errors_table",
    "grid",
    "pipeline_boxes",
    "regime_table",
    "table",
    "write_regime",
]

ERRORS = "what kinds of errors a verifier chooses"

CHAPTER = Chapter(
    "03_verification",
    VerificationSettings,
    figures=(
        Figure("fig4_pipeline", figures.fig4),
        Figure("fig12_mask", figures.fig12),
        Figure("fig5_verification", figures.fig5, (1, 2, 2.7), per="model"),
        Figure("errors_chosen", figures.errors, (1, 2, 3.8), ERRORS, "model"),
    ),
    claims=(
        Claim("C5", "fig5", verdicts.c5),
        Claim("C6", "fig5", verdicts.c6),
        Claim("C7", "fig5", verdicts.c7),
    ),
    grid=grid,
)
