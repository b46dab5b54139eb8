"""What the stages are, from pretraining to scores: a table, and where each result lies.

`STAGES` has a row for each kind of spec. A spec holds its parents' specs, and with them
all that decides its result: its key in the store follows from it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gsmlib.data import Problem, family, load_problems
from gsmlib.data.gsm8k import load_gsm8k, load_released_solutions, with_answer_mark
from gsmlib.files import file_sha256
from gsmlib.method.folders import files_of, state_of
from gsmlib.method.planted import Solution, with_errors
from gsmlib.method.sizes import MINI_SIZES, TOKENIZER_FILE, WEIGHTS, known_names
from gsmlib.records import Record
from gsmlib.study import estimates, specs
from gsmlib.study.estimates import Work
from gsmlib.study.specs import (
    DataSpec,
    FinetuneSpec,
    ReleasedSpec,
    SampleSpec,
    SearchSpec,
    Spec,
)
from gsmlib.study.store import Place, Store

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
    specs.PretrainSpec: Stage("pretrain", 2, estimates.pretrain_work),
    FinetuneSpec: Stage("finetune", 3, estimates.finetune_work),
    SampleSpec: Stage("sample", 2, estimates.sample_work),
    specs.ReleasedSpec: Stage("released", 1, estimates.released_work),
    specs.VerifierSpec: Stage("train_verifier", 3, estimates.verifier_work),
    specs.ScoreSpec: Stage("score", 2, estimates.score_work),
    SearchSpec: Stage("search", 2, estimates.search_work),
}
# The defaults of each stage's records as its version had them; see `identity`.
DEFAULTS = json.loads(Path(__file__).with_name("defaults.json").read_text())


def work_of(spec: Spec) -> Work:
    """Return what a spec's stage has to do, without its parents."""
    return STAGES[type(spec)].work(spec)


# ------------------------------------------------------------------------------- places


def locate(spec: Spec) -> Place:
    """Return where a spec's artifact lies in every store: stage, key, parents.

    A model's folder that has changed since is noticed.
    """
    return _locate(spec, tuple(map(_folder_state, models_of(spec))))


def with_parents(specs: Sequence[Spec]) -> dict[Spec, Sequence[Spec]]:
    """Return the specs and all that they are made of, each with its own parents."""
    found: dict[Spec, Sequence[Spec]] = {}
    waiting = list(specs)
    while waiting:
        spec = waiting.pop()
        if spec not in found:
            found[spec] = locate(spec).parents
            waiting += found[spec]
    return found


@cache
def models_of(spec: Record) -> tuple[str, ...]:
    """Return the names of all models that a spec rests on, its own and its parents'."""
    names = [spec.model] if isinstance(spec, FinetuneSpec | specs.PretrainSpec) else []
    below = [models_of(value) for _, value in spec if isinstance(value, Record)]
    return tuple(dict.fromkeys(chain(names, *below)))


@cache
def _locate(spec: Spec, _: tuple[Any, ...]) -> Place:
    """Locate a spec, whose models' folders are in the state `_`."""
    values = identity(spec)
    parents = [value for _, value in spec if type(value) in STAGES]
    if isinstance(spec, specs.VerifierSpec):
        parents.append(spec.completions.generator)
        parents += [s for s in [spec.base.pretraining] if s is not None]
    if isinstance(spec, SearchSpec):
        parents.append(spec.generator)
    return Place(STAGES[type(spec)].name, values, tuple(parents))


