"""The figures: one style, a function per figure (table + axes in, axes out), export."""

from gsmlib.environment import project_root, provenance
from gsmlib.figures.ablations import fig6a, fig6b, fig6c
from gsmlib.figures.curves import calculator, fig3, fig5
from gsmlib.figures.data import dataset, distributions, released, released_table
from gsmlib.figures.diagram import fig4, pipeline_boxes
from gsmlib.figures.dropout import fig8a, fig8b, fig8c
from gsmlib.figures.export import DRAW, draw, export, figures_folder, is_figure, redraw
from gsmlib.figures.ledger import ledger
from gsmlib.figures.open_points import open_points
from gsmlib.figures.pages import fig1, fig9, fig12
from gsmlib.figures.scaling import direct, fig2
from gsmlib.figures.style import VENUES, new_figure
from gsmlib.figures.test_time import fig7a, fig7b
from gsmlib.figures.token_scores import (
    calibration,
    fig13,
    sidebyside,
    token_score_html,
)

__all__ = [
    "DRAW",
    "VENUES",
    "calculator",
    "calibration",
    "dataset",
    "direct",
    "distributions",
    "draw",
    "export",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "fig6a",
    "fig6b",
    "fig6c",
    "fig7a",
    "fig7b",
    "fig8a",
    "fig8b",
    "fig8c",
    "fig9",
    "fig12",
    "fig13",
    "figures_folder",
    "is_figure",
    "ledger",
    "new_figure",
    "open_points",
    "pipeline_boxes",
    "project_root",
    "provenance",
    "redraw",
    "released",
    "released_table",
    "sidebyside",
    "token_score_html",
]
