"""Finetuned test@1 over data and parameters (Fig 2), and answers without steps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib import paper
from gsmlib.chapters import style
from gsmlib.chapters.finetuning_scaling import verdicts
from gsmlib.chapters.style import BLUE, FINETUNING, PAPER

MAX_MODELS = 4
MAX_SIZES = 3  # curves over parameters: more than these cannot be told apart


@style.styled
def fig2(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 2: test@1 over training problems above, over parameters below.

    table: see `grid.table`; axes: two, one above the other. Above a curve per model,
    below one per training-set size, and the log-linear fit.
    """
    above, below = axes
    models = _thinned(table.sort_values("parameters")["model"].unique(), MAX_MODELS)
    by_model = {model: table[table["model"] == model] for model in models}
    style.curves(above, "n_train", by_model, style.shades(BLUE, len(by_model)))
    style.size_axis(above, table["n_train"])
    sizes = _thinned(sorted(table["n_train"].unique()), MAX_SIZES)
    names = {n: f"{style.short_count(n)} problems" for n in sizes}
    by_size = {name: table[table["n_train"] == n] for n, name in names.items()}
    lines = style.shades(BLUE, len(by_size), "vPX")
    style.curves(below, "parameters", by_size, lines)
    style.size_axis(below, table["parameters"], short_parameters)
    below.set_xlabel("parameters")
    style.caption(above, table)
    _draw_fit(below, table)
    for panel in axes:
        panel.set(ylim=(0, 100 * table["high"].max() + 2), ylabel=style.SOLVED)
        style.legend(panel, 2)
    return axes


def _draw_fit(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the log-linear fit at the largest training set; say where it leads."""
    n_train = int(table["n_train"].max())
    line = verdicts.fit_line(table, n_train)
    if not np.isfinite(line.slope.mean):
        return
    low, high = table["parameters"].min(), table["parameters"].max()
    x = np.geomspace(low / 1.3, high * 1.3, 50)
    fit = f"fit at {style.short_count(n_train)}"
    axes.plot(x, 100 * line.at(x), color=style.GREY, linewidth=0.9, label=fit, zorder=1)
    goal = verdicts.in_parameters(verdicts.parameters_for(line, verdicts.GOAL))
    said = " ".join(axes.figure.get_supxlabel().split())
    reached = f"The fit reaches {100 * verdicts.GOAL:.0f} % at {goal} parameters"
    stated = f"{paper.claim('C1').value:.0e}".replace("e+", "e")
    style.note(axes, f"{said} {reached}; the paper's, on GSM8K, at {stated}.")


def _thinned(values: Sequence, most: int) -> list:
    """Keep the first, the last, and as many evenly between as `most` allows."""
    places = np.linspace(0, len(values) - 1, min(most, len(values)))
    return [values[round(place)] for place in places]


def short_parameters(count: int) -> str:
    """Write a number of parameters as model names do: 83.3K, 0.315M, 355M, 1.56B."""
    units = ((1e9, 1e9, "B"), (1e5, 1e6, "M"), (0, 1e3, "K"))
    size, name = next(unit for least, *unit in units if count >= least)
    return f"{count / size:.3g}{name}"


@style.styled
def direct(table: pd.DataFrame, axes: Axes) -> Axes:
    """Accuracy of solutions with steps and of direct answers (section 4.1).

    In grey what the paper states. table: see `grid.direct_table`.
    """
    for y, (answers, stated) in enumerate(paper.DIRECT_ACCURACY.items()):
        rows = table[table["answers"] == answers]
        own = f"{rows['model'].iloc[0]}, here" if y == 0 and len(rows) else None
        style.dot(axes, y - 0.1, rows, FINETUNING, half_band=0.12, label=own)
        label = "paper: 6B on GSM8K" if y == 0 else None
        axes.plot([100 * stated], [y + 0.25], label=label, **PAPER.marks)
    axes.set_yticks([0, 1], ["with steps", "answer only"])
    axes.set(ylim=(1.5, -0.5), xlim=(0, None), xlabel=style.SOLVED)
    style.legend(axes, 2)
    style.caption(axes, table)
    return axes
