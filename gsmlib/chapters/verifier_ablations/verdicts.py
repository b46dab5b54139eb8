"""C8, C9 and C10: level, objective and sizes of verifiers (Figs 6a, 6b and 6c)."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import in_points, over_seeds
from gsmlib.method.intervals import Interval


@rules.judge
def c8(table: pd.DataFrame) -> rules.Finding:
    """C8: token-level verifiers start slower, end higher, overfit less.

    The value is token-level minus solution-level accuracy at the last checkpoint.
    Reproduced: it is surely above 0 and not surely below NEGLIGIBLE, that at the first
    checkpoint is below 0, and the late slope of the token-level curve is the larger
    one. Not reproduced: the value is surely below NEGLIGIBLE. Reversed: surely below 0.
    """
    table = table[table["objective"] == "joint"]
    rows = table[table["level"] == "solution"]
    found = rows["checkpoint"].nunique()
    rules.require(found, rules.MIN_CHECKPOINTS, "checkpoints of a verifier")
    _require_both(table, rows)
    last = _at(table, "max")
    rules.require_checking(last, "level")
    start, end = (_gain_at(rows, place) for place in ("min", "max"))
    slopes = {level: over_seeds(r, "slope") for level, r in last.groupby("level")}
    steeper = over_seeds(last[last["level"] == "solution"], "slope_gain")
    word = rules.better(end)
    if word == rules.REPRODUCED and not start.mean < 0 < steeper.mean:
        word = rules.INCONCLUSIVE
    epochs = rows["epochs"]
    sentence = (
        f"token-level minus solution-level accuracy is {in_points(start)} at "
        f"epoch {epochs.min():.2g} and {in_points(end)} at epoch {epochs.max():.2g}; "
        f"late in training token-level changes by "
        f"{in_points(slopes['token'])} an epoch, solution-level by "
        f"{in_points(slopes['solution'])}, a difference of {in_points(steeper)}"
    )
    return rules.Finding(word, end, sentence)


@rules.judge
def c9(table: pd.DataFrame) -> rules.Finding:
    """C9: the joint objective beats verification only at the end of training.

    Reproduced: the difference is surely above 0, and not surely below NEGLIGIBLE. Not
    reproduced: surely below NEGLIGIBLE. Reversed: surely below 0.
    """
    rows = table[table["objective"] == "verification only"]
    _require_both(table, rows)
    level = rows["level"].iloc[0]
    rules.require_checking(_at(table[table["level"] == level], "max"), "objective")
    end = _gain_at(rows, "max")
    epochs = f"{rows['epochs'].max():.2g}"
    sentence = (
        f"joint objective minus verification only at epoch {epochs}: {in_points(end)}"
    )
    return rules.Finding(rules.better(end), end, sentence)


@rules.judge
def c10(table: pd.DataFrame) -> rules.Finding:
    """C10: large generator, small verifier beats small generator, large verifier.

    At the largest training set. Reproduced: the difference is surely above 0, and not
    surely below NEGLIGIBLE. Not reproduced: surely below NEGLIGIBLE. Reversed: surely
    below 0.
    """
    mixed = table[table["generator"] != table["verifier"]]
    if mixed.empty:
        raise rules.NotTestable("one model size only")
    _require_both(table, mixed)
    size = table["n_train"].max()
    mixed = mixed[mixed["n_train"] == size]
    rules.require_checking(mixed, "generator")
    rows = mixed[mixed["gain"].notna()]
    gain = over_seeds(rows, "gain")
    large, small = rows[["generator", "verifier"]].iloc[0]
    sentence = (
        f"at {size:,} training problems generator {large} with verifier {small} minus "
        f"generator {small} with verifier {large}: {in_points(gain)}"
    )
    return rules.Finding(rules.better(gain), gain, sentence)


def _gain_at(rows: pd.DataFrame, place: str) -> Interval:
    """The gain at the first ("min") or last ("max") checkpoint."""
    return over_seeds(_at(rows, place), "gain")


def _at(rows: pd.DataFrame, place: str) -> pd.DataFrame:
    return rows[rows["checkpoint"] == rows["checkpoint"].agg(place)]


def _require_both(table: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Judge by what a random completion solves: no verifier can be at fault for it."""
    if rows.empty:
        raise rules.NotTestable("the table lacks one of the two methods")
    rules.require_learning(table, table["mean_accuracy"].max())
