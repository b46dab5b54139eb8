"""Do the choices that the paper leaves open matter? (Appendices B and E; no figure)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.open_points import figures, verdicts
from gsmlib.chapters.open_points.grid import grid, how_of, table
from gsmlib.chapters.open_points.settings import SCALES, OpenPointSettings
from gsmlib.chapters.record import Chapter, Claim

__all__ = ["CHAPTER", "grid", "how_of", "table"]

WORDS = "what the paper leaves open, one change at a time"

CHAPTER = Chapter(
    "09_open_points",
    OpenPointSettings,
    figures=(Figure("open_points", figures.open_points, (1, 2, 3.6), WORDS),),
    claims=(Claim("C16", "open", verdicts.c16), Claim("C17", "open", verdicts.c17)),
    grid=grid,
    scales=SCALES,
)
