"""What a report's pages show, as plain data; how it is marked up stands in templates/.

A page is one file of plain HTML and CSS that asks for nothing from the network; the
wall shows the images of the folder beside it. Nothing here needs torch, so that a
process that executes notebooks starts at once.
"""

import json
import shutil
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from gsmlib import paper
from gsmlib.chapters import Chapter, find, find_claim
from gsmlib.chapters.export import Figure, read_table
from gsmlib.chapters.ledger import LEDGER, by_origin, in_factor, in_unit, meanings
from gsmlib.chapters.rules import WORDS
from gsmlib.chapters.style import drawn_from
from gsmlib.environment import describe_setup, provenance
from gsmlib.files import write_file

FIGURES = "figures"  # the folder of images beside the wall
EXPLORED = "06_test_time_compute"  # whose problems have a page, of report/explorer.py
SIGNS = dict(zip(WORDS, "●◇✕▼–", strict=True))
TEMPLATES = Environment(
    loader=PackageLoader("gsmlib.report"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


class Outcome(NamedTuple):
    """How a notebook's run ended; `error` is one sentence, empty if all went well."""

    notebook: str
    seconds: float
    error: str


class Section(NamedTuple):
    """A chapter on the wall, and its notebook's question."""

    chapter: Chapter
    title: str


def render(template: str, values: dict[str, Any]) -> str:
    """Fill in a template; all but Markup is escaped."""
    return TEMPLATES.get_template(template).render(values)


def write_index(
    folder: Path,
    scale: str,
    sections: Sequence[Section],
    outcomes: Sequence[Outcome],
    costs: Mapping[str, pd.DataFrame],
    exported: Path,
) -> Path:
    """Write `index.html` into a run's folder, and the figures it shows beside it.

    costs: by notebook, the rows of `pool.cost_table`; exported: the folder of the
    scale's figures, and of its ledger, if there is one.
    """
    rows, made = read_rows(exported), provenance({})
    shown = [_section(each, exported, folder, rows) for each in sections]
    names = {figure["name"] for section in shown for figure in section["figures"]}
    values = {
        "title": f"Training verifiers, reproduced at scale {scale}",
        "signs": SIGNS,
        "meanings": meanings(rows),
        "claims": [[_claim(row, names) for row in some] for some in by_origin(rows)],
        "sections": [section for section in shown if section["figures"]],
        "notebooks": [_notebook(outcome, costs) for outcome in outcomes],
        "explored": EXPLORED,
        "pages": [page.stem for page in folder.glob("*.html")],
        "stages": _by_stage(costs),
        "commit": made["commit"],
        "versions": made["versions"],
        "setup": describe_setup(),
        "written": datetime.now(UTC),
    }
    write_file(folder / "index.html", render("index.html", values), "GSMLIB_RUNS")
    return folder / "index.html"


def read_rows(exported: Path) -> list[dict[str, Any]]:
    """Return the rows of the ledger in a folder of figures, none where it has none."""
    ledger = exported / LEDGER
    return json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else []


def count_verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many claims got which verdict: "3 reproduced, 14 inconclusive"."""
    counts = Counter(row["verdict"] for row in rows)
    told = [f"{counts[verdict]} {verdict}" for verdict in WORDS if counts[verdict]]
    return ", ".join(told)


def _section(
    section: Section, exported: Path, folder: Path, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the wall shows of a chapter: those of its figures that there are."""
    chapter, shown = section.chapter, []
    for figure in chapter.figures:
        image = exported / f"{figure.name}.png"
        if image.is_file():
            _copy_figure(image, folder / FIGURES)
            judged = [c.id for c in chapter.claims if c.figure == figure.id]
            found = [row for row in rows if row["id"] in judged]
            shown.append(_figure(figure, image, found))
    return {"notebook": chapter.name, "title": section.title, "figures": shown}


def _copy_figure(image: Path, folder: Path) -> None:
    """Copy a figure's files, unless that is where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in image.parent.glob(f"{image.stem}.*"):
        if file.parent.resolve() != folder.resolve():
            shutil.copy(file, folder / file.name)


def _claim(row: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a row of the ledger with what its table says beyond it.

    names: the figures that are shown, to which the row can lead.
    """
    claim = find_claim(row["id"])
    figure, about = find(row["notebook"]).figure(claim.figure), claim.about
    stated = "" if row["paper"] is None else in_unit(about.unit, row["paper"])
    return row | {
        "statement": about.statement,
        "factor": in_factor(row) if row.get("size_factor") else "",
        "stated": stated,
        "figure": figure.name if figure.name in names else "",
        "label": _label(figure) or "Its figure",
    }


def _label(figure: Figure) -> str:
    """Return the paper's number of a figure, empty where it is one of ours."""
    number = figure.id.removeprefix("fig")
    return "" if number == figure.id else f"Figure {number}"


def _figure(
    figure: Figure, image: Path, found: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return a figure's caption: what was found, then what is drawn, then the paper's.

    found: the ledger's rows of the claims that the figure decides.
    """
    words, label, kinds = figure.shows, _label(figure), ("svg", "pdf", "csv")
    return {
        "name": figure.name,
        "label": label,
        "words": words if label else words[0].upper() + words[1:],
        "size": png_size(image),
        "found": found,
        "measured": _measured(figure, image.with_suffix(".csv")),
        "stated": paper.STATED.get(figure.id, ""),
        "origin": origin(image.with_suffix(".json")),
        "kinds": [kind for kind in kinds if image.with_suffix(f".{kind}").is_file()],
    }


def _measured(figure: Figure, csv: Path) -> str:
    return drawn_from(read_table(figure, csv)) if csv.is_file() else ""


def _notebook(
    outcome: Outcome, costs: Mapping[str, pd.DataFrame]
) -> dict[str, str | int | float]:
    """Return how a notebook's run ended, with what its stages took."""
    spent = costs[outcome.notebook]
    return outcome._asdict() | {
        "stages": int(spent["stages"].sum()),
        "minutes": float(spent["minutes"].sum()),
    }


def _by_stage(costs: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the costs of all notebooks together, by stage, model and processor."""
    spent = [table for table in costs.values() if len(table)]
    if not spent:
        return []
    by = ["stage", "model", "processor"]
    by_stage = pd.concat(spent).groupby(by, sort=False).sum()
    return by_stage.reset_index().to_dict("records")


def origin(record: Path) -> str:
    """Return the scale, seeds and commit that a figure's record names."""
    known = json.loads(record.read_text()) if record.is_file() else {}
    seeds = known.get("settings", {}).get("seeds", [])
    parts = [f"Scale {known.get('scale', 'unknown')}"]
    if seeds:
        word = "seed" if len(seeds) == 1 else "seeds"
        parts.append(f"{word} {', '.join(map(str, seeds))}")
    return ", ".join([*parts, f"commit {known.get('commit') or 'unknown'}"]) + "."


def png_size(image: Path) -> tuple[int, int]:
    """Return a PNG's width and height in pixels, from its first chunk."""
    width, height = struct.unpack(">II", image.read_bytes()[16:24])
    return width, height
