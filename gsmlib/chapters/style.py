"""One style for all figures, their sizes, and the parts that several of them share.

Widths are the paper's column, or another venue's. A method has one colour in all
figures, of Okabe and Ito's; its models and variants are shades of it, what nobody chose
(a sample, the paper's number) is grey. Lightness, markers and line styles carry the
same distinctions in grey. Bars are the 95 % intervals of the mean over problems and
seeds (`method/intervals.py`); bands, with several seeds, the SD over these.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Drawing
from matplotlib.style import context
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from tueplots import figsizes, fontsizes

from gsmlib.data import ANSWERED, call
from gsmlib.method.intervals import column_names
from gsmlib.method.selection import NO_VERIFIER

COLUMN_WIDTH = 3.3  # inches, one column of the paper
LEAST_POINTS = 3.5  # of text that can be read
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
    """What a place of publication changes: sizes in inches, and rc parameters.

    width: of a column. height: of a page or slide, less what a title and a caption
    need. columns: of a page, all of which a text too long for one may fill.
    """

    width: float
    height: float
    style: dict[str, Any]
    columns: int = 1


TIMES = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"}  # also matplotlib's
VENUES = {
    # ACL's column is 219.08614 TeX points; tueplots does not know it, nor its text size
    "acl": Venue(
        219.08614 / 72.27, 8.5, fontsizes.cvpr2024(default_smaller=0) | TIMES, columns=2
    ),
    "neurips": Venue(
        figsizes.neurips2024()["figure.figsize"][0],
        8.0,
        fontsizes.neurips2024() | TIMES,
    ),
    "slides": Venue(
        figsizes.beamer_169()["figure.figsize"][0], 2.7, fontsizes.beamer()
    ),
}
OURS = Venue(COLUMN_WIDTH, 9.0, {}, columns=2)
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
    """Draw in the style alone, then restore all of the user's but `interactive`.

    matplotlib's defaults come first, so that no matplotlibrc, style sheet or seaborn
    theme is seen in a figure. The first figure of a notebook makes Jupyter's backend
    set `interactive`, and without it the backend shows no figure after the first.
    """
    interactive = matplotlib.is_interactive()
    try:
        with context(["default", {**STYLE, **_venue.get().style}]):
            try:
                yield
            finally:
                interactive = matplotlib.is_interactive()
    finally:
        matplotlib.interactive(interactive)


styled = _in_style()  # as a decorator: each call gets the style, none leaks it

SOLVED = "problems solved (%)"
APART = 1.05  # the factor by which neighbouring curves are moved apart
TICK_ROOM = 0.27  # inches for the label of each count
TICKS = (1, 2, 5, 10, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400)


class Line(NamedTuple):
    """How one series looks; no two share a marker or a line style."""

    color: str
    marker: str
    dashes: str | tuple
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


def shade(color: str, step: float) -> str:
    """Mix a colour with white (a step from 0 to 1) or with black (from 0 to -1)."""
    end = 1.0 if step > 0 else 0.0
    return to_hex((1 - abs(step)) * np.array(to_rgb(color)) + abs(step) * end)


FINETUNING = Line(BLUE, "o", "-")
VERIFICATION = Line(VERMILLION, "s", "--", filled=False)  # as the paper: token-level
SOLUTION_LEVEL = Line(shade(VERMILLION, -0.5), "^", ":")  # another verifier
VERIFIER_ALONE = Line(shade(VERMILLION, -0.5), "D", "-.")  # yet another
VOTE = Line(GREEN, "P", "-")
WEIGHTED_VOTE = Line(shade(GREEN, -0.55), "x", ":")
CEILING = Line(BLACK, "D", "-.", filled=False)  # test@n: were every choice right
SAMPLES = Line(GREY, "v", ":")  # a completion at random: no choice
PURPLE = "#CC79A7"  # of Okabe and Ito's, for what is the generator's own
LOGPROB = Line(PURPLE, "X", "-.")  # the likeliest, per token
LOGPROB_SUM = Line(shade(PURPLE, -0.45), "+", (0, (5, 1, 1, 1, 1, 1)))  # the sum
UNVERIFIED = {  # the looks of selection.NO_VERIFIER, by column
    "mean_accuracy": SAMPLES,
    "majority_vote": VOTE,
    "by_logprob": LOGPROB_SUM,
    "by_logprob_per_token": LOGPROB,
}
PAPER = Line("#9A9A9A", "d", "--")  # what the paper states of the very quantity
MARKERS = "osD^vPX*phd<>"


def shades(color: str, count: int, markers: str = MARKERS) -> list[Line]:
    """Return lines of one colour from pale to dark, each with a mark of its own."""
    steps = np.linspace(0.5, -0.6, count) if count > 1 else [0.0]
    return [
        Line(shade(color, step), markers[i % len(markers)], "-", filled=i % 2 == 0)
        for i, step in enumerate(steps)
    ]


class StyledDrawing(Drawing):
    """A figure that is in the style also when a notebook shows it, after the cell.

    Even the number of its ticks depends on the font that is set when it is drawn.
    """

    draw = styled(Drawing.draw)
    get_tightbbox = styled(Drawing.get_tightbbox)


def shown(**size: Any) -> Drawing:
    """Return an empty figure of pyplot's, which a notebook shows."""
    drawing = plt.figure(FigureClass=StyledDrawing, **size)
    if not isinstance(drawing.canvas, FigureCanvasAgg):  # pdf's, which shows nothing
        FigureCanvasAgg(drawing)  # text has the same widths as everywhere
    return drawing


