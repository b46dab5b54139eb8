"""The pages of a report: the figure wall with its verdicts, and executed notebooks.

A page is one file of plain HTML and CSS that asks for nothing from the network; the
wall shows the images of the folder beside it. Formulas are MathML, which browsers draw.
Nothing here needs torch, so that a process that executes notebooks starts at once.
"""

import html
import json
import re
import shutil
import struct
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import nbformat
import pandas as pd
import papermill
from latex2mathml.converter import convert
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

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
# $$...$$ and $...$ as Jupyter reads them; code is passed over.
FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$\n]+?)(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)


class Outcome(NamedTuple):
    """How a notebook's run ended; `error` is one sentence, empty if all went well."""

    notebook: str
    seconds: float
    error: str


class Chapter(NamedTuple):
    """A notebook on the wall: its name, its question, the figures it exports."""

    notebook: str
    title: str
    figures: list[Path]


# ---------------------------------------------------------------- an executed notebook


def execute(
    path: Path, folder: Path, parameters: dict[str, Any], quiet: bool = True
) -> Outcome:
    """Execute a notebook into `folder`, with its page; `quiet` shows nothing meanwhile.

    A cell's error is returned as a sentence, not raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notebook, output = path.stem, folder / path.name
    start, error = time.perf_counter(), ""
    try:
        papermill.execute_notebook(
            path,
            output,
            parameters=parameters,
            kernel_name="python3",
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own messages
            progress_bar=False,
            stdout_file=None if quiet else sys.stdout,
            stderr_file=None if quiet else sys.stderr,
        )
    except PapermillExecutionError as failure:
        error = f"{notebook} failed: {failure.ename}: {failure.evalue}"
    except DeadKernelError:
        error = (
            f"{notebook} failed: its kernel died (was memory short?); what was "
            "computed is kept, run it again."
        )
    write_notebook(output, title=notebook)
    return Outcome(notebook, time.perf_counter() - start, error)


def write_notebook(path: Path, title: str) -> Path:
    """Write an executed notebook as a page beside it; return the page."""
    notebook = nbformat.read(path, 4)
    formulas = _take_formulas(notebook)
    exporter = HTMLExporter(template_name="basic")
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    body, _ = exporter.from_notebook_node(notebook)
    for place, formula in enumerate(formulas):
        body = body.replace(_mark(place), formula)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)
    body = body.replace(
        'alt="No description has been provided for this image"',
        'alt="Figure drawn by the code above"',
    )
    links = [("index.html", "All figures and verdicts"), (path.name, "The notebook")]
    return _write(path.with_suffix(".html"), title, body, "notebook", links)


def _take_formulas(notebook: nbformat.NotebookNode) -> list[str]:
    """Put marks in the place of a notebook's formulas; return these as MathML.

    Markdown would take some of their letters for its own.
    """
    formulas: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        formulas.append(to_mathml(match["block"] or match["inline"], match["block"]))
        return _mark(len(formulas) - 1)

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(take, cell.source)
    return formulas


def _mark(place: int) -> str:
    return f"FORMULA{place:04d}HERE"


def to_mathml(tex: str, block: str | None) -> str:
    """Return a formula as MathML, with its TeX for who cannot see it."""
    spoken = html.escape(" ".join(tex.split()), quote=True)
    tex = re.sub(r"\\arg(?![a-z])", r"\\operatorname{arg}\\,", tex)  # not known to it
    drawn = convert(tex.strip(), display="block" if block else "inline")
    drawn = drawn.replace("<math ", f'<math aria-label="{spoken}" ', 1)
    return f'<span class="formula">{drawn}</span>' if block else drawn


# -------------------------------------------------------------------------- the wall


def write_index(
    folder: Path,
    scale: str,
    chapters: Sequence[Chapter],
    outcomes: Sequence[Outcome],
    costs: pd.DataFrame,
    ledger: Path,
) -> Path:
    """Write `index.html` into a run's folder, and the figures it shows beside it.

    costs: the rows of `plan.cost_table`; ledger: claims.json, if there is one.
    """
    for chapter in chapters:
        _copy_figures(chapter.figures, folder / FIGURES)
    rows = json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else []
    title = f"Training verifiers, reproduced at scale {scale}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _introduction(rows),
        _section("figures", "Figures", _wall(chapters, rows)),
        _section("verdicts", "The seventeen claims", _verdicts(rows, folder)),
        _section("notebooks", "Notebooks", _notebooks(outcomes)),
        _section("cost", "Cost", _cost(costs)),
        _section("provenance", "Provenance", _provenance()),
    ]
    names = ("figures", "verdicts", "notebooks", "cost", "provenance")
    links = [(f"#{name}", name.capitalize()) for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder / "index.html", title, "\n".join(parts), "wall-page", links)


def _copy_figures(images: Sequence[Path], folder: Path) -> None:
    """Copy each figure's files, unless that is where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        for file in image.parent.glob(f"{image.stem}.*"):
            if file.parent.resolve() != folder.resolve():
                shutil.copy(file, folder / file.name)


