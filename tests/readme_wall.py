"""What README and docs/figures.md say of the results, written anew: `make readme`.

README has parts between `<!-- NAME: make readme -->` and `<!-- end -->`, while
docs/figures.md is written whole. All of it comes from the chapters' records, the
notebooks' questions and the ledgers of the reported scales, each figure and claim from
the first of SCALES that has it: no result is typed.
"""

import json
import re
from pathlib import Path
from shlex import quote
from typing import Any

from gsmlib import paper
from gsmlib.chapters import CHAPTERS, Chapter, find_claim
from gsmlib.chapters.export import Figure, read_table
from gsmlib.chapters.ledger import LEDGER, by_origin, could_see, read_ledger
from gsmlib.chapters.rules import NOT_TESTABLE, WORDS
from gsmlib.chapters.shown import tally
from gsmlib.chapters.style import drawn_from
from gsmlib.environment import project_root
from gsmlib.report.page import origin
from gsmlib.report.run import read_title
from gsmlib.scales import DEFAULT_SCALE
from gsmlib.settings import as_text

SCALES = ("mini", "quick")  # the study as far as it is computed, before a first look
REAL = "smollm2"  # GSM8K's; what none of these asks for stands in its chapter
LARGE = {"fig5": "C6", "fig2": "C1", "fig7a": "C11"}  # shown large, with their claim
MAIN = "C6"  # the paper's main claim
SECOND = ("C7", "C11", "C12", "S2")  # whose sentence's second part decides
NO_RESULT = "No result yet: it is asked at `smollm2` and larger scales alone."
REPORTED = project_root() / "figures"
README = project_root() / "README.md"
FIGURES = project_root() / "docs" / "figures.md"
PART = re.compile(r"<!-- (\w+): make readme -->\n.*?<!-- end -->\n", re.DOTALL)

Row = dict[str, Any]


def read_rows() -> list[Row]:
    """Return the reported ledger, a row per claim and its scale."""
    ledgers = {scale: {row["id"]: row for row in judged(scale)} for scale in SCALES}
    figures = {figure.id: figure for c in CHAPTERS for figure in c.figures}
    claims = [claim for chapter in CHAPTERS for claim in chapter.claims]
    scales = {claim.id: scale_of(figures[claim.figure]) for claim in claims}
    order = ledgers[SCALES[-1]]
    return [ledgers[scales[n]][n] | {"scale": scales[n]} for n in order]


def judged(scale: str) -> list[Row]:
    """Return a scale's ledger: what is written, or of the tables that are there."""
    folder = REPORTED / scale
    if (folder / LEDGER).is_file():
        return json.loads((folder / LEDGER).read_text(encoding="utf-8"))
    return read_ledger(CHAPTERS, folder) if folder.is_dir() else []


def scale_of(figure: Figure) -> str:
    """Return the scale that a figure is reported at."""
    scales = *SCALES, REAL
    return [*(s for s in scales if exists(figure, s)), SCALES[-1]][0]


def exists(figure: Figure, scale: str) -> bool:
    """Say whether a figure is exported at a scale."""
    return (REPORTED / scale / f"{figure.name}.csv").is_file()


def scales_said(rows: list[Row]) -> str:
    """Say from which scale how many of some claims are: "17 at `quick`"."""
    counts = [(sum(row["scale"] == scale for row in rows), scale) for scale in SCALES]
    return ", ".join(f"{count} at `{scale}`" for count, scale in counts if count)


def outcome(rows: list[Row]) -> str:
    """Say in a sentence what came out."""
    main = next(row for row in rows if row["id"] == MAIN)
    papers, further = by_origin(rows)
    return (
        f"What came out for its {len(papers)} claims ({scales_said(papers)}): "
        f"{tally(papers)}; the main one, "
        f"verification's {find_claim(MAIN).about.brief} ({MAIN}), is "
        f"**{main['verdict']}**. Of {len(further)} further claims, of later papers and "
        f"our own: {tally(further)}.\n"
    )


