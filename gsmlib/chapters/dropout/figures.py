"""Finetuning and verifiers with dropout and without, over training problems (Fig 8)."""

import pandas as pd
from matplotlib.axes import Axes

from gsmlib import paper
from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLUE,
    FINETUNING,
    GREY,
    SOLUTION_LEVEL,
    UNVERIFIED,
    VERIFICATION,
    VERMILLION,
    Line,
    shade,
)
from gsmlib.method.selection import NO_VERIFIER

# Of each arm: its label and look. No panel has two arms that look alike.
LOOKS = {
    "without": ("without dropout", FINETUNING),
    "more pretraining": (
        "more pretraining, no dropout",
        Line(shade(BLUE, 0.4), "D", "-."),
    ),
    "dropout": ("with dropout", Line(shade(BLUE, -0.55), "s", "--", filled=False)),
    "the paper's rate": (
        f"dropout of {paper.DROPOUT:g}, the paper's",
        Line(GREY, "v", ":"),
    ),
    **{words: (words, UNVERIFIED[name]) for name, words in NO_VERIFIER.items()},
    "solution": ("solution-level", SOLUTION_LEVEL),
    "solution, dropout": (
        "solution-level, dropout",
        Line(shade(VERMILLION, 0.35), "D", "-"),
    ),
    "token": ("token-level", VERIFICATION),
    "token, dropout": (
        "token-level, dropout",
        Line(shade(VERMILLION, 0.35), "o", "-"),
    ),
}

WITH_DROPOUT = ("dropout", "solution, dropout", "token, dropout")  # settings' rate


@style.styled
def fig8(table: pd.DataFrame, axes: Axes) -> Axes:
    """A panel of Fig 8: finetuning (a), solution- (b) or token-level verifiers (c).

    A curve per arm over training problems, moved apart a little.

    table: the rows of `grid.table` for the panel.
    """
    here = [arm for arm in LOOKS if arm in set(table["arm"])]
    arms = [arm for arm in here if arm not in NO_VERIFIER.values()]
    by_label = {LOOKS[arm][0]: table[table["arm"] == arm] for arm in arms}
    style.curves(axes, "n_train", by_label, [LOOKS[arm][1] for arm in arms])
    for words in [arm for arm in here if arm not in arms]:
        line, rows = LOOKS[words][1], table[table["arm"] == words]
        style.plain(axes, rows, "n_train", line, words, zorder=1.5)
    style.size_axis(axes, table["n_train"])
    axes.set(ylim=(0, 100 * table["high"].max() + 2), ylabel=style.SOLVED)
    style.legend(axes, 2)
    rate = table.loc[table["arm"].isin(WITH_DROPOUT), "dropout"].max()
    style.caption(axes, table, f"Dropout: {rate:g}.")
    return axes
