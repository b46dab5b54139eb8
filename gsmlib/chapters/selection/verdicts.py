"""S1 and S2, claims of our own: the ROC foresees best-of-n, coverage is a power law."""

import pandas as pd

from gsmlib import paper
from gsmlib.chapters import rules
from gsmlib.chapters.rules import MIN_COUNTS, MIN_SPAN, NEGLIGIBLE, in_points

S1 = paper.Claim(
    "S1",
    "ours",
    "foresight",
    "the ROC foresees best-of-n",
    "The verifier's ROC within other problems foresees how often the best-scored of n "
    "completions is right.",
    "foreseen minus measured accuracy where they differ most",
)
S2 = paper.Claim(
    "S2",
    "Brown et al. 2024, section 3",
    "law",
    "coverage is a power law",
    "The negative logarithm of coverage falls as a power of the number of completions.",
    "quadratic term in log n of log(-log coverage)",
    unit="ratio",
)


@rules.judge
def s1(table: pd.DataFrame) -> rules.Finding:
    """S1: the ROC of other problems foresees the best-of-n curve.

    The value is the error, foreseen minus measured, where it is largest. Reproduced: it
    is surely within NEGLIGIBLE at every n. Not reproduced: it is surely beyond at one.
    Not testable where the curve itself stays within NEGLIGIBLE of its first point: a
    constant would foresee it as well.
    """
    rows = table[table["part"] == "curve"].dropna(subset="foreseen")
    if rows["n"].nunique() < MIN_COUNTS:
        raise rules.NotTestable(
            f"fewer than {MIN_COUNTS} numbers of completions could be foreseen"
        )
    rules.require_learning(rows, rows["accuracy"].max())
    by_n = rows.groupby("n")
    peak, foreseen = (by_n[name].mean().idxmax() for name in ("accuracy", "foreseen"))
    rules.require_checking(rows[rows["n"] == peak], "part")
    _require_a_curve(by_n["accuracy"].mean())
    errors = {n: rules.over_seeds(some, "error") for n, some in by_n}
    n = max(errors, key=lambda n: abs(errors[n].mean))
    last = max(errors)
    n, last, peak, foreseen = (int(each) for each in (n, last, peak, foreseen))
    alike = (by_n["one_roc"].mean() - by_n["accuracy"].mean())[last]
    where = "" if n == last else f", and {in_points(errors[last])} at {last:,}"
    sentence = (
        f"foreseen minus measured accuracy is {in_points(errors[n])} at {n:,} "
        f"completions, where they differ most{where} (were all problems alike, "
        f"{100 * alike:+.1f} at {last:,}); the peak was foreseen at {foreseen:,} and "
        f"is at {peak:,}"
    )
    within = all(e.low > -NEGLIGIBLE and e.high < NEGLIGIBLE for e in errors.values())
    beyond = any(e.low > NEGLIGIBLE or e.high < -NEGLIGIBLE for e in errors.values())
    excluded = f"an error within {100 * NEGLIGIBLE:.0f} points at every number"
    word = rules.decide(within, beyond)
    return rules.Finding(word, errors[n], sentence, excluded)


def _require_a_curve(accuracy: pd.Series) -> None:
    """Raise NotTestable where accuracy, by n, hardly moves from that of the first n."""
    moved = (accuracy - accuracy.iloc[0]).abs().max()
    if moved < NEGLIGIBLE:
        raise rules.NotTestable(
            f"accuracy moves by {100 * moved:.1f} points at most, so that a constant "
            "would foresee it as well"
        )


@rules.judge
def s2(table: pd.DataFrame) -> rules.Finding:
    """S2: -log coverage is a power of n.

    The value is the bend, the quadratic term in log n. Reproduced: coverage differs
    from the fitted law by less than NEGLIGIBLE at every n, surely. Not reproduced: it
    may differ by more, and the bend is surely not 0.
    """
    rows = table[table["part"] == "coverage"]
    rules.require_learning(rows, rows["accuracy"].max())
    span = rows["n"].max() / rows["n"].min()
    rules.require(int(span), MIN_SPAN, "times as many completions at most as at least")
    slope, bend, misfit = (
        rules.on_all_rows(rows, name) for name in ("slope", "bend", "misfit")
    )
    if pd.isna(bend.low):
        raise rules.NotTestable("coverage is 0 or 1, which has no logarithm")
    sentence = (
        f"-log coverage falls as n to the power {slope.mean:.2f} ({slope.low:.2f} to "
        f"{slope.high:.2f}); its bend is {bend.mean:+.2f} ({bend.low:+.2f} to "
        f"{bend.high:+.2f}), and coverage differs from the law by up to "
        f"{in_points(misfit, '-')}"
    )
    bent = bend.low > 0 or bend.high < 0
    word = rules.decide(misfit.high < NEGLIGIBLE, bent)
    return rules.Finding(word, bend, sentence, "a straight line")
