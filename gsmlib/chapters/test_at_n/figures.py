"""Fig 3: test@1, test@n and the losses over the epochs of finetuning."""

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gsmlib.chapters import style

TRAIN = style.Line(style.shade(style.BLUE, 0.4), "s", "--", filled=False)


@style.styled
def fig3(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 3: test@1, test@n and single samples over epochs above; the losses below.

    table: see `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    shift = 0.0075 * table["epoch"].max()  # bars side by side
    curves = (
        (f"test@{table['n'].max():.0f}, T = 0.7", "test_at_n", style.CEILING, 0.0),
        ("test@1, greedy", "test_at_1", style.FINETUNING, -shift),
        ("single samples", "mean_accuracy", style.SAMPLES, shift),
    )
    for label, column, line, nudge in curves:
        style.points(top, table, "epoch", line, label, column, nudge=nudge)
    top.set(ylim=(0, None), ylabel=style.SOLVED)
    style.legend(top, 2)
    losses = table.groupby("epoch")[["test_loss", "train_loss"]].mean()
    for words, name, look in (
        ("test loss, solutions", "test_loss", style.FINETUNING.look),
        ("train loss, all tokens", "train_loss", TRAIN.look),
    ):
        bottom.plot(losses.index, losses[name], label=words, **look)
    # a small rise of a small test loss is to be seen beside a large train loss
    bottom.set(yscale="log", ylabel="nats per token")
    bottom.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    bottom.yaxis.set_major_formatter("{x:g}")
    bottom.yaxis.set_minor_formatter(NullFormatter())
    style.label_below(axes, "epochs of finetuning")
    bottom.legend()
    bottom.set_xlim(top.get_xlim())
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    developing = "dev" in set(table.get("split", ()))
    style.caption(top, table, "Test loss: of test problems." if developing else "")
    return axes
