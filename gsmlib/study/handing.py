"""Computed completions and scores, handed on: a parquet file a stage, with its origin.

What the store has is copied, never computed; `gsmlib curves` reads the files again, and
`gsmlib import` takes their completions into another store.
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

from gsmlib.data.samples import ORIGIN, parse_json
from gsmlib.environment import provenance
from gsmlib.files import write_file
from gsmlib.method.answers import is_correct
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

COLUMNS = "problem sample text tokens forced logprob finished correct answer".split()
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
    correct, finished, logprob (the sum over sampled tokens), logprob_per_token, tokens,
    forced (by the calculator), and of a verifier's scores those of each aggregation.
    Their origin is in the metadata.
    """
    return [_write(spec, store, folder) for spec in specs]


def _write(spec: Spec, store: Store, folder: Path) -> Path:
    from pyarrow import Table  # here: slow to import
    from pyarrow.parquet import write_table

    table = Table.from_pandas(completions_of(spec, store), preserve_index=False)
    about = {
        **(table.schema.metadata or {}),
        ORIGIN: json.dumps(origin(spec, store)).encode(),
    }
    data, place = io.BytesIO(), locate(spec)
    write_table(table.replace_schema_metadata(about), data)
    path = folder / f"{place.stage}-{place.key}.parquet"
    write_file(path, data.getvalue())
    return path


def drawn_by(spec: Spec) -> Spec:
    """Return the completions' own spec, of scores that of what they are about."""
    return spec.completions if isinstance(spec, ScoreSpec) else spec


def completions_of(spec: Spec, store: Store) -> pd.DataFrame:
    """Return a stage's completions as they are handed on; see `write_stages`."""
    drawn = drawn_by(spec)
    table = pd.read_parquet(folder_of(drawn, store) / COMPLETIONS)
    counts = [len(forced) - np.count_nonzero(forced) for forced in table["forced"]]
    problems = sampled_problems(drawn)
    table = table.assign(
        question=[problems[place].question for place in table["problem"]],
        gold=[problems[place].solution for place in table["problem"]],
        logprob_per_token=table["logprob"] / np.maximum(counts, 1),
    )
    columns = "problem question gold sample text answer correct finished logprob"
    table = table[[*columns.split(), "logprob_per_token", "tokens", "forced"]]
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


def origin(spec: Spec, store: Store) -> dict[str, Any]:
    """Return where a stage's result comes from: its spec, key, versions, commit.

    `spent`: the seconds that its completions took, by processor.
    """
    place = locate(spec)
    return {
        "stage": place.stage,
        "key": place.key,
        "version": STAGES[type(spec)].version,
        "describe": describe(spec),
        "gsmlib": metadata.version("gsmlib"),
        "spec": spec.model_dump(mode="json"),
        "spent": store.spent(locate(drawn_by(spec))),
        **{k: v for k, v in provenance({}).items() if k != "settings"},
    }


# ------------------------------------------------------------------------- taking it in


def take_in(file: Path, store: Store) -> tuple[Spec, bool]:
    """Take the completions of an exported file into the store; return spec, if new.

    Only what this gsmlib would compute under the same key is taken: SettingsError where
    the spec's key is another now, rows are missing, or a label is not what it gives.
    """
    from pyarrow import ArrowException, Table
    from pyarrow.parquet import read_table, write_table

    try:
        with file.open("rb") as opened:
            table: Table = read_table(opened)
    except (OSError, ArrowException):
        what = f"{file} cannot be read as parquet"
        raise SettingsError(f"{what}; give what `gsmlib export` wrote.") from None
    spec, about = _read_origin(file, (table.schema.metadata or {}).get(ORIGIN, b""))
    if lacking := sorted(set(COLUMNS) - set(table.column_names)):
        what = f"{file} lacks {', '.join(lacking)}"
        raise SettingsError(f"{what}; export it again with this version of gsmlib.")
    rows = table.select(COLUMNS).to_pandas()
    if fault := _find_fault(rows, spec):
        raise SettingsError(f"{file}: {fault}; export it again, or sample anew.")
    plain = table.select(COLUMNS).replace_schema_metadata(None)
    artifact = store.get(
        locate(spec),
        lambda work: write_table(plain, work / COMPLETIONS),
        spent=about.get("spent"),
    )
    return spec, not artifact.cached


def _read_origin(file: Path, text: bytes) -> tuple[SampleSpec, dict[str, Any]]:
    """Return the spec of a file's completions, and what else its export noted."""
    about = parse_json(text)
    if not isinstance(about, dict):
        raise SettingsError(
            f"{file} was not written by `gsmlib export`; give what was."
        )
    kinds = {row.name: kind for kind, row in STAGES.items()}
    kind = kinds.get(about.get("stage"))
    try:
        spec = kind(**about["spec"])
        key = locate(spec).key
    except (TypeError, KeyError, ValueError, OSError):
        spec, key = None, ""
    if key != about.get("key"):
        made = f"gsmlib {about.get('gsmlib')} at commit {about.get('commit')}"
        raise SettingsError(
            f"{file} was made by {made}, whose {about.get('stage')} "
            f"{about.get('key')} is another thing here; sample it anew, or use that."
        )
    drawn = drawn_by(spec)
    if not isinstance(drawn, SampleSpec):
        raise SettingsError(
            f"{file} has released solutions, which are read from GSM8K's own files."
        )
    return drawn, about


def _find_fault(rows: pd.DataFrame, spec: SampleSpec) -> str:
    """Say what is wrong with a stage's rows; "" where nothing is."""
    wanted = pd.MultiIndex.from_product([range(spec.n_problems), range(spec.n)])
    if not pd.MultiIndex.from_frame(rows[["problem", "sample"]]).equals(wanted):
        return (
            f"not {spec.n} completions of each of {spec.n_problems} problems, in order"
        )
    problems = sampled_problems(spec)
    texts = zip(rows["text"], rows["problem"], strict=True)
    right = [is_correct(text, problems[place].solution) for text, place in texts]
    wrong = np.flatnonzero(rows["correct"].to_numpy() != right)
    if len(wrong):
        problem, sample = rows.loc[wrong[0], ["problem", "sample"]]
        return f"completion {sample} of problem {problem} is labelled wrongly"
    return ""
