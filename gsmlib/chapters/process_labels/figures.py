"""What verifiers choose and find by their labels, and their scores around errors."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.process_labels.grid import ARMS, PAPERS, PROCESS
from gsmlib.chapters.style import (
    BLACK,
    GREY,
    SOLUTION_LEVEL,
    VERIFICATION,
    VERIFIER_ALONE,
    Line,
    styled,
)
from gsmlib.method import selection

CHOSEN = {  # columns of a choice: what it has, looks
    "accuracy": ("right answer", VERIFICATION),
    "sound": ("sound", SOLUTION_LEVEL),
}
FOUND = {  # of the first wrong lines
    "precision": ("precision", Line(GREY, "<", "")),
    "recall": ("recall", Line(GREY, ">", "", filled=False)),
    "f1": ("F1", VERIFIER_ALONE),
}
KINDS = {"right": Line(GREY, "o", ":"), "wrong": VERIFICATION}
APART = 0.3  # between the marks of a row


@styled
def lines(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: what is chosen by each verifier; below: the first wrong lines it finds.

    table: the rows of `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    _rows(top, table, CHOSEN, [*ARMS, *selection.NO_VERIFIER.values()])
    top.set_xlabel("problems, by choice (%)")
    _rows(bottom, table, FOUND, list(ARMS))
    bottom.set_xlabel("first errors (%)")
    style.caption(bottom, table)
    return axes


def _rows(
    axes: Axes,
    table: pd.DataFrame,
    columns: dict[str, tuple[str, Line]],
    arms: list[str],
) -> None:
    """Draw a row an arm, with a mark for each column."""
    middle = (len(columns) - 1) / 2
    for y, arm in enumerate(arms):
        rows = table[table["arm"] == arm]
        for place, (column, (words, line)) in enumerate(columns.items()):
            if rows[column].notna().any():
                at, label = y + APART * (place - middle), None if y else words
                style.dot(axes, at, rows, line, column, label=label, half_band=0.1)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    style.legend(axes, 2 if len(columns) == 2 else 1)


@styled
def falls(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Scores at the lines' ends around the first error, and in right solutions there.

    table: the rows of `grid.falls_table`; axes: two, the paper's verifier and that of
    lines.
    """
    for panel, arm in zip(axes, (PAPERS, PROCESS), strict=True):
        for kind, line in KINDS.items():
            rows = table[(table["arm"] == arm) & (table["kind"] == kind)]
            rows = rows[rows["score"].notna()]
            if len(rows):
                style.points(panel, rows, "offset", line, f"{kind} solutions", "score")
        panel.axvline(0, color=BLACK, linewidth=0.6, zorder=0)
        panel.set_title(arm, fontsize=7, loc="right", pad=2)
        panel.set(xlabel="lines from the first error", ylim=(0, 105))
        panel.set_xticks(sorted(table["offset"].unique()))
        panel.label_outer()
    axes[0].set_ylabel("score (100: surely right)")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    style.caption(axes[0], table)
    return axes
