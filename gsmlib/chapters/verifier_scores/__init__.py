"""What does a verifier see in a solution? (Fig 13, calibration, Appendix D)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter
from gsmlib.chapters.verifier_scores import figures
from gsmlib.chapters.verifier_scores.figures import token_score_html
from gsmlib.chapters.verifier_scores.grid import (
    calibration_table,
    grid,
    side_by_side_table,
    token_score_table,
)
from gsmlib.chapters.verifier_scores.settings import TokenScoreSettings

__all__ = [
    "CHAPTER",
    "calibration_table",
    "grid",
    "side_by_side_table",
    "token_score_html",
    "token_score_table",
]

CALIBRATION = "the verifier's scores against the share of right completions"
PAIRS = "solutions of finetuning and verification side by side"

CHAPTER = Chapter(
    "08_verifier_scores",
    TokenScoreSettings,
    figures=(
        Figure("fig13_token_scores", figures.fig13),
        Figure("calibration_of_scores", figures.calibration, (2, 1, 3.6), CALIBRATION),
        Figure("sidebyside_solutions", figures.sidebyside, None, PAIRS),
    ),
    grid=grid,
)
