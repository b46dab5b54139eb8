"""Figures to files and back: a figure is drawn from its table alone.

`redraw` repeats it from the exported CSV byte for byte, without torch.
"""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from pandas.errors import EmptyDataError, ParserError

from gsmlib.environment import project_root
from gsmlib.figures.ablations import fig6a, fig6b, fig6c
from gsmlib.figures.curves import calculator, fig3, fig5
from gsmlib.figures.data import dataset, released
from gsmlib.figures.diagram import fig4
from gsmlib.figures.dropout import fig8a, fig8b, fig8c
from gsmlib.figures.ledger import ledger
from gsmlib.figures.open_points import open_points
from gsmlib.figures.pages import fig1, fig9, fig12
from gsmlib.figures.scaling import direct, fig2
from gsmlib.figures.style import (
    LAYOUTS,
    OURS,
    VENUES,
    drawn_for,
    fit_page,
    new_figure,
    styled,
)
from gsmlib.figures.test_time import fig7a, fig7b
from gsmlib.figures.token_scores import calibration, fig13, sidebyside
from gsmlib.files import write_file

DRAW = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "fig6a": fig6a,
    "fig6b": fig6b,
    "fig6c": fig6c,
    "fig7a": fig7a,
    "fig7b": fig7b,
    "fig8a": fig8a,
    "fig8b": fig8b,
    "fig8c": fig8c,
    "fig9": fig9,
    "fig12": fig12,
    "dataset": dataset,
    "released": released,
    "calculator": calculator,
    "direct": direct,
    "ledger": ledger,
    "fig13": fig13,
    "calibration": calibration,
    "sidebyside": sidebyside,
    "open": open_points,
}
FORMATS = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


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
    files = _save(figure, folder, name)
    csv = table.to_csv(index=False, lineterminator="\n")
    write_file(folder / f"{name}.csv", csv)
    origin = {"figure": name, "scale": scale, **provenance}
    text = json.dumps(origin, indent=1, sort_keys=True, default=str) + "\n"
    write_file(folder / f"{name}.json", text)
    return [*files, folder / f"{name}.csv", folder / f"{name}.json"]


@styled
def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    files = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found: once is enough
    for file in files:
        drawn, kind = BytesIO(), file.suffix[1:]
        figure.savefig(drawn, format=kind, dpi=300, metadata=FORMATS[kind])
        write_file(file, drawn.getvalue())
    return files


def is_figure(csv: Path) -> bool:
    """Return whether a CSV is an exported figure's table, by its name."""
    return csv.stem.partition("_")[0] in DRAW


def redraw(csv: Path, folder: Path | None = None, venue: str = "") -> list[Path]:
    """Draw an exported figure again from its CSV, beside it or into `folder`.

    venue: a name of `style.VENUES`, for its width and fonts.
    """
    name = csv.stem
    figure_id = name.partition("_")[0]
    if not is_figure(csv):
        raise ValueError(f"{csv.name} is no figure's table; known: {', '.join(DRAW)}")
    page = figure_id not in LAYOUTS  # all text: a token may read "null" or "28"
    names = ("token", "target", "finetuning", "verification")
    text = dict.fromkeys(names, str) if page else None
    target = folder or csv.parent
    with drawn_for(VENUES[venue] if venue else OURS):
        try:
            table = pd.read_csv(
                csv, float_precision="round_trip", dtype=text, keep_default_na=not page
            )
            figure = draw(figure_id, table)
        except (KeyError, EmptyDataError, ParserError) as error:
            raise ValueError(f"{csv} is no table of {figure_id}: {error}.") from error
        files = _save(figure, target, name)
    plt.close(figure)
    return files


def draw(figure_id: str, table: pd.DataFrame) -> Figure:
    """Draw a figure from its table alone, in the size of the venue drawn for."""
    panels = table["model"].nunique() if figure_id == "fig5" else 0
    figure, axes = new_figure(figure_id, panels)
    DRAW[figure_id](table, axes)
    if figure_id not in LAYOUTS:
        fit_page(figure)
    return figure
