"""One style for all figures, their sizes, and the parts that several of them share.

Widths are the paper's column, or another venue's; colours are Okabe and Ito's; markers,
line styles and boxes carry the same distinctions in grey. Bars are bootstrap intervals
over problems; bands, with several seeds, the SD over these.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from matplotlib.ticker import NullLocator
from tueplots import figsizes, fontsizes

COLUMN_WIDTH = 3.3  # inches, one column of the paper
BLACK, GREEN, YELLOW = "#000000", "#009E73", "#F0E442"
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#767676"

STYLE = {
    "figure.dpi": 160,
    "savefig.dpi": 300,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
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

SOLVED = "test problems solved (%)"
APART = 1.05  # the factor by which neighbouring curves are moved apart
DATASETS = {"minigsm": "MiniGSM", "gsm8k": "GSM8K"}


class Line(NamedTuple):
    """How one series looks; no two share a marker or a line style."""

    color: str
    marker: str
    dashes: str
    filled: bool = True

    @property
    def look(self) -> dict[str, Any]:
        """Return it in matplotlib's words."""
        face = self.color if self.filled else "white"
        look = dict(color=self.color, marker=self.marker, linestyle=self.dashes)
        return look | dict(markerfacecolor=face)

    @property
    def marks(self) -> dict[str, Any]:
        """Return the look of its marks alone."""
        return self.look | dict(linestyle="none")


FINETUNING = Line(BLUE, "o", "-")
VERIFICATION = Line(VERMILLION, "s", "--", filled=False)
THIRD = Line(GREEN, "^", ":")
FOURTH = Line(BLACK, "D", "-.", filled=False)


@styled
def new_drawing(
    layout: tuple[int, int, float] | None, panels: int = 0
) -> tuple[Drawing, Any]:
    """Return an empty figure and its axes (an array if several).

    layout: rows and columns of axes and the height in inches, None for a page of text;
    `panels` overrides the number of columns, as in Fig 5 with one model.
    """
    if layout is None:
        drawing = plt.figure(figsize=(COLUMN_WIDTH, 1.0))
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return drawing, axes
    rows, columns, height = layout
    venue = _venue.get()
    size = (venue.width, height * _text_factor(venue))
    return plt.subplots(rows, panels or columns, figsize=size, layout="constrained")


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
    line: Line,
    label: str,
    column: str = "",
    *,
    nudge: float = 0.0,
    factor: float = 1.0,
) -> None:
    """Draw a column (see `limit_names`) over x: mean over seeds, bars, band.

    Moved sideways by a nudge or, on a log axis, a factor, apart from other curves.
    """
    by_x, names = table.groupby(x), limit_names(column)
    value, low, high = (100 * by_x[list(names)].mean()).to_numpy().T
    at = factor * np.array(sorted(by_x.groups)) + nudge
    bars = np.maximum([value - low, high - value], 0)
    drawn = axes.errorbar(at, value, bars, elinewidth=0.7, label=label, **line.look)
    drawn.lines[0].set_clip_on(False)  # a marker at 0 stays whole
    spread = (100 * by_x[names[0]].std()).to_numpy()
    if np.isfinite(spread).any():
        band = (value - spread, value + spread)
        axes.fill_between(at, *band, color=line.color, alpha=0.15, linewidth=0)


def curves(
    axes: Axes, x: str, by_label: Mapping[str, pd.DataFrame], lines: Iterable[Line]
) -> None:
    """Draw a curve of accuracy for each label's rows, moved apart on a log axis."""
    middle = (len(by_label) - 1) / 2
    for place, (line, label) in enumerate(zip(lines, by_label, strict=False)):
        factor = APART ** (place - middle)
        points(axes, by_label[label], x, line, label, factor=factor)


def dot(
    axes: Axes,
    y: float,
    rows: pd.DataFrame,
    line: Line,
    column: str = "",
    *,
    label: str | None = None,
    half_band: float = 0.2,
) -> None:
    """Draw the mean over seeds at height y, its bars, and the SD over seeds."""
    value, low, high = (100 * rows[name].mean() for name in limit_names(column))
    bars = np.maximum([[value - low], [high - value]], 0)
    drawn = axes.errorbar([value], [y], xerr=bars, label=label, **line.marks)
    drawn.lines[0].set_clip_on(False)
    spread = 100 * rows[limit_names(column)[0]].std()
    if np.isfinite(spread):
        band, heights = (value - spread, value + spread), [y - half_band, y + half_band]
        axes.fill_betweenx(heights, *band, color=line.color, alpha=0.15, lw=0)


def caption(axes: Axes, table: pd.DataFrame) -> None:
    """Say under the figure on what it was measured and what the bars and bands are."""
    seeds = table["seed"].nunique()
    one = "one seed, so no spread between runs."
    spread = one if seeds == 1 else f"bands: SD over {seeds} seeds."
    where = f"{DATASETS[table['dataset'].iloc[0]]}, {test_problems(table)}"
    note(axes, f"{where}. Bars: 95 % interval over problems; {spread}")


def test_problems(table: pd.DataFrame) -> str:
    """Write how many test problems a table is about."""
    return f"{table['n_problems'].max():,.0f} test problems"


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
    """Return the names of a value's column and of its limits'; none is accuracy's."""
    of = f"{column}_" if column else ""
    return column or "accuracy", f"{of}low", f"{of}high"


def short_count(count: int) -> str:
    """Write a count as the paper's axes do: 500, 1K, 7.5K."""
    return f"{count / 1000:.3g}K" if count >= 1000 else str(count)


def size_axis(
    axes: Axes, sizes: Iterable[int], words: Callable[[int], str] = short_count
) -> None:
    """Make x a log axis of training problems, with a tick at every size."""
    sizes = sorted(set(sizes))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [words(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    limits = (min(sizes) / 1.4, max(sizes) * 1.4)
    axes.set(xlim=limits, xlabel="training problems")
