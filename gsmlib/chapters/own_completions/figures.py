"""Anyone's completions: curves over n, paired differences, extraction rules."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    GREEN,
    GREY,
    LOGPROB,
    LOGPROB_SUM,
    SAMPLES,
    VERIFICATION,
    VERMILLION,
    VOTE,
    WEIGHTED_VOTE,
    Line,
    shade,
    shades,
)
from gsmlib.method.intervals import column_names

ALL_RIGHT = Line(shade(BLACK, 0.3), "p", "--", filled=False)
UNSCORED = {
    "test@n": ("test@n", CEILING),
    "random pick": ("random pick", SAMPLES),
    "pass^n": ("pass^n", ALL_RIGHT),
    "majority vote": ("majority vote", VOTE),
}
COMPARED = {  # of a pair, at the most completions that both have
    "random pick": SAMPLES,
    "majority vote": VOTE,
    "best-of-n": VERIFICATION,
    "test@n": CEILING,
}
LOGPROBS = {"logprob": LOGPROB_SUM, "logprob_per_token": LOGPROB}
APART = 0.16  # of neighbouring marks, of the height of a row
LETTERS = 20  # of a name beside a row


@style.styled
def curves(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Accuracy over n: choices by score, votes, and what no choice can leave.

    table: rows of `grid.table` of one file or system, with one rule's labels; axes:
    three, one above the other.
    """
    scores = [score for score in dict.fromkeys(_scores(table)) if score]
    looks = dict(_looks(scores, VERMILLION, VERIFICATION))
    votes = dict(_looks(scores, GREEN, WEIGHTED_VOTE))
    chosen = [("best-of-n", s, s, looks[s]) for s in scores]
    voted = [("weighted vote", s, s, votes[s]) for s in scores]
    unscored = {name: (name, "", *look) for name, look in UNSCORED.items()}
    bounds = [unscored[name] for name in ("test@n", "random pick", "pass^n")]
    parts = ([*chosen, unscored["random pick"]], [unscored["majority vote"], *voted])
    titles = ["best of n by", "votes, weighted by", "of n completions"]
    titles[:2] = titles[:2] if scores else ["no score to go by", "votes"]
    for panel, series, title in zip(axes, (*parts, bounds), titles, strict=True):
        _panel(panel, table, series)
        style.legend(panel, 3)
        panel.get_legend().set_title(title, prop={"size": 7})
    style.label_below(axes, "completions (n)")
    said = (
        "test@n: any of n is right; pass^n: all are. Bars: 95 % interval over problems."
    )
    style.note(axes[0], f"{_about(table)}. {said}")
    return axes


def _looks(
    scores: Sequence[str], color: str, usual: Line
) -> Iterator[tuple[str, Line]]:
    """Yield a look per score: the method's own, or shades of it for several."""
    others = [s for s in scores if s not in LOGPROBS or color == GREEN]
    several = shades(color, len(others)) if len(others) > 1 else [usual]
    yield from zip(others, several, strict=False)
    yield from ((s, LOGPROBS[s]) for s in scores if s not in others)


def _panel(
    axes: Axes, table: pd.DataFrame, series: Sequence[tuple[str, str, str, Line]]
) -> None:
    middle = (len(series) - 1) / 2
    for place, (method, score, label, line) in enumerate(series):
        rows = table[(table["method"] == method) & (_scores(table) == score)]
        if len(rows):
            factor = 1 + 0.03 * (place - middle)
            style.points(axes, rows, "n", line, label, factor=factor)
    style.count_axis(axes, table["n"].max())
    axes.set(ylim=(0, None), ylabel=style.SOLVED)


def _scores(table: pd.DataFrame) -> pd.Series:
    """Return the score column of each row; a CSV has nothing where there is none."""
    return table["score"].fillna("").astype(str)


def _about(table: pd.DataFrame) -> str:
    """Write which completions a table is of, and of how many problems."""
    name = str(table["samples"].iloc[0]).replace("$", r"\$")
    count = int(table["n_problems"].iloc[0])
    return f"{name}, {count:,} problem{'s' * (count != 1)}"


@style.styled
def paired(table: pd.DataFrame, axes: Axes) -> Axes:
    """Paired differences, a row per pair; table: rows of `grid.differences`."""
    pairs = list(table.groupby(["a", "b"], sort=False))
    for y, (_, rows) in enumerate(pairs):
        most = rows["n"].max()  # of one completion each all methods are the same
        rows = rows[rows["method"].isin(list(COMPARED)[: None if most > 1 else 1])]
        marks = [row for _, row in rows[rows["n"] == most].iterrows()]
        for place, row in enumerate(marks):
            at = y + APART * (place - (len(marks) - 1) / 2)
            _mark(axes, at, row, "difference", COMPARED[row["method"]], row["method"])
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=0)
    _name_rows(axes, [f"{_short(a)}\n− {_short(b)}" for (a, b), _ in pairs])
    axes.set_xlabel("difference of problems solved (points)")
    style.legend(axes, 2)
    said = "At the most completions that both have, over the problems that both have"
    style.note(axes, f"{said}. Bars: 95 % interval, paired by problem.")
    return axes


@style.styled
def extraction(table: pd.DataFrame, axes: Axes) -> Axes:
    """What each rule takes for right; table: rows of `grid.extraction`."""
    rules = list(dict.fromkeys(table["rule"]))
    looks = dict(zip(rules, shades(GREY, len(rules)), strict=True))
    parts = list(table.groupby("samples", sort=False))
    for y, (_, rows) in enumerate(parts):
        for place, (_, row) in enumerate(rows.iterrows()):
            at = y + APART * (place - (len(rows) - 1) / 2)
            _mark(axes, at, row, "mean_accuracy", looks[row["rule"]], row["rule"])
    _name_rows(axes, [_short(name) for name, _ in parts])
    axes.set_xlabel("completions taken for right (%)")
    style.legend(axes, 3)
    axes.get_legend().set_title("right by", prop={"size": 7})
    style.note(axes, "Bars: 95 % interval over problems.")
    return axes


def _mark(
    axes: Axes, y: float, row: pd.Series, column: str, line: Line, label: str
) -> None:
    value, low, high = (100 * row[name] for name in column_names(column))
    bars = np.maximum([[value - low], [high - value]], 0)
    said = axes.get_legend_handles_labels()[1]  # each label once
    label = None if label in said else label
    axes.errorbar([value], [y], xerr=bars, label=label, **line.marks)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Put the rows' names beside them, from above, smaller where they are many."""
    size = min(6.0, 48 / max(len(names), 1))
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _short(name: str) -> str:
    """Return a name that fits beside a row: its beginning and its end."""
    half = LETTERS // 2
    cut = name if len(name) <= LETTERS else f"{name[:half]}…{name[1 - half :]}"
    return cut.replace("$", r"\$")  # no formula
