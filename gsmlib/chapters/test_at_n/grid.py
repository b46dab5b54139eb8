"""The grid and the table of Fig 3: test@1 and test@n over the epochs of finetuning."""

from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.test_at_n.settings import EpochSettings
from gsmlib.method.intervals import Measure, difference, tabulate
from gsmlib.study.results import epoch_losses, loss_rise
from gsmlib.study.store import Store


def grid(settings: EpochSettings) -> list[Point]:
    """Return a point per seed and epoch: the answers of the model as it then was."""
    points = []
    for base in shared.each_seed(settings):
        model = shared.finetuned(settings, base, settings.epochs, keep_all=True)
        for epoch in range(1, settings.epochs + 1):
            about = shared.describe(settings, base) | {"epoch": epoch}
            specs = shared.both_answers(settings, model, epoch=epoch)
            points.append(Point(about, specs))
    return points


def table(settings: EpochSettings, store: Store) -> pd.DataFrame:
    """Return Fig 3's table: a row per (seed, epoch) of finetuning.

    Columns: dataset, model, n_train, seed, epoch, n, n_problems, test_at_1 (greedy),
    test_at_n (T = 0.7) and mean_accuracy (single samples), each with _low and _high;
    train_loss and test_loss in nats per token, and loss_rise, of the test loss from its
    least epoch to the last as a share of the least, with limits; and, paired by
    problem, rise (of test@1 since the seed's epoch of least test loss) and fall (of
    test@n since its peak), likewise.
    """
    rows, right = [], {}
    names = ("test_at_1", "test_at_n", "mean_accuracy")
    for point in shared.computed(grid(settings), store):
        seed, epoch = point.about["seed"], point.about["epoch"]
        run = point.specs["greedy"].generator
        losses = epoch_losses(run, store).set_index("epoch")
        rise = {"loss_rise": Measure(loss_rise(run, store), share=False)}
        shares, right[seed, epoch] = shared.greedy_and_sampled(point, store, names)
        rows.append(point.about | shares | losses.loc[epoch].to_dict() | rise)
    for _, curve in groupby(rows, lambda row: row["seed"]):
        _add_changes(list(curve), right)
    return tabulate(rows, ["epoch"])


def _add_changes(
    curve: list[dict[str, Any]],
    right: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Put rise and fall, paired by problem, on the rows of one seed's curve."""
    seed = curve[0]["seed"]
    best = min(curve, key=lambda row: row["test_loss"])["epoch"]
    peak = max(curve, key=lambda row: row["test_at_n"].mean)["epoch"]
    for row in curve:
        greedy, at_n = right[seed, row["epoch"]]
        row |= difference("rise", greedy, right[seed, best][0])
        row |= difference("fall", right[seed, peak][1], at_n)
