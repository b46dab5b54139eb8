"""The stages, from pretraining to scores: where each lies, read or computed first.

`STAGES` has a row for each kind of spec. A spec holds its parents' specs, so asking for
the last stage builds whatever is missing before it. What is in the store is read
without torch: only computing (`gsmlib.study.making`) needs it.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from safetensors import safe_open
from tqdm import tqdm

from gsmlib.data import Problem, load_problems
from gsmlib.environment import is_launched
from gsmlib.files import file_sha256
from gsmlib.method.sizes import MINI_SIZES, TOKENIZER_FILE, WEIGHTS
from gsmlib.records import Record
from gsmlib.study import estimates
from gsmlib.study.estimates import Work
from gsmlib.study.specs import (
    DataSpec,
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.store import RESUME, Artifact, Place, Store, key_of

if TYPE_CHECKING:
    from gsmlib.method.models import LanguageModel

LOSSES, HISTORY = "losses.json", "history.csv"
COMPLETIONS, SCORES = "completions.parquet", "scores.parquet"


class Stage(NamedTuple):
    """How specs of one kind are computed; `making` has its maker under its name.

    The version is part of every key: raise it where the same spec now gives another
    result.
    """

    name: str
    version: int
    work: Callable[[Any], Work]  # what there is to do, with which model: the estimates


STAGES: dict[type[Spec], Stage] = {
    PretrainSpec: Stage("pretrain", 1, estimates.pretrain_work),
    FinetuneSpec: Stage("finetune", 1, estimates.finetune_work),
    SampleSpec: Stage("sample", 1, estimates.sample_work),
    VerifierSpec: Stage("train_verifier", 1, estimates.verifier_work),
    ScoreSpec: Stage("score", 1, estimates.score_work),
}
# The defaults of each stage's records as its version had them; see `identity`.
DEFAULTS = json.loads(Path(__file__).with_name("defaults.json").read_text())


def work_of(spec: Spec) -> Work:
    """Return what a spec's stage has to do, without its parents."""
    return STAGES[type(spec)].work(spec)


# ------------------------------------------------------------------------------- places


@cache
def locate(spec: Spec) -> Place:
    """Return where a spec's artifact lies in every store: stage, key, parents."""
    values = identity(spec)
    parents = [value for _, value in spec if type(value) in STAGES]
    if isinstance(spec, VerifierSpec):
        parents.append(spec.completions.generator)
        parents += [s for s in [spec.base.pretraining] if s is not None]
    return Place(STAGES[type(spec)].name, key_of(values), values, tuple(parents))


def identity(spec: Record, stage: str = "") -> dict[str, Any]:
    """Return all that decides a stage's result: the spec, its parents, their versions.

    A field that has its default is left out, so that a new one changes no key. The
    default is the one of the stage's version (defaults.json): a changed one is another
    setting. What a name stands for counts too: local weights and MiniGSM's problems are
    fingerprinted, so a changed file is never mistaken for its predecessor.
    """
    row = STAGES.get(type(spec))
    stage = row.name if row else stage
    frozen = DEFAULTS[stage]["defaults"].get(type(spec).__name__, {})
    values: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if value != frozen.get(name, field.default):
            values[name] = (
                identity(value, stage) if isinstance(value, Record) else value
            )
    if isinstance(spec, FinetuneSpec | PretrainSpec):
        values["weights"] = weights_fingerprint(spec.model)
    if isinstance(spec, DataSpec | PretrainSpec) and spec.dataset == "minigsm":
        seed = spec.seed if isinstance(spec, DataSpec) else spec.training.seed
        values["problems"] = problems_fingerprint(seed)
    return values | ({"stage": row.name, "version": row.version} if row else {})


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


def is_done(spec: Spec, store: Store) -> bool:
    """Return whether the stage's artifact is in the store and intact."""
    return store.has(locate(spec))


def folder_of(spec: Spec, store: Store) -> Path:
    """Return the folder of the stage's artifact."""
    return store.folder(locate(spec))


def epoch_folder(spec: FinetuneSpec, epoch: int, store: Store) -> Path:
    """Return the folder of the model after an epoch that the spec keeps."""
    return folder_of(spec, store) / f"epoch-{epoch}"


