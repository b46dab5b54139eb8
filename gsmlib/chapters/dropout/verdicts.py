"""C13, C14 and C15: dropout in finetuning and in verifiers (Fig 8).

All are judged at the largest training set, as with minus without, paired by problem.
"""

import pandas as pd

from gsmlib import paper
from gsmlib.chapters import rules
from gsmlib.chapters.rules import AT_LEAST, NEGLIGIBLE, STRONG, in_points
from gsmlib.method.intervals import Interval


@rules.judge
def c13(table: pd.DataFrame) -> rules.Finding:
    """C13: dropout, with its additional pretraining, improves finetuning.

    Reproduced: its gain is surely above 0, and not surely below NEGLIGIBLE. Not
    reproduced: surely below NEGLIGIBLE. Reversed: surely below 0. What the additional
    pretraining alone does is printed beside it, and changes no verdict.
    """
    rows, where = _largest(table)
    gain = _over_seeds(rows, "dropout", "gain")
    rules.require_overfitting(rows[rows["arm"] == "without"], gain)
    control = _over_seeds(rows, "more pretraining", "gain")
    against = _over_seeds(rows, "dropout", "over_control")
    sentence = (
        f"{_dropout(rows, 'dropout')} changes finetuning by {in_points(gain)} {where}; "
        f"the same additional pretraining without dropout by {in_points(control)}; "
        f"dropout against that control: {in_points(against)}"
    )
    if "the paper's rate" in set(rows["arm"]):
        papers = _over_seeds(rows, "the paper's rate", "gain")
        sentence += f"; dropout of {paper.DROPOUT:g}, by {in_points(papers)}"
    return rules.Finding(rules.better(gain), gain, sentence)


@rules.judge
def c14(table: pd.DataFrame) -> rules.Finding:
    """C14: dropout lifts solution-level verifiers to token-level performance.

    Reproduced: its gain is surely above 0, and what it reaches surely less than STRONG
    below the token-level verifier without dropout. Not reproduced: the gain is surely
    below NEGLIGIBLE, or the token-level one surely better by NEGLIGIBLE or more.
    Reversed: the gain is surely below 0.
    """
    rows, where = _largest(table)
    gain = _over_seeds(rows, "solution, dropout", "gain")
    arms = "solution", "solution, dropout", "token"
    rules.require_checking(rows[rows["arm"].isin(arms)], "arm")
    over_token = _over_seeds(rows, "solution, dropout", "over_token")
    useless = gain.high < NEGLIGIBLE
    short = useless or over_token.high < -NEGLIGIBLE
    lifted = gain.low > 0 and over_token.low > -STRONG
    sentence = (
        f"{_dropout(rows, 'solution, dropout')} changes the solution-level verifier by "
        f"{in_points(gain)} {where}; it then differs from the token-level one without "
        f"dropout by {in_points(over_token)}"
    )
    word = rules.decide(lifted and not short, short, gain.high < 0)
    excluded = f"a gain of {AT_LEAST}" if useless else "token-level performance"
    return rules.Finding(word, gain, sentence, excluded)


@rules.judge
def c15(table: pd.DataFrame) -> rules.Finding:
    """C15: dropout helps token-level verifiers only slightly.

    That is: it helps by less than STRONG, and does not hurt. Reproduced: its gain is
    surely below STRONG and surely above -NEGLIGIBLE, and not surely below 0. Not
    reproduced: it is surely STRONG or more. Reversed: surely below 0.
    """
    rows, where = _largest(table)
    gain = _over_seeds(rows, "token, dropout", "gain")
    rules.require_checking(rows[rows["arm"].isin(("token", "token, dropout"))], "arm")
    slight = gain.low > -NEGLIGIBLE and 0 <= gain.high < STRONG
    word = rules.decide(slight, gain.low >= STRONG, gain.high < 0)
    sentence = (
        f"{_dropout(rows, 'token, dropout')} changes the token-level verifier by "
        f"{in_points(gain)} {where}; a gain below {100 * STRONG:.0f} points, and no "
        f"loss of {AT_LEAST}, is slight"
    )
    excluded = f"a gain below {100 * STRONG:.0f} points"
    return rules.Finding(word, gain, sentence, excluded)


def _largest(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows of the largest training set, and where that is."""
    size = table["n_train"].max()
    rows = table[table["n_train"] == size]
    rules.require_learning(rows, rows.groupby("arm")["accuracy"].mean().max())
    return rows, f"at {size:,} training problems"


def _dropout(rows: pd.DataFrame, arm: str) -> str:
    return f"dropout of {rows.loc[rows['arm'] == arm, 'dropout'].max():g}"


def _over_seeds(rows: pd.DataFrame, arm: str, name: str) -> Interval:
    return rules.over_seeds(rows[rows["arm"] == arm], name)
