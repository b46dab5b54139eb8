"""The grid and the table of Fig 3: test@1 and test@n over the epochs of finetuning."""

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.test_at_n.settings import EpochSettings
from gsmlib.method import metrics
from gsmlib.study.results import epoch_losses
from gsmlib.study.store import Store


def grid(settings: EpochSettings) -> list[Point]:
    """Return a point per seed and epoch: the answers of the model as it then was."""
    points = []
    for base in shared.each_seed(settings):
        model = shared.finetuned(settings, base, settings.epochs, keep_all=True)
        for epoch in range(1, settings.epochs + 1):
            about = {"dataset": settings.dataset, "seed": base.seed, "epoch": epoch}
            specs = shared.both_answers(settings, model, epoch=epoch)
            points.append(Point(about, specs))
    return points


def table(settings: EpochSettings, store: Store) -> pd.DataFrame:
    """Return Fig 3's table: a row per (seed, epoch) of finetuning.

    Columns: dataset, seed, epoch, n, n_problems, test_at_1 (greedy), test_at_n
    (T = 0.7) and mean_accuracy (single samples), each with _low and _high; train_loss
    and test_loss in nats per token; and, paired by problem, rise (of test@1 since the
    seed's epoch of least test loss) and fall (of test@n since its peak), likewise.
    """
    rows, right = [], {}
    names = ("test_at_1", "test_at_n", "mean_accuracy")
    for point in shared.computed(grid(settings), store):
        seed, epoch = point.about["seed"], point.about["epoch"]
        losses = epoch_losses(point.specs["greedy"].generator, store).set_index("epoch")
        shares, right[seed, epoch] = shared.greedy_and_sampled(point, store, names)
        rows.append(point.about | shares | losses.loc[epoch].to_dict())
    curves = pd.DataFrame(rows)
    changes = [_changes(curve, right) for _, curve in curves.groupby("seed")]
    return curves.merge(pd.concat(changes), on=["seed", "epoch"])


def _changes(
    curve: pd.DataFrame, right: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """Return rise and fall at every epoch of one seed's curve, paired by problem."""
    seed = curve["seed"].iloc[0]
    best = curve.loc[curve["test_loss"].idxmin(), "epoch"]
    peak = curve.loc[curve["test_at_n"].idxmax(), "epoch"]
    rows = []
    for epoch in curve["epoch"]:
        greedy, at_n = right[seed, epoch]
        row = {"seed": seed, "epoch": epoch}
        row |= metrics.difference("rise", greedy, right[seed, best][0])
        rows.append(row | metrics.difference("fall", right[seed, peak][1], at_n))
    return pd.DataFrame(rows)
