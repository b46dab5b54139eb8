"""The grid and the table of Fig 7: more completions (7a), voters among them (7b)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import (
    METHODS,
    Completions,
    along_axis,
    describe,
    read_completions,
    verified,
)
from gsmlib.chapters.test_time_compute.settings import MoreCompletionsSettings
from gsmlib.method import metrics
from gsmlib.method.intervals import (
    NOTHING,
    Interval,
    bootstrap_curves,
    difference,
    share,
    tabulate,
)
from gsmlib.study.store import Store

TOP_K_VOTE = "vote of the top k"  # Fig 7b


class Curve(NamedTuple):
    """A method over numbers of completions or, given n of these, over voters k."""

    method: str
    points: list[int]
    n: int | None = None


def grid(settings: MoreCompletionsSettings) -> list[Point]:
    """Return a point per seed: the scores of its many test completions."""
    return [
        Point(describe(settings, base), {"scores": verified(settings, base)})
        for base in shared.each_seed(settings)
    ]


def table(settings: MoreCompletionsSettings, store: Store) -> pd.DataFrame:
    """Return Fig 7's table: a row per (method, n, k, seed); k in Fig 7b only.

    Columns: dataset, model, n_train, seed, n_problems, method, n (completions a
    problem), k (voters), accuracy over random n-subsets of all completions drawn, with
    low and high; over_random, minus that of a random completion, rise over the curve's
    first point and fall to its last, paired by problem, each with _low and _high.

    The same for all seeds are peak, the n (Fig 7b: the k) of the highest mean accuracy,
    and in Fig 7b growth, the least-squares slope of log best k over log n; their _low
    and _high are from a bootstrap over problems and seeds.
    """
    points, ns = grid(settings), along_axis(settings.test_completions)
    curves = [Curve(method, ns) for method in METHODS]
    curves += [Curve(TOP_K_VOTE, along_axis(n), n) for n in settings.counts]
    runs = (
        read_completions(point.specs["scores"], store)
        for point in shared.computed(points, store)
    )
    by_seed, random = [], []
    for run in runs:
        by_seed.append([accuracies(curve, run) for curve in curves])
        random.append(run.correct.mean(axis=1))
    found = [np.array(values) for values in zip(*by_seed, strict=True)]
    drawn = list(zip(curves, found, strict=True))
    growth = growth_of_best_k({c.n: values for c, values in drawn if c.n})
    rows = [
        row | ({"growth": growth} if curve.n else {})
        for curve, values in drawn
        for row in _rows(curve, points, values, random)
    ]
    return tabulate(rows, ("method", "n", "k"))


def accuracies(curve: Curve, run: Completions) -> np.ndarray:
    """Return (points, P): the accuracy on every problem along a curve."""
    if curve.n:
        return metrics.vote_at_n(*run[:2], curve.n, curve.points, run.scores)
    return np.array([METHODS[curve.method](run, n) for n in curve.points])


def _rows(
    curve: Curve,
    points: Sequence[Point],
    values: np.ndarray,
    random: Sequence[np.ndarray],
) -> Iterator[dict[str, Any]]:
    """Yield a row per seed and place of a curve from (seeds, places, P) accuracies.

    random: of each seed (P,), the accuracy of a random completion.
    """
    peak = {"peak": _with_limits(*_peaks(values, curve.points))}
    for point, solved, picked in zip(points, values, random, strict=True):
        for place, here in zip(curve.points, solved, strict=True):
            about = point.about | {"n_problems": len(here), "method": curve.method}
            about |= {"n": curve.n, "k": place} if curve.n else {"n": place}
            about |= share("", here) | difference("over_random", here, picked)
            about |= difference("rise", here, solved[0])
            yield about | difference("fall", here, solved[-1]) | peak


def growth_of_best_k(voted: dict[int, np.ndarray]) -> Interval:
    """Return the slope of log best k over log n, with limits; nan for a single n.

    voted: n -> (seeds, points, P), the accuracies of the vote along `along_axis(n)`.
    """
    if len(voted) < 2:
        return NOTHING
    offsets = np.log(list(voted)) - np.log(list(voted)).mean()
    weights = offsets / (offsets @ offsets)
    peaks = [_peaks(values, along_axis(n)) for n, values in voted.items()]
    best, resampled = zip(*peaks, strict=True)
    return _with_limits(weights @ np.log(best), weights @ np.log(resampled))


def _peaks(values: np.ndarray, points: Sequence[int]) -> tuple[int, np.ndarray]:
    """Return where the mean curve is highest, and (resamples,): resampled ones.

    values: (seeds, points, P). The first of equally high points is taken.
    """
    curves = bootstrap_curves(np.moveaxis(values, 1, 2))
    highest = points[values.mean(axis=(0, 2)).argmax()]
    return highest, np.array(points)[curves.argmax(axis=1)]


def _with_limits(value: float, resampled: np.ndarray) -> Interval:
    return Interval(float(value), *map(float, np.quantile(resampled, [0.025, 0.975])))