def _introduction(rows: Sequence[dict[str, Any]]) -> str:
    found = [row["verdict"] for row in rows]
    counts = ", ".join(
        f"{found.count(word)} {word}" for word in claims.VERDICTS if word in found
    )
    said = f" Of {len(rows)} claims: {counts}." if rows else ""
    return (
        "<p>Cobbe et al. 2021, <cite>Training Verifiers to Solve Math Word Problems"
        "</cite> (arXiv 2110.14168), figure by figure, from models trained for this "
        f"report.{said} The paper's numbers are about GSM8K and models of 6 and 175 "
        "billion parameters; ours are about this scale.</p>"
    )


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}">\n<h2>{title}</h2>\n{body}\n</section>'


def _verdicts(rows: Sequence[dict[str, Any]], folder: Path) -> str:
    if not rows:
        return "<p>There is no ledger: 10_claims has not run at this scale.</p>"
    names = ("Claim", "Verdict", "Ours", "Paper", "Notebook")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "\n".join(_verdict_row(row, folder) for row in rows)
    return (
        f'<table class="ledger"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _verdict_row(row: dict[str, Any], folder: Path) -> str:
    claim = paper.claim(row["id"])
    stated = "" if row["paper"] is None else f"{row['paper']:.3g}"
    ours = html.escape(f"{claim.quantity}: {claims.in_numbers(row | {'paper': None})}")
    if row.get("size_factor"):
        factor = html.escape(claims.in_numbers(row["size_factor"]))
        ours += f"<br>worth a model this much larger: {factor}"
    sentence = html.escape(row["sentence"])
    return (
        f'<tr id="{row["id"]}"><td><strong>{row["id"]}</strong> '
        f"{html.escape(claim.statement)}</td>"
        f"<td>{badge(row['verdict'])}</td>"
        f'<td data-name="Ours">{ours}<br><span class="soft">{sentence}</span></td>'
        f"<td{_named('Paper', stated)}>{stated}</td>"
        f"<td>{_linked(row['notebook'], folder)}</td></tr>"
    )


def _linked(notebook: str, folder: Path) -> str:
    """A notebook's name, with a link where it has been executed."""
    page = f"{notebook}.html"
    ran = (folder / page).is_file()
    return f'<a href="{page}">{notebook}</a>' if ran else notebook


def _named(name: str, text: str) -> str:
    """What names a cell on a phone, where the table has no head, unless it is empty."""
    return f' data-name="{name}"' if text else ""


def badge(verdict: str) -> str:
    """Return a verdict as HTML: a sign and words, so that colour is not needed."""
    kind, words = verdict.split()[0], verdict.removesuffix(" at this scale")
    sign = SIGNS[verdict]
    return (
        f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> '
        f"{words}</span>"
    )


def _wall(chapters: Sequence[Chapter], rows: Sequence[dict[str, Any]]) -> str:
    verdicts = {row["id"]: row["verdict"] for row in rows}
    parts = []
    for chapter in chapters:
        if chapter.figures:
            shown = "\n".join(_figure(image, verdicts) for image in chapter.figures)
            link = f'<a href="{chapter.notebook}.html">{chapter.notebook}</a>'
            parts.append(
                f"<h3>{html.escape(chapter.title)} "
                f'<small class="soft">{link}</small></h3>\n'
                f'<div class="wall">\n{shown}\n</div>'
            )
    return "\n".join(parts) or "<p>No figures have been exported at this scale.</p>"


def _figure(image: Path, verdicts: dict[str, str]) -> str:
    figure_id = image.stem.partition("_")[0]
    label, words = _label(figure_id), what_it_shows(image.stem)
    words = html.escape(words if label else words[0].upper() + words[1:], quote=True)
    width, height = png_size(image)
    source = f"{FIGURES}/{image.stem}"
    judged = [row for row in paper.CLAIMS if row.figure == figure_id]
    badges = " · ".join(
        f'<a href="#{row.id}">{row.id}</a> {badge(verdicts[row.id])}'
        for row in judged
        if row.id in verdicts
    )
    stated = paper.STATED.get(figure_id, "")
    lines = [
        f"<p><strong>{label}</strong> {words}.</p>",
        f"<p>{badges}</p>" if badges else "",
        f"<p>The paper, on GSM8K: {html.escape(stated)}.</p>" if stated else "",
        f"<p><small>{html.escape(origin(image.with_suffix('.json')))} "
        f"{_files(image)}</small></p>",
    ]
    return (
        f'<figure><a class="sheet" href="{source}.png"><img src="{source}.png" '
        f'alt="{words}" width="{width}" height="{height}"></a>\n'
        f"<figcaption>{''.join(lines)}</figcaption></figure>"
    )


def _label(figure_id: str) -> str:
    number = figure_id.removeprefix("fig")
    return f"Figure {number}." if number != figure_id else ""


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


def _files(image: Path) -> str:
    kinds = [kind for kind in ("svg", "pdf", "csv") if _beside(image, kind).is_file()]
    links = (f'<a href="{FIGURES}/{image.stem}.{kind}">{kind}</a>' for kind in kinds)
    return " ".join(links)


def _beside(image: Path, kind: str) -> Path:
    return image.with_suffix(f".{kind}")


def png_size(image: Path) -> tuple[int, int]:
    """Return a PNG's width and height in pixels, from its first chunk."""
    width, height = struct.unpack(">II", image.read_bytes()[16:24])
    return width, height


def _notebooks(outcomes: Sequence[Outcome]) -> str:
    items = []
    for outcome in outcomes:
        ended = f"{outcome.seconds / 60:.1f} minutes"
        if outcome.error:
            ended += f' <span class="failed">{html.escape(outcome.error)}</span>'
        name = outcome.notebook
        items.append(f'<li><a href="{name}.html">{name}</a> {ended}</li>')
    return f"<ul>\n{chr(10).join(items)}\n</ul>"


def _cost(costs: pd.DataFrame) -> str:
    if costs.empty:
        return "<p>No stage of this scale is in the store.</p>"
    rows = "\n".join(
        f"<tr><td>{row.stage}</td><td>{html.escape(row.model)}</td>"
        f'<td class="number">{row.stages}</td>'
        f'<td class="number">{row.minutes:,.1f}</td></tr>'
        for row in costs.itertuples()
    )
    return (
        f"<p>{costs['minutes'].sum():,.0f} minutes of one process in all, whenever "
        "they were spent; the notebooks' own minutes, above, are this run's.</p>\n"
        '<table><thead><tr><th scope="col">Stage</th><th scope="col">Model</th>'
        '<th scope="col" class="number">Stages</th>'
        '<th scope="col" class="number">Minutes</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _provenance() -> str:
    made = provenance({})
    versions = ", ".join(f"{name} {text}" for name, text in made["versions"].items())
    written = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return (
        f"<p>Commit {html.escape(str(made['commit']))}; {html.escape(versions)}.</p>\n"
        f"<p>{html.escape(describe_setup())}</p>\n"
        f"<p>This page was written on {written}. Each figure names its own commit.</p>"
    )


def _write(
    path: Path, title: str, body: str, kind: str, links: Sequence[tuple[str, str]]
) -> Path:
    folder = files("gsmlib") / "template"
    page = Template((folder / "page.html").read_text(encoding="utf-8"))
    values = {
        "title": html.escape(title),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "kind": kind,
        "links": " ".join(f'<a href="{to}">{word}</a>' for to, word in links),
        "body": body,
    }
    write_file(path, page.substitute(values))
    return path
