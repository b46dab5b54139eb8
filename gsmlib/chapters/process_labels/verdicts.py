"""L1, L2 and L3: what labels of lines are worth, and what the paper's score sees."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.process_labels.grid import OUTCOME, PAPERS, PROCESS
from gsmlib.chapters.rules import in_points, over_seeds

ARMS = PAPERS, PROCESS


@rules.judge
def l1(table: pd.DataFrame) -> rules.Finding:
    """L1: a verifier that learns from lines' labels chooses better than the paper's.

    From as many completions. Reproduced: its gain is surely above 0, and not surely
    below NEGLIGIBLE. Not reproduced: surely below NEGLIGIBLE. Reversed: surely below 0.
    """
    _require_labels(table)
    rows = table[table["arm"].isin(ARMS)]
    random = table[table["arm"] == "random pick"]["accuracy"].mean()
    rules.require_learning(table, random)
    rules.require_checking(rows, "arm")
    rows = rows[rows["arm"] == PROCESS]
    names = "over_paper", "sound_over_paper", "over_outcome"
    gain, sound, labels = (over_seeds(rows, name) for name in names)
    sentence = (
        f"the choice by labels of lines has the right answer more often than the "
        f"paper's by {in_points(gain)}, no wrong line by {in_points(sound)}; against "
        f"the answers' labels at the same lines: {in_points(labels)}"
    )
    return rules.Finding(rules.better(gain), gain, sentence)


@rules.judge
def l2(table: pd.DataFrame) -> rules.Finding:
    """L2: such a verifier finds the first wrong line more often than the paper's.

    The value is the difference in F1. Reproduced, not reproduced and reversed as L1.
    """
    rows = _mixed(table[table["arm"] == PROCESS] if len(table) else table)
    gain = over_seeds(rows, "f1_over_paper")
    percent = 100 * table.groupby("arm")["f1"].mean()
    sentence = (
        f"the first wrong line is found with an F1 of {percent[PROCESS]:.1f} % by the "
        f"verifier of lines and {percent[PAPERS]:.1f} % by the paper's, "
        f"{in_points(gain)}; with the answers' labels at the same lines "
        f"{percent[OUTCOME]:.1f} %"
    )
    return rules.Finding(rules.better(gain), gain, sentence, "a gain of 2 points in F1")


@rules.judge
def l3(table: pd.DataFrame) -> rules.Finding:
    """L3: the token-level score falls where the first error stands.

    The value is the fall from the line before, minus that of right solutions at the
    same lines. Reproduced: surely above 0, and not surely below NEGLIGIBLE. Not
    reproduced: surely below NEGLIGIBLE. Reversed: surely below 0.
    """
    _require_labels(table)
    rows = table[(table["arm"] == PAPERS) & (table["offset"] == 0)]
    rows = _mixed(rows[rows["kind"] == "wrong"])
    fall = over_seeds(rows, "fall")
    if pd.isna(fall.low):
        raise rules.NotTestable("no solution goes wrong after its first line")
    mean, low, high = (f"{number:.2f}" for number in fall)
    sentence = (
        f"at the first wrong line the paper's score falls by {mean} ({low} to {high}) "
        "more than at the same lines of right solutions"
    )
    excluded = f"a fall of {rules.NEGLIGIBLE} or more"
    return rules.Finding(rules.better(fall), fall, sentence, excluded)


def _mixed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of enough problems that have right and wrong solutions."""
    _require_labels(rows)
    what = "test problems with right and with wrong solutions"
    rules.require(int(rows["n_mixed"].min()), rules.MIN_PROBLEMS, what)
    return rows


def _require_labels(table: pd.DataFrame) -> None:
    if table.empty:
        raise rules.NotTestable("only MiniGSM's lines have labels")
