"""One style for all figures, their sizes, and the parts that several of them share.

Widths are the paper's column, or another venue's; colours are Okabe and Ito's; markers,
line styles and boxes carry the same distinctions in grey. Bars are bootstrap intervals
over problems; bands, with several seeds, the SD over these.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator
from tueplots import figsizes, fontsizes

COLUMN_WIDTH = 3.3  # inches, one column of the paper
BLACK, GREEN, YELLOW = "#000000", "#009E73", "#F0E442"
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#767676"

STYLE = {
    "figure.dpi": 160,
    "savefig.dpi": 300,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "gsmlib",
}


class Venue(NamedTuple):
    """What a place of publication changes: the width in inches, and rc parameters."""

    width: float
    style: dict[str, Any]


TIMES = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"}  # also matplotlib's
VENUES = {
    # ACL's column is 219.08614 TeX points; tueplots does not know it, nor its text size
    "acl": Venue(219.08614 / 72.27, fontsizes.cvpr2024(default_smaller=0) | TIMES),
    "neurips": Venue(
        figsizes.neurips2024()["figure.figsize"][0], fontsizes.neurips2024() | TIMES
    ),
    "slides": Venue(figsizes.beamer_169()["figure.figsize"][0], fontsizes.beamer()),
}
OURS = Venue(COLUMN_WIDTH, {})
_venue: ContextVar[Venue] = ContextVar("venue", default=OURS)


@contextmanager
def drawn_for(venue: Venue) -> Iterator[None]:
    """Draw what is drawn within for a venue: its width, its fonts."""
    token = _venue.set(venue)
    try:
        yield
    finally:
        _venue.reset(token)


@contextmanager
def _in_style() -> Iterator[None]:
    with rc_context({**STYLE, **_venue.get().style}):
        yield


styled = _in_style()  # as a decorator: each call gets the style, none leaks it

DATASETS = {"minigsm": "MiniGSM", "gsm8k": "GSM8K"}


class Line(NamedTuple):
    """How one series looks; no two share a marker or a line style."""

    color: str
    marker: str
    dashes: str
    filled: bool = True


FINETUNING = Line(BLUE, "o", "-")
VERIFICATION = Line(VERMILLION, "s", "--", filled=False)
THIRD = Line(GREEN, "^", ":")
FOURTH = Line(BLACK, "D", "-.", filled=False)

Layout = tuple[int, int, float]  # rows and columns of axes, height in inches


@styled
def new_drawing(layout: Layout | None, panels: int = 0) -> tuple[Drawing, Any]:
    """Return an empty figure of this layout and its axes (an array if several).

    `panels` overrides the number of columns, as in Fig 5 with one model; None is a page
    of text.
    """
    if layout is None:
        drawing = plt.figure(figsize=(COLUMN_WIDTH, 1.0))
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return drawing, axes
    rows, columns, height = layout
    venue = _venue.get()
    size = (venue.width, height * _text_factor(venue))
    columns = panels or columns
    return plt.subplots(rows, columns, figsize=size, layout="constrained")


def _text_factor(venue: Venue) -> float:
    """How much larger than here a venue's text is."""
    return venue.style.get("font.size", STYLE["font.size"]) / STYLE["font.size"]


def fit_page(drawing: Drawing) -> None:
    """Scale a drawn page of text, whose size is its text's, to the venue.

    Its text grows as the venue's does, as far as the venue is wide enough.
    """
    venue = _venue.get()
    factor = min(_text_factor(venue), venue.width / drawing.get_figwidth())
    drawing.set_size_inches(factor * drawing.get_size_inches())
    for text in drawing.findobj(Text):
        text.set_fontsize(factor * text.get_fontsize())


def points(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    names: Sequence[str],
    line: Line,
    label: str,
    nudge: float = 0.0,
) -> None:
    """Draw value, low, high (columns `names`) over x: mean over seeds, bars, band."""
    by_x = table.groupby(x)
    value, low, high = (100 * by_x[list(names)].mean()).to_numpy().T
    at = np.array(sorted(by_x.groups)) + nudge
    bars = np.maximum([value - low, high - value], 0)
    drawn = axes.errorbar(
        at,
        value,
        bars,
        color=line.color,
        marker=line.marker,
        linestyle=line.dashes,
        markerfacecolor=line.color if line.filled else "white",
        elinewidth=0.7,
        label=label,
    )
    drawn.lines[0].set_clip_on(False)  # a marker at 0 stays whole
    spread = (100 * by_x[names[0]].std()).to_numpy()
    if np.isfinite(spread).any():
        band = (value - spread, value + spread)
        axes.fill_between(at, *band, color=line.color, alpha=0.15, linewidth=0)


def dot(
    axes: Axes,
    y: float,
    rows: pd.DataFrame,
    columns: tuple[str, str, str],
    line: Line,
    label: str | None = None,
    half_band: float = 0.2,
) -> None:
    """Draw the mean over seeds at height y, its bars, and the SD over seeds.

    columns: the value's and its limits'.
    """
    value, low, high = (100 * rows[name].mean() for name in columns)
    bars = [[max(value - low, 0)], [max(high - value, 0)]]
    face = line.color if line.filled else "white"
    look = dict(color=line.color, marker=line.marker, markerfacecolor=face)
    look |= dict(linestyle="none", label=label)
    drawn = axes.errorbar([value], [y], xerr=bars, **look)
    drawn.lines[0].set_clip_on(False)
    spread = 100 * rows[columns[0]].std()
    if np.isfinite(spread):
        band, heights = (value - spread, value + spread), [y - half_band, y + half_band]
        axes.fill_betweenx(heights, *band, color=line.color, alpha=0.15, lw=0)


def caption(axes: Axes, table: pd.DataFrame) -> None:
    """Say under the figure on what it was measured and what the bars and bands are."""
    seeds = table["seed"].nunique()
    spread = (
        "one seed, so no spread between runs."
        if seeds == 1
        else f"bands: SD over {seeds} seeds."
    )
    where = DATASETS[table["dataset"].iloc[0]]
    problems = f"{table['n_problems'].dropna().max():,.0f} test problems"
    note(axes, f"{where}, {problems}. Bars: 95 % interval over problems; {spread}")


def note(axes: Axes, text: str) -> None:
    """Write a note under the whole figure, broken into lines."""
    figure = axes.figure
    letters = int(68 * figure.get_figwidth() / COLUMN_WIDTH)
    figure.supxlabel(textwrap.fill(text, letters), fontsize=6, color="#444444")


def legend(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it covers nothing."""
    place = dict(loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3)
    axes.legend(ncols=columns, handlelength=2.6, columnspacing=1.2, **place)


def limit_names(column: str) -> tuple[str, str, str]:
    """Return the names of a value's column and of its limits'."""
    return column, f"{column}_low", f"{column}_high"


def size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Make x a log axis of training problems, with a tick at every size."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([short_count(size) for size in sizes])
    axes.set_xlim(min(sizes) / 1.4, max(sizes) * 1.4)
    axes.set_xlabel("training problems")


def short_count(count: int) -> str:
    """Write a count as the paper's axes do: 500, 1K, 7.5K."""
    return f"{count / 1000:.3g}K" if count >= 1000 else str(count)
