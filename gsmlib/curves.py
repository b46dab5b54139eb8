"""Bring your own completions: read them, and see what choosing among them gives.

samples = curves.read("samples.jsonl")
table = curves.table(samples)
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from gsmlib.chapters import export
from gsmlib.chapters.own_completions import (
    CHAPTER,
    RANDOM,
    describe,
    differences,
    extraction,
    first_rule,
    rows_that_differ,
    separate,
    table,
)
from gsmlib.chapters.style import unshown
from gsmlib.data.samples import Samples, apart, together
from gsmlib.data.samples import read_samples as read
from gsmlib.environment import provenance
from gsmlib.files import write_file
from gsmlib.method.intervals import column_names

__all__ = [
    "Samples",
    "apart",
    "describe",
    "differences",
    "extraction",
    "read",
    "rows_that_differ",
    "summary",
    "summary_of_differences",
    "summary_of_extraction",
    "table",
    "together",
    "write",
]

SHOWN = 5  # numbers of completions that a summary has


def write(folder: str | Path, *samples: Samples) -> list[Path]:
    """Write all tables and figures of files of completions into a folder.

    Each figure as PNG, SVG and PDF with its table (CSV) and origin (JSON), as those of
    the notebooks; the completions that extraction rules judge differently as a CSV.
    """
    folder, found = Path(folder).expanduser(), table(*samples)
    parts = [("curves", each, rows) for each, rows in first_rule(found)]
    if len(separate(*samples)) > 1:
        parts.append(("paired", "", differences(*samples)))
    parts.append(("extraction", "", extraction(*samples)))
    files = []
    for figure_id, name, rows in parts:
        figure = CHAPTER.figure(figure_id)
        drawing = export.draw(figure, rows, unshown)
        stem = f"{figure_id}_{_slug(name)}" if name else figure.name
        origin = {"figure": stem} | provenance({"samples": _about(samples)})
        files += export.write(drawing, rows, folder, stem, origin)
    for name, rows in {"all_rules": found, "rows": rows_that_differ(*samples)}.items():
        files.append(folder / f"{name}.csv")
        write_file(files[-1], rows.to_csv(index=False, lineterminator="\n"))
    return files


def summary(found: pd.DataFrame) -> str:
    """Return the rows of `table` by each file's first rule as text, a few n as columns.

    Percent of problems solved, with 95 % intervals over problems.
    """
    parts = []
    for name, rows in first_rule(found):
        counts = sorted(rows["n"].unique())
        kept = counts[:: -(-len(counts) // SHOWN)]
        rows = _telling(rows[rows["n"].isin({*kept, counts[-1]})])
        names = rows["method"] + rows["score"].map(lambda s: f" by {s}" if s else "")
        cells = rows.assign(
            name=names, cell=[_cell(row, "") for _, row in rows.iterrows()]
        )
        wide = cells.pivot(index="name", columns="n", values="cell")
        wide = wide.reindex(dict.fromkeys(names)).rename(columns="n = {:,}".format)
        wide = wide.rename_axis(index=None, columns=None)
        parts.append(f"{name}, % of problems:\n{wide.to_string()}")
    return "\n\n".join(parts)


def summary_of_differences(found: pd.DataFrame) -> str:
    """Return the rows of `differences` at the most completions that both have, as text.

    Points, a minus b, with 95 % intervals paired by problem.
    """
    most = found.groupby(["a", "b"])["n"].transform("max")
    rows = _telling(found[found["n"] == most])
    cells = [_cell(row, "difference") for _, row in rows.iterrows()]
    shown = rows[["a", "b", "method", "score", "n", "n_problems"]].assign(points=cells)
    return f"a minus b, paired by problem:\n{shown.to_string(index=False)}"


def summary_of_extraction(found: pd.DataFrame) -> str:
    """Return the rows of `extraction` as text: percent right, points over the first."""
    shown = found[["samples", "rule", "n"]].assign(
        unanswered=[f"{100 * share:.1f}" for share in found["unanswered"]],
        right=[_cell(row, "mean_accuracy") for _, row in found.iterrows()],
        over_first=[_cell(row, "over_first") for _, row in found.iterrows()],
    )
    return f"Right answers by rule, % of completions:\n{shown.to_string(index=False)}"


def _cell(row: pd.Series, column: str) -> str:
    value, low, high = (100 * row[name] for name in column_names(column))
    return f"{value:z.1f} ({low:z.1f} to {high:z.1f})"


def _telling(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without choices among one completion, which are none."""
    alone = rows.groupby([name for name in ("samples", "a", "b") if name in rows])["n"]
    return rows[(alone.transform("max") > 1) | (rows["method"] == RANDOM)]


def _slug(name: str) -> str:
    """Return a name for files: letters, digits, dots and dashes alone."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")


def _about(samples: tuple[Samples, ...]) -> list[dict[str, Any]]:
    """Return what of the files goes into a figure's origin."""
    return [
        {"file": each.name, "sha256": each.digest, "format": each.form}
        | {"scores": list(each.scores), "notes": list(each.notes)}
        for each in samples
    ]
