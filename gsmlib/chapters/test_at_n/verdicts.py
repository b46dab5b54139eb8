"""C2 and C3: over the epochs of finetuning (Fig 3), where it overfits."""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import AT_LEAST, NEGLIGIBLE, in_points


@rules.judge
def c2(table: pd.DataFrame) -> rules.Finding:
    """C2: test@1 still rises after the epoch of the least test loss.

    Reproduced: the rise from there to the last epoch is surely above 0 and the whole
    curve about monotone. Not reproduced: it is surely below NEGLIGIBLE, be it surely
    above 0 or not. Reversed: it is surely below 0.
    """
    curve, last = _curve(table, "test_at_1")
    losses = table.pivot(index="epoch", columns="seed", values="test_loss")
    least = sorted(set(losses.idxmin()))  # each seed's epoch
    rise = rules.over_seeds(table[table["epoch"] == last], "rise")
    rules.require_overfitting(table, rise)
    from scipy.stats import kendalltau  # here: it takes a second to import

    trend = float(kendalltau(curve.index, curve).statistic)
    monotone = trend >= rules.MONOTONE
    where = (
        f"epoch {least[0]}" if len(least) == 1 else f"epochs {least[0]} to {least[-1]}"
    )
    sentence = (
        f"from each seed's least test loss ({where} of {last}) to the last test@1 "
        f"changes by {in_points(rise)}; its trend over epochs is {trend:.2f} "
        "(Kendall's tau)"
    )
    word = rules.better(rise)
    if word == rules.REPRODUCED and not monotone:
        word = rules.INCONCLUSIVE
    return rules.Finding(word, rise, sentence, f"a rise of {AT_LEAST}")


@rules.judge
def c3(table: pd.DataFrame) -> rules.Finding:
    """C3: test@n peaks early and falls, more than test@1.

    Reproduced: the peak lies in the first half, the fall from it to the last epoch is
    surely above NEGLIGIBLE (the peak was picked as the highest, so 0 is too easy) and
    larger than that of test@1. Not reproduced: the fall is surely below NEGLIGIBLE.
    """
    curve, last = _curve(table, "test_at_n")
    greedy = table.groupby("epoch")["test_at_1"].mean()
    peak, greedy_fall = int(curve.idxmax()), float(greedy.max() - greedy.iloc[-1])
    fall = rules.over_seeds(table[table["epoch"] == last], "fall")
    rules.require_learning(table, greedy.max())
    rules.require_overfitting(table, fall)
    surely = fall.low > NEGLIGIBLE and fall.mean > greedy_fall
    early = peak <= rules.EARLY * last
    sentence = (
        f"test@{int(table['n'].max())} peaks at epoch {peak} of {last} and then falls "
        f"by {in_points(fall, '-')}; test@1 falls by {100 * greedy_fall:.1f} from its "
        f"own peak"
    )
    word = rules.decide(surely and early, fall.high < NEGLIGIBLE)
    return rules.Finding(word, fall, sentence, f"a fall of {AT_LEAST}")


def _curve(table: pd.DataFrame, column: str) -> tuple[pd.Series, int]:
    """Return a column's mean over seeds by epoch, and the last epoch."""
    curve = table.groupby("epoch")[column].mean()
    rules.require(len(curve), rules.MIN_EPOCHS, "epochs")
    rules.require_learning(table, curve.max())
    return curve, int(curve.index[-1])
