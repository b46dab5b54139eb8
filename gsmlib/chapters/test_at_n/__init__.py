"""How does test@n change while a model is finetuned? (Section 4.1, Fig 3)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.test_at_n import figures, verdicts
from gsmlib.chapters.test_at_n.grid import grid, table
from gsmlib.chapters.test_at_n.settings import SCALES, EpochSettings

__all__ = ["CHAPTER", "grid", "table"]

CHAPTER = Chapter(
    "02_test_at_n",
    EpochSettings,
    figures=(Figure("fig3_test_at_n", figures.fig3, (2, 1, 3.7)),),
    claims=(Claim("C2", "fig3", verdicts.c2), Claim("C3", "fig3", verdicts.c3)),
    grid=grid,
    scales=SCALES,
)
