"""The open points as a forest plot: each variant's difference from the base."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style
from gsmlib.chapters.rules import NEGLIGIBLE, over_seeds
from gsmlib.chapters.style import BLACK, FINETUNING, GREY, VERIFICATION

GREEDY = "finetuning"  # variants of this are judged by their greedy solutions
ROOM = 0.12  # of the widest interval, left free on either side


@style.styled
def open_points(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Differences in accuracy and in within-problem AUC, a row per variant.

    table: the rows of `grid.table`; axes: two, side by side.
    """
    rows = table[table["point"] > 0]
    names = rows.drop_duplicates("variant").sort_values("point", kind="stable")
    left, right = axes
    _forest(left, rows, names, "gain")
    _forest(right, rows, names, "auc_gain")
    limit = 100 * NEGLIGIBLE
    left.axvspan(-limit, limit, color="#DDDDDD", linewidth=0, zorder=0)
    numbers = names["point"].astype(str) + "  "  # on the first variant of each point
    labels = numbers.mask(names["point"].duplicated(), "") + names["variant"]
    left.set_yticks(range(len(names)), labels)
    right.set_yticks(range(len(names)), [])
    left.set_xlabel(f"solved, best of\n{table['n'].max():.0f} (points)")
    right.set_xlabel("within-problem\nAUC (hundredths)")
    style.note(left, _note(table))
    return axes


def _forest(axes: Axes, table: pd.DataFrame, names: pd.DataFrame, name: str) -> None:
    """Draw a column's mean with its interval, and a tick for every seed.

    Lines part the open points and mark where nothing differs.
    """
    reach = [1.0]
    for y, variant in enumerate(names["variant"]):
        rows = table[table["variant"] == variant]
        if rows[name].isna().all():
            box = dict(facecolor="white", edgecolor="none", pad=1)
            look = dict(ha="center", va="center", fontsize=6, color=GREY, bbox=box)
            axes.text(0.5, y, "none", transform=axes.get_yaxis_transform(), **look)
            continue
        mean, low, high = (100 * number for number in over_seeds(rows, name))
        bars = [[mean - low], [high - mean]]
        line = FINETUNING if variant.startswith(GREEDY) else VERIFICATION
        look = line.look | dict(linestyle="-", zorder=3)
        axes.errorbar([mean], [y], xerr=bars, **look)
        reach += [abs(low), abs(high)]
        if len(rows) > 1:
            ticks = style.Line(BLACK, "|", "none").marks
            axes.plot(100 * rows[name], [y + 0.28] * len(rows), **ticks, markersize=5)
    widest = (1 + ROOM) * np.nanmax(reach)
    axes.set(xlim=(-widest, widest), ylim=(len(names) - 0.4, -0.6))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
    for y in np.flatnonzero(np.diff(names["point"])) + 0.5:
        axes.axhline(y, color="#B0B0B0", linewidth=0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _note(table: pd.DataFrame) -> str:
    seeds = table["seed"].nunique()
    over = "problems, one seed" if seeds == 1 else f"problems and {seeds} seeds (ticks)"
    greedy = table.loc[table["point"] > 0, "variant"].str.startswith(GREEDY).any()
    circle = "; circle: finetuning, greedy" if greedy else ""
    return (
        f"{style.measured_on(table)}. Variants of the open points, by their numbers, "
        f"minus their base, paired by problem{circle}. Bars: 95 % "
        f"interval over {over}; grey: below {100 * NEGLIGIBLE:.0f} points."
    )
