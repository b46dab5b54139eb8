"""Fig 4: the pipeline as a diagram, with the numbers of a run."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from gsmlib.config import VerificationSettings
from gsmlib.figures.style import BLACK, COLUMN_WIDTH, DATASETS, styled

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
