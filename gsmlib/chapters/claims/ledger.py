"""Each claim's test on our tables: a module per notebook, thresholds in `rules`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gsmlib.claims.ablations import judge_level, judge_objective, judge_sizes
from gsmlib.claims.dropout import (
    judge_dropout_finetuning,
    judge_dropout_solution,
    judge_dropout_token,
)
from gsmlib.claims.epochs import judge_test_at_n
from gsmlib.claims.open_points import judge_open_points
from gsmlib.claims.scaling import judge_direct, judge_scaling, size_factor
from gsmlib.claims.test_time import judge_completions, judge_voters
from gsmlib.claims.verification import judge_verification

from gsmlib import paper
from gsmlib.chapters.rules import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTABLE,
    REPRODUCED,
    Verdict,
    describe,
    finite,
    ledger_row,
)
from gsmlib.files import write_file

__all__ = [
    "JUDGES",
    "LEDGER",
    "VERDICTS",
    "Verdict",
    "describe",
    "in_markdown",
    "in_numbers",
    "in_text",
    "judge_completions",
    "judge_level",
    "judge_objective",
    "judge_open_points",
    "judge_scaling",
    "judge_sizes",
    "judge_test_at_n",
    "judge_verification",
    "judge_voters",
    "judge_direct",
    "judge_dropout_finetuning",
    "judge_dropout_solution",
    "judge_dropout_token",
    "ledger",
    "ledger_row",
    "ledger_table",
    "print_ledger",
    "read_verdicts",
    "size_factor",
    "write_ledger",
]

JUDGES = {
    "fig2": judge_scaling,
    "direct": judge_direct,
    "fig3": judge_test_at_n,
    "fig5": judge_verification,
    "fig8a": judge_dropout_finetuning,
    "fig8b": judge_dropout_solution,
    "fig8c": judge_dropout_token,
    "fig6a": judge_level,
    "fig6b": judge_objective,
    "fig6c": judge_sizes,
    "fig7a": judge_completions,
    "fig7b": judge_voters,
    "open": judge_open_points,
}  # by figure

NOTEBOOKS = {  # whose tables a claim is judged by
    "02_test_at_n": ("C2", "C3"),
    "03_verification": ("C5", "C6", "C7"),
    "04_finetuning_scaling": ("C1", "C4"),
    "05_verifier_ablations": ("C8", "C9", "C10"),
    "06_test_time_compute": ("C11", "C12"),
    "07_dropout": ("C13", "C14", "C15"),
    "09_open_points": ("C16", "C17"),
}
LEDGER = "claims.json"
VERDICTS = (REPRODUCED, INCONCLUSIVE, CONTRADICTED, NOT_TESTABLE)


def ledger(folder: Path) -> list[dict[str, Any]]:
    """Return a row per claim, C1 to C17, from the tables exported into a folder.

    Rows are those of `ledger_row` and the claim's `notebook`; C6 also has a
    `size_factor`, the paper's "30x". A claim whose table is missing is not testable.
    """
    verdicts = {verdict.id: verdict for verdict in read_verdicts(folder)}
    names = {claim: name for name, ids in NOTEBOOKS.items() for claim in ids}
    rows = []
    for claim in paper.CLAIMS:
        name = names[claim.id]
        verdict = verdicts.get(claim.id) or _not_run(claim, name)
        rows.append(ledger_row(verdict) | {"notebook": name})
        if claim.id == "C6":
            rows[-1]["size_factor"] = _size_factor(folder)
    return rows


def read_verdicts(folder: Path) -> list[Verdict]:
    """Return the verdicts that a folder's exported tables allow, table by table."""
    return [
        verdict
        for figure, judge in JUDGES.items()
        for table in _tables(folder, figure)
        for verdict in judge(table)
    ]


def _tables(folder: Path, figure: str) -> list[pd.DataFrame]:
    return [pd.read_csv(csv) for csv in sorted(folder.glob(f"{figure}_*.csv"))]


def _not_run(claim: paper.Claim, notebook: str) -> Verdict:
    shown = "its table" if claim.figure == "text" else claim.figure
    sentence = f"{shown} has not been made at this scale ({notebook})."
    return Verdict(claim.id, NOT_TESTABLE, np.nan, np.nan, np.nan, 0, sentence)


def _size_factor(folder: Path) -> dict[str, Any] | None:
    """What verification is worth in model size, where Figs 2 and 5 can say."""
    tables = _tables(folder, "fig2"), _tables(folder, "fig5")
    if not all(tables):
        return None
    value, *limits = finite(size_factor(tables[0][0], tables[1][0]))
    return {"value": value, "interval": limits, "paper": paper.SIZE_FACTOR}


def ledger_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the ledger as a table, which is also what its figure is drawn from.

    Columns: id, brief (the claim in a few words), verdict, value, low, high, seeds,
    paper (its value, where it states one), notebook.
    """
    limits = [row["interval"] or (None, None) for row in rows]
    table = pd.DataFrame(rows).assign(
        brief=[paper.IN_BRIEF[row["id"]] for row in rows],
        low=[low for low, _ in limits],
        high=[high for _, high in limits],
    )
    numbers = ["value", "low", "high", "paper"]
    table[numbers] = table[numbers].astype(float)
    return table[["id", "brief", "verdict", *numbers[:3], "seeds", "paper", "notebook"]]


def write_ledger(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write the ledger as claims.json beside the figures it was read from."""
    path = folder / LEDGER
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, text)
    return path


def print_ledger(folder: Path) -> None:
    """Print the ledger of a scale's exported tables.

    Raises ValueError when the folder holds none of them.
    """
    if not any(_tables(folder, figure) for figure in JUDGES):
        raise ValueError(f"{folder} holds no table of any claim: run the report.")
    for row in ledger(folder):
        print(in_text(row), end="\n\n")


def in_text(row: dict[str, Any]) -> str:
    """Write a row of the ledger as a few lines of text."""
    about = f"{row['id']} {row['verdict']}: {paper.IN_BRIEF[row['id']]}"
    quantity = paper.claim(row["id"]).quantity
    lines = [about, f"  {row['sentence']}", f"  {quantity}: {in_numbers(row)}"]
    factor = row.get("size_factor")
    if factor:
        lines.append(f"  factor in model size: {in_numbers(factor)}")
    return "\n".join(lines)


def in_markdown(rows: list[dict[str, Any]]) -> str:
    """Write the ledger as a Markdown table with links to the claims' notebooks."""
    head = "| | claim | verdict | quantity | ours | notebook |"
    lines = [head, "|---" * 6 + "|"]
    for row in rows:
        brief, quantity = paper.IN_BRIEF[row["id"]], paper.claim(row["id"]).quantity
        link = f"[{row['notebook']}]({row['notebook']}.ipynb)"
        ours = in_numbers(row)
        if row.get("size_factor"):
            ours += f"; in model size, {in_numbers(row['size_factor'])}"
        cells = (row["id"], brief, row["verdict"], quantity, ours, link)
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
