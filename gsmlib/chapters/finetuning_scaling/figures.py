"""Finetuned test@1 over data and parameters (Fig 2), and answers without steps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.finetuning_scaling import verdicts

LINES = (style.FINETUNING, style.VERIFICATION, style.THIRD, style.FOURTH)
MAX_SIZES = 3  # curves over parameters: more than these cannot be told apart


@style.styled
def fig2(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Fig 2: test@1 over training problems above, over parameters below.

    table: see `grid.table`; axes: two, one above the other. Above a curve per model,
    below one per training-set size, and the log-linear fit.
    """
    above, below = axes
    models = _thinned(table.sort_values("parameters")["model"].unique(), len(LINES))
    by_model = {model: table[table["model"] == model] for model in models}
    style.curves(above, "n_train", by_model, LINES)
    style.size_axis(above, table["n_train"])
    sizes = _thinned(sorted(table["n_train"].unique()), MAX_SIZES)
    names = {n: f"{style.short_count(n)} problems" for n in sizes}
    by_size = {name: table[table["n_train"] == n] for n, name in names.items()}
    style.curves(below, "parameters", by_size, LINES)
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
    reached = f"The fit reaches {100 * verdicts.GOAL:.0f} % at {goal} parameters."
    style.note(axes, f"{said} {reached}")


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

    table: see `grid.direct_table`.
    """
    looks = {"with steps": style.FINETUNING, "direct": style.VERIFICATION}
    for y, (answers, line) in enumerate(looks.items()):
        style.dot(axes, y, table[table["answers"] == answers], line)
    axes.set_yticks([0, 1], ["with steps", "answer only"])
    axes.set(ylim=(1.5, -0.5), xlim=(0, None), xlabel=style.SOLVED)
    style.caption(axes, table)
    return axes
