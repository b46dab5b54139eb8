"""Curves over epochs and training problems, and the calculator's worth (Figs 3, 5)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters.style import (
    FINETUNING,
    FOURTH,
    THIRD,
    VERIFICATION,
    caption,
    dot,
    legend,
    limit_names,
    points,
    size_axis,
    styled,
)


@styled
def fig3(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 3: test@1, test@n and single samples over epochs above; the losses below.

    table: the rows of `experiments.test_at_n_curve`; axes: two, one above the other.
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


@styled
def fig5(table: pd.DataFrame, axes: Axes | np.ndarray) -> np.ndarray:
    """Fig 5: finetuning and verification over training-set size, a panel per model.

    table: the rows of `experiments.verification_curve`; axes: as many as models.
    """
    panels = np.atleast_1d(axes)
    models = table.sort_values("parameters")["model"].unique()
    for panel, model in zip(panels, models, strict=True):
        rows = table[table["model"] == model]
        looks = (("verification", VERIFICATION, 1.04), ("finetuning", FINETUNING, 0.96))
        for method, line, nudge in looks:
            chosen = rows[rows["method"] == method]
            chosen = chosen.assign(n_train=nudge * chosen["n_train"])
            points(panel, chosen, "n_train", ("accuracy", "low", "high"), line, method)
        panel.set_title(model, fontsize=7, loc="right", pad=2)
        size_axis(panel, sorted(table["n_train"].unique()))
    top = 1.05 * 100 * table["high"].max() + 1
    for panel in panels:
        panel.set_ylim(0, top)
        panel.label_outer()
    panels[0].set_ylabel("test problems solved (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    caption(panels[0], table)
    return panels


@styled
def calculator(table: pd.DataFrame, axes: Axes) -> Axes:
    """Accuracy with and without the calculator, greedy and for single samples.

    table: the rows of `experiments.calculator_value`.
    """
    styles = {True: (FINETUNING, "with"), False: (VERIFICATION, "without")}
    for used, (line, word) in styles.items():
        rows = table[table["calculator"] == used]
        for row, column in enumerate(("greedy", "sampled")):
            label = f"{word} calculator" if row == 0 else None
            y = row - (0.12 if used else -0.12)
            dot(axes, y, rows, limit_names(column), line, label, half_band=0.1)
    axes.set_yticks([0, 1], ["greedy", "single\nsamples"])
    axes.set_ylim(1.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("test problems solved (%)")
    legend(axes, 2)
    caption(axes, table)
    return axes