def unshown(**size: Any) -> Drawing:
    """Return an empty figure that no backend of the user's sees, and no window."""
    return FigureCanvasAgg(StyledDrawing(**size)).figure


@styled
def new_drawing(
    layout: tuple[int, int, float] | None,
    panels: int = 0,
    make: Callable[..., Drawing] = shown,
) -> tuple[Drawing, Any]:
    """Return an empty figure and its axes (an array if several).

    layout: rows and columns of axes and the height in inches, None for a page of text;
    `panels` overrides the number of columns, as in Fig 5 with one model. Rows that are
    too high for the venue stand side by side. make: `shown` or `unshown`.
    """
    if layout is None:
        drawing = make(figsize=(COLUMN_WIDTH, 1.0))
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return drawing, axes
    rows, columns, height = layout
    venue = _venue.get()
    height *= _text_factor(venue)
    if height > venue.height and columns == 1:
        rows, columns = 1, rows
    size = (venue.width, min(height, venue.height))
    drawing = make(figsize=size, layout="constrained")
    return drawing, drawing.subplots(rows, panels or columns)


def _text_factor(venue: Venue) -> float:
    """How much larger than here a venue's text is."""
    return venue.style.get("font.size", STYLE["font.size"]) / STYLE["font.size"]


def page_factor(width: float, height: float) -> float:
    """Return how much larger the venue shows a page of text of this size in inches.

    Its text grows as the venue's does, as far as the venue has room: one column, or
    all of a page for what is wider than ours.
    """
    venue = _venue.get()
    room = venue.width * (venue.columns if width > COLUMN_WIDTH else 1)
    return min(_text_factor(venue), room / width, venue.height / height)


class TooLong(ValueError):
    """A page of text that the venue has no room for, in a few words."""


def fit_page(drawing: Drawing) -> None:
    """Scale a drawn page of text, whose size is its text's, to the venue.

    Raises TooLong where its text could not be read there.
    """
    factor = page_factor(*drawing.get_size_inches())
    drawing.set_size_inches(factor * drawing.get_size_inches())
    for text in drawing.findobj(Text):
        size = factor * text.get_fontsize()
        if size < LEAST_POINTS:
            raise TooLong(f"on one page there its text would be {size:.1f} points")
        text.set_fontsize(size)


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
    """Draw a column (see `column_names`) over x: mean over seeds, bars, band.

    Moved sideways by a nudge or, on a log axis, a factor, apart from other curves.
    """
    by_x, names = table.groupby(x), column_names(column)
    value, low, high = (100 * by_x[list(names)].mean()).to_numpy().T
    at = factor * np.array(sorted(by_x.groups)) + nudge
    bars = np.maximum([value - low, high - value], 0)
    drawn = axes.errorbar(at, value, bars, elinewidth=0.7, label=label, **line.look)
    drawn.lines[0].set_clip_on(False)  # a marker at 0 stays whole
    spread = (100 * by_x[names[0]].std()).to_numpy()
    if len(at) > 1 and np.isfinite(spread).any():
        band = (value - spread, value + spread)
        axes.fill_between(at, *band, color=line.color, alpha=0.15, linewidth=0)


def plain(
    axes: Axes, rows: pd.DataFrame, x: str, line: Line, label: str, **look: Any
) -> None:
    """Draw accuracy's mean over seeds as a line with small marks, without bars."""
    means = 100 * rows.groupby(x)["accuracy"].mean()
    look = line.look | dict(markersize=2.8, linewidth=1) | look
    axes.plot(means.index, means, label=label, clip_on=False, **look)


def unverified(axes: Axes, table: pd.DataFrame) -> None:
    """Draw what choices without a verifier reach as lines across, behind the curves.

    table: with the columns of selection.NO_VERIFIER.
    """
    for name, line in UNVERIFIED.items():
        across(axes, table[name].mean(), line, NO_VERIFIER[name])


def across(axes: Axes, value: float, line: Line, label: str | None = None) -> None:
    """Draw one accuracy as a line across, behind the curves."""
    look = dict(color=line.color, linestyle=line.dashes, linewidth=0.9, zorder=1)
    axes.axhline(100 * value, label=label, **look)


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
    value, low, high = (100 * rows[name].mean() for name in column_names(column))
    bars = np.maximum([[value - low], [high - value]], 0)
    drawn = axes.errorbar([value], [y], xerr=bars, label=label, **line.marks)
    drawn.lines[0].set_clip_on(False)
    spread = 100 * rows[column_names(column)[0]].std()
    if np.isfinite(spread):
        band, heights = (value - spread, value + spread), [y - half_band, y + half_band]
        axes.fill_betweenx(heights, *band, color=line.color, alpha=0.15, lw=0)


