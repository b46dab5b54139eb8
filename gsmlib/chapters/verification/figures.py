"""Fig 4, the pipeline as a diagram; Fig 5, both methods; Fig 12, the losses' masks."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MultipleLocator

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    FINETUNING,
    GREY,
    PAPER,
    VERIFICATION,
    VERMILLION,
    shade,
    styled,
)
from gsmlib.chapters.textpage import Lines, Span, break_lines, show_token, write_page
from gsmlib.method import selection
from gsmlib.paper import RELEASED_ACCURACY

BOX = (108.0, 30.0)  # points
ROW_HEIGHT = 42.0
SHARE = "share of picks (%)"
STATED_WIDTH = 0.21  # of all panels together: room for what the paper states
MOST_STATED = 64  # percent: room for what the paper states, and its value above it
FAR_BELOW = 0.4  # of that: lower curves are not drawn to the paper's percent
# Of boxes, by whose work they are: the generator's, the verifier's; the data are grey.
TINTS = {
    **dict.fromkeys(("generator", "completions", "sample"), shade(BLUE, 0.88)),
    **dict.fromkeys(("verifier", "score", "select"), shade(VERMILLION, 0.84)),
}


@styled
def fig4(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 4: the pipeline, training on the left and a test problem on the right.

    table: id, column (0 or 1), row, title, detail, feeds (ids, separated by spaces).
    """
    height = (table["row"].max() + 1) * ROW_HEIGHT + 14
    axes.figure.set_size_inches(COLUMN_WIDTH, height / 72)
    axes.set_xlim(0, 72 * COLUMN_WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    places = {row.id: _box(axes, row) for row in table.itertuples()}
    for row in table.itertuples():
        for target in str(row.feeds).split():
            _arrow(axes, places[row.id], places[target])
    for column, word in enumerate(("training", "test")):
        axes.text(_box_x(column) + BOX[0] / 2, 8, word, ha="center", fontsize=7)
    return axes


def _box_x(column: int) -> float:
    return 4 + column * (72 * COLUMN_WIDTH - BOX[0] - 8)


def _box(axes: Axes, row: Any) -> tuple[float, float]:
    x, y = _box_x(row.column), 16 + row.row * ROW_HEIGHT
    face = TINTS.get(row.id, "#F2F2F2")
    look = dict(facecolor=face, edgecolor=BLACK, linewidth=0.6)
    axes.add_patch(FancyBboxPatch((x, y), *BOX, boxstyle="round,pad=0", **look))
    middle = x + BOX[0] / 2
    place = dict(ha="center", va="center")
    axes.text(middle, y + 9, row.title, fontsize=7, weight="bold", **place)
    axes.text(middle, y + 21, row.detail, fontsize=6, **place)
    return middle, y + BOX[1] / 2


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Connect two boxes: straight down in a column, dashed from column to column."""
    (x0, y0), (x1, y1) = start, end
    same = x0 == x1
    tail = (x0, y0 + BOX[1] / 2) if same else (x0 + BOX[0] / 2, y0)
    head = (x1, y1 - BOX[1] / 2) if same else (x1 - BOX[0] / 2, y1)
    look = dict(arrowstyle="-|>", color=BLACK, linewidth=0.8, shrinkA=0, shrinkB=0)
    look["linestyle"] = "-" if same else (0, (3, 2))
    axes.annotate("", head, tail, arrowprops=look)


@styled
def fig5(table: pd.DataFrame, axes: Axes | np.ndarray) -> np.ndarray:
    """Fig 5: finetuning and verification over training-set size, a panel per model.

    Behind them choices that need no verifier. Beside them, in grey, the accuracies that
    the paper states for the full set.

    table: the rows of `grid.table`; axes: as many as models.
    """
    panels = np.atleast_1d(axes)
    models = table.sort_values("parameters")["model"].unique()
    highest = 1.05 * 100 * table["high"].max() + 1
    beside = highest >= FAR_BELOW * MOST_STATED  # on one axis with the paper's
    for panel, model in zip(panels, models, strict=True):
        for name, line in style.UNVERIFIED.items():
            words = selection.NO_VERIFIER[name]
            rows = table[(table["model"] == model) & (table["method"] == words)]
            style.plain(panel, rows, "n_train", line, words, zorder=1.5)
        looks = {"verification": (VERIFICATION, 1.04)}
        looks["finetuning"] = (FINETUNING, 0.96)
        for method, (line, factor) in looks.items():
            rows = table[(table["model"] == model) & (table["method"] == method)]
            style.points(panel, rows, "n_train", line, method, factor=factor)
        panel.set_title(model, fontsize=7, loc="right", pad=2)
        style.size_axis(panel, table["n_train"])
        panel.set_ylim(0, max(highest, MOST_STATED) if beside else highest)
        panel.label_outer()
    panels[0].set_ylabel(style.SOLVED)
    width = STATED_WIDTH * len(panels)  # of the last panel's
    shared = panels[-1] if beside else None
    _draw_stated(panels[-1].inset_axes((1.08, 0, width, 1), sharey=shared), beside)
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    more = "Drawn for verification and finetuning alone."
    if "completed" in table:
        most = f"{table['completed'].max():,.0f}"
        more += f" Verifiers learn from completions of {most} problems at most."
    style.caption(panels[0], table, more)
    return panels


@styled
def errors(table: pd.DataFrame, axes: Axes | np.ndarray) -> np.ndarray:
    """What is sampled and what is chosen: right answers, and kinds of first errors.

    table: the rows of `errors.errors_table`; axes: as many as models.
    """
    panels = np.atleast_1d(axes)
    most = 105 * table[["sampled_high", "likeliest_high", "chosen_high"]].max(axis=None)
    looks = {"sampled": style.UNVERIFIED["mean_accuracy"], "likeliest": style.LOGPROB}
    looks["chosen"] = VERIFICATION
    words = {"sampled": "random pick", "likeliest": "likeliest per token"}
    words["chosen"] = "best-scored"
    sampled = table.groupby("error")["sampled"].mean()
    right, *wrong = dict.fromkeys(table["error"])
    kinds = [right, *sorted(wrong, key=sampled.get, reverse=True)]
    for panel, model in zip(panels, table["model"].unique(), strict=True):
        rows = table[(table["model"] == model)].groupby("error").mean(numeric_only=True)
        rows = rows.loc[kinds]
        for shift, (name, line) in zip((-0.2, 0, 0.2), looks.items(), strict=True):
            low, high = (100 * rows[f"{name}_{end}"] for end in ("low", "high"))
            places = np.arange(len(kinds)) + shift
            panel.hlines(places, low, high, color=line.color, linewidth=0.8)
            look = line.marks | dict(label=words[name])
            panel.plot(100 * rows[name], places, clip_on=False, **look)
        panel.set_yticks(range(len(kinds)), kinds, fontsize=6)
        panel.set(ylim=(len(kinds) - 0.5, -0.5), xlim=(0, most), xlabel=SHARE)
        panel.xaxis.set_major_locator(MultipleLocator(20))
        panel.set_title(model, fontsize=7, loc="right", pad=2)
        panel.label_outer()
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    style.caption(panels[0], table)
    return panels


def _draw_stated(axes: Axes, beside: bool) -> None:
    """Draw the accuracies of the paper's released solutions, with their values.

    beside: they share the percent of the panels; else they have an axis of their own.
    """
    lines = {"finetuning": FINETUNING, "verification": VERIFICATION}
    for place, size in enumerate(("6b", "175b")):
        for method, line in lines.items():
            stated = 100 * RELEASED_ACCURACY[f"{size}_{method}"]
            axes.plot([place], [stated], **line._replace(color=PAPER.color).marks)
            look = dict(textcoords="offset points", ha="center", fontsize=6, color=GREY)
            axes.annotate(f"{stated:.0f}", (place, stated), (0, 4), **look)
    axes.set(xlim=(-0.5, 1.5), xlabel="GSM8K")
    axes.set_xticks([0, 1], ["6B", "175B"])
    axes.set_title("paper", fontsize=7, loc="right", pad=2)
    axes.tick_params(colors=GREY)
    own = dict(right=not beside, labelright=not beside, labelsize=6)
    axes.tick_params(axis="y", left=False, labelleft=False, **own)
    if not beside:
        axes.set_ylim(0, MOST_STATED)
        axes.spines["left"].set_visible(False)
        axes.spines["right"].set(visible=True, color=GREY)


@styled
def fig12(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 12: which tokens enter which loss of the joint objective.

    table: row ("language model", "verifier"), token, in_loss (bool), target (text).
    """
    heads = {
        "language model": "Language-model row: each boxed token is predicted",
        "verifier": "Verifier row: each boxed token is scored; target ",
    }
    lines: Lines = []
    for name, head in heads.items():
        rows = table[table["row"] == name]
        if name == "verifier":
            head += str(rows.loc[rows["in_loss"], "target"].iloc[0])
        lines += break_lines([Span(head, "head")])
        styles = np.where(rows["in_loss"], name, "masked")
        tokens = zip(rows["token"], styles, strict=True)
        lines += break_lines(Span(show_token(text), ink) for text, ink in tokens)
        lines += [[]]
    grey = break_lines([Span("grey: masked, in no loss", "masked")])
    return write_page(axes, lines + grey)
