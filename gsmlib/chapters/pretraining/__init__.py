"""When does verification begin to pay? (A figure of ours)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.pretraining import figures
from gsmlib.chapters.pretraining.grid import grid, load_started, table
from gsmlib.chapters.pretraining.settings import SCALES, CourseSettings
from gsmlib.chapters.record import Chapter

__all__ = ["CHAPTER", "grid", "load_started", "table"]

WORDS = "when verification begins to pay, over the generator's pretraining"

CHAPTER = Chapter(
    "10_pretraining",
    CourseSettings,
    figures=(Figure("course_of_pretraining", figures.course, (2, 1, 4.6), WORDS),),
    grid=grid,
    scales=SCALES,
)
