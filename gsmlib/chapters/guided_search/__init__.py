"""Is search guided by a verifier worth its tokens? (OVM, Yu et al. 2023)"""

from gsmlib import paper
from gsmlib.chapters.export import Figure
from gsmlib.chapters.guided_search import figures, verdicts
from gsmlib.chapters.guided_search.grid import grid, table
from gsmlib.chapters.guided_search.settings import SCALES, SearchSettings
from gsmlib.chapters.record import Chapter, Claim

__all__ = ["CHAPTER", "grid", "table"]

WORDS = "search guided by the verifier, by the tokens it costs"
WORTH = paper.Claim(
    "G1",
    "Yu et al. 2023 (OVM)",
    "search",
    "guided search beats best-of-n",
    "Search guided by the verifier, line by line, solves more than its choice among as "
    "many tokens of whole completions.",
    "accuracy of search minus that of the best of n at equal tokens",
)
GUIDED = paper.Claim(
    "G2",
    "Yu et al. 2023 (OVM)",
    "search",
    "it is the guidance that helps",
    "Search solves more when the verifier's scores decide what is kept than when they "
    "are shuffled.",
    "accuracy of guided search minus that of search with shuffled scores",
)

CHAPTER = Chapter(
    "15_guided_search",
    SearchSettings,
    figures=(Figure("search_by_tokens", figures.search, (2, 1, 4.6), WORDS),),
    claims=(
        Claim("G1", "search", verdicts.g1, WORTH),
        Claim("G2", "search", verdicts.g2, GUIDED),
    ),
    grid=grid,
    scales=SCALES,
)