def caption(axes: Axes, table: pd.DataFrame, more: str = "") -> None:
    """Say under the drawn figure on what it was measured, what bars and bands are."""
    seeds = table["seed"].nunique()
    one = "over problems; one seed, so no spread between runs."
    spread = f"over problems and {seeds} seeds."
    if any(panel.findobj(PolyCollection) for panel in axes.figure.axes):
        spread = f"over problems and seeds; bands: SD over {seeds} seeds."
    bars = f"95 % interval {one if seeds == 1 else spread}"
    note(axes, f"{measured_on(table)}. Bars: {bars} {more}".rstrip())


def measured_on(table: pd.DataFrame) -> str:
    """Write what a table was measured with, as far as its columns say.

    Such as "MiniGSM, 200 test problems; mini-2m, 250 to 4,000 training problems, up to
    100 completions each"; empty for a table without test problems.
    """
    if not {"dataset", "n_problems"} <= set(table):
        return ""
    name = call(table["dataset"].iloc[0]).replace("$", r"\$")  # no formula
    split = ANSWERED[table["split"].iloc[0] if "split" in table else "test"]
    where = f"{name}, {_span(table['n_problems'])} {split}"
    parts = []
    by = "parameters" if "parameters" in table else "model"
    if "model" in table:
        names = list(table.sort_values(by, kind="stable")["model"].unique())
        few = len(names) < 3
        parts += [" and ".join(names) if few else f"{names[0]} to {names[-1]}"]
    if "n_train" in table:
        parts += [f"{_span(table['n_train'])} training problems"]
    if "n" in table:
        counts = table["n"].dropna()
        most = "" if counts.nunique() == 1 else "up to "
        parts += [f"{most}{counts.max():,.0f} completions each"]
    return "; ".join([f"{where} problems", *[", ".join(parts)] * bool(parts)])


def drawn_from(table: pd.DataFrame) -> str:
    """Write what a table was measured with, its seeds too, for a caption."""
    measured = measured_on(table)
    seeds = table["seed"].unique() if "seed" in table else []
    if not measured or not len(seeds):
        return measured
    said = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]:.0f}"
    return f"{measured}; {said}"


def _span(counts: pd.Series) -> str:
    """Write the least and the greatest of some counts, once if they are the same."""
    ends = sorted({counts.min(), counts.max()})
    return " to ".join(f"{count:,.0f}" for count in ends)


def note(axes: Axes, text: str) -> None:
    """Write a note under the whole figure, broken into lines of about one length."""
    figure, text = axes.figure, text.replace(" %", "\u00a0%")  # on one line
    letters = int(68 * figure.get_figwidth() / COLUMN_WIDTH)
    lines = len(textwrap.wrap(text, letters))
    while len(textwrap.wrap(text, letters - 1)) == lines:
        letters -= 1
    figure.supxlabel(textwrap.fill(text, letters), fontsize=6, color="#444444")


def legend(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, in at most so many columns as have room there."""
    place = dict(loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3)
    look = dict(handlelength=2.6, columnspacing=1.2) | place
    made = axes.legend(ncols=columns, **look)
    width = made.get_window_extent().width
    if columns > 1 and width > room(axes) * axes.figure.dpi:
        legend(axes, columns - 1)


def legends_fit(drawing: Drawing) -> bool:
    """Say whether all legends of a drawing, as last laid out, are within its edges."""
    legends = [axes.get_legend() for axes in drawing.axes]
    boxes = [made.get_window_extent() for made in legends if made]
    return all(box.x0 >= 0 and box.x1 <= drawing.bbox.x1 for box in boxes)


def room(axes: Axes) -> float:
    """Return the width in inches that a panel and its labels have."""
    columns = axes.get_subplotspec().get_gridspec().ncols
    return axes.figure.get_figwidth() / columns


def label_below(panels: Iterable[Axes], words: str) -> None:
    """Title the x axis of the panels that have no other below them."""
    for panel in panels:
        if panel.get_subplotspec().is_last_row():
            panel.set_xlabel(words)


def short_count(count: int) -> str:
    """Write a count as the paper's axes do: 500, 1K, 7.5K, 1.69M."""
    for unit, word in ((10**6, "M"), (1000, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{word}"
    return str(count)


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


def count_axis(axes: Axes, most: int) -> None:
    """Make x a log axis of counts; the greatest has a tick too, given room."""
    ticks = [tick for tick in TICKS if tick <= most]
    if most >= 1.6 * ticks[-1]:
        ticks.append(int(most))
    ticks = ticks[:: -math.ceil(len(ticks) * TICK_ROOM / room(axes))]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [short_count(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.85, 1.2 * most)


def plain_ticks(axis: Axis) -> None:
    """Label a log axis at one, two and five of each decade, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
