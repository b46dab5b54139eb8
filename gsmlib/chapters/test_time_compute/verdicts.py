"""C11 and C12: more completions and more voters at test time (Figs 7a and 7b)."""

import pandas as pd

from gsmlib import paper
from gsmlib.chapters import rules
from gsmlib.chapters.rules import FEW, NEGLIGIBLE, Verdict, in_points, in_seeds
from gsmlib.method.metrics import Interval


def c11(table: pd.DataFrame) -> Verdict:
    """C11: verified accuracy rises with the completions up to some number, then falls.

    The value is that number, with an interval from resampled problems and seeds.
    Reproduced: the peak lies inside the curve, and both the rise to it and the fall
    from it to the end are surely above NEGLIGIBLE (it was picked as the highest, so 0
    is too easy). Contradicted: no number of completions is more than NEGLIGIBLE better
    than a single one, surely; or none is than the largest number, surely, although
    that is BEYOND times the paper's peak: on a shorter curve the peak may be to come.
    """
    rows = table[table["method"] == "verification"]
    reason = rules.untestable(rows, rows["accuracy"].max())
    if rows["n"].nunique() < rules.MIN_COUNTS:
        reason = f"accuracy at fewer than {rules.MIN_COUNTS} numbers of completions"
    if reason:
        return rules.not_testable("C11", table, reason)
    rises, falls = (_by(rows, "n", name) for name in ("rise", "fall"))
    first, last = min(rises), max(rises)
    peak, low, high = (rows[name].iloc[0] for name in ("peak", "peak_low", "peak_high"))
    rise, fall = rises[peak], falls[peak]
    never_rises = all(rises[n].high < NEGLIGIBLE for n in rises if n > first)
    never_falls = all(falls[n].high < NEGLIGIBLE for n in falls if n < last)
    word = rules.INCONCLUSIVE
    if first < peak < last and min(rise.low, fall.low) > NEGLIGIBLE:
        word = rules.REPRODUCED
    elif never_rises or (never_falls and last >= rules.BEYOND * paper.BEST_COMPLETIONS):
        word = rules.CONTRADICTED
    sentence = (
        f"verified accuracy peaks at {peak:,.0f} of {last:,} completions "
        f"({low:,.0f} to {high:,.0f}), {in_points(rise)} over a single one; "
    )
    sentence += (
        "nothing was drawn beyond; "
        if peak == last
        else f"from there to the end it falls by {in_points(fall)}; "
    )
    sentence += f"the paper's peak is {paper.BEST_COMPLETIONS}; {in_seeds(table)}."
    return Verdict("C11", word, peak, low, high, rules.count_seeds(table), sentence)


def c12(table: pd.DataFrame) -> Verdict:
    """C12: a vote of the top few helps, of more when there are more completions.

    The value is the best k at the largest number of completions n. Reproduced: there it
    is among the top few (at most FEW of n), its gain over k = 1 is surely above
    NEGLIGIBLE (it was picked as the highest), and the best k surely grows with n.
    Contradicted: no vote of the top few gains NEGLIGIBLE, surely; or the best k surely
    shrinks; or it is surely more than a few.
    """
    reason = rules.untestable(table, table["accuracy"].max())
    counts = sorted(table["n"].unique())
    if not reason and len(counts) < rules.MIN_COUNTS:
        reason = f"{len(counts)} numbers of completions, fewer than {rules.MIN_COUNTS}"
    last, most = int(counts[-1]), FEW * counts[-1]
    if not reason and most < rules.MIN_VOTERS:
        reason = f"the top few of {last} completions are fewer than {rules.MIN_VOTERS}"
    if reason:
        return rules.not_testable("C12", table, reason)
    rows = table[table["n"] == last]
    gains = _by(rows, "k", "rise")
    best, low, high = (rows[name].iloc[0] for name in ("peak", "peak_low", "peak_high"))
    growth = Interval(
        *(rows[name].iloc[0] for name in ("growth", "growth_low", "growth_high"))
    )
    useless = all(gain.high < NEGLIGIBLE for k, gain in gains.items() if 1 < k <= most)
    word = rules.INCONCLUSIVE
    if best <= most and gains[best].low > NEGLIGIBLE and growth.low > 0:
        word = rules.REPRODUCED
    elif useless or growth.high < 0 or low > most:
        word = rules.CONTRADICTED
    bests = table.drop_duplicates("n").sort_values("n")
    places = ", ".join(f"{row.peak:.0f} of {row.n:,}" for row in bests.itertuples())
    sentence = (
        f"the best number of voters is {places}; of {last:,} ({low:.0f} to {high:.0f} "
        f"voters) it gains {in_points(gains[best])} over the best-scored alone; log "
        f"best k over log completions has slope {growth.mean:.2f} "
        f"({growth.low:.2f} to {growth.high:.2f}); {in_seeds(table)}."
    )
    return Verdict("C12", word, best, low, high, rules.count_seeds(table), sentence)


def _by(rows: pd.DataFrame, x: str, name: str) -> dict[float, Interval]:
    """Return a column, joined over seeds, at every point of a curve."""
    return {point: rules.over_seeds(some, name) for point, some in rows.groupby(x)}
