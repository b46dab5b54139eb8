"""The ledger: a row for each claim, from the tables that the chapters exported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsmlib import paper
from gsmlib.chapters import claims, find_claim
from gsmlib.chapters.export import draw, figures_folder, read_table
from gsmlib.chapters.finetuning_scaling.verdicts import size_factor
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.rules import (
    NOT_TESTABLE,
    NOTHING,
    WORDS,
    Verdict,
    finite,
    ledger_row,
)
from gsmlib.chapters.style import unshown
from gsmlib.files import write_file

LEDGER = "claims.json"


Rows = list[dict[str, Any]]


def by_origin(rows: Sequence[dict[str, Any]]) -> tuple[Rows, Rows]:
    """Return the rows of the paper's claims, and those of later work's and our own."""
    theirs = {claim.id for claim in paper.CLAIMS}
    parts: tuple[Rows, Rows] = [], []
    for row in rows:
        parts[row["id"] not in theirs].append(row)
    return parts


def read_ledger(chapters: Sequence[Chapter], folder: Path) -> list[dict[str, Any]]:
    """Return a row per claim, the paper's C1 to C17 first, from a folder's tables.

    Rows are those of `ledger_row` and the claim's `notebook`; C6 also has a
    `size_factor`, the paper's "30x". A claim whose table is missing is not testable.
    """
    tables = _read_tables(chapters, folder)
    rows = [
        _row(claim, each.name, tables) for each in chapters for claim in each.claims
    ]
    places = {claim.id: place for place, claim in enumerate(paper.CLAIMS)}
    return sorted(rows, key=lambda row: places.get(row["id"], len(places)))


def _read_tables(chapters: Sequence[Chapter], folder: Path) -> dict[str, pd.DataFrame]:
    """Return, by figure, the tables that claims are judged by, as far as exported."""
    figures = {
        claim.figure: chapter.figure(claim.figure)
        for chapter in chapters
        for claim in chapter.claims
    }
    return {
        name: read_table(figure, csv)
        for name, figure in figures.items()
        if (csv := folder / f"{figure.name}.csv").is_file()
    }


def _row(
    claim: Claim, notebook: str, tables: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    if claim.figure in tables:
        try:
            verdict = claim.verdict(tables[claim.figure])
        except KeyError as error:
            what = f"the table of {claim.figure} cannot be judged: it lacks {error}"
            raise ValueError(f"{what}; export it again by `gsmlib run`.") from error
    else:
        shown = "its table" if claim.about.figure == "text" else claim.figure
        why = f"{shown} has not been made at this scale ({notebook})."
        verdict = Verdict(claim.id, NOT_TESTABLE, *NOTHING, 0, why, claim.own)
    row = ledger_row(verdict) | {"notebook": notebook}
    return row | ({"size_factor": _size_factor(tables)} if claim.id == "C6" else {})


def _size_factor(tables: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
    """What verification is worth in model size; None where Figs 2 and 5 cannot say."""
    if not {"fig2", "fig5"} <= set(tables):
        return None
    factor = size_factor(tables["fig2"], tables["fig5"])
    if np.isnan(factor[0]):
        return None
    value, *limits = finite(factor)
    return {"value": value, "interval": limits, "paper": paper.SIZE_FACTOR}


def ledger_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the ledger as a table, which is also what its figure is drawn from.

    Columns: id, brief (the claim in a few words), verdict, value, low, high, could_see
    (the smallest difference in accuracy that was to be seen), seeds,
    paper (its value, where it states one), notebook.
    """
    limits = [row["interval"] or (None, None) for row in rows]
    table = pd.DataFrame(rows).join(pd.DataFrame(limits, columns=["low", "high"]))
    table["brief"] = [find_claim(row["id"]).about.brief for row in rows]
    numbers = ["value", "low", "high", "could_see", "paper"]
    table[numbers] = table[numbers].astype(float)
    return table[["id", "brief", "verdict", *numbers[:4], "seeds", "paper", "notebook"]]


