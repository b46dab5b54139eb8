"""What are labels of single lines worth? (Uesato et al. 2022, Lightman et al. 2023)"""

from gsmlib import paper
from gsmlib.chapters.export import Figure
from gsmlib.chapters.process_labels import figures, verdicts
from gsmlib.chapters.process_labels.grid import falls_table, grid, table
from gsmlib.chapters.process_labels.settings import ProcessSettings
from gsmlib.chapters.record import Chapter, Claim

__all__ = ["CHAPTER", "falls_table", "grid", "table"]

LINES = paper.Claim(
    "L1",
    "Lightman et al. 2023",
    "lines",
    "labels of lines choose better",
    "A verifier that learns from labels of lines chooses better than one that learns "
    "from labels of final answers.",
    "accuracy of the best of n by the verifier of lines minus that by the paper's",
)
PLACES = paper.Claim(
    "L2",
    "Zheng et al. 2024 (ProcessBench)",
    "lines",
    "labels of lines find errors",
    "A verifier that learns from labels of lines finds first wrong lines more often.",
    "F1 of first wrong lines by the verifier of lines minus that by the paper's",
)
FALLS = paper.Claim(
    "L3",
    "Cobbe et al. 2021, Fig 13",
    "falls",
    "the score falls at the error",
    "The token-level score of the paper's verifier falls where the first error stands.",
    "fall of the score at the first wrong line, minus that of right solutions there",
    unit="ratio",
)

CHAPTER = Chapter(
    "14_process_labels",
    ProcessSettings,
    figures=(
        Figure("lines_or_answers", figures.lines, (2, 1, 4.7), "labels of lines"),
        Figure("falls_at_errors", figures.falls, (1, 2, 2.6), "scores around errors"),
    ),
    claims=(
        Claim("L1", "lines", verdicts.l1, LINES),
        Claim("L2", "lines", verdicts.l2, PLACES),
        Claim("L3", "falls", verdicts.l3, FALLS),
    ),
    grid=grid,
)
