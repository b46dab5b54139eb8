"""The open points as a forest plot: each variant's difference from the base."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style
from gsmlib.chapters.rules import NEGLIGIBLE, over_seeds
from gsmlib.chapters.style import BLACK, FINETUNING, GREY, VERIFICATION, Line

ROOM = 0.12  # of the widest interval, left free on either side


@style.styled
def open_points(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Differences in accuracy and in within-problem AUC, a row per variant.

    table: the rows of `grid.table`; axes: two, side by side.
    """
    rows = table[table["point"] > 0]
    names = rows.drop_duplicates("variant").sort_values("point", kind="stable")
    left, right = axes
    _forest(left, rows, list(names["variant"]), "gain", VERIFICATION)
    _forest(right, rows, list(names["variant"]), "auc_gain", FINETUNING)
    left.axvspan(
        -100 * NEGLIGIBLE, 100 * NEGLIGIBLE, color="#DDDDDD", linewidth=0, zorder=0
    )
    left.set_yticks(range(len(names)), _labels(names))
    right.set_yticks(range(len(names)), [])
    n = int(table["n"].max())
    left.set_xlabel(f"best of {n}\n(points)")
    right.set_xlabel("within-problem\nAUC (hundredths)")
    for panel in axes:
        _rule_off(panel, names["point"].to_numpy())
    style.note(left, _note(table))
    return axes


def _forest(
    axes: Axes, table: pd.DataFrame, variants: list[str], name: str, line: Line
) -> None:
    """Draw a column's mean with its interval, and a tick for every seed."""
    reach = [1.0]
    for y, variant in enumerate(variants):
        rows = table[table["variant"] == variant]
        if rows[name].isna().all():
            axes.text(0.5, y, "none", transform=axes.get_yaxis_transform(), **_NONE)
            continue
        mean, low, high = (100 * number for number in over_seeds(rows, name))
        look = dict(color=line.color, marker=line.marker, zorder=3)
        face = line.color if line.filled else "white"
        bars = [[mean - low], [high - mean]]
        axes.errorbar([mean], [y], xerr=bars, markerfacecolor=face, **look)
        reach += [abs(low), abs(high)]
        if len(rows) > 1:
            seeds = dict(marker="|", markersize=5, linestyle="none", color=BLACK)
            axes.plot(100 * rows[name], [y + 0.28] * len(rows), **seeds)
    widest = (1 + ROOM) * np.nanmax(reach)
    axes.set_xlim(-widest, widest)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


_NONE = dict(ha="center", va="center", fontsize=6, color=GREY)
_NONE["bbox"] = dict(facecolor="white", edgecolor="none", pad=1)


def _labels(names: pd.DataFrame) -> list[str]:
    """Name each variant; the first of an open point carries its number."""
    first = ~names["point"].duplicated()
    return [
        f"{point}  {variant}" if new else variant
        for variant, point, new in zip(
            names["variant"], names["point"], first, strict=True
        )
    ]


def _rule_off(axes: Axes, points: np.ndarray) -> None:
    """Part the open points by lines, and mark where nothing differs."""
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
    for y in np.flatnonzero(np.diff(points)) + 0.5:
        axes.axhline(y, color="#B0B0B0", linewidth=0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(points) - 0.4, -0.6)


def _note(table: pd.DataFrame) -> str:
    seeds = table["seed"].nunique()
    over = "problems, one seed" if seeds == 1 else f"problems and {seeds} seeds (ticks)"
    where = style.DATASETS[table["dataset"].iloc[0]]
    problems = f"{table['n_problems'].max():,.0f} test problems"
    return (
        f"{where}, {table['model'].iloc[0]}, {problems}. Variants of the open points "
        f"1-8 minus their base, paired by problem; finetuning: greedy. Bars: 95 % "
        f"interval over {over}; grey: below {100 * NEGLIGIBLE:.0f} points."
    )
