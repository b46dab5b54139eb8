"""L1, L2 and L3: what labels of lines are worth, and what the paper's score sees."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.process_labels.grid import PAPERS, PROCESS
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
    gain, sound = (over_seeds(rows, n) for n in ("over_paper", "sound_over_paper"))
    sentence = (
        f"of the best-scored solutions, labels of lines in place of answers change "
        f"those with the right answer by {in_points(gain)}, those without a wrong line "
        f"by {in_points(sound)}"
    )
    return rules.Finding(rules.better(gain), gain, sentence)


@rules.judge
def l2(table: pd.DataFrame) -> rules.Finding:
    """L2: such a verifier finds the first wrong line more often than the paper's.

    The value is the difference in F1. Reproduced, not reproduced and reversed as L1.
    """
    _require_labels(table)
    rows = table[table["arm"] == PROCESS]
    rules.require(int(rows["n_problems"].max()), rules.MIN_PROBLEMS, "test problems")
    gain = over_seeds(rows, "f1_over_paper")
    found = {arm: table[table["arm"] == arm]["f1"].mean() for arm in ARMS}
    sentence = (
        f"the first wrong line is found with an F1 of {100 * found[PROCESS]:.1f} % by "
        f"the verifier of lines and {100 * found[PAPERS]:.1f} % by the paper's, "
        f"{in_points(gain)}"
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
    rows = rows[rows["kind"] == "wrong"]
    rules.require(int(rows["n_problems"].max()), rules.MIN_PROBLEMS, "test problems")
    fall = over_seeds(rows, "fall")
    if pd.isna(fall.low):
        raise rules.NotTestable("no problem has solutions with and without an error")
    mean, low, high = (f"{number:.2f}" for number in fall)
    sentence = (
        f"at the first wrong line the paper's score falls by {mean} ({low} to {high}) "
        "more than at the same lines of right solutions"
    )
    excluded = f"a fall of {rules.NEGLIGIBLE} or more"
    return rules.Finding(rules.better(fall), fall, sentence, excluded)


def _require_labels(table: pd.DataFrame) -> None:
    if table.empty:
        raise rules.NotTestable("only MiniGSM's lines have labels")
