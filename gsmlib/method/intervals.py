"""Intervals of what was measured on problems, by one or several seeds.

All seeds solve the same problems, so a measurement is a table of seeds and problems
with an effect of each and their interaction, all random: the two-way random-effects
model. Its mean's variance comes from the mean squares, its degrees of freedom from
Satterthwaite (1946): with three seeds that differ these are few, and an interval that
joins both spreads otherwise, as by adding them, covers too often or too seldom.
`docs/statistics.md` shows by simulation that these cover in 93 to 97 %.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

LEVEL = 0.95
# Where seeds agree better than chance lets them, their spread is no proof of precision:
# the variance is at least this share of the problems'.
LEAST_SHARE = 0.5
# Satterthwaite's degrees of freedom are too many while those of the seeds weigh as much
# as those of the problems: of what they exceed the seeds' by, this much is believed.
BELIEVED = 0.7


class Interval(NamedTuple):
    """An estimate with its confidence limits; nan where nothing is known."""

    mean: float
    low: float
    high: float


NOTHING = Interval(np.nan, np.nan, np.nan)  # nothing was measured


def wilson(k: float, n: float, level: float = LEVEL) -> Interval:
    """Return the share k / n with Wilson's score interval, sane even at 0 of n."""
    if not (n >= 1 and 0 <= k <= n):
        raise ValueError(f"a share needs 0 <= k <= n and n >= 1, not {k} of {n}")
    _check_level(level)
    return _score_limits(k / n, n, float(ndtri((1 + level) / 2)))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, such as 0.95, not {level}")


def mean_interval(
    values: np.ndarray, *, share: bool = True, level: float = LEVEL
) -> Interval:
    """Return the mean of (S, P) or (P,) values with limits over seeds and problems.

    share: the values lie in [0, 1], as accuracies, and so do the limits: Wilson's score
    interval of as many trials as make up the mean's variance; P, where all are equal.
    Else they are differences: limits are Student's, and have no width where all are
    equal. A problem that is nan for any seed counts for none of the variance.
    """
    _check_level(level)
    values = np.atleast_2d(np.asarray(values, dtype=float))
    if values.ndim != 2:
        raise ValueError(f"values must be (seeds, problems), not {values.shape}")
    means = _means_of_seeds(values)
    known = values[:, ~np.isnan(values).any(axis=0)]
    mean, problems = float(means.mean()), known.shape[1]
    if not share and problems and mean == 0 and not known.any():
        return Interval(mean, mean, mean)  # what is the same does not differ
    if np.isnan(mean) or problems < (1 if share else 2):
        return Interval(mean, np.nan, np.nan)
    variance, freedom = variance_of_mean(known) if problems > 1 else (0.0, 1.0)
    factor = float(stdtrit(freedom, (1 + level) / 2))
    if not share:
        half = factor * variance**0.5
        return Interval(mean, mean - half, mean + half)
    if not -1e-9 <= mean <= 1 + 1e-9:
        raise ValueError(f"shares lie in [0, 1], but their mean is {mean}")
    mean = min(max(mean, 0.0), 1.0)  # a sum of floats may end beyond
    if variance < 1e-12:  # all are equal, up to float sums
        return wilson(mean * problems, problems, level)
    return _score_limits(mean, mean * (1 - mean) / variance, factor)


def variance_of_mean(values: np.ndarray) -> tuple[float, float]:
    """Return the variance of the mean of (S, P) values, and its degrees of freedom.

    The mean squares of seeds, problems and interaction (Searle, Casella and McCulloch
    1992, chapter 4) estimate it without bias as (A + B - E) / (S P). One seed has no
    spread: its variance is the problems'.
    """
    seeds, problems = values.shape
    by_problem = values.mean(axis=0)
    b = seeds * by_problem.var(ddof=1)
    if seeds == 1:
        return float(b) / problems, problems - 1.0
    by_seed = values.mean(axis=1)
    a = problems * by_seed.var(ddof=1)
    rest = values - by_seed[:, None] - by_problem + values.mean()
    e = (rest**2).sum() / ((seeds - 1) * (problems - 1))
    total = max(a + b - e, LEAST_SHARE * b)
    spread = a**2 / (seeds - 1) + b**2 / (problems - 1)
    spread += e**2 / ((seeds - 1) * (problems - 1))
    least, most = seeds - 1.0, float(seeds * problems)
    freedom = total**2 / spread if spread > 0 else most
    freedom = float(np.clip(freedom, least, most))
    return float(total) / values.size, least + BELIEVED * (freedom - least)


def difference_interval(
    a: np.ndarray, b: np.ndarray, *, level: float = LEVEL
) -> Interval:
    """Return the mean of a - b, both (P,) or (S, P), paired by seed and problem."""
    return mean_interval(paired(a, b), share=False, level=level)


def paired(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a - b, problem by problem; ValueError where they are not of one shape."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired values need one shape, not {a.shape} and {b.shape}")
    return a - b