def verifier_name(checkpoint: int | None = None) -> str:
    """Return the folder of a verifier within its artifact; None means the last one."""
    return f"verifier-{checkpoint}" if checkpoint else "verifier"


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


# ---------------------------------------------------------------------------- computing


def obtain(spec: Spec, store: Store) -> Artifact:
    """Return a stage's artifact, computed first where the store lacks it.

    Its parents come before it; one printed line says what it was and what it cost.
    """
    place = locate(spec)
    if not store.has(place):
        for parent in place.parents:
            obtain(parent, store)

    def make(work: Path) -> None:
        from gsmlib.study import making  # here: it imports torch

        getattr(making, place.stage)(spec, store, work)

    artifact, speaks = _obtain_together(place, store, make)
    if speaks and not artifact.again:
        how = "cached" if artifact.cached else f"computed in {artifact.seconds:.1f} s"
        tqdm.write(f"{place.stage:<14} {spec.describe()} · {how}")
    return artifact


def _obtain_together(
    place: Place, store: Store, make: Callable[[Path], None]
) -> tuple[Artifact, bool]:
    """Return the artifact, and whether this is the first or only process.

    All processes of a launch make it together; the first alone writes it. The others
    read what it is resumed from, and what they would write is dropped.
    """
    if not is_launched():
        return store.get(place, make), True
    from gsmlib.method.training import launched

    state, done = launched(), store.has(place)
    state.wait_for_everyone()  # all have looked before one begins
    if not state.is_main_process:
        if not done:
            with tempfile.TemporaryDirectory() as scratch:
                (Path(scratch) / RESUME).symlink_to(store.parts(place).absolute())
                make(Path(scratch))
        state.wait_for_everyone()  # until the first has written it
    artifact = store.get(place, make)
    if state.is_main_process:
        state.wait_for_everyone()
    return artifact, state.is_main_process


# ------------------------------------------------------------------------------ reading


def sample(spec: SampleSpec, store: Store) -> pd.DataFrame:
    """Return completions of a generator, labelled: a row per (problem, sample).

    Columns: problem, sample, text, tokens, forced, logprob, finished, correct, answer.
    Section 4.2: a completion is correct when its final answer is, whatever its steps.
    """
    return pd.read_parquet(obtain(spec, store).folder / COMPLETIONS)


def score(spec: ScoreSpec, store: Store) -> pd.DataFrame:
    """Return a verifier's scores: problem, sample, one column per aggregation.

    The column token_scores has a list of scores per completion, one per token.
    """
    return pd.read_parquet(obtain(spec, store).folder / SCORES)


def load_finetuned(spec: FinetuneSpec, epoch: int, store: Store) -> "LanguageModel":
    """Return the model after `epoch`, finetuned first where it is not in the store."""
    from gsmlib.method.models import load_saved_language_model  # here: it imports torch

    obtain(spec, store)
    return load_saved_language_model(epoch_folder(spec, epoch, store))


def parameter_count(spec: FinetuneSpec, store: Store) -> int:
    """Return how many numbers the finetuned model has (tied weights once)."""
    obtain(spec, store)
    total = 0
    for path in epoch_folder(spec, spec.keep_epochs[-1], store).glob("*.safetensors"):
        with safe_open(path, "np") as file:
            names = list(file.keys())
            shapes = [file.get_slice(name).get_shape() for name in names]
        total += sum(math.prod(shape) for shape in shapes)
    return total


def epoch_losses(spec: FinetuneSpec, store: Store) -> pd.DataFrame:
    """Return epoch, train_loss, test_loss: mean nats per token of a finetuning run."""
    folder = obtain(spec, store).folder
    history = pd.read_csv(folder / HISTORY)
    train_loss = history.groupby("epoch")["loss"].mean()
    test_loss = {
        int(k): v for k, v in json.loads((folder / LOSSES).read_text()).items()
    }
    table = pd.DataFrame({"train_loss": train_loss, "test_loss": pd.Series(test_loss)})
    return table.rename_axis("epoch").reset_index()
