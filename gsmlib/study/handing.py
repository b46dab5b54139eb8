"""Computed completions and scores, handed on: a parquet file a stage, with its origin.

What the store has is copied, never computed; `gsmlib curves` reads the files again.
"""

import io
import json
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.data.samples import ORIGIN
from gsmlib.environment import provenance
from gsmlib.files import write_file
from gsmlib.method.selection import AGGREGATIONS
from gsmlib.records import SettingsError
from gsmlib.study.specs import ReleasedSpec, SampleSpec, ScoreSpec, Spec
from gsmlib.study.stages import (
    COMPLETIONS,
    SCORES,
    STAGES,
    folder_of,
    is_done,
    locate,
    sampled_problems,
)
from gsmlib.study.store import Store

KEY = re.compile(r"[0-9a-f]{1,16}")  # how a stage's key begins


def handed_on(specs: Sequence[Spec], keys: Sequence[str] = ()) -> list[Spec]:
    """Return the specs of completions and scores, each once, of some keys if given.

    Completions that are scored go with their scores. SettingsError where a key begins
    none, or where there is nothing to hand on.
    """
    scored = [spec for spec in specs if isinstance(spec, ScoreSpec)]
    known = {spec.completions for spec in scored}
    drawn = [spec for spec in specs if isinstance(spec, SampleSpec | ReleasedSpec)]
    found = list(dict.fromkeys([*scored, *(s for s in drawn if s not in known)]))
    if not found:
        raise SettingsError("There are no completions here; export another notebook's.")
    for key in keys:
        if not any(_begins(spec, key) for spec in found):
            there = ", ".join(locate(spec).key for spec in found)
            raise SettingsError(f"No stage's key begins with {key}; there are {there}.")
    return [s for s in found if not keys or any(_begins(s, key) for key in keys)]


def _begins(spec: Spec, key: str) -> bool:
    return bool(KEY.fullmatch(key)) and locate(spec).key.startswith(key)


def write_stages(specs: Sequence[Spec], store: Store, folder: Path) -> list[Path]:
    """Write each stage's completions, with scores, as `<stage>-<key>.parquet`.

    Columns: problem, question, gold (the reference solution), sample, text, answer,
    correct, finished, logprob (the sum over sampled tokens), logprob_per_token, and of
    a verifier's scores those of each aggregation. Their origin is in the metadata.
    """
    return [_write(spec, store, folder) for spec in specs]


def _write(spec: Spec, store: Store, folder: Path) -> Path:
    from pyarrow import Table  # here: slow to import
    from pyarrow.parquet import write_table

    table = Table.from_pandas(completions_of(spec, store), preserve_index=False)
    about = {**(table.schema.metadata or {}), ORIGIN: json.dumps(origin(spec)).encode()}
    data, place = io.BytesIO(), locate(spec)
    write_table(table.replace_schema_metadata(about), data)
    path = folder / f"{place.stage}-{place.key}.parquet"
    write_file(path, data.getvalue())
    return path


def completions_of(spec: Spec, store: Store) -> pd.DataFrame:
    """Return a stage's completions as they are handed on; see `write_stages`."""
    drawn = spec.completions if isinstance(spec, ScoreSpec) else spec
    table = pd.read_parquet(folder_of(drawn, store) / COMPLETIONS)
    counts = [len(forced) - np.count_nonzero(forced) for forced in table["forced"]]
    problems = sampled_problems(drawn)
    table = table.assign(
        question=[problems[place].question for place in table["problem"]],
        gold=[problems[place].solution for place in table["problem"]],
        logprob_per_token=table["logprob"] / np.maximum(counts, 1),
    )
    columns = "problem question gold sample text answer correct finished logprob"
    table = table[[*columns.split(), "logprob_per_token"]]
    if not isinstance(spec, ScoreSpec):
        return table
    scores = pd.read_parquet(folder_of(spec, store) / SCORES)
    names = ["problem", "sample", *(how for how in AGGREGATIONS if how in scores)]
    return table.merge(scores[names], on=["problem", "sample"], validate="1:1")


def missing(specs: Sequence[Spec], store: Store) -> list[Spec]:
    """Return the specs that the store lacks, or whose completions it lacks."""
    return [
        spec
        for spec in specs
        if not is_done(spec, store)
        or (isinstance(spec, ScoreSpec) and not is_done(spec.completions, store))
    ]


def describe(spec: Spec) -> str:
    """Say which completions a stage has, and which verifier scored them."""
    if isinstance(spec, ScoreSpec):
        return f"{spec.completions.describe()}; scored by {spec.verifier.describe()}"
    return spec.describe()


def origin(spec: Spec) -> dict[str, Any]:
    """Return where a stage's result comes from: its spec, key, versions, commit."""
    place = locate(spec)
    return {
        "stage": place.stage,
        "key": place.key,
        "version": STAGES[type(spec)].version,
        "describe": describe(spec),
        "gsmlib": metadata.version("gsmlib"),
        "spec": spec.model_dump(mode="json"),
        **{k: v for k, v in provenance({}).items() if k != "settings"},
    }