def pseudo_values(
    statistic: Callable[[np.ndarray], np.ndarray], problems: int, groups: int = 20
) -> np.ndarray:
    """Return (G, X) values whose mean is a statistic, and whose spread is its own.

    statistic: (problems,) bools, which of them there are -> (X,). It is found again
    without each of at most `groups` groups of problems: the jackknife's pseudo-values
    (Tukey 1958), moved so that their mean is the statistic of all. They take the place
    of problems in a `Measure` where a statistic is no mean over problems.
    """
    group = np.arange(problems) % min(groups, problems)
    whole = np.asarray(statistic(np.ones(problems, bool)), dtype=float)
    if problems < 2:
        return whole[None]
    without = np.array([statistic(group != each) for each in range(group.max() + 1)])
    return whole - (len(without) - 1) * (without - without.mean(axis=0))


def bootstrap_curves(
    values: np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> np.ndarray:
    """Return (resamples, X): mean curves of (seeds, P, X) values, bootstrapped.

    Seeds and problems are drawn anew, the same problems for all seeds: what is read off
    every curve, such as where it peaks, gets an interval that joins both.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 3:
        raise ValueError(f"values must be (seeds, problems, X), not {values.shape}")
    rng = np.random.default_rng(seed)
    seeds, problems, points = values.shape
    by_problem = np.moveaxis(values, 1, 0).reshape(problems, -1)
    chosen = rng.multinomial(problems, np.full(problems, 1 / problems), resamples)
    curves = (chosen @ by_problem / problems).reshape(resamples, seeds, points)
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    return np.einsum("rs,rsx->rx", shares, curves)


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact two-sided p of "a and b (P,) are right equally often"."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes need one shape, not {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest  # here: it takes a second to import

    return float(binomtest(only_a, only_a + only_b).pvalue)


def _score_limits(share: float, n: float, factor: float) -> Interval:
    """Return Wilson's limits of a share of n trials, `factor` standard errors wide."""
    centre = share + factor**2 / (2 * n)
    half = factor * np.sqrt(share * (1 - share) / n + factor**2 / (4 * n**2))
    low, high = (end / (1 + factor**2 / n) for end in (centre - half, centre + half))
    return Interval(float(share), float(min(low, share)), float(max(high, share)))


def _means_of_seeds(values: np.ndarray) -> np.ndarray:
    """Return (S,): the mean of each seed's defined values; nan where there is none."""
    counts = (~np.isnan(values)).sum(axis=1)
    sums = np.nansum(values, axis=1)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


# ----------------------------------------------------------------- columns of tables


class Measure(NamedTuple):
    """A cell of a table while it is made: (P,) values, shares or differences."""

    values: np.ndarray
    share: bool

    @property
    def mean(self) -> float:
        """Return the mean of the defined values; nan where there is none."""
        return float(_means_of_seeds(np.atleast_2d(self.values))[0])


def share(name: str, values: np.ndarray) -> dict[str, Measure]:
    """Return a column of a mean of (P,) values in [0, 1]; without a name accuracy's."""
    return {name or "accuracy": Measure(np.asarray(values, dtype=float), True)}


def difference(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, Measure]:
    """Return a column of the mean of a - b over the same problems, (P,) both."""
    return {name: Measure(paired(a, b), False)}


def tabulate(
    rows: Iterable[Mapping[str, Any]], about: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the table of rows whose cells may be Measures or Intervals: three columns.

    They are name, name_low and name_high; accuracy's are called low and high. Of a
    Measure the first is the mean of the row's own seed, the others are the limits of
    the mean over all seeds, the same on the rows of them all: those that agree in the
    columns `about`.
    """
    rows = [dict(row) for row in rows]
    alike: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(tuple(row.get(name) for name in about), []).append(row)
    for group in alike.values():
        for name in {name for row in group for name in row}:
            _put_limits(group, name)
    return pd.DataFrame([_spread(row) for row in rows])


def column_names(name: str) -> tuple[str, str, str]:
    """Return the names of a value's column and its limits'; without one accuracy's."""
    of = "" if name in ("", "accuracy") else f"{name}_"
    return name or "accuracy", f"{of}low", f"{of}high"


def _put_limits(group: list[dict[str, Any]], name: str) -> None:
    """Replace a column's Measures by Intervals, in rows that differ in seeds alone."""
    held = [row for row in group if isinstance(row.get(name), Measure)]
    if not held:
        return
    if len({row.get("seed") for row in held}) < len(held):
        raise ValueError(f"several rows of one seed measure {name}: name what differs")
    measures = [row[name] for row in held]
    values = np.array([measure.values for measure in measures])
    limits = mean_interval(values, share=measures[0].share)[1:]
    for row, measure in zip(held, measures, strict=True):
        row[name] = Interval(measure.mean, *limits)


def _spread(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its Intervals as three columns each."""
    columns: dict[str, Any] = {}
    for name, cell in row.items():
        parts = isinstance(cell, Interval)
        columns |= (
            dict(zip(column_names(name), cell, strict=True)) if parts else {name: cell}
        )
    return columns
