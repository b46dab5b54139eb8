"""The grid and the table of 01_calculator: answers with and without the calculator."""

import pandas as pd

from gsmlib.chapters.calculator.settings import CalculatorSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import (
    answers,
    computed,
    difference,
    each_seed,
    finetuned,
    greedy_and_sampled,
    solved,
)
from gsmlib.method import metrics
from gsmlib.study.store import Store


def grid(settings: CalculatorSettings) -> list[Point]:
    """Return a point per seed, with and without the calculator."""
    points = []
    for base in each_seed(settings):
        model = finetuned(settings, base, settings.epochs)
        greedy = {on: answers(settings, model, calculator=on) for on in (True, False)}
        for on, spec in greedy.items():
            about = {"dataset": settings.dataset, "seed": base.seed, "calculator": on}
            sampled = answers(settings, model, settings.test_completions, calculator=on)
            specs = {"greedy": spec, "sampled": sampled, "without": greedy[False]}
            points.append(Point(about, specs))
    return points


def table(settings: CalculatorSettings, store: Store) -> pd.DataFrame:
    """Return accuracy with and without the calculator: a row per (seed, calculator).

    Columns: dataset, seed, calculator (bool), n, n_problems, greedy, test_at_n, sampled
    (mean accuracy of single samples), each with _low and _high. On the rows with it
    also gain (greedy over without it, paired by problem), gain_low, gain_high and
    McNemar's p.
    """
    rows = []
    names = ("greedy", "test_at_n", "sampled")
    for point in computed(grid(settings), store, "calculator"):
        rows.append(point.about | greedy_and_sampled(point, store, names)[0])
        if point.about["calculator"]:
            pair = [solved(point.specs[part], store) for part in ("greedy", "without")]
            rows[-1] |= difference("gain", *pair) | {"p": metrics.mcnemar(*pair)}
    return pd.DataFrame(rows)
