"""Figures to files and back: a figure is drawn from its table alone.

`redraw` repeats it from the exported CSV byte for byte, without torch.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from pandas.api.types import is_numeric_dtype
from pandas.errors import EmptyDataError, ParserError

from gsmlib import paper
from gsmlib.chapters.style import (
    OURS,
    VENUES,
    drawn_for,
    fit_page,
    legends_fit,
    new_drawing,
    shown,
    styled,
    unshown,
)
from gsmlib.environment import folder_of, project_root, provenance
from gsmlib.files import write_file
from gsmlib.records import Record
from gsmlib.settings import as_text

# Each format, and the metadata that is left out for the same bytes.
FORMATS = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}
LONGEST_NAME = 80  # of a trial's folder, before its digest
MEASURES = ("accuracy", "value")  # whose limits are called low and high
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


def draw(
    figure: Figure, table: pd.DataFrame, make: Callable[..., Drawing] = shown
) -> Drawing:
    """Draw a figure from its table alone, in the size of the venue drawn for.

    make: see `style.new_drawing`.
    """
    panels = table[figure.per].nunique() if figure.per else 0
    drawing, axes = new_drawing(figure.layout, panels, make)
    figure.draw(table, axes)
    if figure.layout is None:
        fit_page(drawing)
    return drawing


def run_folder(scale: str, changed: dict[str, Any] | None = None) -> Path:
    """Return where executed notebooks go: `runs/<scale>`, a folder for each trial.

    GSMLIB_RUNS names another folder than the project's `runs`.

    changed: the settings of a trial that are not its scale's. They name its folder,
    such as `runs/trials/quick-epochs=3`; a name that is too long, or has letters that
    a file's may not have, is mended and ends in a digest of the whole.
    """
    runs = folder_of("GSMLIB_RUNS", project_root() / "runs")
    if not changed:
        return runs / scale
    told = [f"{name}={as_text(value)}" for name, value in changed.items()]
    whole = "-".join([scale, *told])
    name = re.sub(r"[^\w.,=+-]", "_", whole, flags=re.ASCII)[:LONGEST_NAME]
    if name != whole:
        name += "-" + hashlib.sha256(whole.encode()).hexdigest()[:8]
    return runs / "trials" / name


def figures_folder(scale: str, changed: dict[str, Any] | None = None) -> Path:
    """Return where figures go: under GSMLIB_FIGURES, if it is set.

    By default `figures/<scale>` of the project. Those of smoke and of trials, whose
    settings have `changed`, are never reported: they go to their `run_folder`.
    """
    usual = project_root() / "figures"
    if not os.environ.get("GSMLIB_FIGURES") and (changed or scale == "smoke"):
        return run_folder(scale, changed) / "figures"
    return folder_of("GSMLIB_FIGURES", usual) / scale


def export(
    figure: Figure,
    drawing: Drawing,
    table: pd.DataFrame,
    settings: Record,
    changed: dict[str, Any] | None = None,
) -> list[Path]:
    """Write <name>.png, .svg, .pdf, .csv (what was plotted) and .json (its origin).

    settings: those that the table was made with; `changed` is what of them is not the
    scale's (see `figures_folder`). The same table gives the same bytes.
    """
    folder, name = figures_folder(settings.scale, changed), figure.name
    origin = {"figure": name, "scale": settings.scale}
    origin |= provenance(settings.model_dump())
    return write(drawing, table, folder, name, origin, "GSMLIB_FIGURES")


def write(
    drawing: Drawing,
    table: pd.DataFrame,
    folder: Path,
    name: str,
    origin: dict[str, Any],
    setting: str = "",
) -> list[Path]:
    """Write a drawn figure, its table and its origin into a folder; see `export`.

    setting: the variable that names another folder, for a refusal.
    """
    about = json.dumps(origin, indent=1, sort_keys=True, default=str) + "\n"
    csv = table.to_csv(index=False, lineterminator="\n")
    files = _save(drawing, folder, name, setting)
    for suffix, text in (("csv", csv), ("json", about)):
        files.append(folder / f"{name}.{suffix}")
        write_file(files[-1], text, setting)
    return files


@styled
def _save(drawing: Drawing, folder: Path, name: str, setting: str = "") -> list[Path]:
    drawing.draw_without_rendering()
    if not legends_fit(drawing):  # they are centred on panels that layout has moved
        drawing.draw_without_rendering()
    drawing.set_layout_engine("none")  # the layout is found
    files = []
    for kind, changing in FORMATS.items():
        drawn = BytesIO()
        drawing.savefig(drawn, format=kind, dpi=300, metadata={changing: None})
        files.append(folder / f"{name}.{kind}")
        write_file(files[-1], drawn.getvalue(), setting)
    return files


def read_table(figure: Figure, csv: Path) -> pd.DataFrame:
    """Return an exported figure's table as it was drawn; ValueError if it is none."""
    page = figure.layout is None  # all text: a token may read "null" or "28"
    text = dict.fromkeys(TEXT_COLUMNS, str) if page else None
    try:
        table = pd.read_csv(
            csv, float_precision="round_trip", dtype=text, keep_default_na=not page
        )
    except (EmptyDataError, ParserError, UnicodeDecodeError) as error:
        raise no_table(figure.id, csv, str(error)) from error
    if fault := _fault(table):
        raise no_table(figure.id, csv, fault)
    return table


def no_table(figure_id: str, csv: Path, why: str) -> ValueError:
    """Return the error of a CSV that is not what a figure was exported with."""
    return ValueError(f"{csv} is no table of {figure_id}: {why.rstrip('.')}.")


def _fault(table: pd.DataFrame) -> str:
    """Return what is wrong with a table's rows or measures; "" where nothing is."""
    if table.empty:
        return "it has no rows"
    for low in (name for name in table if name == "low" or name.endswith("_low")):
        measures = [low.removesuffix("_low")] if low != "low" else MEASURES
        for name in (name for name in measures if name in table):
            if not all(is_numeric_dtype(table[x]) for x in (name, low)):
                return f"{name} or {low} has cells that are no numbers"
            if (~np.isfinite(table[name]) & np.isfinite(table[low])).any():
                return f"{name} is missing or infinite where {low} is there"
    if "accuracy" not in table:
        return ""
    shares = pd.to_numeric(table["accuracy"], errors="coerce")
    outside = ~shares.between(0, 1) & table["accuracy"].notna()
    return "accuracy is not within 0 to 1" if outside.any() else ""


def redraw(
    figure: Figure, csv: Path, folder: Path | None = None, venue: str = ""
) -> list[Path]:
    """Draw an exported figure again from its CSV, beside it or into `folder`.

    venue: a name of `style.VENUES`, for its width and fonts.
    """
    with drawn_for(VENUES[venue] if venue else OURS):
        try:
            drawing = draw(figure, read_table(figure, csv), unshown)
        except KeyError as error:
            raise no_table(figure.id, csv, str(error)) from error
        return _save(drawing, folder or csv.parent, csv.stem)
