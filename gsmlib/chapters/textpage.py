"""Figures that are text: examples, the calculator at work, the losses' masks."""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gsmlib.chapters.style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    GREY,
    VERMILLION,
    YELLOW,
    page_factor,
)

TEXT_SIZE = 6.5  # points
ADVANCE = 0.60205  # width of a character of DejaVu Sans Mono, in em
LINE_HEIGHT = 1.6 * TEXT_SIZE
MARGIN = 3.0  # points
MOST_COLUMNS = 3  # of text side by side, where the room is wide and low
PAGE_COLUMNS = int((72 * COLUMN_WIDTH - 2 * MARGIN) / (ADVANCE * TEXT_SIZE))


class Ink(NamedTuple):
    """How a span of text looks; what has an edge is a box, such as a token."""

    color: str = BLACK
    weight: str = "normal"
    face: str = "none"
    edge: str = ""


# A verifier's score in five steps from 0 to 1: its colour, the fuller the higher.
SCORE_FACES = ("#FFF6EF", "#FBD5B5", "#F2AA70", "#DF7A2B", "#8F3F00")
SCORE_INKS = [Ink(face=face, edge="#B5B5B5") for face in SCORE_FACES]
SCORE_INKS[-1] = SCORE_INKS[-1]._replace(color="#FFFFFF")  # to be read on the darkest
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


class Span(NamedTuple):
    """A piece of text in one style; a boxed span is never broken over two lines."""

    text: str
    style: str = "plain"


Lines = list[list[tuple[int, Span]]]  # of (column, span)


def break_lines(spans: Iterable[Span], indent: int = 0) -> Lines:
    """Break spans into lines of (column, span), between words or boxes."""
    lines: Lines = [[]]
    column = 0
    for word in _words(spans):
        text = "".join(span.text for span in word)
        width = len(text if INK[word[-1].style].edge else text.rstrip())
        if column + width > PAGE_COLUMNS and column > indent:
            lines.append([])
            column = indent
        for span in word:
            lines[-1].append((column, span))
            column += len(span.text)
        if word[-1].text.endswith("\n"):
            lines.append([])
            column = indent
    return [line for line in lines if line]


def _words(spans: Iterable[Span]) -> list[list[Span]]:
    """Group pieces of spans that no space parts, such as `$` and an annotation."""
    words: list[list[Span]] = [[]]
    for span in spans:
        boxed = INK[span.style].edge
        running = re.findall(
            r"[^ \n]+ *\n?| +|\n", span.text
        )  # behind spaces and lines
        for piece in [span.text] if boxed else running:
            words[-1].append(Span(piece, span.style))
            if boxed or piece[-1] in " \n":
                words.append([])
    return [word for word in words if word]


def write_page(axes: Axes, lines: Lines) -> Axes:
    """Write lines in a fixed pitch, and give the figure the size they need.

    In one column, or in as many as make the text largest where it will be seen.
    """
    layouts = [_split(lines, columns) for columns in range(1, MOST_COLUMNS + 1)]
    columns = max(layouts, key=lambda layout: page_factor(*_size(layout)))
    width, height = _size(columns)
    axes.figure.set_size_inches(width, height)
    axes.set_xlim(0, 72 * width)
    axes.set_ylim(72 * height, 0)
    axes.set_axis_off()
    for place, column in enumerate(columns):
        left = MARGIN + place * 72 * COLUMN_WIDTH
        if place:  # a rule before each further column
            axes.vlines(
                left - MARGIN, MARGIN, 72 * height - MARGIN, GREY, linewidth=0.4
            )
        for number, line in enumerate(column):
            y = MARGIN + (number + 0.5) * LINE_HEIGHT
            for letter, span in line:
                _write(axes, left + letter * ADVANCE * TEXT_SIZE, y, span)
    return axes


def _size(columns: list[Lines]) -> tuple[float, float]:
    """Return the width and height in inches that columns of lines need."""
    height = max(map(len, columns)) * LINE_HEIGHT + 2 * MARGIN
    return len(columns) * COLUMN_WIDTH, height / 72


def _split(lines: Lines, most: int) -> list[Lines]:
    """Split lines into at most so many columns of about the same length.

    Paragraphs, which empty lines part, stay whole.
    """
    columns: list[Lines] = [[]]
    for empty, paragraph in groupby(lines, key=lambda line: not line):
        block = list(paragraph)
        full = len(columns[-1]) + len(block) / 2 > len(lines) / most
        if not empty and columns[-1] and full and len(columns) < most:
            columns.append([])
        if columns[-1] or not empty:
            columns[-1] += block
    return columns


def _write(axes: Axes, x: float, y: float, span: Span) -> None:
    ink = INK[span.style]
    text = span.text.rstrip("\n")
    width, height = len(text) * ADVANCE * TEXT_SIZE, 0.82 * LINE_HEIGHT
    corner = (x, y - height / 2)
    look = dict(facecolor=ink.face, edgecolor=ink.edge or "none", linewidth=0.4)
    axes.add_patch(Rectangle(corner, width, height, **look))
    font = dict(family="DejaVu Sans Mono", fontsize=TEXT_SIZE, weight=ink.weight)
    text = text.replace("$", r"\$")  # no mathematics in word problems
    axes.text(x, y, text, va="center_baseline", color=ink.color, **font)


def show_token(token: str) -> str:
    """Write a token's text so that a line end and what has no glyph are seen."""
    shown = token.replace("\n", "↵")
    return "".join(letter if letter.isprintable() else "·" for letter in shown)
