"""Finetuning and verifiers with dropout and without, over training problems (Fig 8)."""

import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.style import FINETUNING, FOURTH, THIRD, VERIFICATION

STEP = 1.05  # by which neighbouring curves are moved apart
# Of each arm: its label and look. No panel has two arms that look alike.
LOOKS = {
    "without": ("without dropout", FINETUNING),
    "more pretraining": ("more pretraining, no dropout", FOURTH),
    "dropout": ("with dropout", VERIFICATION),
    "solution": ("solution level", FINETUNING),
    "solution, dropout": ("solution level, dropout", VERIFICATION),
    "token": ("token level", THIRD),
    "token, dropout": ("token level, dropout", VERIFICATION),
}


@style.styled
def fig8(table: pd.DataFrame, axes: Axes) -> Axes:
    """A panel of Fig 8: finetuning (a), solution- (b) or token-level verifiers (c).

    A curve per arm over training problems, moved apart a little.

    table: the rows of `grid.table` for the panel.
    """
    arms = [arm for arm in LOOKS if arm in set(table["arm"])]
    for place, arm in enumerate(arms):
        label, line = LOOKS[arm]
        rows = table[table["arm"] == arm]
        nudge = STEP ** (place - (len(arms) - 1) / 2)
        rows = rows.assign(n_train=nudge * rows["n_train"])
        style.points(axes, rows, "n_train", ("accuracy", "low", "high"), line, label)
    style.size_axis(axes, sorted(table["n_train"].unique()))
    axes.set_ylim(0, 100 * table["high"].max() + 2)
    axes.set_ylabel("test problems solved (%)")
    style.legend(axes, 2)
    style.caption(axes, table)
    return axes
