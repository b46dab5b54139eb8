"""Figures that are text: examples, the calculator at work, the losses' masks."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gsmlib.figures.style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    DATASETS,
    GREY,
    VERMILLION,
    YELLOW,
    styled,
)
from gsmlib.method.calculator import find_annotations

TEXT_SIZE = 6.5  # points
ADVANCE = 0.60205  # width of a character of DejaVu Sans Mono, in em
LINE_HEIGHT = 1.6 * TEXT_SIZE
MARGIN = 3.0  # points
PAGE_COLUMNS = int((72 * COLUMN_WIDTH - 2 * MARGIN) / (ADVANCE * TEXT_SIZE))


class Ink(NamedTuple):
    """How a run of text looks; what has an edge is a box, such as a token."""

    color: str = BLACK
    weight: str = "normal"
    face: str = "none"
    edge: str = ""


# A verifier's score in five steps from 0 to 1: red to green, and ever lighter.
SCORE_INKS = (
    Ink(color="#FFFFFF", face="#A93226", edge="#FFFFFF"),
    Ink(face="#DF6E55", edge="#FFFFFF"),
    Ink(face="#F2A65E", edge="#FFFFFF"),
    Ink(face="#E9DA7C", edge="#FFFFFF"),
    Ink(face="#C3F5B4", edge="#FFFFFF"),
)
INK = {
    **{f"score {number}": ink for number, ink in enumerate(SCORE_INKS)},
    "plain": Ink(),
    "head": Ink(weight="bold"),
    "masked": Ink(color=GREY),
    "mark": Ink(weight="bold", face=YELLOW),
    "sampled": Ink(edge="#9A9A9A"),
    "forced": Ink(weight="bold", face=YELLOW, edge=BLACK),
    "language model": Ink(face="#BFDDF2", edge=BLUE),
    "verifier": Ink(face="#F7D0B5", edge=VERMILLION),
}


class Run(NamedTuple):
    """A piece of text in one style; a boxed run is never broken over two lines."""

    text: str
    style: str = "plain"


def break_lines(runs: Iterable[Run], indent: int = 0) -> list[list[tuple[int, Run]]]:
    """Break runs into lines of (column, run), between words or boxes."""
    lines: list[list[tuple[int, Run]]] = [[]]
    column = 0
    for word in _words(runs):
        text = "".join(run.text for run in word)
        width = len(text if INK[word[-1].style].edge else text.rstrip())
        if column + width > PAGE_COLUMNS and column > indent:
            lines.append([])
            column = indent
        for run in word:
            lines[-1].append((column, run))
            column += len(run.text)
        if word[-1].text.endswith("\n"):
            lines.append([])
            column = indent
    return [line for line in lines if line]


def _words(runs: Iterable[Run]) -> list[list[Run]]:
    """Group pieces of runs that no space parts, such as `$` and an annotation."""
    words: list[list[Run]] = [[]]
    for run in runs:
        for piece in _pieces(run):
            words[-1].append(Run(piece, run.style))
            if INK[run.style].edge or piece[-1] in " \n":
                words.append([])
    return [word for word in words if word]


def _pieces(run: Run) -> list[str]:
    """Cut running text after its spaces and line ends; a box stays whole."""
    if INK[run.style].edge:
        return [run.text]
    return re.findall(r"[^ \n]+ *\n?| +|\n", run.text)


def write_page(axes: Axes, lines: Sequence[Sequence[tuple[int, Run]]]) -> Axes:
    """Write lines in a fixed pitch, and give the figure the height they need."""
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    axes.figure.set_size_inches(COLUMN_WIDTH, height / 72)
    axes.set_xlim(0, 72 * COLUMN_WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    for number, line in enumerate(lines):
        y = MARGIN + (number + 0.5) * LINE_HEIGHT
        for column, run in line:
            _write(axes, MARGIN + column * ADVANCE * TEXT_SIZE, y, run)
    return axes


def _write(axes: Axes, x: float, y: float, run: Run) -> None:
    ink = INK[run.style]
    text = run.text.rstrip("\n")
    width, height = len(text) * ADVANCE * TEXT_SIZE, 0.82 * LINE_HEIGHT
    corner = (x, y - height / 2)
    look = dict(facecolor=ink.face, edgecolor=ink.edge or "none", linewidth=0.4)
    axes.add_patch(Rectangle(corner, width, height, **look))
    font = dict(family="DejaVu Sans Mono", fontsize=TEXT_SIZE, weight=ink.weight)
    text = text.replace("$", r"\$")  # no mathematics in word problems
    axes.text(x, y, text, va="center_baseline", color=ink.color, **font)


def _annotated(solution: str) -> list[Run]:
    """Split a solution into runs, its annotations and its answer line marked."""
    runs, last = [], 0
    for note in find_annotations(solution):
        runs += [Run(solution[last : note.start])]
        runs += [Run(solution[note.start : note.end], "mark")]
        last = note.end
    body, hashes, answer = solution[last:].partition("####")
    return [run for run in [*runs, Run(body), Run(hashes + answer, "head")] if run.text]


@styled
def fig1(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 1: example problems; table: dataset, question, solution."""
    lines: list[list[tuple[int, Run]]] = []
    for row in table.itertuples():
        question = [
            Run(f"{DATASETS[row.dataset]} problem: ", "head"),
            Run(row.question),
        ]
        lines += break_lines(question)
        lines += break_lines([Run("Solution: ", "head"), *_annotated(row.solution)])
        lines += [[]]
    return write_page(axes, lines[:-1])


@styled
def fig9(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 9: who writes what; table: step, writer ("model", "calculator"), token."""
    lines: list[list[tuple[int, Run]]] = []
    for step, rows in table.groupby("step", sort=True):
        writer = rows["writer"].iloc[0]
        style = "forced" if writer == "calculator" else "sampled"
        head = Run(f"{step:>2} {writer:<11}", "head")
        tokens = [Run(show_token(token), style) for token in rows["token"]]
        lines += break_lines([head, *tokens], indent=14)
    key = [Run("sampled", "sampled"), Run(" token of the model   ")]
    key += [Run("forced", "forced"), Run(" token of the calculator")]
    return write_page(axes, [*lines, [], *break_lines(key)])


def show_token(token: str) -> str:
    """Write a token's text so that a line end and what has no glyph are seen."""
    shown = token.replace("\n", "↵")
    return "".join(letter if letter.isprintable() else "·" for letter in shown)


@styled
def fig12(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 12: which tokens enter which loss of the joint objective.

    table: row ("language model", "verifier"), token, in_loss (bool), target (text).
    """
    heads = {
        "language model": "Language-model row: each boxed token is predicted",
        "verifier": "Verifier row: each boxed token is scored; target ",
    }
    lines: list[list[tuple[int, Run]]] = []
    for name, head in heads.items():
        rows = table[table["row"] == name]
        if name == "verifier":
            head += str(rows.loc[rows["in_loss"], "target"].iloc[0])
        lines += break_lines([Run(head, "head")])
        styles = np.where(rows["in_loss"], name, "masked")
        tokens = zip(rows["token"], styles, strict=True)
        lines += [
            *break_lines(Run(show_token(text), style) for text, style in tokens),
            [],
        ]
    return write_page(
        axes, [*lines, *break_lines([Run("grey: masked, in no loss", "masked")])]
    )