def identity(spec: Record, stage: str = "") -> dict[str, Any]:
    """Return all that decides a stage's result: the spec, its parents, their versions.

    A field that has its default is left out, so that a new one changes no key. The
    default is the one of the stage's version (defaults.json): a changed one is another
    setting. What a name stands for counts too: a model's local files, MiniGSM's
    problems and a user's are fingerprinted, so a changed one is never taken for its
    predecessor.
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
    if isinstance(spec, FinetuneSpec | specs.PretrainSpec):
        values["weights"] = weights_fingerprint(spec.model)
    if isinstance(spec, DataSpec | specs.PretrainSpec):
        seed = spec.seed if isinstance(spec, DataSpec) else spec.training.seed
        values |= _problems_identity(spec.dataset, seed)
    return values | ({"stage": row.name, "version": row.version} if row else {})


def weights_fingerprint(model: str) -> str:
    """Return a digest of a model's local files; nothing's for one of the hub.

    Of a folder that is all which decides what the model computes: its config and its
    tokenizer too.
    """
    return _fingerprint(model, _folder_state(model))


def _folder_state(model: str) -> tuple[Any, ...]:
    return () if model in known_names() else state_of(model)


@cache
def _fingerprint(model: str, state: tuple[Any, ...]) -> str:
    name = model.partition(":")[0]  # ":random" ones share the tokenizer
    files = [WEIGHTS / f"{model}.safetensors"]
    files += [TOKENIZER_FILE] if name in ("tiny", *MINI_SIZES) else []
    sums = [file_sha256(path) for path in files if path.is_file()]
    if state:
        sums += [f"{path.name} {file_sha256(path)}" for path in files_of(Path(model))]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()[:16]


def _problems_identity(dataset: str, seed: int) -> dict[str, str]:
    """Say which problems a data set has; of one's own, wherever their file lies."""
    if family(dataset) == "minigsm":
        return {"problems": problems_fingerprint(dataset, seed)}
    if family(dataset) != "own":
        return {}
    return {"dataset": "own", "problems": dataset.rpartition("#")[2]}


@cache
def problems_fingerprint(dataset: str, seed: int) -> str:
    """Return a digest of the first MiniGSM problems, which change with its grammar."""
    problems = load_problems(dataset, "train", 32, seed)
    return hashlib.sha256(repr(problems).encode()).hexdigest()[:16]


def is_done(spec: Spec, store: Store) -> bool:
    """Return whether the stage's artifact is in the store and intact."""
    return store.has(locate(spec))


def folder_of(spec: Spec, store: Store) -> Path:
    """Return the folder of the stage's artifact."""
    return store.folder(locate(spec))


def epoch_folder(spec: FinetuneSpec, epoch: int, store: Store) -> Path:
    """Return the folder of the model after an epoch that the spec keeps."""
    return folder_of(spec, store) / epoch_name(epoch)


def epoch_name(epoch: int) -> str:
    """Return the folder of the model after an epoch within its artifact."""
    return f"epoch-{epoch}"


def verifier_name(checkpoint: int | None = None) -> str:
    """Return the folder of a verifier within its artifact; None means the last one."""
    return f"verifier-{checkpoint}" if checkpoint else "verifier"


# ----------------------------------------------------------------------------- problems


def training_problems(data: DataSpec, n: int) -> list[Problem]:
    """Return the first n of the spec's training problems, as they are learnt from."""
    return shortened(load_problems(data.dataset, "train", n, data.seed), data)


def sampled_problems(spec: SampleSpec | ReleasedSpec | SearchSpec) -> list[Problem]:
    """Return the problems that completions are about."""
    data = spec.generator.data
    if isinstance(spec, ReleasedSpec):
        in_file = load_gsm8k("test")  # elsewhere problems are shuffled
        return [in_file[place] for place in released_places(spec)]
    seed = data.seed if spec.split == "train" else 0  # one test set for all seeds
    return load_problems(data.dataset, spec.split, spec.n_problems, seed)


def released_places(spec: ReleasedSpec) -> range:
    """Return the numbers of the test problems whose released solutions these are."""
    first = int(spec.half == "odd")
    return range(first, first + 2 * spec.n_problems, 2)


def four_solutions(spec: ReleasedSpec) -> Iterator[list[Solution]]:
    """Yield each problem's four solutions: released ones, or with planted errors."""
    places = released_places(spec)
    if spec.solutions == "planted":
        for place, problem in zip(places, sampled_problems(spec), strict=True):
            yield with_errors(problem, seed=place)
        return
    table = load_released_solutions().set_index("problem")
    for place in places:
        of_problem = table.loc[place]
        texts = map(with_answer_mark, of_problem["solution"])
        yield list(map(Solution, texts, map(bool, of_problem["is_correct"])))


def shortened(problems: list[Problem], data: DataSpec) -> list[Problem]:
    """Return the problems, where so asked with their solutions' last lines alone."""
    if not data.answers_only:
        return problems
    return [Problem(p.question, p.solution.splitlines()[-1]) for p in problems]
