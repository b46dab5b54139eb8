"""Can a small verifier check what the paper's own models wrote? (Appendix D's files)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter
from gsmlib.chapters.released_solutions import figures
from gsmlib.chapters.released_solutions.grid import grid, planted_table, table
from gsmlib.chapters.released_solutions.settings import SCALES, ReleasedSettings

__all__ = ["CHAPTER", "grid", "planted_table", "table"]

WORDS = "a small verifier among the paper's own solutions"
PLANTED = "which planted errors a small verifier can learn to see"

CHAPTER = Chapter(
    "12_released_solutions",
    ReleasedSettings,
    figures=(
        Figure("among_released", figures.among_released, (2, 1, 6.4), WORDS),
        Figure("planted_errors", figures.planted_errors, (1, 1, 4.8), PLANTED),
    ),
    grid=grid,
    scales=SCALES,
)
