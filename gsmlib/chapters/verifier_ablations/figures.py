"""Verifiers over their training, and small and large models crossed (Fig 6)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    SOLUTION_LEVEL,
    VERIFICATION,
    VERIFIER_ALONE,
    VERMILLION,
    Line,
)
from gsmlib.method.selection import NO_VERIFIER

LEGEND_LETTERS = 20  # longer names take a line each
PAIR = "generator, verifier"


@style.styled
def fig6a(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6a: token-level and solution-level verifiers over their training.

    table: rows of `grid.training_curve`; those of the joint objective are drawn.
    """
    labels = {"token": ("token-level", VERIFICATION)}
    labels["solution"] = ("solution-level", SOLUTION_LEVEL)
    return _over_training(table[table["objective"] == "joint"], axes, "level", labels)


@style.styled
def fig6b(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6b: the joint objective and verification only over a verifier's training.

    table: rows of `grid.training_curve`; those of token-level verifiers are drawn.
    """
    labels = {"joint": ("joint objective", VERIFICATION)}
    labels["verification only"] = ("verification only", VERIFIER_ALONE)
    return _over_training(table[table["level"] == "token"], axes, "objective", labels)


def _over_training(
    table: pd.DataFrame, axes: Axes, column: str, labels: dict[str, tuple[str, Line]]
) -> Axes:
    shift = 0.008 * table["epochs"].max()  # bars side by side
    looks = zip(labels.items(), (-shift, shift), strict=True)
    for (name, (label, line)), nudge in looks:
        rows = table[table[column] == name]
        style.points(axes, rows, "epochs", line, label, nudge=nudge)
    style.unverified(axes, table)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    low, high = axes.get_ylim()  # from 0 where the curves are near it; never below
    axes.set(xlim=(0, None), ylim=(0 if low < 0.3 * high else low, high))
    axes.set_xlabel("epochs of verifier training")
    axes.set_ylabel(style.SOLVED)
    style.legend(axes, 2)
    learned = f"{table['per_problem'].max():.0f} completions a training problem"
    style.caption(axes, table, f"Verifiers learn from {learned}.")
    return axes


@style.styled
def fig6c(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6c: small and large generators with small and large verifiers.

    Over training-set sizes; with a single size, a row each. Behind them what choices
    without a verifier reach on each generator's completions. table: the rows of
    `grid.model_pairs`.
    """
    sizes = ["generator_parameters", "verifier_parameters"]
    table = table.assign(pair=table["generator"] + ", " + table["verifier"])
    pairs = table.sort_values(sizes, ascending=False)["pair"].unique()
    looks = style.shades(VERMILLION, len(pairs))[::-1]  # the larger the darker
    if table["n_train"].nunique() == 1:
        _draw_rows(axes, table, dict(zip(pairs, looks, strict=True)))
    else:
        _draw_over_sizes(axes, table, dict(zip(pairs, looks, strict=True)))
    style.caption(axes, table)
    return axes


def _draw_rows(axes: Axes, table: pd.DataFrame, looks: dict[str, Line]) -> None:
    for place, (pair, line) in enumerate(looks.items()):
        rows = table[table["pair"] == pair]
        for name, other in style.UNVERIFIED.items():
            label = NO_VERIFIER[name] if place == 0 else None
            mark = other.marks | dict(markersize=3.5, label=label, clip_on=False)
            axes.plot(100 * rows[name].mean(), place, **mark)
        style.dot(axes, place, rows, line)
    axes.set_yticks(range(len(looks)), looks)
    axes.set(ylim=(len(looks) - 0.5, -0.5), xlim=(0, None), xlabel=style.SOLVED)
    axes.set_ylabel(PAIR)
    axes.figure.legend(loc="outside upper center", ncols=2)


def _draw_over_sizes(axes: Axes, table: pd.DataFrame, looks: dict[str, Line]) -> None:
    for place, (pair, line) in enumerate(looks.items()):
        rows, factor = table[table["pair"] == pair], 1 + 0.03 * (place - 1.5)
        style.points(axes, rows, "n_train", line, pair, factor=factor)
    style.size_axis(axes, table["n_train"])
    axes.set_ylabel(style.SOLVED)
    style.legend(axes, 2 if max(map(len, looks)) <= LEGEND_LETTERS else 1)
    axes.get_legend().set_title(PAIR, prop={"size": 7})
    others = []  # of the other choices, a line per generator: named once, apart
    for _, rows in table.groupby("generator"):
        for name, line in style.UNVERIFIED.items():
            means = rows.assign(accuracy=rows[name])
            style.plain(axes, means, "n_train", line, NO_VERIFIER[name], zorder=1.5)
            others.append(axes.lines[-1])
    axes.set_ylim(bottom=0)
    named = others[: len(style.UNVERIFIED)]
    axes.figure.legend(handles=named, loc="outside upper center", ncols=2)
