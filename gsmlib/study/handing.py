"""Computed completions and scores, handed on: a parquet file a stage, with its origin.

What the store has is copied, never computed; `gsmlib curves` reads the files again, and
`gsmlib import` takes their completions into another store.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from importlib import metadata
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from gsmlib.data.samples import ORIGIN, parse_json
from gsmlib.environment import provenance
from gsmlib.files import in_words, write_file
from gsmlib.method.answers import final_number, is_correct
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
    with_parents,
)
from gsmlib.study.store import Store

if TYPE_CHECKING:
    from pyarrow import Table

COLUMNS = "problem sample text tokens forced logprob finished correct answer".split()
KEY = re.compile(r"[0-9a-f]{1,16}")  # how a stage's key begins


def handed_on(
    specs: Sequence[Spec], keys: Sequence[str] = (), every: bool = False
) -> list[Spec]:
    """Return the specs of completions and scores, each once, of some keys if given.

    With `every` also of what they are made of: completions that verifiers learn from.
    Keys may begin those too. Completions that are scored go with their scores, unless
    their own key is given. SettingsError where a key begins none, or where there is
    nothing to hand on.
    """
    specs = with_parents(specs) if keys or every else specs
    scored = [spec for spec in specs if isinstance(spec, ScoreSpec)]
    drawn = [spec for spec in specs if isinstance(spec, SampleSpec | ReleasedSpec)]
    found = list(dict.fromkeys([*scored, *drawn]))
    if not found:
        raise SettingsError("There are no completions here; export another notebook's.")
    for key in keys:
        if not any(_begins(spec, key) for spec in found):
            there = ", ".join(locate(spec).key for spec in found)
            raise SettingsError(f"No stage's key begins with {key}; there are {there}.")
    if keys:
        return [s for s in found if any(_begins(s, key) for key in keys)]
    known = {spec.completions for spec in scored}
    return [spec for spec in found if spec not in known]


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
    said = {**origin(spec, store), "sha256": _digest(table)}
    about = {**(table.schema.metadata or {}), ORIGIN: json.dumps(said).encode()}
    data, place = io.BytesIO(), locate(spec)
    write_table(table.replace_schema_metadata(about), data, compression="zstd")
    path = folder / f"{place.stage}-{place.key}.parquet"
    write_file(path, data.getvalue())
    return path


def _digest(table: "Table") -> str:
    """Return a checksum of the completions, whatever the file's form is."""
    rows = json.dumps([table[name].to_pylist() for name in COLUMNS], default=repr)
    return hashlib.sha256(rows.encode()).hexdigest()


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


def origin(spec: Spec, store: Store) -> dict[str, Any]:
    """Return where a stage's result comes from: its spec, key, versions, commit.

    completions: their key; spent: the seconds that they took, by processor. Versions
    and commit are those that hand it on: what decides the result is in the key.
    """
    place, drawn = locate(spec), locate(drawn_by(spec))
    return {
        "stage": place.stage,
        "key": place.key,
        "version": STAGES[type(spec)].version,
        "describe": spec.describe(),
        "gsmlib": metadata.version("gsmlib"),
        "spec": spec.model_dump(mode="json"),
        "completions": drawn.key,
        "spent": store.spent(drawn),
        **{k: v for k, v in provenance({}).items() if k != "settings"},
    }


# ------------------------------------------------------------------------- taking it in


def take_in(file: Path, store: Store) -> tuple[SampleSpec, bool]:
    """Take the completions of an exported file into the store; return spec, if new.

    Only what this gsmlib would keep under the same key is taken. SettingsError where
    the key is another here, problems or labels are others, or rows are missing;
    StoreError where the store cannot be written.
    """
    from pyarrow import ArrowException  # here: slow to import
    from pyarrow.parquet import read_table, write_table

    try:
        with file.expanduser().open("rb") as opened:
            table = read_table(opened)
    except IsADirectoryError:
        raise SettingsError(f"{file} is a folder; give its files, *.parquet.") from None
    except (OSError, ArrowException) as error:
        if getattr(error, "errno", None):
            raise SettingsError(in_words(error, file, use="read")) from None
        what = f"{file} cannot be read as parquet"
        raise SettingsError(f"{what}; give what `gsmlib export` wrote.") from None
    about = parse_json((table.schema.metadata or {}).get(ORIGIN, b""))
    if not _is_origin(about) or not {"question", *COLUMNS} <= set(table.column_names):
        raise SettingsError(
            f"{file} was not written by `gsmlib export`, or by an earlier version of "
            "it; export it again."
        )
    spec = _spec_of(file, about)
    if about["sha256"] != _digest(table):
        raise SettingsError(f"{file} was changed since its export; export it again.")
    if fault := _find_fault(table, spec):
        raise SettingsError(f"{file} has {fault}; export it again, or sample anew.")
    plain = table.select(COLUMNS).replace_schema_metadata(None)
    artifact = store.get(
        locate(spec),
        lambda work: write_table(plain, work / COMPLETIONS),
        spent=about["spent"],
    )
    return spec, not artifact.cached


def _is_origin(about: Any) -> bool:
    """Whether this is what `origin` returns, as far as taking in needs it."""
    if not isinstance(about, dict) or not isinstance(spent := about.get("spent"), dict):
        return False
    seconds = [n for n in spent.values() if type(n) in (int, float) and 0 <= n < inf]
    named = isinstance(about.get("stage"), str) and isinstance(about.get("spec"), dict)
    noted = {"completions", "sha256"} <= set(about)
    return named and noted and len(seconds) == len(spent) > 0


def _spec_of(file: Path, about: dict[str, Any]) -> SampleSpec:
    """Return the spec of a file's completions; SettingsError where it is another's."""
    kinds = {STAGES[kind].name: kind for kind in (SampleSpec, ReleasedSpec, ScoreSpec)}
    try:
        spec = drawn_by(kinds[about["stage"]](**about["spec"]))
        key = locate(spec).key
    except KeyError:
        spec, key = None, ""
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ").removesuffix(".")
        where = "".join(f"{name}: " for name in first["loc"])
        raise SettingsError(f"{file} cannot be imported here: {where}{why}.") from None
    except OSError as error:
        raise SettingsError(in_words(error, use="read")) from None
    if key != about["completions"]:
        raise SettingsError(
            f"{file} has completions that gsmlib {about.get('gsmlib')} calls "
            f"{about['completions']} and this one {key or 'nothing'}, for code or data "
            "have changed since; sample them anew."
        )
    if not isinstance(spec, SampleSpec):
        raise SettingsError(
            f"{file} has released solutions, which are read from GSM8K's own files; "
            "leave it out."
        )
    return spec


def _find_fault(table: "Table", spec: SampleSpec) -> str:
    """Say what a stage's rows have that they cannot have here; "" where it is nothing.

    A change of GSM8K's files or of what counts as right is no part of a key.
    """
    names = "problem sample question text correct answer".split()
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    problems = sampled_problems(spec)
    for place, sample, question, text, *label in rows:
        if question != problems[place].question:
            return f"another problem {place} than here"
        solution = problems[place].solution
        if label != [is_correct(text, solution), final_number(text)]:
            return f"another label of problem {place}'s completion {sample} than here"
    return ""
