"""C11 and C12: more completions and more voters at test time (Figs 7a and 7b)."""

import pandas as pd

from gsmlib import paper
from gsmlib.chapters import rules
from gsmlib.chapters.rules import AT_LEAST, FEW, MIN_COUNTS, NEGLIGIBLE, in_points
from gsmlib.method.intervals import Interval


@rules.judge
def c11(table: pd.DataFrame) -> rules.Finding:
    """C11: verified accuracy rises with the completions up to some number, then falls.

    The value is that number, with an interval from resampled problems and seeds.
    Reproduced: the peak lies inside the curve, and both the rise to it and the fall
    from it to the end are surely above NEGLIGIBLE (it was picked as the highest, so 0
    is too easy). Not reproduced: no number of completions is more than NEGLIGIBLE
    better than a single one, surely; or none is than the largest number, surely,
    although that is BEYOND times the paper's peak: on a shorter curve the peak may be
    to come.
    """
    rows = table[table["method"] == "verification"]
    if rows["n"].nunique() < MIN_COUNTS:
        few = f"fewer than {MIN_COUNTS} numbers of completions"
        raise rules.NotTestable(f"accuracy at {few}")
    rules.require_learning(rows, rows["accuracy"].max())
    rises, falls = (_by(rows, "n", name) for name in ("rise", "fall"))
    first, last = min(rises), max(rises)
    peak = rules.on_all_rows(rows, "peak")
    rules.require_checking(rows[rows["n"] == peak.mean], "method")
    rise, fall = rises[peak.mean], falls[peak.mean]
    never_rises = all(rises[n].high < NEGLIGIBLE for n in rises if n > first)
    never_falls = all(falls[n].high < NEGLIGIBLE for n in falls if n < last)
    far = last >= rules.BEYOND * paper.BEST_COMPLETIONS
    after = f"from there to the end it falls by {in_points(fall, '-')}"
    if peak.mean == last:
        after = "nothing was drawn beyond"
    sentence = (
        f"verified accuracy peaks at {peak.mean:,.0f} of {last:,} completions "
        f"({peak.low:,.0f} to {peak.high:,.0f}), {in_points(rise)} over a single one; "
        f"{after}; the paper's peak is {paper.BEST_COMPLETIONS}"
    )
    inside = first < peak.mean < last and min(rise.low, fall.low) > NEGLIGIBLE
    word = rules.decide(inside, never_rises or (never_falls and far))
    excluded = f"a {'rise' if never_rises else 'fall'} of {AT_LEAST}"
    return rules.Finding(word, peak, sentence, excluded)


@rules.judge
def c12(table: pd.DataFrame) -> rules.Finding:
    """C12: a vote of the top few helps, of more when there are more completions.

    The value is the best k at the largest number of completions n. Reproduced: there it
    is among the top few (at most FEW of n), its gain over k = 1 is surely above
    NEGLIGIBLE (it was picked as the highest), and the best k surely grows with n.
    Not reproduced: no vote of the top few gains NEGLIGIBLE, surely; or the best k is
    surely more than a few. Reversed: it surely shrinks as n grows.
    """
    rules.require_learning(table, table["accuracy"].max())
    rules.require(table["n"].nunique(), MIN_COUNTS, "numbers of completions")
    last = table["n"].max()
    most = FEW * last
    if most < rules.MIN_VOTERS:
        few = f"the top few of {last} completions"
        raise rules.NotTestable(f"{few} are fewer than {rules.MIN_VOTERS}")
    rows = table[table["n"] == last]
    rules.require_checking(rows[rows["k"] == 1], "method")
    gains = _by(rows, "k", "rise")
    best, growth = rules.on_all_rows(rows, "peak"), rules.on_all_rows(rows, "growth")
    gain = gains[best.mean]
    useless = all(gain.high < NEGLIGIBLE for k, gain in gains.items() if 1 < k <= most)
    bests = table.drop_duplicates("n").sort_values("n")
    places = ", ".join(f"{row.peak:,.0f} of {row.n:,}" for row in bests.itertuples())
    if (bests["peak"] == bests["n"]).all():
        places = f"all of them, of {bests['n'].min():,} to {last:,}"
    sentence = (
        f"the best number of voters is {places}; that of {last:,}, surely between "
        f"{best.low:,.0f} and {best.high:,.0f}, gains {in_points(gain)} over the "
        f"best-scored alone; log best k over log completions has slope "
        f"{growth.mean:.2f} ({growth.low:.2f} to {growth.high:.2f})"
    )
    few = best.mean <= most and gain.low > NEGLIGIBLE and growth.low > 0
    word = rules.decide(few, useless or best.low > most, growth.high < 0)
    gains_few = f"a gain of {AT_LEAST} by the top few"
    excluded = gains_few if useless else f"a best vote of at most {most:,.0f}"
    return rules.Finding(word, best, sentence, excluded)


def _by(rows: pd.DataFrame, x: str, name: str) -> dict[float, Interval]:
    """Return a column, joined over seeds, at every point of a curve."""
    return {point: rules.over_seeds(some, name) for point, some in rows.groupby(x)}
