"""What a report's pages show, as plain data; how it is marked up stands in templates/.

A page is one file of plain HTML and CSS that asks for nothing from the network; the
wall shows the images of the folder beside it. Nothing here needs torch, so that a
process that executes notebooks starts at once.
"""

import json
import shutil
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from gsmlib import claims, paper
from gsmlib.environment import describe_setup, provenance
from gsmlib.files import write_file

FIGURES = "figures"  # the folder of images beside the wall
OUR_FIGURES = {
    "calculator": "what the calculator is worth, greedy and for single samples",
    "calibration": "the verifier's scores against the share of right completions",
    "dataset": "steps and words of the problems",
    "direct": "solutions with and without natural-language steps",
    "ledger": "the verdicts on all claims",
    "open": "what the paper leaves open, one change at a time",
    "released": "the released solutions: accuracy, and by steps",
    "sidebyside": "solutions of finetuning and verification side by side",
}
SIGNS = dict(zip(claims.VERDICTS, "●◇✕–", strict=True))
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
    """A notebook on the wall: its name, its question, the figures it exports."""

    notebook: str
    title: str
    figures: list[Path]


def render(template: str, values: dict[str, Any]) -> str:
    """Fill in a template; all but Markup is escaped."""
    return TEMPLATES.get_template(template).render(values)


def write_index(
    folder: Path,
    scale: str,
    sections: Sequence[Section],
    outcomes: Sequence[Outcome],
    costs: pd.DataFrame,
    ledger: Path,
) -> Path:
    """Write `index.html` into a run's folder, and the figures it shows beside it.

    costs: the rows of `plan.cost_table`; ledger: claims.json, if there is one.
    """
    rows = json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else []
    verdicts = {row["id"]: row["verdict"] for row in rows}
    wall = [section for section in sections if section.figures]
    for section in wall:
        _copy_figures(section.figures, folder / FIGURES)
    made = provenance({})
    values = {
        "title": f"Training verifiers, reproduced at scale {scale}",
        "signs": SIGNS,
        "claims": [_claim(row, folder) for row in rows],
        "sections": [
            each._asdict() | {"figures": [_figure(f, verdicts) for f in each.figures]}
            for each in wall
        ],
        "outcomes": outcomes,
        "costs": costs.to_dict("records"),
        "commit": made["commit"],
        "versions": made["versions"],
        "setup": describe_setup(),
        "written": datetime.now(UTC),
    }
    write_file(folder / "index.html", render("index.html", values))
    return folder / "index.html"


def _copy_figures(images: Sequence[Path], folder: Path) -> None:
    """Copy each figure's files, unless that is where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        for file in image.parent.glob(f"{image.stem}.*"):
            if file.parent.resolve() != folder.resolve():
                shutil.copy(file, folder / file.name)


def _claim(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a row of the ledger with what its table says beyond it."""
    claim, factor = paper.claim(row["id"]), row.get("size_factor")
    return row | {
        "statement": claim.statement,
        "ours": f"{claim.quantity}: {claims.in_numbers(row | {'paper': None})}",
        "factor": claims.in_numbers(factor) if factor else "",
        "stated": "" if row["paper"] is None else f"{row['paper']:.3g}",
        "ran": (folder / f"{row['notebook']}.html").is_file(),
    }


def _figure(image: Path, verdicts: dict[str, str]) -> dict[str, Any]:
    figure_id = image.stem.partition("_")[0]
    number, words = figure_id.removeprefix("fig"), what_it_shows(image.stem)
    ours = number == figure_id  # not one of the paper's
    judged = [row.id for row in paper.CLAIMS if row.figure == figure_id]
    kinds = ("svg", "pdf", "csv")
    return {
        "name": image.stem,
        "label": "" if ours else f"Figure {number}.",
        "words": words[0].upper() + words[1:] if ours else words,
        "size": png_size(image),
        "verdicts": {name: verdicts[name] for name in judged if name in verdicts},
        "stated": paper.STATED.get(figure_id, ""),
        "origin": origin(image.with_suffix(".json")),
        "kinds": [kind for kind in kinds if image.with_suffix(f".{kind}").is_file()],
    }


def what_it_shows(name: str) -> str:
    """Return in a few words what an exported figure shows, from its file's name."""
    figure_id, _, words = name.partition("_")
    known = dict(paper.FIGURES) | OUR_FIGURES
    return known.get(figure_id, words.replace("_", " ") or figure_id)


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
