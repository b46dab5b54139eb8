"""The tables of 04_finetuning_scaling: Fig 2, and answers without steps (C4)."""

from typing import Any

import numpy as np
import pandas as pd
from gsmlib.config import ScalingSettings
from gsmlib.experiments.shared import (
    as_columns,
    difference,
    finetune_spec,
    limits,
    models_and_sizes,
    progress,
    solved_greedily,
    test_spec,
)
from gsmlib.study.pipeline import parameter_count
from gsmlib.study.plan import prepare

from gsmlib.method import metrics
from gsmlib.method.metrics import Interval
from gsmlib.study.specs import FinetuneSpec, Spec
from gsmlib.study.store import Store


def scaling_table(settings: ScalingSettings, store: Store) -> pd.DataFrame:
    """Return Fig 2's table: a row per (model, n_train, seed).

    Columns: dataset, model, n_train, seed, parameters, n_problems, accuracy (greedy
    test@1), low, high. On the rows of the largest training set also data_slope: by how
    much the model's accuracy rises for ten times the problems. On those of the largest
    model size_slope, the same for ten times the parameters at n_train problems, and
    level, the mean accuracy over models. Each has _low and _high, bootstrapped over the
    problems that all points share; slopes are least-squares fits.
    """
    prepare(scaling_stages(settings), store)
    grid = models_and_sizes(settings)
    weights = [n_train for _, n_train, _, _ in grid]
    rows, solved = [], {}
    for model, n_train, rate, seed in progress(grid, "scaling", weights):
        finetuned = _finetuned(settings, model, n_train, rate, seed)
        right = solved_greedily(settings, finetuned, settings.epochs, store)  # (P,)
        solved[model, n_train, seed] = right
        about = {"dataset": settings.dataset, "model": model, "n_train": n_train}
        about |= {"seed": seed, "parameters": parameter_count(finetuned, store)}
        rows.append(about | {"n_problems": len(right)} | limits("", right))
    table = pd.DataFrame(rows)
    trends = [_trends(table, row, solved) for row in table.itertuples()]
    return pd.concat([table, pd.DataFrame(trends)], axis=1)


def direct_table(settings: ScalingSettings, store: Store) -> pd.DataFrame:
    """Return accuracy with and without steps (section 4.1): a row per (seed, answers).

    The largest model at the largest training set. Columns: dataset, model, n_train,
    seed, parameters, n_problems, answers ("with steps" or "direct"), accuracy, low,
    high. On the rows of direct answers also gap (direct minus with steps, paired by
    problem), gap_low, gap_high.
    """
    prepare(scaling_stages(settings), store)
    rows: list[dict[str, Any]] = []
    for (seed,) in progress([(seed,) for seed in settings.seeds], "direct answers"):
        pair = direct_pair(settings, seed)
        solved = [
            solved_greedily(settings, spec, settings.epochs, store) for spec in pair
        ]
        about = {"dataset": settings.dataset, "model": pair[0].model, "seed": seed}
        about |= {"n_train": pair[0].data.n_train, "n_problems": len(solved[0])}
        about["parameters"] = parameter_count(pair[0], store)
        for answers, right in zip(("with steps", "direct"), solved, strict=True):
            rows.append(about | {"answers": answers} | limits("", right))
        rows[-1] |= difference("gap", solved[1], solved[0])
    return pd.DataFrame(rows)


def scaling_stages(settings: ScalingSettings) -> list[Spec]:
    """Return the last stages of both tables: greedy solutions of every model."""
    finetuned = [_finetuned(settings, *point) for point in models_and_sizes(settings)]
    finetuned += [direct_pair(settings, seed)[1] for seed in settings.seeds]
    return [test_spec(settings, spec, settings.epochs, 0) for spec in finetuned]


def direct_pair(
    settings: ScalingSettings, seed: int
) -> tuple[FinetuneSpec, FinetuneSpec]:
    """Return the largest model at the largest set, finetuned with and without steps."""
    model, rate = settings.models[-1], settings.learning_rates[-1]
    steps = _finetuned(settings, model, max(settings.sizes), rate, seed)
    return steps, steps.replace(data=steps.data.replace(answers_only=True))


def _finetuned(
    settings: ScalingSettings, model: str, n_train: int, rate: float, seed: int
) -> FinetuneSpec:
    epochs = settings.epochs
    return finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)


def _trends(
    table: pd.DataFrame, row: Any, solved: dict[tuple[str, int, int], np.ndarray]
) -> dict[str, float]:
    """Return the slopes that stand on a row of the table (see `scaling_table`)."""
    same = table[table["seed"] == row.seed]
    trends: dict[str, float] = {}
    if row.n_train == table["n_train"].max():
        line = same[same["model"] == row.model].sort_values("n_train")
        right = [solved[row.model, n, row.seed] for n in line["n_train"]]
        slope = paired_slope(np.log10(line["n_train"]), np.array(right))
        trends |= as_columns("data_slope", slope)
    if row.parameters == table["parameters"].max():
        line = same[same["n_train"] == row.n_train].sort_values("parameters")
        right = [solved[model, row.n_train, row.seed] for model in line["model"]]
        slope = paired_slope(np.log10(line["parameters"]), np.array(right))
        trends |= as_columns("size_slope", slope)
        trends |= limits("level", np.mean(right, axis=0))
    return trends


def paired_slope(x: np.ndarray, solved: np.ndarray) -> Interval:
    """Return the least-squares slope of accuracy over x (C,), bootstrapped.

    solved: (C, P), the same P problems at each of C points. The slope is a weighted sum
    over points, so over problems it is a mean of weighted sums: the difference of those
    with positive and with negative weights. nan where all points have one x.
    """
    centred = np.asarray(x, float) - np.mean(x)
    if not centred.any():
        return Interval(np.nan, np.nan, np.nan)
    weights = centred / (centred**2).sum()
    reach = weights[weights > 0].sum()  # each side lies between 0 and this
    up, down = (np.maximum(sign * weights, 0) @ solved / reach for sign in (1, -1))
    slope = metrics.paired_difference(up, down)
    return Interval(*(reach * value for value in slope))
