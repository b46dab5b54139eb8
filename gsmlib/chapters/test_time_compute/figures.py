"""More completions and more voters at test time (Fig 7)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib import paper
from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    GREEN,
    LOGPROB,
    LOGPROB_SUM,
    PAPER,
    SAMPLES,
    VERIFICATION,
    VOTE,
    WEIGHTED_VOTE,
)
from gsmlib.method.intervals import column_names

# In the order they are drawn: the two votes often lie on each other.
METHODS = {
    "test@n": ("test@n, the ceiling", CEILING),
    "majority vote": ("majority vote", VOTE),
    "weighted vote": ("vote weighted by score", WEIGHTED_VOTE),
    "log-probability": ("log-probability", LOGPROB_SUM),
    "log-probability per token": ("log-probability per token", LOGPROB),
    "verification": ("best-scored", VERIFICATION),
}
WIDTHS = {"majority vote": 2.0}
BESIDE = 1.15  # the factor between large marks of one k


@style.styled
def fig7a(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 7a: verified accuracy over completions; below it the other choices.

    table: the rows of `grid.table` without k; axes: two, one above the other.
    """
    top, bottom = axes
    verified = table[table["method"] == "verification"]
    style.points(top, verified, "n", VERIFICATION, "best-scored")
    peak, low, high = verified[list(column_names("peak"))].iloc[0]
    top.axvspan(low, high, color="#DDDDDD", linewidth=0, zorder=0)
    words = f"highest at {peak:,.0f} ({low:,.0f} to {high:,.0f})"
    top.axvline(peak, color=BLACK, linestyle=":", linewidth=0.8, label=words)
    if table["n"].max() >= paper.BEST_COMPLETIONS:
        words = f"paper: highest at {paper.BEST_COMPLETIONS}"
        look = dict(color=PAPER.color, linestyle=PAPER.dashes, zorder=1)
        top.axvline(paper.BEST_COMPLETIONS, label=words, **look)
    for place, (method, (label, line)) in enumerate(METHODS.items()):
        rows, width = table[table["method"] == method], WIDTHS.get(method, 1.0)
        look = dict(linewidth=width, zorder=2 + place / 10)
        style.plain(bottom, rows, "n", line, label, **look)
    bottom.set_ylim(bottom=0)
    for panel in axes:
        style.count_axis(panel, table["n"].max())
        panel.set_ylabel(style.SOLVED)
        style.legend(panel, 2)
    style.label_below(axes, "completions per problem (n)")
    style.caption(top, table, "Grey: where it is highest if problems are resampled.")
    return axes


@style.styled
def fig7b(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 7b: accuracy of the vote of the top k, a curve per number of completions.

    Each ends in the vote of all, whose ties the scores break; below them what a random
    pick reaches.

    table: the rows of `grid.table` with k.
    """
    counts = sorted(table["n"].unique())
    theirs = _draw_stated_voters(axes, counts)
    best_k = table.groupby("n")["peak"].first()
    for line, n in zip(style.shades(GREEN, len(counts)), counts, strict=True):
        rows = table[table["n"] == n]
        style.plain(axes, rows, "k", line, f"{n:,}")
        best = rows[rows["k"] == rows["peak"]]
        value, low, high = 100 * best[list(column_names(""))].mean()
        bars = np.maximum([[value - low], [high - value]], 0)
        look = line.look | dict(markersize=7, markeredgecolor=BLACK, zorder=4)
        same = list(best_k[best_k == best_k[n]].index)  # their bars stand side by side
        at = best_k[n] * BESIDE ** (same.index(n) - (len(same) - 1) / 2)
        axes.errorbar([at], [value], bars, elinewidth=0.7, **look)
    style.across(axes, (table["accuracy"] - table["over_random"]).mean(), SAMPLES)
    style.count_axis(axes, max(counts))
    axes.set(xlabel="voters: the top k by score", ylabel=style.SOLVED)
    style.legend(axes, 4)
    axes.get_legend().set_title("completions per problem", prop={"size": 7})
    seeds = table["seed"].nunique()
    spread = "one seed" if seeds == 1 else f"mean over {seeds} seeds"
    over = "problems" if seeds == 1 else "problems and seeds"
    beside = "" if best_k.is_unique else " (side by side where it is one)"
    said = f"Large mark: the best k{beside}; bar: 95 % interval of its accuracy, "
    said += f"over {over}. Dotted: a random pick; a curve's end: the vote of all, "
    said += "its ties broken by the scores."
    if theirs:
        said += f" Grey: the paper's best k, {', '.join(theirs)}."
    style.note(axes, f"{style.measured_on(table)}; {spread}. {said}")
    return axes


def _draw_stated_voters(axes: Axes, counts: list[int]) -> list[str]:
    """Draw the paper's best k of the counts it states one for; return them in words."""
    theirs = []
    for n, (low, high) in paper.BEST_VOTERS.items():
        if n in counts:
            few = f"{low}" if low == high else f"{low}-{high}"
            look = dict(facecolor="#E3E3E3", edgecolor=PAPER.color, lw=0.6, zorder=0)
            axes.axvspan(low, high, **look)
            theirs.append(f"{few} of {n:,}")
    return theirs
