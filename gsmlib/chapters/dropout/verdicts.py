"""C13, C14 and C15: dropout in finetuning and in verifiers (Fig 8).

All are judged at the largest training set, as with minus without, paired by problem.
"""

import pandas as pd

from gsmlib.chapters.rules import (
    CONTRADICTED,
    INCONCLUSIVE,
    NEGLIGIBLE,
    REPRODUCED,
    STRONG,
    Verdict,
    better,
    count_seeds,
    in_points,
    in_seeds,
    not_testable,
    over_seeds,
    untestable,
)


def judge_dropout_finetuning(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdict on C13 from the table of Fig 8a."""
    return [c13(table)]


def judge_dropout_solution(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdict on C14 from the table of Fig 8b."""
    return [c14(table)]


def judge_dropout_token(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdict on C15 from the table of Fig 8c."""
    return [c15(table)]


def c13(table: pd.DataFrame) -> Verdict:
    """C13: dropout, with its additional pretraining, improves finetuning.

    Reproduced: its gain is surely above 0. Contradicted: surely below NEGLIGIBLE. What
    the additional pretraining alone does is printed beside it, and changes no verdict.
    """
    rows = _largest(table)
    reason = untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return not_testable("C13", table, reason)
    dropout, control = (
        rows[rows["arm"] == arm] for arm in ("dropout", "more pretraining")
    )
    gain = over_seeds(dropout, "gain")
    sentence = (
        f"dropout changes finetuning by {in_points(gain)} {_where(rows)}; the same "
        f"additional pretraining without dropout by "
        f"{in_points(over_seeds(control, 'gain'))}; dropout against that control: "
        f"{in_points(over_seeds(dropout, 'over_control'))}; {in_seeds(table)}."
    )
    return Verdict("C13", better(gain), *gain, count_seeds(table), sentence)


def c14(table: pd.DataFrame) -> Verdict:
    """C14: dropout lifts solution-level verifiers to token-level performance.

    Reproduced: its gain is surely above 0, and what it reaches surely less than STRONG
    below the token-level verifier without dropout. Contradicted: the gain is surely
    below NEGLIGIBLE, or the token-level one surely better by NEGLIGIBLE or more.
    """
    rows = _largest(table)
    reason = untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return not_testable("C14", table, reason)
    lifted = rows[rows["arm"] == "solution, dropout"]
    gain, over_token = (over_seeds(lifted, name) for name in ("gain", "over_token"))
    word = INCONCLUSIVE
    if gain.high < NEGLIGIBLE or over_token.high < -NEGLIGIBLE:
        word = CONTRADICTED
    elif gain.low > 0 and over_token.low > -STRONG:
        word = REPRODUCED
    sentence = (
        f"dropout changes the solution-level verifier by {in_points(gain)} "
        f"{_where(rows)}; it then differs from the token-level one without dropout by "
        f"{in_points(over_token)}; {in_seeds(table)}."
    )
    return Verdict("C14", word, *gain, count_seeds(table), sentence)


def c15(table: pd.DataFrame) -> Verdict:
    """C15: dropout helps token-level verifiers only slightly.

    Reproduced: its gain is above 0, surely below STRONG, and surely no loss beyond
    NEGLIGIBLE. Contradicted: it is surely below 0, or surely STRONG or more.
    """
    rows = _largest(table)
    reason = untestable(rows, rows.groupby("arm")["accuracy"].mean().max())
    if reason:
        return not_testable("C15", table, reason)
    gain = over_seeds(rows[rows["arm"] == "token, dropout"], "gain")
    word = INCONCLUSIVE
    if gain.high < 0 or gain.low >= STRONG:
        word = CONTRADICTED
    elif gain.mean > 0 and gain.high < STRONG and gain.low > -NEGLIGIBLE:
        word = REPRODUCED
    sentence = (
        f"dropout changes the token-level verifier by {in_points(gain)} "
        f"{_where(rows)}; {in_seeds(table)}."
    )
    return Verdict("C15", word, *gain, count_seeds(table), sentence)


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["n_train"] == table["n_train"].max()]


def _where(rows: pd.DataFrame) -> str:
    return f"at {rows['n_train'].iloc[0]:,} training problems"
