"""C16 and C17: the verifier's loss, temperature and first weights (09_open_points)."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import NEGLIGIBLE, in_points, over_seeds
from gsmlib.method.intervals import Interval

BASE, LOSS, START, TEMPERATURE = 0, 2, 3, 5  # open points, as the table numbers them


@rules.judge
def c16(table: pd.DataFrame) -> rules.Finding:
    """C16: neither the loss nor the temperature of the training data matters.

    Reproduced: both differences in verified accuracy from the base lie surely within
    NEGLIGIBLE. Not reproduced: one lies surely beyond. The value is that of the two
    whose farther limit is the larger.
    """
    _require_base(table, LOSS, TEMPERATURE)
    changed = [table[table["point"] == point] for point in (LOSS, TEMPERATURE)]
    gains = {rows["variant"].iloc[0]: over_seeds(rows, "gain") for rows in changed}
    found = list(gains.values())
    within = [gain.low > -NEGLIGIBLE and gain.high < NEGLIGIBLE for gain in found]
    beyond = [gain.low > NEGLIGIBLE or gain.high < -NEGLIGIBLE for gain in found]
    texts = ", ".join(f"{name}: {in_points(gain)}" for name, gain in gains.items())
    sentence = (
        f"verified accuracy minus that with mean squared error at the usual "
        f"temperature, {texts}; below {100 * NEGLIGIBLE:.0f} points counts as none"
    )
    largest = max(found, key=lambda gain: max(-gain.low, gain.high))
    word = rules.decide(all(within), any(beyond))
    return rules.Finding(word, largest, sentence, "that neither matters")


@rules.judge
def c17(table: pd.DataFrame) -> rules.Finding:
    """C17: a verifier that starts from the generator beats one from the pretrained.

    Reproduced: the difference in verified accuracy is surely above 0. Reversed: it is
    surely below 0.
    """
    _require_base(table, START)
    rows = table[table["point"] == START]  # the base is the generator's
    gain, auc = (_reversed(over_seeds(rows, name)) for name in ("gain", "auc_gain"))
    sentence = (
        f"started from the generator minus started from the pretrained model: "
        f"{in_points(gain)}; within-problem AUC {auc.mean:+.3f} ({auc.low:+.3f} to "
        f"{auc.high:+.3f})"
    )
    word = rules.decide(gain.low > 0, excluded=False, opposite=gain.high < 0)
    return rules.Finding(word, gain, sentence)


def _reversed(interval: Interval) -> Interval:
    return Interval(-interval.mean, -interval.high, -interval.low)


def _require_base(table: pd.DataFrame, *points: int) -> None:
    """Require these points, a base that learned, and that one of them checks."""
    for point in points:
        if point not in set(table["point"]):
            raise rules.NotTestable(f"open point {point} is left out")
    base = table[(table["point"] == BASE) & (table["variant"] == "base")]
    rules.require_learning(table, base["accuracy"].mean())
    changed = table[table["point"].isin(points)]
    rules.require_checking(pd.concat([base, changed]), "variant")
