"""The figures: one style, a function per figure (table + axes in, axes out), export.

A figure is drawn from its table alone, so `redraw` repeats it from the exported CSV
byte for byte, without torch. Widths are the paper's column; colours are Okabe and
Ito's; markers, line styles and boxes carry the same distinctions in grey. Bars are
bootstrap intervals over problems; bands, with several seeds, the SD over these.
"""

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from gsmlib.calculator import find_annotations
from gsmlib.config import VerificationSettings
from gsmlib.metrics import Interval, bootstrap_interval, paired_difference
from gsmlib.paper import RELEASED_ACCURACY

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
styled = rc_context(STYLE)  # as a decorator: each call gets the style, none leaks it

MOST_STEPS = 7  # fewer than 30 test problems have more: they are taken together
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

# Rows, columns and height in inches; a page of text sets its own height.
LAYOUTS = {
    "fig3": (2, 1, 3.7),
    "fig5": (1, 2, 2.5),
    "dataset": (3, 1, 4.2),
    "released": (2, 1, 3.7),
    "calculator": (1, 1, 1.5),
}


@styled
def new_figure(figure_id: str, panels: int = 0) -> tuple[Figure, Any]:
    """Return an empty figure of the id's size and its axes (an array if several).

    `panels` overrides the number of columns, as in Fig 5 with one model.
    """
    if figure_id not in LAYOUTS:
        figure = plt.figure(figsize=(COLUMN_WIDTH, 1.0))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return figure, axes
    rows, columns, height = LAYOUTS[figure_id]
    size = (COLUMN_WIDTH, height)
    columns = panels or columns
    return plt.subplots(rows, columns, figsize=size, layout="constrained")


# ------------------------------------------------------------------------- curves


