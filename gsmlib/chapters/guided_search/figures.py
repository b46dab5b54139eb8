"""What search and choices reach by the tokens they cost; how often they are fooled."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.guided_search.grid import (
    BEST_OF_N,
    BY_LINES,
    ORACLE,
    SEARCH,
    SHUFFLED,
)
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    GREY,
    LOGPROB,
    VERIFICATION,
    VERMILLION,
    VOTE,
    Line,
    shade,
)

LINES = {
    "test@n": CEILING,
    "majority vote": VOTE,
    "log-probability per token": LOGPROB,
    BEST_OF_N: VERIFICATION,
    SEARCH: Line(shade(VERMILLION, -0.5), "o", "-"),
    BY_LINES: Line(shade(VERMILLION, -0.5), "p", "", filled=False),
    SHUFFLED: Line(GREY, "X", "", filled=False),
    ORACLE: Line(BLACK, "*", ""),
}
WORDS = {"test@n": "test@n, the ceiling", BEST_OF_N: "best of n by the verifier"}


@style.styled
def search(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: problems solved; below: the share that is wrong and scored as right.

    table: the rows of `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    for method, line in LINES.items():
        rows = table[table["method"] == method]
        label = WORDS.get(method, method)
        if rows["fooled"].notna().any():
            _curve(top, rows, line, label, "accuracy")
            if method != ORACLE:  # it cannot be
                _curve(bottom, rows, line, label, "fooled")
        else:
            means = rows.groupby("n")[["tokens", "accuracy"]].mean()
            look = line.look | dict(markersize=2.8, linewidth=1, zorder=1.5)
            top.plot(means["tokens"], 100 * means["accuracy"], label=label, **look)
    top.set_ylabel(style.SOLVED)
    bottom.set_ylabel("fooled (% of problems)")
    for panel in axes:
        panel.set_xscale("log")
        style.plain_ticks(panel.xaxis)
        panel.set_ylim(bottom=0)
    bottom.set_xlabel("tokens sampled for a problem")
    style.legend(top, 2)
    style.caption(bottom, table)
    return axes


def _curve(axes: Axes, rows: pd.DataFrame, line: Line, label: str, column: str) -> None:
    """Draw a column over the mean tokens of each n, with bars."""
    tokens = rows.groupby("n")["tokens"].transform("mean")
    style.points(axes, rows.assign(tokens=tokens), "tokens", line, label, column)
