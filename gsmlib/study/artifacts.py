"""A stage's artifact: its key in the store, its parents, its files, its problems.

A stage's version is part of its key: raise it when the stage's result changes for the
same spec.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from gsmlib.data import Problem, load_problems
from gsmlib.files import file_sha256
from gsmlib.method.sizes import MINI_SIZES, TOKENIZER_FILE, WEIGHTS
from gsmlib.records import Record
from gsmlib.study.specs import (
    DataSpec,
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.store import Store

VERSIONS: dict[type[Spec], tuple[str, int]] = {
    PretrainSpec: ("pretrain", 1),
    FinetuneSpec: ("finetune", 1),
    SampleSpec: ("sample", 1),
    VerifierSpec: ("train_verifier", 1),
    ScoreSpec: ("score", 1),
}
LOSSES, HISTORY = "losses.json", "history.csv"
COMPLETIONS, SCORES = "completions.parquet", "scores.parquet"


def identity(spec: Spec) -> dict[str, Any]:
    """Return all that decides a stage's result: the spec, its parents, their versions.

    What a name stands for counts too: the shipped weights and MiniGSM's problems are
    fingerprinted, so a changed file is never mistaken for its predecessor.
    """
    values = {
        name: identity(value) if isinstance(value, Record) else value
        for name, value in spec
    }
    if isinstance(spec, FinetuneSpec | PretrainSpec):
        values["weights"] = weights_fingerprint(spec.model)
    if isinstance(spec, DataSpec | PretrainSpec) and spec.dataset == "minigsm":
        seed = spec.seed if isinstance(spec, DataSpec) else spec.training.seed
        values["problems"] = problems_fingerprint(seed)
    if type(spec) in VERSIONS:
        values["stage"], values["version"] = VERSIONS[type(spec)]
    return values


@cache
def weights_fingerprint(model: str) -> str:
    """Return a digest of a model's local files; nothing's for one of the hub."""
    name = model.partition(":")[0]  # ":random" ones share the tokenizer
    files = [WEIGHTS / f"{model}.safetensors"]
    files += [TOKENIZER_FILE] if name in ("tiny", *MINI_SIZES) else []
    files += sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    sums = [file_sha256(path) for path in files if path.is_file()]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()[:16]


@cache
def problems_fingerprint(seed: int) -> str:
    """Return a digest of the first MiniGSM problems, which change with its grammar."""
    problems = load_problems("minigsm", "train", 32, seed)
    return hashlib.sha256(repr(problems).encode()).hexdigest()[:16]


def parents(spec: Spec) -> list[Spec]:
    """Return the stages whose artifacts computing `spec` reads."""
    needed = [value for _, value in spec if type(value) in VERSIONS]
    if isinstance(spec, VerifierSpec):
        needed.append(spec.completions.generator)
        needed += [s for s in [spec.base.pretraining] if s is not None]
    return needed


def is_done(spec: Spec, store: Store) -> bool:
    """Return whether the stage's artifact is in the store and intact."""
    stage, _ = VERSIONS[type(spec)]
    return store.has(stage, identity(spec))


def folder_of(spec: Spec, store: Store) -> Path:
    """Return the folder of the stage's artifact."""
    stage, _ = VERSIONS[type(spec)]
    return store.folder(stage, identity(spec))


def epoch_folder(spec: FinetuneSpec, epoch: int, store: Store) -> Path:
    """Return the folder of the model after an epoch that the spec keeps."""
    return folder_of(spec, store) / f"epoch-{epoch}"


def verifier_name(checkpoint: int | None = None) -> str:
    """Return the folder of a verifier within its artifact; None means the last one."""
    return f"verifier-{checkpoint}" if checkpoint else "verifier"


def parts_of(spec: Spec, store: Store) -> Path:
    """Return the folder of what the stage is resumed from."""
    stage, _ = VERSIONS[type(spec)]
    return store.parts(stage, identity(spec))


# ----------------------------------------------------------------------------- problems


def training_problems(data: DataSpec, n: int) -> list[Problem]:
    """Return the first n of the spec's training problems, as they are learnt from."""
    return shortened(load_problems(data.dataset, "train", n, data.seed), data)


def sampled_problems(spec: SampleSpec) -> list[Problem]:
    """Return the problems that a sampling spec is about."""
    data = spec.generator.data
    seed = data.seed if spec.split == "train" else 0  # one test set for all seeds
    return load_problems(data.dataset, spec.split, spec.n_problems, seed)


def shortened(problems: list[Problem], data: DataSpec) -> list[Problem]:
    """Return the problems, where so asked with their solutions' last lines alone."""
    if not data.answers_only:
        return problems
    return [Problem(p.question, p.solution.splitlines()[-1]) for p in problems]
