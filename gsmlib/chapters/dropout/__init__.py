"""What does dropout do for finetuning and for verifiers? (Section 5.2, Fig 8)"""

from gsmlib.chapters.dropout import figures, verdicts
from gsmlib.chapters.dropout.grid import grid, table
from gsmlib.chapters.dropout.settings import SCALES, DropoutSettings
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim

__all__ = ["CHAPTER", "grid", "table"]

CHAPTER = Chapter(
    "07_dropout",
    DropoutSettings,
    figures=(
        Figure("fig8a_dropout_finetuning", figures.fig8, (1, 1, 2.5)),
        Figure("fig8b_dropout_solution_level", figures.fig8, (1, 1, 2.5)),
        Figure("fig8c_dropout_token_level", figures.fig8, (1, 1, 2.5)),
    ),
    claims=(
        Claim("C13", "fig8a", verdicts.c13),
        Claim("C14", "fig8b", verdicts.c14),
        Claim("C15", "fig8c", verdicts.c15),
    ),
    grid=grid,
    scales=SCALES,
)
