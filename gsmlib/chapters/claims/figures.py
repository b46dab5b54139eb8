"""The ledger of claims as a chart: a row per claim, a column per kind of verdict."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters.rules import WORDS
from gsmlib.chapters.style import BLACK, GREY, Line, styled

LOOKS = (  # of WORDS; no colour, for colours are the methods'
    Line(BLACK, "o", ""),
    Line(GREY, "D", "", filled=False),
    Line(BLACK, "X", "", filled=False),
    Line(BLACK, "v", ""),
    Line(GREY, "_", ""),
)
MOST_PITCH = 11.0  # points between rows, from which their text has its usual size


@styled
def ledger(table: pd.DataFrame, axes: Axes) -> Axes:
    """The verdicts on all claims; table: the rows of `ledger.ledger_table`."""
    for x, (verdict, line) in enumerate(zip(WORDS, LOOKS, strict=True)):
        rows = table.index[table["verdict"] == verdict]
        axes.plot([x] * len(rows), rows, markersize=6, clip_on=False, **line.marks)
    axes.set_yticks(table.index, table["brief"] + "  " + table["id"])
    labels = [f"{word}: {(table['verdict'] == word).sum()}" for word in WORDS]
    axes.set_xticks(range(len(WORDS)), labels, rotation=90)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlim=(-0.5, len(WORDS) - 0.5))
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.tick_params(axis="x", pad=0)
    pitch = 72 * 0.7 * axes.figure.get_figheight() / len(table)
    size = plt.rcParams["ytick.labelsize"] * min(1, pitch / MOST_PITCH)
    axes.tick_params(axis="y", labelsize=size)
    axes.spines[["left", "bottom"]].set_visible(False)
    return axes
