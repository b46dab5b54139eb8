"""The table of 06_test_time_compute: more completions (Fig 7a), voters (Fig 7b)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from gsmlib.config import TestTimeSettings
from gsmlib.experiments.shared import (
    difference,
    finetune_spec,
    limits,
    matrix,
    progress,
    test_spec,
    verifier_spec,
)
from gsmlib.study.pipeline import sample, score
from gsmlib.study.plan import prepare

from gsmlib.method import metrics, selection
from gsmlib.study.specs import ScoreSpec, Spec
from gsmlib.study.store import Store

METHODS = ("verification", "majority vote", "weighted vote", "test@n")  # Fig 7a
TOP_K_VOTE = "vote of the top k"  # Fig 7b
PER_DOUBLING = 2  # points of a curve between n and 2 n


class Curve(NamedTuple):
    """A method over numbers of completions or, given n of these, over voters k."""

    method: str
    points: list[int]
    n: int | None = None


class Completions(NamedTuple):
    """The test completions of one seed as (P, m) arrays."""

    answers: np.ndarray  # numbers of `selection.answer_numbers`
    correct: np.ndarray
    scores: np.ndarray


def more_completions_table(settings: TestTimeSettings, store: Store) -> pd.DataFrame:
    """Return Fig 7's table: a row per (method, n, k, seed); k in Fig 7b only.

    Columns: dataset, model, n_train, seed, n_problems, method, n (completions a
    problem), k (voters), accuracy over random n-subsets of all completions drawn, with
    low and high; rise over the curve's first point and fall to its last, paired by
    problem, each with _low and _high.

    The same for all seeds are peak, the n (Fig 7b: the k) of the highest mean accuracy,
    and in Fig 7b growth, the least-squares slope of log best k over log n; their _low
    and _high are from a bootstrap over problems and seeds.
    """
    prepare(more_completions_stages(settings), store)
    curves = _curves(settings)
    seeds = progress([(seed,) for seed in settings.seeds], "more completions")
    runs = [_along(curves, settings, seed, store) for (seed,) in seeds]
    found = [np.array(values) for values in zip(*runs, strict=True)]
    tables = [
        _curve_table(curve, settings.seeds, values)
        for curve, values in zip(curves, found, strict=True)
    ]
    fig7a, fig7b = (
        pd.concat(t) for t in (tables[: len(METHODS)], tables[len(METHODS) :])
    )
    voted = dict(zip(settings.counts, found[len(METHODS) :], strict=True))
    table = pd.concat([fig7a, fig7b.assign(**growth_of_best_k(voted))])
    about = {"dataset": settings.dataset, "model": settings.model}
    about |= {"n_train": settings.n_train}
    first = pd.DataFrame(about, index=range(len(table)))
    return pd.concat([first, table.reset_index(drop=True)], axis=1)


def more_completions_stages(settings: TestTimeSettings) -> list[Spec]:
    """Return the last stages of Fig 7's table."""
    scores = [more_completions_scores(settings, seed) for seed in settings.seeds]
    return [spec for both in scores for spec in (both, both.completions)]


def more_completions_scores(settings: TestTimeSettings, seed: int) -> ScoreSpec:
    """Return the scores of a seed's many test completions."""
    generator = finetune_spec(
        settings,
        settings.model,
        settings.n_train,
        settings.learning_rate,
        epochs=settings.generator_epochs,
        seed=seed,
    )
    n, epoch = settings.test_completions, settings.generator_epochs
    return ScoreSpec(
        verifier=verifier_spec(settings, generator),
        completions=test_spec(settings, generator, epoch, n),
    )


def read_completions(spec: ScoreSpec, store: Store) -> Completions:
    """Return answers, labels and scores of scored completions as (P, m) arrays."""
    completions = sample(spec.completions, store)
    return Completions(
        selection.answer_numbers(matrix(completions, "answer")),
        matrix(completions, "correct"),
        matrix(score(spec, store), "last"),
    )


def along_axis(m: int) -> list[int]:
    """Return 1 to m in nearly equal steps of a log axis; m halved again and again."""
    steps = np.arange(PER_DOUBLING * np.log2(m) + 1)
    points = np.round(m / 2 ** (steps / PER_DOUBLING)).astype(int)
    return sorted({1, *points.tolist()})


def _curves(settings: TestTimeSettings) -> list[Curve]:
    ns = along_axis(settings.test_completions)
    curves = [Curve(method, ns) for method in METHODS]
    return curves + [Curve(TOP_K_VOTE, along_axis(n), n) for n in settings.counts]


def _along(
    curves: list[Curve], settings: TestTimeSettings, seed: int, store: Store
) -> list[np.ndarray]:
    """Return, for each curve, (points, P): one seed's accuracy on every problem."""
    run = read_completions(more_completions_scores(settings, seed), store)
    return [_accuracies(curve, run) for curve in curves]


def _accuracies(curve: Curve, run: Completions) -> np.ndarray:
    """Return (points, P): the accuracy on every problem along a curve."""
    answers, correct, scores = run
    if curve.n:
        return metrics.vote_at_n(answers, correct, curve.n, curve.points, scores)
    at_n = {
        "verification": lambda n: metrics.verified_at_n(scores, correct, n),
        "majority vote": lambda n: metrics.vote_at_n(answers, correct, n, [n])[0],
        "weighted vote": lambda n: metrics.vote_at_n(
            answers, correct, n, [n], scores, weighted=True
        )[0],
        "test@n": lambda n: metrics.test_at_n(correct, n),
    }[curve.method]
    return np.array([at_n(n) for n in curve.points])


def _curve_table(
    curve: Curve, seeds: tuple[int, ...], values: np.ndarray
) -> pd.DataFrame:
    """Return a row per seed and point from (seeds, points, P) accuracies."""
    highest = curve.points[values.mean(axis=(0, 2)).argmax()]
    peak = _with_limits("peak", highest, _resampled_peaks(values, curve.points))
    rows = []
    for seed, solved in zip(seeds, values, strict=True):
        for point, here in zip(curve.points, solved, strict=True):
            place = {"n": curve.n, "k": point} if curve.n else {"n": point}
            about = {"seed": seed, "n_problems": len(here), "method": curve.method}
            rise = difference("rise", here, solved[0])
            fall = difference("fall", here, solved[-1])
            rows.append(about | place | limits("", here) | rise | fall | peak)
    return pd.DataFrame(rows)


def _resampled_peaks(values: np.ndarray, points: Sequence[int]) -> np.ndarray:
    """Return (resamples,): the points at which resampled mean curves are highest.

    values: (seeds, points, P). The first of equally high points is taken.
    """
    curves = metrics.bootstrap_curves(np.moveaxis(values, 1, 2))
    return np.array(points)[curves.argmax(axis=1)]


def growth_of_best_k(voted: dict[int, np.ndarray]) -> dict[str, float]:
    """Return the slope of log best k over log n, with limits; nan for a single n.

    voted: n -> (seeds, points, P), the accuracies of the vote along `along_axis(n)`.
    """
    if len(voted) < 2:
        return dict.fromkeys(("growth", "growth_low", "growth_high"), np.nan)
    offsets = np.log(list(voted)) - np.log(list(voted)).mean()
    weights = offsets / (offsets @ offsets)
    best = [
        along_axis(n)[values.mean(axis=(0, 2)).argmax()] for n, values in voted.items()
    ]
    resampled = [_resampled_peaks(values, along_axis(n)) for n, values in voted.items()]
    return _with_limits("growth", weights @ np.log(best), weights @ np.log(resampled))


def _with_limits(name: str, value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {name: value, f"{name}_low": low, f"{name}_high": high}
