"""Fig 3: test@1, test@n and the losses over the epochs of finetuning."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style


@style.styled
def fig3(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 3: test@1, test@n and single samples over epochs above; the losses below.

    table: see `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    n = int(table["n"].max())
    curves = {
        f"test@{n}, T = 0.7": ("test_at_n", style.VERIFICATION, 0.0),
        "test@1, greedy": ("test_at_1", style.FINETUNING, -0.04),
        "single samples": ("mean_accuracy", style.THIRD, 0.04),
    }
    for label, (column, line, nudge) in curves.items():
        style.points(top, table, "epoch", style.limit_names(column), line, label, nudge)
    top.set_ylim(bottom=0)
    top.set_ylabel("test problems solved (%)")
    style.legend(top, 2)
    losses_of = {
        "test loss, solutions": ("test_loss", style.FOURTH),
        "train loss, all tokens": ("train_loss", style.FINETUNING),
    }
    for words, (name, line) in losses_of.items():
        losses = table.groupby("epoch")[name].mean()
        look = dict(color=line.color, marker=line.marker, linestyle=line.dashes)
        face = line.color if line.filled else "white"
        bottom.plot(losses.index, losses, markerfacecolor=face, label=words, **look)
    bottom.set_ylabel("nats per token")
    bottom.set_xlabel("epochs of finetuning")
    bottom.legend()
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.caption(top, table)
    return axes
