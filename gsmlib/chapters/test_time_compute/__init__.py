"""How much does it help to sample more at test time? (Section 5.1, Fig 7)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.test_time_compute import figures, verdicts
from gsmlib.chapters.test_time_compute.grid import grid, read_completions, table
from gsmlib.chapters.test_time_compute.settings import SCALES, MoreCompletionsSettings

__all__ = ["CHAPTER", "grid", "read_completions", "table"]

CHAPTER = Chapter(
    "06_test_time_compute",
    MoreCompletionsSettings,
    figures=(
        Figure("fig7a_completions", figures.fig7a, (2, 1, 4.2)),
        Figure("fig7b_top_k_vote", figures.fig7b, (1, 1, 2.9)),
    ),
    claims=(Claim("C11", "fig7a", verdicts.c11), Claim("C12", "fig7b", verdicts.c12)),
    grid=grid,
    scales=SCALES,
)
