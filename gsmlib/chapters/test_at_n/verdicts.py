"""C2 and C3: over the epochs of finetuning (Fig 3)."""

import pandas as pd

from gsmlib.chapters import rules


def c2(table: pd.DataFrame) -> rules.Verdict:
    """C2: test@1 still rises after the epoch of the least test loss.

    Reproduced: the rise from there to the last epoch is surely above 0 and the whole
    curve about monotone. Contradicted: it is surely below NEGLIGIBLE.
    """
    reason = _untestable_epochs(table, "test_at_1")
    if reason:
        return rules.not_testable("C2", table, reason)
    losses = table.pivot(index="epoch", columns="seed", values="test_loss")
    best = losses.idxmin().median()  # over seeds
    last = int(table["epoch"].max())
    rise = rules.over_seeds(table[table["epoch"] == last], "rise")
    if best > last - 2:
        reason = (
            f"the test loss is least at epoch {best:.0f} of {last}, too "
            f"late to look at what follows (test@1 changes by {rules.in_points(rise)})"
        )
        return rules.not_testable("C2", table, reason, rise)
    curve = table.groupby("epoch")["test_at_1"].mean()
    from scipy.stats import kendalltau  # here: it takes a second to import

    trend = float(kendalltau(curve.index, curve).statistic)
    word = rules.INCONCLUSIVE
    if rise.low > 0 and trend >= rules.MONOTONE:
        word = rules.REPRODUCED
    elif rise.high < rules.NEGLIGIBLE:
        word = rules.CONTRADICTED
    sentence = (
        f"the test loss is least at epoch {best:.0f} of {last}; from there "
        f"test@1 changes by {rules.in_points(rise)}; its trend over epochs is "
        f"{trend:.2f} (Kendall's tau); {rules.in_seeds(table)}."
    )
    return rules.Verdict("C2", word, *rise, rules.count_seeds(table), sentence)


def c3(table: pd.DataFrame) -> rules.Verdict:
    """C3: test@n peaks early and falls, more than test@1.

    Reproduced: the peak lies in the first half, the fall from it to the last epoch is
    surely above NEGLIGIBLE (the peak was picked as the highest, so 0 is too easy) and
    larger than that of test@1. Contradicted: the fall is surely below NEGLIGIBLE.
    """
    reason = _untestable_epochs(table, "test_at_n")
    if reason:
        return rules.not_testable("C3", table, reason)
    last = int(table["epoch"].max())
    curves = table.groupby("epoch")[["test_at_n", "test_at_1"]].mean()
    peak = int(curves["test_at_n"].idxmax())
    greedy_fall = float(curves["test_at_1"].max() - curves["test_at_1"].iloc[-1])
    fall = rules.over_seeds(table[table["epoch"] == last], "fall")
    surely = fall.low > rules.NEGLIGIBLE and fall.mean > greedy_fall
    word = rules.INCONCLUSIVE
    if fall.high < rules.NEGLIGIBLE:
        word = rules.CONTRADICTED
    elif surely and peak <= rules.EARLY * last:
        word = rules.REPRODUCED
    sentence = (
        f"test@{int(table['n'].max())} peaks at epoch {peak} of {last} and then falls "
        f"by {rules.in_points(fall)}; test@1 falls by {100 * greedy_fall:.1f} from its "
        f"own peak; {rules.in_seeds(table)}."
    )
    return rules.Verdict("C3", word, *fall, rules.count_seeds(table), sentence)


def _untestable_epochs(table: pd.DataFrame, column: str) -> str:
    if table["epoch"].nunique() < rules.MIN_EPOCHS:
        return f"{table['epoch'].nunique()} epochs, fewer than {rules.MIN_EPOCHS}"
    return rules.untestable(table, table.groupby("epoch")[column].mean().max())
