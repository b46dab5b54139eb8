"""C13, C14 and C15: dropout in finetuning and in verifiers (Fig 8).

All are judged at the largest training set, as with minus without, paired by problem.
"""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import NEGLIGIBLE, STRONG, Verdict, in_points, over_seeds


def c13(table: pd.DataFrame) -> Verdict:
    """C13: dropout, with its additional pretraining, improves finetuning.

    Reproduced: its gain is surely above 0. Contradicted: surely below NEGLIGIBLE. What
    the additional pretraining alone does is printed beside it, and changes no verdict.
    """
    rows = _largest(table)
    reason = rules.untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return rules.not_testable("C13", table, reason)
    dropout, control = (
        rows[rows["arm"] == arm] for arm in ("dropout", "more pretraining")
    )
    gain = over_seeds(dropout, "gain")
    sentence = (
        f"dropout changes finetuning by {in_points(gain)} {_where(rows)}; the same "
        f"additional pretraining without dropout by "
        f"{in_points(over_seeds(control, 'gain'))}; dropout against that control: "
        f"{in_points(over_seeds(dropout, 'over_control'))}; {rules.in_seeds(table)}."
    )
    return Verdict("C13", rules.better(gain), *gain, rules.count_seeds(table), sentence)


def c14(table: pd.DataFrame) -> Verdict:
    """C14: dropout lifts solution-level verifiers to token-level performance.

    Reproduced: its gain is surely above 0, and what it reaches surely less than STRONG
    below the token-level verifier without dropout. Contradicted: the gain is surely
    below NEGLIGIBLE, or the token-level one surely better by NEGLIGIBLE or more.
    """
    rows = _largest(table)
    reason = rules.untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return rules.not_testable("C14", table, reason)
    lifted = rows[rows["arm"] == "solution, dropout"]
    gain, over_token = (over_seeds(lifted, name) for name in ("gain", "over_token"))
    word = rules.INCONCLUSIVE
    if gain.high < NEGLIGIBLE or over_token.high < -NEGLIGIBLE:
        word = rules.CONTRADICTED
    elif gain.low > 0 and over_token.low > -STRONG:
        word = rules.REPRODUCED
    sentence = (
        f"dropout changes the solution-level verifier by {in_points(gain)} "
        f"{_where(rows)}; it then differs from the token-level one without dropout by "
        f"{in_points(over_token)}; {rules.in_seeds(table)}."
    )
    return Verdict("C14", word, *gain, rules.count_seeds(table), sentence)


def c15(table: pd.DataFrame) -> Verdict:
    """C15: dropout helps token-level verifiers only slightly.

    Reproduced: its gain is above 0, surely below STRONG, and surely no loss beyond
    NEGLIGIBLE. Contradicted: it is surely below 0, or surely STRONG or more.
    """
    rows = _largest(table)
    reason = rules.untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return rules.not_testable("C15", table, reason)
    gain = over_seeds(rows[rows["arm"] == "token, dropout"], "gain")
    word = rules.INCONCLUSIVE
    if gain.high < 0 or gain.low >= STRONG:
        word = rules.CONTRADICTED
    elif gain.mean > 0 and gain.high < STRONG and gain.low > -NEGLIGIBLE:
        word = rules.REPRODUCED
    sentence = (
        f"dropout changes the token-level verifier by {in_points(gain)} "
        f"{_where(rows)}; {rules.in_seeds(table)}."
    )
    return Verdict("C15", word, *gain, rules.count_seeds(table), sentence)


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["n_train"] == table["n_train"].max()]


def _where(rows: pd.DataFrame) -> str:
    return f"at {rows['n_train'].iloc[0]:,} training problems"
