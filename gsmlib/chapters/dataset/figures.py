"""Example problems (Fig 1), lengths and steps, and the released solutions."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style
from gsmlib.chapters.style import Line
from gsmlib.chapters.textpage import Lines, Span, break_lines, write_page
from gsmlib.data import call, family
from gsmlib.method.calculator import find_annotations

LETTERS = 11  # of an axis title to the inch


@style.styled
def fig1(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 1: example problems; table: dataset, question, solution."""
    lines: Lines = []
    for row in table.itertuples():
        head = Span(f"{call(row.dataset)} problem: ", "head")
        lines += break_lines([head, Span(row.question)])
        lines += break_lines([Span("Solution: ", "head"), *_annotated(row.solution)])
        lines += [[]]
    return write_page(axes, lines[:-1])


def _annotated(solution: str) -> list[Span]:
    """Split a solution into spans, its annotations and its answer line marked."""
    spans, last = [], 0
    for mark in find_annotations(solution):
        spans += [Span(solution[last : mark.start])]
        spans += [Span(solution[mark.start : mark.end], "mark")]
        last = mark.end
    body, hashes, answer = solution[last:].partition("####")
    spans += [Span(body), Span(hashes + answer, "head")]
    return [span for span in spans if span.text]


@style.styled
def dataset(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Steps, question lengths and solution lengths; table: see `distributions`."""
    labels = {
        "steps": "solution steps",
        "question_words": "words in the question",
        "solution_words": "words in the solution",
    }
    lines = {"gsm8k": Line(style.GREY, "o", "-")}
    lines["minigsm"] = Line(style.BLACK, "s", "--", filled=False)
    families = table["dataset"].map(family)
    for panel, (quantity, label) in zip(axes, labels.items(), strict=True):
        for name, line in lines.items():
            rows = table[(table["quantity"] == quantity) & (families == name)]
            if len(rows):
                look = dict(label=call(name), markersize=3) | line.look
                at = rows["value"] + (0 if quantity == "steps" else 5)
                panel.plot(at, 100 * rows["share"], **look)
        panel.set(xlabel=label, ylim=(0, None), xlim=(0, None))
    axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    size = plt.rcParams["axes.labelsize"]
    axes[0].figure.supylabel("share of problems (%)", fontsize=size)
    axes[-1].legend()
    return axes


@style.styled
def released(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """The released solutions: four accuracies; what verification adds, by steps.

    table: columns quantity ("accuracy" or "difference"), system, steps, problems,
    value, low, high; the rows of a difference have a system "6B" or "175B".
    """
    top, bottom = axes
    percent = table.assign(**100 * table[["value", "low", "high"]])
    rows = percent[percent["quantity"] == "accuracy"].reset_index(drop=True)
    for y, row in rows.iterrows():
        verified = "verification" in row["system"]
        line = style.VERIFICATION if verified else style.FINETUNING
        top.errorbar([row["value"]], [y], xerr=_bars(row), **line.marks)
        beside = dict(textcoords="offset points", va="center", fontsize=7)
        top.annotate(f"{row['value']:.1f}", (row["high"], y), (4, 0), **beside)
    top.set_yticks(range(len(rows)), rows["system"].str.replace("_", " "))
    top.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 70), xlabel=style.SOLVED)
    gaps = percent[percent["quantity"] == "difference"]
    small, large = style.shades(style.VERMILLION, 2, "s^")
    for system, line, shift in (("6B", small, -0.1), ("175B", large, 0.1)):
        for i, (_, row) in enumerate(gaps[gaps["system"] == system].iterrows()):
            look = line.marks | dict(label=system if i == 0 else None)
            at = row["steps"] + shift
            bottom.errorbar([at], [row["value"]], _bars(row), **look)
    bottom.axhline(0, color=style.BLACK, linewidth=0.8)
    bottom.set_xticks(*_step_ticks(gaps))
    words = "solution steps; below, problems"
    bottom.set_xlabel(textwrap.fill(words, int(LETTERS * style.room(bottom))))
    bottom.set_ylabel("verification minus\nfinetuning (points)")
    style.legend(bottom, 2)
    style.note(top, "GSM8K, the released solutions. Bars: 95 % interval over problems.")
    return axes


def _bars(row: pd.Series) -> list[list[float]]:
    return [[row["value"] - row["low"]], [row["high"] - row["value"]]]


def _step_ticks(gaps: pd.DataFrame) -> tuple[list[int], list[str]]:
    """Return a tick per number of steps and its label with the number of problems."""
    counts = gaps.drop_duplicates("steps").set_index("steps")["problems"].sort_index()
    words = [f"{step}\n{count}" for step, count in counts.items()]
    words[-1] = f"{counts.index[-1]}+\n{counts.iloc[-1]}"
    return list(counts.index), words
