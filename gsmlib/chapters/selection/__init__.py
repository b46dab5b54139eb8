"""What can selection do, and what not? (Figures of ours)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.selection import figures, verdicts
from gsmlib.chapters.selection.grid import (
    attention_share,
    choices_table,
    doubt_table,
    foresight_table,
    grid,
    law_table,
)
from gsmlib.chapters.selection.settings import SCALES, SelectionSettings

__all__ = [
    "CHAPTER",
    "attention_share",
    "choices_table",
    "doubt_table",
    "foresight_table",
    "grid",
    "law_table",
]

GAP = "coverage against what each choice reaches"
LAW = "coverage as a power law, and how often problems are solved"
FORESIGHT = "the ROC within problems, and the best-of-n curve that it foresees"
BUDGET = "accuracy against operations spent on a problem"
DOUBT = "what abstaining is worth, and how early a verifier knows"

CHAPTER = Chapter(
    "13_selection",
    SelectionSettings,
    figures=(
        Figure("gap_to_coverage", figures.gap, (2, 1, 4.6), GAP),
        Figure("law_of_coverage", figures.law, (2, 1, 3.8), LAW),
        Figure("foresight_of_selection", figures.foresight, (2, 1, 4.6), FORESIGHT),
        Figure("budget_of_choices", figures.budget, (1, 1, 3.1), BUDGET),
        Figure("doubt_of_verifier", figures.doubt, (2, 1, 4.2), DOUBT),
    ),
    claims=(
        Claim("S1", "foresight", verdicts.s1, verdicts.S1),
        Claim("S2", "law", verdicts.s2, verdicts.S2),
    ),
    grid=grid,
    scales=SCALES,
)