def figures(rows: list[Row]) -> str:
    """Return the figures that tell most, each with what was found."""
    by_id = {row["id"]: row for row in rows}
    known = {figure.id: figure for chapter in CHAPTERS for figure in chapter.figures}
    parts = []
    for figure_id, claim in LARGE.items():
        shown, row = known[figure_id], by_id[claim]
        place = f"figures/{scale_of(shown)}/{shown.name}.png"
        image = f'<img src="{place}" alt="{name_of(shown)}" width="100%">'
        parts.append(f"{image}\n\n{words_of(shown)}. {found(row)}\n")
    return "\n".join(parts)


def words(rows: list[Row]) -> str:
    """Say what the verdicts' words mean, of those that occur."""
    used = {row["verdict"] for row in rows}
    return "".join(f"- **{w}**: {said}\n" for w, said in WORDS.items() if w in used)


def verdicts(rows: list[Row]) -> str:
    """Return the ledger as a Markdown table, with links to its notebooks."""
    titles = ("", "claim", "scale", "verdict", "measured", "could see")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        link = f"[{row['id']}]({notebook_link(row['notebook'])})"
        brief = find_claim(row["id"]).about.brief
        found_at = (f"`{row['scale']}`", f"**{row['verdict']}**")
        cells = (link, brief, *found_at, measured(row), could_see(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def notebooks(rows: list[Row]) -> str:
    """Return a table of the notebooks: question, figures, verdicts."""
    lines = [
        "| notebook | as run (`quick`) | question | figures | verdicts (README's) |",
        "|---" * 5 + "|",
    ]
    for chapter in CHAPTERS:
        link = f"[{chapter.name}]({notebook_link(chapter.name)})"
        shown = [
            f"[{name_of(figure)}](docs/figures.md#{figure.id})"
            for figure in exported(chapter)
        ]
        words = said_of(rows, [claim.id for claim in chapter.claims])
        words = "all of them" if chapter.reads_others else words or "no claim"
        page = f"docs/report/{chapter.name}"
        run = f"[notebook]({page}.ipynb), [page]({page}.html)"
        real = f"docs/{REAL}/{chapter.name}"
        if (project_root() / f"{real}.html").is_file():
            run += f"; `{REAL}`: [notebook]({real}.ipynb), [page]({real}.html)"
        seen = ", ".join(shown) or NO_RESULT
        cells = (link, run, read_title(chapter.name), seen, words)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def all_figures(rows: list[Row]) -> str:
    """Return docs/figures.md: every reported figure, chapter by chapter."""
    parts = [
        "# All figures",
        "Each with what was found of the claims that it decides, what the paper states "
        "about it, and where it comes from. [README](../README.md#verdicts) says what "
        "the verdicts mean. Written by `make readme`.",
    ]
    for chapter in CHAPTERS:
        name = f"[{chapter.name}](../notebooks/{chapter.name}.ipynb)"
        parts.append(f"## {read_title(chapter.name)}\n\nNotebook {name}.")
        if chapter.figures and not exported(chapter):
            parts.append(NO_RESULT)
        for figure in exported(chapter):
            parts.append(entry(chapter, figure, rows, scale_of(figure)))
    return "\n\n".join([*parts, *on_gsm8k()]) + "\n"


def on_gsm8k() -> list[str]:
    """Return the figures of REAL that also a reported scale has, under a title."""
    rows = [row | {"scale": REAL} for row in judged(REAL)]
    shown = [
        entry(chapter, figure, rows, REAL)
        for chapter in CHAPTERS
        for figure in exported(chapter)
        if scale_of(figure) != REAL and exists(figure, REAL)
    ]
    return ["## The same on GSM8K", *shown] if shown else []


def entry(chapter: Chapter, figure: Figure, rows: list[Row], scale: str) -> str:
    """Return a figure with its words, what was found, and the files beside it."""
    place = f"../figures/{scale}/{figure.name}"
    files = ", ".join(f"[{kind}]({place}.{kind})" for kind in ("svg", "pdf", "csv"))
    judged = [claim.id for claim in chapter.claims if claim.figure == figure.id]
    file = REPORTED / scale / figure.name
    table = read_table(figure, file.with_suffix(".csv"))
    shown = [part for part in (words_of(figure), drawn_from(table)) if part]
    lines = [f"{': '.join(shown)}, at scale `{scale}`{trial(chapter, file)}."]
    if chapter.reads_others and scale == DEFAULT_SCALE:
        lines.append("README has verdicts of the study where there are any.")
    lines += [found(row) for row in rows if row["id"] in judged]
    if figure.id in paper.STATED:
        lines.append(f"The paper, on GSM8K: {paper.STATED[figure.id]}.")
    lines += [origin(file.with_suffix(".json")), f"Files: {files}."]
    image = f"![{name_of(figure)}]({place}.png)"
    anchor = figure.id if scale == scale_of(figure) else f"{figure.id}-{scale}"
    return "\n\n".join([f'<a name="{anchor}"></a>', image, " ".join(lines)])


def trial(chapter: Chapter, file: Path) -> str:
    """Return what of a figure's settings is not its scale's, as a command has it."""
    there = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    usual = chapter.resolve(scale=there["scale"]).model_dump(mode="json")
    changed = [
        f"-p {name} {quote(as_text(value))}"
        for name, value in there["settings"].items()
        if name in usual and value != usual[name]
    ]
    return f" with `{' '.join(changed)}`" if changed else ""


def exported(chapter: Chapter) -> list[Figure]:
    """Return the figures of a chapter that a reported scale has."""
    folders = [REPORTED / scale for scale in (*SCALES, REAL)]
    there = {png.stem for folder in folders for png in folder.glob("*.png")}
    return [figure for figure in chapter.figures if figure.name in there]


def name_of(figure: Figure) -> str:
    """Return "Fig 5", or what it shows where it is no figure of the paper."""
    number = figure.id.removeprefix("fig")
    return f"Fig {number}" if number != figure.id else figure.shows


def words_of(figure: Figure) -> str:
    """Return what a figure shows, behind its name in the paper."""
    name = name_of(figure)
    if name != figure.shows:
        return f"**{name}**, {figure.shows}"
    return f"**{name[0].upper()}{name[1:]}**"


def said_of(rows: list[Row], ids: list[str]) -> str:
    """Return the verdicts on some claims: "C5 not testable, C6 reversed"."""
    return ", ".join(
        f"{row['id']} {row['verdict']}" for row in rows if row["id"] in ids
    )


def found(row: Row) -> str:
    """Return what was found of a claim, as a sentence."""
    return f"{row['id']} is {row['verdict']}: {row['sentence']}"


def measured(row: Row) -> str:
    """Return a row's sentence without its details; what cannot be judged says why."""
    said = row["sentence"].removesuffix(".")
    if row["verdict"] == NOT_TESTABLE:
        return said
    first, *more = said.split("; ")
    kept = [part for part in more[:1] if row["id"] in SECOND]
    kept += [part for part in more[len(kept) :] if part.endswith(" excluded")]
    return "; ".join([first, *kept])


def notebook_link(notebook: str) -> str:
    """Return where a notebook stands, as README links to it."""
    return f"notebooks/{notebook}.ipynb"


PARTS = {part.__name__: part for part in (outcome, figures, words, verdicts, notebooks)}


def filled(text: str, rows: list[Row]) -> str:
    """Return README with its parts written anew; KeyError names an unknown part."""

    def fill(match: re.Match[str]) -> str:
        part = PARTS[match[1]](rows)
        return f"<!-- {match[1]}: make readme -->\n{part}<!-- end -->\n"

    return PART.sub(fill, text)


if __name__ == "__main__":
    ledger = read_rows()
    text = README.read_text(encoding="utf-8")
    README.write_text(filled(text, ledger), encoding="utf-8")
    FIGURES.write_text(all_figures(ledger), encoding="utf-8")
    print(f"{README.name} and {FIGURES.name} have the results: {scales_said(ledger)}.")
