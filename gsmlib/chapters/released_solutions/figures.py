"""How often a choice among the four released solutions is right, and how it ranks."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    FINETUNING,
    GREY,
    SAMPLES,
    VERIFICATION,
)
from gsmlib.method.intervals import column_names

LOOKS = {
    "system": FINETUNING,
    "choice": SAMPLES,
    "verifier": VERIFICATION,
    "ceiling": CEILING,
}
LABELS = {
    "system": "one system alone",
    "choice": "a choice that needs no verifier",
    "verifier": "a verifier's choice",
    "ceiling": "were every choice right",
}


@style.styled
def among_released(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: problems solved by each choice; below: the within-problem AUC of rankings.

    table: the rows of `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    _dots(top, table, "accuracy", 100)
    best = table[table["choice"] == "175B verification"]["accuracy"].mean()
    top.axvline(100 * best, color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    top.set_xlabel(style.SOLVED)
    ranked = table[table["within_auc"].notna()]
    _dots(bottom, ranked, "within_auc", 1)
    bottom.axvline(0.5, color=BLACK, linewidth=0.8, zorder=0)
    bottom.set_xlabel("within-problem AUC")
    style.legend(top, 1)
    style.caption(bottom, table)
    return axes


def _dots(axes: Axes, table: pd.DataFrame, name: str, factor: float) -> None:
    """Draw a row per choice: the mean over seeds with the limits of all."""
    columns = list(column_names(name))
    order = table["kind"].map(list(LOOKS).index)
    choices = table.iloc[order.argsort(kind="stable")]["choice"].unique()
    seen: set[str] = set()
    for y, choice in enumerate(choices):
        rows = table[table["choice"] == choice]
        kind = rows["kind"].iloc[0]
        value, low, high = factor * rows[columns].mean()
        label = None if kind in seen else LABELS[kind]
        seen.add(kind)
        bars = np.maximum([[value - low], [high - value]], 0)
        axes.errorbar([value], [y], xerr=bars, **LOOKS[kind].marks, label=label)
    axes.set_yticks(range(len(choices)), choices)
    axes.set_ylim(len(choices) - 0.5, -0.5)
