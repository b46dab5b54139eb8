"""The grids and tables of 04_finetuning_scaling: Fig 2, and answers without steps."""

from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.finetuning_scaling.settings import ScalingSettings
from gsmlib.chapters.record import Point
from gsmlib.method.intervals import Measure, difference, share, tabulate
from gsmlib.study.results import parameter_count
from gsmlib.study.store import Store

Right = dict[tuple[str, int, int], np.ndarray]  # by model, n_train, seed: (P,)


def scaling_grid(settings: ScalingSettings) -> list[Point]:
    """Return a point per model, training set and seed of Fig 2: greedy solutions."""
    points = []
    for base in shared.each_model_and_size(settings):
        specs = {"greedy": shared.greedily(settings, base)}
        points.append(Point(shared.describe(settings, base), specs))
    return points


def direct_grid(settings: ScalingSettings) -> list[Point]:
    """Return a point per seed: the largest model's answers with and without steps."""
    model, rate = settings.rates[-1]
    points = []
    for seed in settings.seeds:
        base = shared.Base(model, max(settings.sizes), rate, seed)
        steps = shared.greedily(settings, base)
        data = steps.generator.data.replace(answers_only=True)
        direct = steps.replace(generator=steps.generator.replace(data=data))
        about = shared.answered(settings) | {"model": model, "seed": seed}
        about |= {"n_train": base.n_train}
        points.append(Point(about, {"with steps": steps, "direct": direct}))
    return points


def grid(settings: ScalingSettings) -> list[Point]:
    """Return the points of both tables."""
    return scaling_grid(settings) + direct_grid(settings)


def table(settings: ScalingSettings, store: Store) -> pd.DataFrame:
    """Return Fig 2's table: a row per (model, n_train, seed).

    Columns: dataset, model, n_train, seed, parameters, n_problems, accuracy (greedy
    test@1), low, high. On the rows of the largest training set also data_slope: by how
    much the model's accuracy rises for ten times the problems. On those of the largest
    model size_slope, the same for ten times the parameters at n_train problems, and
    level, the mean accuracy over models. Each has _low and _high, paired over the
    problems that all points share; slopes are least-squares fits.
    """
    rows, right = [], {}
    for point in shared.computed(scaling_grid(settings), store):
        greedy = point.specs["greedy"]
        solved = shared.solved(greedy, store)  # (P,)
        about = point.about | {"parameters": parameter_count(greedy.generator, store)}
        right[about["model"], about["n_train"], about["seed"]] = solved
        rows.append(about | {"n_problems": len(solved)} | share("", solved))
    curves = pd.DataFrame(rows)
    places = zip(rows, curves.itertuples(), strict=True)
    rows = [row | _trends(curves, place, right) for row, place in places]
    return tabulate(rows, ("model", "n_train"))


def direct_table(settings: ScalingSettings, store: Store) -> pd.DataFrame:
    """Return accuracy with and without steps (section 4.1): a row per (seed, answers).

    The largest model at the largest training set. Columns: dataset, model, seed,
    n_train, n_problems, parameters, answers ("with steps" or "direct"), accuracy, low,
    high. On the rows of direct answers also gap (direct minus with steps, paired by
    problem), gap_low, gap_high.
    """
    rows: list[dict[str, Any]] = []
    for point in shared.computed(direct_grid(settings), store):
        right = {name: shared.solved(spec, store) for name, spec in point.specs.items()}
        about = point.about | {"n_problems": len(right["direct"])}
        generator = point.specs["with steps"].generator
        about |= {"parameters": parameter_count(generator, store)}
        for name, solved in right.items():
            rows.append(about | {"answers": name} | share("", solved))
        rows[-1] |= difference("gap", right["direct"], right["with steps"])
    return tabulate(rows, ["answers"])


def _trends(curves: pd.DataFrame, row: Any, right: Right) -> dict[str, Measure]:
    """Return the slopes that stand on a row of the table (see `table`)."""
    same = curves[curves["seed"] == row.seed]
    trends: dict[str, Measure] = {}
    if row.n_train == curves["n_train"].max():
        x, solved = _line(same[same["model"] == row.model], "n_train", right)
        trends |= {"data_slope": Measure(slopes(x, solved), False)}
    if row.parameters == curves["parameters"].max():
        x, solved = _line(same[same["n_train"] == row.n_train], "parameters", right)
        trends |= {"size_slope": Measure(slopes(x, solved), False)}
        trends |= share("level", solved.mean(axis=0))
    return trends


def _line(rows: pd.DataFrame, x: str, right: Right) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 of x at a seed's points, and who solved there, (C,) and (C, P)."""
    rows = rows.sort_values(x)
    keys = rows[["model", "n_train", "seed"]].itertuples(index=False, name=None)
    return np.log10(rows[x].to_numpy()), np.array([right[key] for key in keys])


def slopes(x: np.ndarray, solved: np.ndarray) -> np.ndarray:
    """Return (P,): the least-squares slope of accuracy over x (C,) on every problem.

    solved: (C, P), the same P problems at each of C points. nan where all points have
    one x.
    """
    centred = np.asarray(x, float) - np.mean(x)
    if not centred.any():
        return np.full(solved.shape[1], np.nan)
    return centred @ solved / (centred**2).sum()