def _points(
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


def _caption(axes: Axes, table: pd.DataFrame) -> None:
    """Say under the figure on what it was measured and what the bars and bands are."""
    seeds = table["seed"].nunique()
    spread = (
        "one seed, so no spread between runs."
        if seeds == 1
        else f"bands: SD over {seeds} seeds."
    )
    where = DATASETS[table["dataset"].iloc[0]]
    problems = f"{table['n_problems'].dropna().max():,.0f} test problems"
    _note(axes, f"{where}, {problems}. Bars: 95 % interval over problems; {spread}")


def _note(axes: Axes, text: str) -> None:
    figure = axes.figure
    figure.supxlabel(textwrap.fill(text, 68), fontsize=6, color="#444444")


def _legend(axes: Axes, columns: int) -> None:
    place = dict(loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0.3)
    axes.legend(ncols=columns, handlelength=2.6, columnspacing=1.2, **place)


def _names(column: str) -> tuple[str, str, str]:
    return column, f"{column}_low", f"{column}_high"


@styled
def fig3(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 3: test@1, test@n and single samples over epochs above; the losses below.

    table: the rows of `experiments.test_at_n_curve`; axes: two, one above the other.
    """
    top, bottom = axes
    n = int(table["n"].max())
    curves = {
        f"test@{n}, T = 0.7": ("test_at_n", VERIFICATION, 0.0),
        "test@1, greedy": ("test_at_1", FINETUNING, -0.04),
        "single samples": ("mean_accuracy", THIRD, 0.04),
    }
    for label, (column, line, nudge) in curves.items():
        _points(top, table, "epoch", _names(column), line, label, nudge)
    top.set_ylim(bottom=0)
    top.set_ylabel("test problems solved (%)")
    _legend(top, 2)
    losses_of = {
        "test loss, solutions": ("test_loss", FOURTH),
        "train loss, all tokens": ("train_loss", FINETUNING),
    }
    for words, (name, line) in losses_of.items():
        losses = table.groupby("epoch")[name].mean()
        style = dict(color=line.color, marker=line.marker, linestyle=line.dashes)
        face = line.color if line.filled else "white"
        bottom.plot(losses.index, losses, markerfacecolor=face, label=words, **style)
    bottom.set_ylabel("nats per token")
    bottom.set_xlabel("epochs of finetuning")
    bottom.legend()
    for panel in axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    _caption(top, table)
    return axes


@styled
def fig5(table: pd.DataFrame, axes: Axes | np.ndarray) -> np.ndarray:
    """Fig 5: finetuning and verification over training-set size, a panel per model.

    table: the rows of `experiments.verification_curve`; axes: as many as models.
    """
    panels = np.atleast_1d(axes)
    models = table.sort_values("parameters")["model"].unique()
    for panel, model in zip(panels, models, strict=True):
        rows = table[table["model"] == model]
        looks = (("verification", VERIFICATION, 1.04), ("finetuning", FINETUNING, 0.96))
        for method, line, nudge in looks:
            chosen = rows[rows["method"] == method]
            chosen = chosen.assign(n_train=nudge * chosen["n_train"])
            _points(panel, chosen, "n_train", ("accuracy", "low", "high"), line, method)
        panel.set_title(model, fontsize=7, loc="right", pad=2)
        _size_axis(panel, sorted(table["n_train"].unique()))
    top = 1.05 * 100 * table["high"].max() + 1
    for panel in panels:
        panel.set_ylim(0, top)
        panel.label_outer()
    panels[0].set_ylabel("test problems solved (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    _caption(panels[0], table)
    return panels


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([short_count(size) for size in sizes])
    axes.set_xlim(min(sizes) / 1.4, max(sizes) * 1.4)
    axes.set_xlabel("training problems")


def short_count(count: int) -> str:
    """Write a count as the paper's axes do: 500, 1K, 7.5K."""
    return f"{count / 1000:.3g}K" if count >= 1000 else str(count)


@styled
def calculator(table: pd.DataFrame, axes: Axes) -> Axes:
    """Accuracy with and without the calculator, greedy and for single samples.

    table: the rows of `experiments.calculator_value`.
    """
    styles = {True: (FINETUNING, "with"), False: (VERIFICATION, "without")}
    for used, (line, word) in styles.items():
        rows = table[table["calculator"] == used]
        for row, column in enumerate(("greedy", "sampled")):
            label = f"{word} calculator" if row == 0 else None
            _dot(axes, row - (0.12 if used else -0.12), rows, column, line, label)
    axes.set_yticks([0, 1], ["greedy", "single\nsamples"])
    axes.set_ylim(1.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("test problems solved (%)")
    _legend(axes, 2)
    _caption(axes, table)
    return axes


def _dot(
    axes: Axes, y: float, rows: pd.DataFrame, column: str, line: Line, label: str | None
) -> None:
    value, low, high = (100 * rows[name].mean() for name in _names(column))
    bars = [[max(value - low, 0)], [max(high - value, 0)]]
    face = line.color if line.filled else "white"
    look = dict(color=line.color, marker=line.marker, markerfacecolor=face)
    look |= dict(linestyle="none", label=label)
    drawn = axes.errorbar([value], [y], xerr=bars, **look)
    drawn.lines[0].set_clip_on(False)


# ------------------------------------------------------------------------ the data


def distributions(problems: pd.DataFrame) -> pd.DataFrame:
    """Return the shares that `dataset` plots: dataset, quantity, value, share.

    problems: a row per problem with dataset, steps, question_words, solution_words;
    words are put in bins of 10, named by their lower edge.
    """
    parts = []
    for quantity in ("steps", "question_words", "solution_words"):
        width = 1 if quantity == "steps" else 10
        value = (problems[quantity] // width * width).rename("value")
        share = value.groupby(problems["dataset"]).value_counts(normalize=True)
        part = share.rename("share").reset_index().assign(quantity=quantity)
        parts.append(part.sort_values(["dataset", "value"]))
    return pd.concat(parts)[["dataset", "quantity", "value", "share"]]


@styled
def dataset(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Steps, question lengths and solution lengths; table: see `distributions`."""
    labels = {
        "steps": "solution steps",
        "question_words": "words in the question",
        "solution_words": "words in the solution",
    }
    lines = {"gsm8k": FINETUNING, "minigsm": VERIFICATION}
    for panel, (quantity, label) in zip(axes, labels.items(), strict=True):
        for name, line in lines.items():
            rows = table[(table["quantity"] == quantity) & (table["dataset"] == name)]
            look = dict(color=line.color, linestyle=line.dashes, marker=line.marker)
            face = line.color if line.filled else "white"
            if len(rows):
                at = rows["value"] + (0 if quantity == "steps" else 5)
                shares = 100 * rows["share"]
                look["label"] = DATASETS[name]
                panel.plot(at, shares, markersize=3, markerfacecolor=face, **look)
        panel.set_xlabel(label)
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_ylabel("share of problems (%)")
    axes[0].legend()
    return axes


@styled
def released_table(correct: pd.DataFrame, steps: pd.Series) -> pd.DataFrame:
    """Return the table of `released` from who solved which problem.

    correct: (problems, systems) bool, columns named as paper.RELEASED_ACCURACY; steps:
    (problems,) of the reference solution, taken together from MOST_STEPS on.
    """
    rows = []
    for name in RELEASED_ACCURACY:
        system = name.replace("b_", "B ")
        about = {"quantity": "accuracy", "system": system, "steps": 0}
        rows.append(about | _estimate(bootstrap_interval(correct[name]), len(correct)))
    for size in ("6b", "175b"):
        for step, solved in correct.groupby(steps.clip(upper=MOST_STEPS)):
            pair = solved[f"{size}_verification"], solved[f"{size}_finetuning"]
            about = {"quantity": "difference", "system": size.upper(), "steps": step}
            rows.append(about | _estimate(paired_difference(*pair), len(solved)))
    return pd.DataFrame(rows)


def _estimate(found: Interval, problems: int) -> dict[str, float]:
    limits = {"value": found.mean, "low": found.low, "high": found.high}
    return {"problems": problems} | limits


@styled
def released(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """The released solutions: four accuracies; what verification adds, by steps.

    table: columns quantity ("accuracy" or "difference"), system, steps, problems,
    value, low, high; the rows of a difference have a system "6B" or "175B".
    """
    top, bottom = axes
    rows = table[table["quantity"] == "accuracy"].reset_index(drop=True)
    for y, row in rows.iterrows():
        line = VERIFICATION if "verification" in row["system"] else FINETUNING
        _interval(top, row, y, line, upright=False)
        text = f"{100 * row['value']:.1f}"
        top.annotate(text, (100 * row["high"], y), (4, 0), **_BESIDE)
    top.set_yticks(range(len(rows)), rows["system"].str.replace("_", " "))
    top.set_ylim(len(rows) - 0.5, -0.5)
    top.set_xlim(0, 70)
    top.set_xlabel("test problems solved (%)")
    gaps = table[table["quantity"] == "difference"]
    for system, line, shift in (("6B", FINETUNING, -0.1), ("175B", VERIFICATION, 0.1)):
        for i, (_, row) in enumerate(gaps[gaps["system"] == system].iterrows()):
            label = system if i == 0 else None
            _interval(
                bottom, row, row["steps"] + shift, line, upright=True, label=label
            )
    bottom.axhline(0, color=BLACK, linewidth=0.8)
    bottom.set_xticks(*_step_ticks(gaps))
    bottom.set_xlabel("steps of the reference solution (problems)")
    bottom.set_ylabel("verification minus\nfinetuning (points)")
    _legend(bottom, 2)
    _note(top, "GSM8K, the released solutions. Bars: 95 % interval over problems.")
    return axes


_BESIDE = dict(textcoords="offset points", va="center", fontsize=7)


def _interval(
    axes: Axes,
    row: pd.Series,
    at: float,
    line: Line,
    *,
    upright: bool,
    label: str | None = None,
) -> None:
    bars = 100 * np.array([[row["value"] - row["low"]], [row["high"] - row["value"]]])
    value = [100 * row["value"]]
    x, y = ([at], value) if upright else (value, [at])
    look = dict(color=line.color, marker=line.marker, linestyle="none", label=label)
    look["markerfacecolor"] = line.color if line.filled else "white"
    axes.errorbar(x, y, **{"yerr" if upright else "xerr": bars}, **look)


def _step_ticks(gaps: pd.DataFrame) -> tuple[list[int], list[str]]:
    """Return a tick per number of steps and its label with the number of problems."""
    counts = gaps.drop_duplicates("steps").set_index("steps")["problems"].sort_index()
    words = [f"{step}\n({count})" for step, count in counts.items()]
    words[-1] = f"{counts.index[-1]}+\n({counts.iloc[-1]})"
    return list(counts.index), words


# ------------------------------------------------------------------- pages of text

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


INK = {
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


def _lines(runs: Iterable[Run], indent: int = 0) -> list[list[tuple[int, Run]]]:
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


def _page(axes: Axes, lines: Sequence[Sequence[tuple[int, Run]]]) -> Axes:
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
        lines += _lines(question)
        lines += _lines([Run("Solution: ", "head"), *_annotated(row.solution)])
        lines += [[]]
    return _page(axes, lines[:-1])


@styled
def fig9(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 9: who writes what; table: step, writer ("model", "calculator"), token."""
    lines: list[list[tuple[int, Run]]] = []
    for step, rows in table.groupby("step", sort=True):
        writer = rows["writer"].iloc[0]
        style = "forced" if writer == "calculator" else "sampled"
        head = Run(f"{step:>2} {writer:<11}", "head")
        tokens = [Run(show_token(token), style) for token in rows["token"]]
        lines += _lines([head, *tokens], indent=14)
    key = [Run("sampled", "sampled"), Run(" token of the model   ")]
    key += [Run("forced", "forced"), Run(" token of the calculator")]
    return _page(axes, [*lines, [], *_lines(key)])


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
        lines += _lines([Run(head, "head")])
        styles = np.where(rows["in_loss"], name, "masked")
        tokens = zip(rows["token"], styles, strict=True)
        lines += [*_lines(Run(show_token(text), style) for text, style in tokens), []]
    return _page(axes, [*lines, *_lines([Run("grey: masked, in no loss", "masked")])])


# --------------------------------------------------------------------- the diagram

BOX = (108.0, 30.0)  # points
ROW_HEIGHT = 42.0


# Fig 4's boxes: id, column, row, title, and the boxes that theirs feeds.
BOXES = (
    ("problems", 0, 0, "training problems", "generator"),
    ("generator", 0, 1, "finetune the generator", "completions sample"),
    ("completions", 0, 2, "sample and label", "verifier"),
    ("verifier", 0, 3, "train the verifier", "score"),
    ("problem", 1, 0, "test problem", "sample"),
    ("sample", 1, 1, "sample", "score"),
    ("score", 1, 3, "score", "select"),
    ("select", 1, 4, "select", ""),
)


def pipeline_boxes(settings: VerificationSettings) -> pd.DataFrame:
    """Return the table of Fig 4 with the numbers of a run of 03_verification."""
    name = DATASETS[settings.dataset]
    completed = min(max(settings.sizes), settings.completed_problems)
    heat = settings.temperature
    details = {
        "problems": f"{name}, up to {max(settings.sizes):,}",
        "generator": f"{settings.generator_epochs} epochs",
        "completions": f"up to {completed:,} x {settings.completions}, T = {heat:g}",
        "verifier": f"from the generator, epochs: {settings.verifier_epochs}",
        "problem": f"{name}, {settings.test_problems:,}",
        "sample": f"{settings.test_completions} each, T = {heat:g}",
        "score": "P(correct) of each",
        "select": "answer of the best-scored",
    }
    table = pd.DataFrame(BOXES, columns=["id", "column", "row", "title", "feeds"])
    return table.assign(detail=table["id"].map(details))


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
    face = "#E3F0F9" if row.column == 0 else "#FBE9DD"
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


# ------------------------------------------------------------------------- export

DRAW = {
    "fig1": fig1,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "fig9": fig9,
    "fig12": fig12,
    "dataset": dataset,
    "released": released,
    "calculator": calculator,
}
FORMATS = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def project_root() -> Path:
    """Return the checkout's folder, or the current one for an installed package."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def figures_folder(scale: str, root: Path | str | None = None) -> Path:
    """Return where a scale's figures go: under `root`, else GSMLIB_FIGURES, else ours.

    By default `figures/<scale>` of the project, but `runs/smoke/figures` for smoke,
    whose figures are never reported.
    """
    root = root or os.environ.get("GSMLIB_FIGURES")
    if root:
        return Path(root) / scale
    if scale == "smoke":
        return project_root() / "runs" / "smoke" / "figures"
    return project_root() / "figures" / scale


def provenance(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a figure came from: the settings, the commit, the versions."""
    packages = ("gsmlib", "torch", "transformers", "numpy", "matplotlib")
    versions = {name: metadata.version(name) for name in packages}
    return {"settings": settings, "commit": _commit(), "versions": versions}


def _commit() -> str | None:
    """The checkout's commit, marked -dirty where code or notebooks differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "gsmlib", "notebooks")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def export(
    figure: Figure,
    table: pd.DataFrame,
    scale: str,
    name: str,
    provenance: dict[str, Any],
    root: Path | str | None = None,
) -> list[Path]:
    """Write <name>.png, .svg, .pdf, .csv (what was plotted) and .json (its origin).

    name: `<id>_<words>`, such as fig3_test_at_n. The same table gives the same bytes.
    """
    folder = figures_folder(scale, root)
    folder.mkdir(parents=True, exist_ok=True)
    files = _save(figure, folder, name)
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    origin = {"figure": name, "scale": scale, **provenance}
    text = json.dumps(origin, indent=1, sort_keys=True, default=str) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return [*files, folder / f"{name}.csv", folder / f"{name}.json"]


@styled
def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    files = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found: once is enough
    for file in files:
        figure.savefig(file, dpi=300, metadata=FORMATS[file.suffix[1:]])
    return files


def is_figure(csv: Path) -> bool:
    """Return whether a CSV is an exported figure's table, by its name."""
    return csv.stem.partition("_")[0] in DRAW


def redraw(csv: Path, folder: Path | None = None) -> list[Path]:
    """Draw an exported figure again from its CSV, beside it or into `folder`."""
    name = csv.stem
    figure_id = name.partition("_")[0]
    if not is_figure(csv):
        raise ValueError(f"{csv.name} is no figure's table; known: {', '.join(DRAW)}")
    page = figure_id not in LAYOUTS  # all text: a token may read "null" or "28"
    text = {"token": str, "target": str} if page else None
    table = pd.read_csv(
        csv, float_precision="round_trip", dtype=text, keep_default_na=not page
    )
    panels = table["model"].nunique() if figure_id == "fig5" else 0
    figure, axes = new_figure(figure_id, panels)
    DRAW[figure_id](table, axes)
    target = folder or csv.parent
    target.mkdir(parents=True, exist_ok=True)
    files = _save(figure, target, name)
    plt.close(figure)
    return files
