"""The ledger: a row for each claim, from the tables that the chapters exported."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gsmlib import paper
from gsmlib.chapters import find_claim
from gsmlib.chapters.finetuning_scaling.verdicts import size_factor
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.rules import NOT_TESTABLE, NOTHING, Verdict, finite, ledger_row
from gsmlib.files import write_file

LEDGER = "claims.json"


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
    files = {
        claim.figure: folder / f"{chapter.figure(claim.figure).name}.csv"
        for chapter in chapters
        for claim in chapter.claims
    }
    return {figure: pd.read_csv(csv) for figure, csv in files.items() if csv.is_file()}


def _row(
    claim: Claim, notebook: str, tables: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    if claim.figure in tables:
        verdict = claim.verdict(tables[claim.figure])
    else:
        shown = "its table" if claim.about.figure == "text" else claim.figure
        why = f"{shown} has not been made at this scale ({notebook})."
        verdict = Verdict(claim.id, NOT_TESTABLE, *NOTHING, 0, why, claim.own)
    row = ledger_row(verdict) | {"notebook": notebook}
    return row | ({"size_factor": _size_factor(tables)} if claim.id == "C6" else {})


def _size_factor(tables: dict[str, pd.DataFrame]) -> dict[str, Any] | None:
    """What verification is worth in model size, where Figs 2 and 5 can say."""
    if not {"fig2", "fig5"} <= set(tables):
        return None
    value, *limits = finite(size_factor(tables["fig2"], tables["fig5"]))
    return {"value": value, "interval": limits, "paper": paper.SIZE_FACTOR}


def ledger_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the ledger as a table, which is also what its figure is drawn from.

    Columns: id, brief (the claim in a few words), verdict, value, low, high, seeds,
    paper (its value, where it states one), notebook.
    """
    limits = [row["interval"] or (None, None) for row in rows]
    table = pd.DataFrame(rows).join(pd.DataFrame(limits, columns=["low", "high"]))
    table["brief"] = [find_claim(row["id"]).about.brief for row in rows]
    numbers = ["value", "low", "high", "paper"]
    table[numbers] = table[numbers].astype(float)
    return table[["id", "brief", "verdict", *numbers[:3], "seeds", "paper", "notebook"]]


def write_ledger(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write the ledger as claims.json beside the figures it was read from."""
    path = folder / LEDGER
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, text)
    return path


def print_ledger(chapters: Sequence[Chapter], folder: Path) -> None:
    """Print the ledger of a scale's exported tables.

    Raises ValueError when the folder holds none of them.
    """
    if not _read_tables(chapters, folder):
        raise ValueError(f"{folder} holds no table of any claim: run the report.")
    for row in read_ledger(chapters, folder):
        print(in_text(row), end="\n\n")


def in_text(row: dict[str, Any]) -> str:
    """Write a row of the ledger as a few lines of text."""
    claim = find_claim(row["id"]).about
    lines = [f"{claim.id} {row['verdict']}: {claim.brief}", f"  {row['sentence']}"]
    lines.append(f"  {claim.quantity}: {in_numbers(row)}")
    if row.get("size_factor"):
        lines.append(f"  factor in model size: {in_numbers(row['size_factor'])}")
    return "\n".join(lines)


def in_markdown(rows: list[dict[str, Any]]) -> str:
    """Write the ledger as a Markdown table with links to the claims' notebooks."""
    head = "| | claim | verdict | quantity | ours | notebook |"
    lines = [head, "|---" * 6 + "|"]
    for row in rows:
        claim, ours = find_claim(row["id"]).about, in_numbers(row)
        link = f"[{row['notebook']}]({row['notebook']}.ipynb)"
        if row.get("size_factor"):
            ours += f"; in model size, {in_numbers(row['size_factor'])}"
        cells = (claim.id, claim.brief, row["verdict"], claim.quantity, ours, link)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_numbers(row: dict[str, Any]) -> str:
    """Write a row's value, interval, seeds and the paper's value, as far as known."""
    value = "not measured" if row["value"] is None else f"{row['value']:.3g}"
    if row["interval"]:
        low, high = ("-" if end is None else f"{end:.3g}" for end in row["interval"])
        value += f" ({low} to {high})"
    if row.get("seeds"):
        value += f", {row['seeds']} seed" + "s" * (row["seeds"] > 1)
    return value if row["paper"] is None else f"{value}; paper {row['paper']:.3g}"
