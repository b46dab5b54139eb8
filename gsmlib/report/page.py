"""What a report's pages show, as plain data; how it is marked up stands in templates/.

A page is one file of plain HTML and CSS that asks for nothing from the network; the
wall shows the images of the folder beside it. Nothing here needs torch, so that a
process that executes notebooks starts at once.
"""

import json
import shutil
import struct
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from gsmlib import paper
from gsmlib.chapters import Chapter, find_claim
from gsmlib.chapters.export import Figure
from gsmlib.chapters.ledger import LEDGER, in_numbers
from gsmlib.chapters.rules import VERDICTS
from gsmlib.environment import describe_setup, provenance
from gsmlib.files import write_file

FIGURES = "figures"  # the folder of images beside the wall
SIGNS = dict(zip(VERDICTS, "●◇✕–", strict=True))
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
    costs: pd.DataFrame,
    exported: Path,
) -> Path:
    """Write `index.html` into a run's folder, and the figures it shows beside it.

    costs: the rows of `pool.cost_table`; exported: the folder of the scale's figures,
    and of its ledger, if there is one.
    """
    rows, made = read_rows(exported), provenance({})
    values = {
        "title": f"Training verifiers, reproduced at scale {scale}",
        "signs": SIGNS,
        "claims": [_claim(row, folder) for row in rows],
        "sections": [_section(each, exported, folder, rows) for each in sections],
        "outcomes": outcomes,
        "costs": costs.to_dict("records"),
        "commit": made["commit"],
        "versions": made["versions"],
        "setup": describe_setup(),
        "written": datetime.now(UTC),
    }
    write_file(folder / "index.html", render("index.html", values))
    return folder / "index.html"


def read_rows(exported: Path) -> list[dict[str, Any]]:
    """Return the rows of the ledger in a folder of figures, none where it has none."""
    ledger = exported / LEDGER
    return json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else []


def count_verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many claims got which verdict: "3 reproduced, 14 inconclusive"."""
    counts = Counter(row["verdict"] for row in rows)
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
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
            verdicts = {r["id"]: r["verdict"] for r in rows if r["id"] in judged}
            shown.append(_figure(figure, image, verdicts))
    return {"notebook": chapter.name, "title": section.title, "figures": shown}


def _copy_figure(image: Path, folder: Path) -> None:
    """Copy a figure's files, unless that is where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in image.parent.glob(f"{image.stem}.*"):
        if file.parent.resolve() != folder.resolve():
            shutil.copy(file, folder / file.name)


def _claim(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a row of the ledger with what its table says beyond it."""
    claim, factor = find_claim(row["id"]).about, row.get("size_factor")
    return row | {
        "statement": claim.statement,
        "ours": f"{claim.quantity}: {in_numbers(row | {'paper': None})}",
        "factor": in_numbers(factor) if factor else "",
        "stated": "" if row["paper"] is None else f"{row['paper']:.3g}",
        "ran": (folder / f"{row['notebook']}.html").is_file(),
    }


def _figure(figure: Figure, image: Path, verdicts: dict[str, str]) -> dict[str, Any]:
    words, kinds = figure.shows, ("svg", "pdf", "csv")
    number = figure.id.removeprefix("fig")
    ours = number == figure.id  # not one of the paper's
    return {
        "name": figure.name,
        "label": "" if ours else f"Figure {number}.",
        "words": words[0].upper() + words[1:] if ours else words,
        "size": png_size(image),
        "verdicts": verdicts,
        "stated": paper.STATED.get(figure.id, ""),
        "origin": origin(image.with_suffix(".json")),
        "kinds": [kind for kind in kinds if image.with_suffix(f".{kind}").is_file()],
    }


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