def write_ledger(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write the ledger as claims.json beside the figures it was read from."""
    path = folder / LEDGER
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, text, "GSMLIB_FIGURES")
    return path


def print_ledger(chapters: Sequence[Chapter], scale: str, write: bool = False) -> None:
    """Print the ledger of a scale's exported tables, and what its words mean.

    write: write claims.json and the ledger's figure anew, too. Raises ValueError when
    no table has been exported.
    """
    folder = figures_folder(scale)
    if not _read_tables(chapters, folder):
        raise ValueError(f"{folder} holds no table of any claim: run the report.")
    rows = read_ledger(chapters, folder)
    print(f"The verdicts at scale {scale}, from the tables in {folder}:\n")
    for row in rows:
        print(in_text(row), end="\n\n")
    for word, meaning in meanings(rows).items():
        print(f"{word}: {meaning}")
    if write:
        print("Written:", *export_ledger(rows, scale), sep="\n  ")


def export_ledger(rows: list[dict[str, Any]], scale: str) -> list[Path]:
    """Write claims.json and the ledger's figure beside the tables; return the files."""
    table, settings = ledger_table(rows), claims.CHAPTER.resolve(scale=scale)
    drawing = draw(claims.CHAPTER.figure("ledger"), table, unshown)
    files = claims.CHAPTER.export("ledger", drawing, table, settings)
    return [*files, write_ledger(rows, figures_folder(scale))]


def meanings(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the words of these rows' verdicts, each with its meaning."""
    used = {row["verdict"] for row in rows}
    return {word: meaning for word, meaning in WORDS.items() if word in used}


def in_text(row: dict[str, Any]) -> str:
    """Write a row of the ledger as a few lines of text."""
    claim = find_claim(row["id"]).about
    lines = [f"{claim.id} {row['verdict']}: {claim.brief}", f"  {row['sentence']}"]
    if row["paper"] is not None:
        stated = in_unit(claim.unit, row["paper"])
        lines.append(f"  The paper, {claim.quantity}: {stated}.")
    if row.get("size_factor"):
        lines.append(f"  Verification is {in_factor(row)}.")
    return "\n".join(lines)


def in_markdown(rows: list[dict[str, Any]]) -> str:
    """Write the ledger as a Markdown table with links to the claims' notebooks."""
    head = "| | claim | verdict | quantity | ours | could see | notebook |"
    lines = [head, "|---" * 7 + "|"]
    for row in rows:
        claim, ours = find_claim(row["id"]).about, in_numbers(row)
        link = f"[{row['notebook']}]({row['notebook']}.ipynb)"
        if row.get("size_factor"):
            ours += f"; {in_factor(row)}"
        said = (row["verdict"], claim.quantity, ours, could_see(row))
        cells = (claim.id, claim.brief, *said, link)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_numbers(row: dict[str, Any]) -> str:
    """Write a row's value, interval, seeds and the paper's value, as far as known."""
    unit = find_claim(row["id"]).about.unit
    text = in_unit(unit, row["value"], row["interval"])
    if row["seeds"]:
        text += f", {row['seeds']} seed" + "s" * (row["seeds"] > 1)
    if row["paper"] is None:
        return text
    return f"{text}; paper {in_unit(unit, row['paper'])}"


def could_see(row: dict[str, Any]) -> str:
    """Write the smallest difference in accuracy that a row's study could have seen."""
    least = row["could_see"]
    return "" if least is None else f"{100 * least:.1f} points"


def in_factor(row: dict[str, Any]) -> str:
    """Write what verification is worth in model size, here and in the paper."""
    factor = row["size_factor"]
    ours = in_unit("ratio", factor["value"], factor["interval"])
    paper_says = in_unit("ratio", factor["paper"])
    return f"worth a model {ours} times as large; paper {paper_says}"


def in_unit(
    unit: str, value: float | None, limits: Sequence[float | None] | None = None
) -> str:
    """Write a value in a claim's unit, with its limits where there are any.

    >>> in_unit("points", -0.147, [-0.21, -0.084])
    '-14.7 points (-21.0 to -8.4)'
    >>> in_unit("completions", 1600, [50, None])
    '1,600 completions (50 to no limit)'
    """
    if value is None and limits is None:
        return "not measured"
    number = _number(unit, value)
    noun = unit.removesuffix("s") if number == "1" else unit
    plain = unit == "ratio" or value is None
    text = number if plain else f"{number} {noun}"
    if limits is None:
        return text
    low, high = (_number(unit, end) for end in limits)
    return f"{text} ({low} to {high})"


def _number(unit: str, number: float | None) -> str:
    if number is None:
        return "no limit"
    if unit == "points":
        return f"{round(100 * number, 1) + 0.0:+.1f}"  # no -0.0
    if unit == "ratio" and number < 10:
        return f"{number:.2f}"
    if number < 1e6:
        return f"{number:,.0f}"
    return f"{number:.0e}".replace("e+0", "e").replace("e+", "e")
