"""More completions and more voters at test time (Fig 7)."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from gsmlib.chapters import style
from gsmlib.chapters.style import BLACK, FINETUNING, FOURTH, THIRD, VERIFICATION, Line

METHODS = {
    "test@n": ("test@n, the ceiling", FOURTH),
    "weighted vote": ("vote weighted by score", THIRD),
    "majority vote": ("majority vote", FINETUNING),
    "verification": ("best-scored", VERIFICATION),
}
MARKERS = "osD^vP*Xph<>"
DARKEST, LIGHTEST = 0.0, 0.8  # of the colour map: lighter would be lost on white
TICKS = (1, 2, 5, 10, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400)


@style.styled
def fig7a(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 7a: verified accuracy over completions; below it the other choices.

    table: the rows of `grid.table` without k; axes: two, one above the other.
    """
    top, bottom = axes
    verified = table[table["method"] == "verification"]
    style.points(top, verified, "n", VERIFICATION, "best-scored")
    peak, low, high = verified[list(style.limit_names("peak"))].iloc[0]
    top.axvspan(low, high, color="#DDDDDD", linewidth=0, zorder=0)
    words = f"highest at {peak:,.0f} ({low:,.0f} to {high:,.0f})"
    top.axvline(peak, color=BLACK, linestyle=":", linewidth=0.8, label=words)
    for method, (label, line) in METHODS.items():
        _plain(bottom, table[table["method"] == method], "n", line, label)
    bottom.set_ylim(bottom=0)
    for panel in axes:
        _count_axis(panel, table["n"].max())
        panel.set_ylabel("test problems\nsolved (%)")
        style.legend(panel, 2)
    bottom.set_xlabel("completions per problem (n)")
    style.caption(top, table)
    return axes


@style.styled
def fig7b(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 7b: accuracy of the vote of the top k, a curve per number of completions.

    table: the rows of `grid.table` with k.
    """
    counts = sorted(table["n"].unique())
    for line, n in zip(_shades(len(counts)), counts, strict=True):
        rows = table[table["n"] == n]
        _plain(axes, rows, "k", line, f"{n:,}")
        best = rows[rows["k"] == rows["peak"]]
        value, low, high = 100 * best[list(style.limit_names(""))].mean()
        bars = np.maximum([[value - low], [high - value]], 0)
        look = line.look | dict(markersize=7, markeredgecolor=BLACK, elinewidth=0.7)
        axes.errorbar(best["k"].iloc[:1], [value], bars, **look, zorder=4)
    _count_axis(axes, max(counts))
    axes.set(xlabel="voters: the top k by score", ylabel=style.SOLVED)
    style.legend(axes, 4)
    axes.get_legend().set_title("completions per problem", prop={"size": 7})
    seeds, where = table["seed"].nunique(), style.DATASETS[table["dataset"].iloc[0]]
    spread = "one seed" if seeds == 1 else f"mean over {seeds} seeds"
    said = "Large mark: the best k, with its 95 % interval over problems."
    style.note(axes, f"{where}, {style.test_problems(table)}, {spread}. {said}")
    return axes


def _plain(axes: Axes, rows: pd.DataFrame, x: str, line: Line, label: str) -> None:
    """Draw the mean over seeds as a line with small marks, without bars."""
    means = 100 * rows.groupby(x)["accuracy"].mean()
    look = line.look | dict(markersize=2.8, linewidth=1)
    axes.plot(means.index, means, label=label, **look)


def _shades(count: int) -> list[Line]:
    """Lines from light to dark, each with a mark of its own."""
    shades = matplotlib.colormaps["cividis"](np.linspace(LIGHTEST, DARKEST, count))
    colors = [matplotlib.colors.to_hex(shade) for shade in shades]
    return [Line(color, MARKERS[i % 12], "-") for i, color in enumerate(colors)]


def _count_axis(axes: Axes, most: int) -> None:
    """Make x a log axis of counts up to `most`."""
    ticks = [tick for tick in TICKS if tick <= most]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [style.short_count(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.85, 1.2 * most)
