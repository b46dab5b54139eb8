"""The grid and the table of 01_calculator: answers with and without the calculator."""

import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.calculator.settings import CalculatorSettings
from gsmlib.chapters.record import Point
from gsmlib.method.intervals import difference, mcnemar, tabulate
from gsmlib.study.store import Store


def grid(settings: CalculatorSettings) -> list[Point]:
    """Return a point per seed, with and without the calculator."""
    points = []
    for base in shared.each_seed(settings):
        model = shared.finetuned(settings, base, settings.epochs)
        without = shared.answers(settings, model, calculator=False)
        for on in (True, False):
            about = shared.answered(settings) | {"seed": base.seed, "calculator": on}
            specs = shared.both_answers(settings, model, calculator=on)
            points.append(Point(about, specs | {"without": without}))
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
    for point in shared.computed(grid(settings), store):
        shares, (greedy, _) = shared.greedy_and_sampled(point, store, names)
        rows.append(point.about | shares)
        if point.about["calculator"]:
            pair = greedy, shared.solved(point.specs["without"], store)
            rows[-1] |= difference("gain", *pair) | {"p": mcnemar(*pair)}
    return tabulate(rows, ["calculator"])
