"""C8, C9 and C10: level, objective and sizes of verifiers (Figs 6a, 6b and 6c)."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import Verdict, in_points, in_seeds, over_seeds
from gsmlib.method.metrics import Interval


def c8(table: pd.DataFrame) -> Verdict:
    """C8: token-level verifiers start slower, end higher, overfit less.

    The value is token-level minus solution-level accuracy at the last checkpoint.
    Reproduced: it is surely above 0, that at the first checkpoint is below 0, and the
    late slope of the token-level curve is the larger one. Contradicted: the value is
    surely below NEGLIGIBLE.
    """
    table = table[table["objective"] == "joint"]
    rows = table[table["level"] == "solution"]
    found = rows["checkpoint"].nunique()
    reason = _untestable(table, rows)
    if found < rules.MIN_CHECKPOINTS:
        reason = (
            f"{found} checkpoints of a verifier, fewer than {rules.MIN_CHECKPOINTS}"
        )
    if reason:
        return rules.not_testable("C8", table, reason)
    start, end = (_gain_at(rows, place) for place in ("min", "max"))
    last = table[table["checkpoint"] == table["checkpoint"].max()]
    slopes = {level: over_seeds(r, "slope") for level, r in last.groupby("level")}
    steeper = over_seeds(last[last["level"] == "solution"], "slope_gain")
    word = rules.better(end)
    if word == rules.REPRODUCED and not start.mean < 0 < steeper.mean:
        word = rules.INCONCLUSIVE
    epochs = rows["epochs"]
    sentence = (
        f"token-level minus solution-level accuracy is {in_points(start)} at "
        f"{epochs.min():.2g} and {in_points(end)} at {epochs.max():.2g} "
        f"epochs; late in training token-level changes by "
        f"{in_points(slopes['token'])} an epoch, solution-level by "
        f"{in_points(slopes['solution'])}, a difference of {in_points(steeper)}; "
        f"{in_seeds(table)}."
    )
    return Verdict("C8", word, *end, rules.count_seeds(table), sentence)


def c9(table: pd.DataFrame) -> Verdict:
    """C9: the joint objective beats verification only at the end of training.

    Reproduced: the difference is surely above 0. Contradicted: surely below NEGLIGIBLE.
    """
    rows = table[table["objective"] == "verification only"]
    reason = _untestable(table, rows)
    if reason:
        return rules.not_testable("C9", table, reason)
    end = _gain_at(rows, "max")
    sentence = (
        f"joint objective minus verification only after {rows['epochs'].max():.2g} "
        f"epochs: {in_points(end)}; {in_seeds(table)}."
    )
    return Verdict("C9", rules.better(end), *end, rules.count_seeds(table), sentence)


def c10(table: pd.DataFrame) -> Verdict:
    """C10: large generator, small verifier beats small generator, large verifier.

    At the largest training set. Reproduced: the difference is surely above 0.
    Contradicted: surely below NEGLIGIBLE.
    """
    mixed = table[table["generator"] != table["verifier"]]
    reason = _untestable(table, mixed)
    if mixed.empty:
        reason = "one model size only"
    if reason:
        return rules.not_testable("C10", table, reason)
    size = int(table["n_train"].max())
    rows = mixed[(mixed["n_train"] == size) & mixed["gain"].notna()]
    gain = over_seeds(rows, "gain")
    large, small = rows[["generator", "verifier"]].iloc[0]
    sentence = (
        f"at {size:,} training problems generator {large} with verifier {small} minus "
        f"generator {small} with verifier {large}: {in_points(gain)}; "
        f"{in_seeds(table)}."
    )
    return Verdict("C10", rules.better(gain), *gain, rules.count_seeds(table), sentence)


def _gain_at(rows: pd.DataFrame, place: str) -> Interval:
    """The gain at the first ("min") or last ("max") checkpoint."""
    checkpoint = rows["checkpoint"].agg(place)
    return over_seeds(rows[rows["checkpoint"] == checkpoint], "gain")


def _untestable(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Judge by what a random completion solves: no verifier can be at fault for it."""
    if rows.empty:
        return "the table lacks one of the two methods"
    return rules.untestable(table, table["mean_accuracy"].max())
