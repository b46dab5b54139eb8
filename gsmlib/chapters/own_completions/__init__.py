"""What does choosing among anyone's completions give? (test@n, votes, best-of-n)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.own_completions import figures
from gsmlib.chapters.own_completions.grid import (
    RANDOM,
    describe,
    differences,
    extraction,
    find_samples,
    first_rule,
    rows_that_differ,
    separate,
    table,
)
from gsmlib.chapters.own_completions.settings import OwnCompletionsSettings
from gsmlib.chapters.record import Chapter

__all__ = [
    "CHAPTER",
    "RANDOM",
    "describe",
    "differences",
    "extraction",
    "find_samples",
    "first_rule",
    "rows_that_differ",
    "separate",
    "table",
]

CURVES = "anyone's completions: choices among n of them"
PAIRED = "anyone's completions: files and systems compared, problem by problem"
EXTRACTION = "anyone's completions: strict and flexible extraction of answers"

CHAPTER = Chapter(
    "16_own_completions",
    OwnCompletionsSettings,
    figures=(
        Figure("curves_of_completions", figures.curves, (3, 1, 6.4), CURVES),
        Figure("paired_completions", figures.paired, (1, 1, 3.4), PAIRED),
        Figure("extraction_of_answers", figures.extraction, (1, 1, 2.6), EXTRACTION),
    ),
)
