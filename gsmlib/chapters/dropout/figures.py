"""Finetuning and verifiers with dropout and without, over training problems (Fig 8)."""

import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters.style import (
    FINETUNING,
    FOURTH,
    THIRD,
    VERIFICATION,
    Line,
    caption,
    legend,
    points,
    size_axis,
    styled,
)

STEP = 1.05  # by which neighbouring curves are moved apart


@styled
def fig8a(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 8a: finetuning with dropout, without, and after more pretraining alone.

    table: the rows of `grid.finetuning_table`.
    """
    looks = {
        "without": ("without dropout", FINETUNING),
        "more pretraining": ("more pretraining, no dropout", FOURTH),
        "dropout": ("with dropout", VERIFICATION),
    }
    return _draw_arms(table, axes, looks)


@styled
def fig8b(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 8b: solution-level verifiers with dropout and without, beside token-level.

    table: the rows of `grid.solution_table`.
    """
    looks = {
        "solution": ("solution level", FINETUNING),
        "solution, dropout": ("solution level, dropout", VERIFICATION),
        "token": ("token level", THIRD),
    }
    return _draw_arms(table, axes, looks)


@styled
def fig8c(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 8c: token-level verifiers with dropout and without.

    table: the rows of `grid.token_table`.
    """
    looks = {
        "token": ("token level", THIRD),
        "token, dropout": ("token level, dropout", VERIFICATION),
    }
    return _draw_arms(table, axes, looks)


def _draw_arms(
    table: pd.DataFrame, axes: Axes, looks: dict[str, tuple[str, Line]]
) -> Axes:
    """Draw a curve per arm over training problems, moved apart a little."""
    for place, (arm, (label, line)) in enumerate(looks.items()):
        rows = table[table["arm"] == arm]
        nudge = STEP ** (place - (len(looks) - 1) / 2)
        rows = rows.assign(n_train=nudge * rows["n_train"])
        points(axes, rows, "n_train", ("accuracy", "low", "high"), line, label)
    size_axis(axes, sorted(table["n_train"].unique()))
    axes.set_ylim(0, 100 * table["high"].max() + 2)
    axes.set_ylabel("test problems solved (%)")
    legend(axes, 2)
    caption(axes, table)
    return axes
