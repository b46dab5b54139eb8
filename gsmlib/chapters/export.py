"""Figures to files and back: a figure is drawn from its table alone.

`redraw` repeats it from the exported CSV byte for byte, without torch.
"""

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure as Drawing
from pandas.errors import EmptyDataError, ParserError

from gsmlib import paper
from gsmlib.chapters.style import OURS, VENUES, drawn_for, fit_page, new_drawing, styled
from gsmlib.environment import project_root, provenance
from gsmlib.files import write_file
from gsmlib.records import Record

# Each format, and the metadata that is left out for the same bytes.
FORMATS = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}
TEXT_COLUMNS = ("token", "target", "finetuning", "verification")  # of pages of text


class Figure(NamedTuple):
    """A figure of a chapter: how it is drawn, and its files' name.

    name: `<id>_<words>`, such as fig3_test_at_n. layout: rows and columns of axes and
    the height in inches, None for a page of text, which sets its own; `per` names a
    column of the table that has as many values as there are columns of axes.
    """

    name: str
    draw: Callable[[pd.DataFrame, Any], Any]  # table and axes in, axes out
    layout: tuple[int, int, float] | None = None
    own_words: str = ""  # what it shows, where it is no figure of the paper
    per: str = ""

    @property
    def id(self) -> str:
        """The paper's name of the figure, such as fig3, or one of ours."""
        return self.name.partition("_")[0]

    @property
    def shows(self) -> str:
        """What it shows, in a few words."""
        return self.own_words or paper.FIGURES[self.id]


def draw(figure: Figure, table: pd.DataFrame) -> Drawing:
    """Draw a figure from its table alone, in the size of the venue drawn for."""
    panels = table[figure.per].nunique() if figure.per else 0
    drawing, axes = new_drawing(figure.layout, panels)
    figure.draw(table, axes)
    if figure.layout is None:
        fit_page(drawing)
    return drawing


def figures_folder(scale: str) -> Path:
    """Return where a scale's figures go: under GSMLIB_FIGURES, if it is set.

    By default `figures/<scale>` of the project, but `runs/smoke/figures` for smoke,
    whose figures are never reported.
    """
    if root := os.environ.get("GSMLIB_FIGURES"):
        return Path(root) / scale
    if scale == "smoke":
        return project_root() / "runs" / "smoke" / "figures"
    return project_root() / "figures" / scale


def export(
    figure: Figure, drawing: Drawing, table: pd.DataFrame, settings: Record
) -> list[Path]:
    """Write <name>.png, .svg, .pdf, .csv (what was plotted) and .json (its origin).

    settings: those that the table was made with. The same table gives the same bytes.
    """
    folder, name = figures_folder(settings.scale), figure.name
    origin = {"figure": name, "scale": settings.scale}
    origin |= provenance(settings.model_dump())
    about = json.dumps(origin, indent=1, sort_keys=True, default=str) + "\n"
    csv = table.to_csv(index=False, lineterminator="\n")
    files = _save(drawing, folder, name)
    for suffix, text in (("csv", csv), ("json", about)):
        files.append(folder / f"{name}.{suffix}")
        write_file(files[-1], text)
    return files


@styled
def _save(drawing: Drawing, folder: Path, name: str) -> list[Path]:
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")  # the layout is found: once is enough
    files = []
    for kind, changing in FORMATS.items():
        drawn = BytesIO()
        drawing.savefig(drawn, format=kind, dpi=300, metadata={changing: None})
        files.append(folder / f"{name}.{kind}")
        write_file(files[-1], drawn.getvalue())
    return files


def read_table(figure: Figure, csv: Path) -> pd.DataFrame:
    """Return an exported figure's table as it was drawn."""
    page = figure.layout is None  # all text: a token may read "null" or "28"
    text = dict.fromkeys(TEXT_COLUMNS, str) if page else None
    return pd.read_csv(
        csv, float_precision="round_trip", dtype=text, keep_default_na=not page
    )


def redraw(
    figure: Figure, csv: Path, folder: Path | None = None, venue: str = ""
) -> list[Path]:
    """Draw an exported figure again from its CSV, beside it or into `folder`.

    venue: a name of `style.VENUES`, for its width and fonts.
    """
    with drawn_for(VENUES[venue] if venue else OURS):
        try:
            drawing = draw(figure, read_table(figure, csv))
        except (KeyError, EmptyDataError, ParserError) as error:
            raise ValueError(f"{csv} is no table of {figure.id}: {error}.") from error
        files = _save(drawing, folder or csv.parent, csv.stem)
    plt.close(drawing)
    return files
