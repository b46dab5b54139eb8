"""The rows of a stage whose makers may be interrupted, and may be several.

Each adds the rows that are done as a file to a folder; whoever comes next, the same or
another, makes only those that are missing.
"""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import Table
from pyarrow.dataset import dataset
from pyarrow.parquet import write_table

from gsmlib import clock

SAVE_SECONDS = 30  # an interruption loses about this much sampling


def keeper(folder: Path) -> Callable[..., None]:
    """What adds rows to those that an interruption leaves, every SAVE_SECONDS.

    It raises OutOfTime, once they are saved, where the time given is over.
    """
    rows: list[dict[str, Any]] = []
    saved = time.monotonic()

    def keep(made: list[dict[str, Any]], at_once: bool = False) -> None:
        nonlocal saved
        rows.extend(made)
        over = clock.is_over() and not at_once
        if rows and (at_once or over or time.monotonic() - saved > SAVE_SECONDS):
            write_part(rows, folder)
            rows.clear()
            saved = time.monotonic()
        if over:
            raise clock.OutOfTime

    return keep


def write_part(rows: list[dict[str, Any]], folder: Path) -> None:
    """Add finished rows to those that an interruption leaves."""
    part = folder / f"{uuid.uuid4().hex}.parquet"  # others may write there too
    write_table(Table.from_pylist(rows), part.with_suffix(".tmp"))
    part.with_suffix(".tmp").rename(part)


def merge(folder: Path) -> Table:
    """Return the rows by problem and sample, each once though two workers saved it."""
    table = dataset(sorted(folder.glob("*.parquet"))).to_table()
    problem, sample = (table[name].to_numpy() for name in ("problem", "sample"))
    keys = problem * (sample.max() + 1) + sample
    return table.take(np.unique(keys, return_index=True)[1])


def finished_rows(folder: Path) -> set[tuple[int, int]]:
    """Return (problem, sample) of the rows that are saved already."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        return set()
    table = dataset(files).to_table(columns=["problem", "sample"])
    columns = (table[name].to_pylist() for name in ("problem", "sample"))
    return set(zip(*columns, strict=True))


def per_problem(table: pd.DataFrame, column: str) -> list[list]:
    """Return a column as one list per problem, samples in order; arrays as lists."""
    ordered = table.sort_values(["problem", "sample"])
    plain = ordered[column].map(lambda v: v.tolist() if hasattr(v, "tolist") else v)
    return plain.groupby(ordered["problem"]).agg(list).tolist()
