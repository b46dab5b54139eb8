"""C16 and C17: the verifier's loss, temperature and first weights (09_open_points)."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import NEGLIGIBLE, Verdict, in_points, over_seeds
from gsmlib.method.metrics import Interval

BASE, LOSS, START, TEMPERATURE = 0, 2, 3, 5  # open points, as the table numbers them


def c16(table: pd.DataFrame) -> Verdict:
    """C16: neither the loss nor the temperature of the training data matters.

    Reproduced: both differences in verified accuracy from the base lie surely within
    NEGLIGIBLE. Contradicted: one lies surely beyond. The value is the larger of them.
    """
    reason = _untestable_base(table)
    if reason:
        return rules.not_testable("C16", table, reason)
    gains = {
        rows["variant"].iloc[0]: over_seeds(rows, "gain")
        for rows in (_rows_of(table, LOSS), _rows_of(table, TEMPERATURE))
    }
    found = list(gains.values())
    word = rules.INCONCLUSIVE
    if any(gain.low > NEGLIGIBLE or gain.high < -NEGLIGIBLE for gain in found):
        word = rules.CONTRADICTED
    elif all(gain.low > -NEGLIGIBLE and gain.high < NEGLIGIBLE for gain in found):
        word = rules.REPRODUCED
    texts = ", ".join(f"{name}: {in_points(gain)}" for name, gain in gains.items())
    sentence = (
        f"verified accuracy minus that with mean squared error at the usual "
        f"temperature, {texts}; below {100 * NEGLIGIBLE:.0f} points counts as none; "
        f"{rules.in_seeds(table)}."
    )
    largest = max(found, key=lambda gain: abs(gain.mean))
    return Verdict("C16", word, *largest, rules.count_seeds(table), sentence)


def c17(table: pd.DataFrame) -> Verdict:
    """C17: a verifier that starts from the generator beats one from the pretrained.

    Reproduced: the difference in verified accuracy is surely above 0. Contradicted: it
    is surely below 0.
    """
    reason = _untestable_base(table)
    if reason:
        return rules.not_testable("C17", table, reason)
    rows = _rows_of(table, START)
    gain = _reversed(over_seeds(rows, "gain"))  # the base is the generator's
    auc = _reversed(over_seeds(rows, "auc_gain"))
    word = (
        rules.REPRODUCED
        if gain.low > 0
        else rules.CONTRADICTED
        if gain.high < 0
        else None
    )
    sentence = (
        f"started from the generator minus started from the pretrained model: "
        f"{in_points(gain)}; within-problem AUC {auc.mean:+.3f} ({auc.low:+.3f} to "
        f"{auc.high:+.3f}); {rules.in_seeds(table)}."
    )
    return Verdict(
        "C17", word or rules.INCONCLUSIVE, *gain, rules.count_seeds(table), sentence
    )


def _rows_of(table: pd.DataFrame, point: int) -> pd.DataFrame:
    return table[table["point"] == point]


def _reversed(interval: Interval) -> Interval:
    return Interval(-interval.mean, -interval.high, -interval.low)


def _untestable_base(table: pd.DataFrame) -> str:
    base = table[(table["point"] == BASE) & (table["variant"] == "base")]
    return rules.untestable(table, base["accuracy"].mean())
