"""Fig 3: test@1, test@n and the losses over the epochs of finetuning."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters.style import (
    FINETUNING,
    FOURTH,
    THIRD,
    VERIFICATION,
    caption,
    legend,
    limit_names,
    points,
    styled,
)


@styled
def fig3(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 3: test@1, test@n and single samples over epochs above; the losses below.

    table: see `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    n = int(table["n"].max())
    curves = {
        f"test@{n}, T = 0.7": ("test_at_n", VERIFICATION, 0.0),
        "test@1, greedy": ("test_at_1", FINETUNING, -0.04),
        "single samples": ("mean_accuracy", THIRD, 0.04),
    }
    for label, (column, line, nudge) in curves.items():
        points(top, table, "epoch", limit_names(column), line, label, nudge)
    top.set_ylim(bottom=0)
    top.set_ylabel("test problems solved (%)")
    legend(top, 2)
    losses_of = {
        "test loss, solutions": ("test_loss", FOURTH),
        "train loss, all tokens": ("train_loss", FINETUNING),
    }
    for words, (name, line) in losses_of.items():
        losses = table.groupby("epoch")[name].mean()
        style = dict(color=line.color, marker=line.marker, linestyle=line.dashes)
        face = line.color if line.filled else "white"
        bottom.plot(losses.index, losses, markerfacecolor=face, label=words, **style)
    bottom.set_ylabel("nats per token")
    bottom.set_xlabel("epochs of finetuning")
    bottom.legend()
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    caption(top, table)
    return axes
