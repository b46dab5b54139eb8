"""Fig 9, the calculator at work; and its worth, greedily and for single samples."""

import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.textpage import Lines, Span, break_lines, show_token, write_page


@style.styled
def fig9(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 9: who writes what; table: step, writer ("model", "calculator"), token."""
    lines: Lines = []
    for step, rows in table.groupby("step", sort=True):
        writer = rows["writer"].iloc[0]
        ink = "forced" if writer == "calculator" else "sampled"
        head = Span(f"{step:>2} {writer:<11}", "head")
        tokens = [Span(show_token(token), ink) for token in rows["token"]]
        lines += break_lines([head, *tokens], indent=14)
    key = [Span("sampled", "sampled"), Span(" token of the model   ")]
    key += [Span("forced", "forced"), Span(" token of the calculator")]
    return write_page(axes, [*lines, [], *break_lines(key)])


@style.styled
def calculator(table: pd.DataFrame, axes: Axes) -> Axes:
    """Accuracy with and without the calculator, greedy and for single samples.

    Filled marks are those with it. table: see `grid.table`.
    """
    lines = {"greedy": style.FINETUNING, "sampled": style.SAMPLES}
    for used, word in ((True, "with"), (False, "without")):
        rows = table[table["calculator"] == used]
        for row, (column, line) in enumerate(lines.items()):
            label = f"{word} calculator" if row == 0 else None
            y = row - (0.12 if used else -0.12)
            look = line._replace(filled=used)
            style.dot(axes, y, rows, look, column, label=label, half_band=0.1)
    axes.set_yticks([0, 1], ["greedy", "single\nsamples"])
    axes.set(ylim=(1.5, -0.5), xlim=(0, None), xlabel=style.SOLVED)
    style.legend(axes, 2)
    style.caption(axes, table)
    return axes
