"""The figures: one style, a function per figure (table + axes in, axes out), export."""

from gsmlib.figures.curves import calculator, fig3, fig5
from gsmlib.figures.data import dataset, distributions, released, released_table
from gsmlib.figures.diagram import fig4, pipeline_boxes
from gsmlib.figures.export import (
    DRAW,
    export,
    figures_folder,
    is_figure,
    project_root,
    provenance,
    redraw,
)
from gsmlib.figures.pages import fig1, fig9, fig12
from gsmlib.figures.style import VENUES, new_figure

__all__ = [
    "DRAW",
    "VENUES",
    "calculator",
    "dataset",
    "distributions",
    "export",
    "fig1",
    "fig3",
    "fig4",
    "fig5",
    "fig9",
    "fig12",
    "figures_folder",
    "is_figure",
    "new_figure",
    "pipeline_boxes",
    "project_root",
    "provenance",
    "redraw",
    "released",
    "released_table",
]
