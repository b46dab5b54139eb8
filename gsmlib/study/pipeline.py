"""The stages, from pretraining to scores: each read from the store, or computed first.

A stage takes a spec and a store; the spec holds its parents' specs, so asking for the
last stage builds whatever is missing before it. What is in the store is read without
torch: only computing (`gsmlib.study.stages`) needs it.
"""

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from safetensors import safe_open
from tqdm import tqdm

from gsmlib.environment import is_launched
from gsmlib.study.artifacts import (
    COMPLETIONS,
    HISTORY,
    LOSSES,
    SCORES,
    VERSIONS,
    epoch_folder,
    identity,
    is_done,
    parents,
    parts_of,
)
from gsmlib.study.specs import (
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.store import RESUME, Artifact, Store

if TYPE_CHECKING:
    from gsmlib.method.models import LanguageModel


def compute(spec: Spec, store: Store) -> None:
    """Compute any stage, and whatever it rests on, unless the store has it."""
    stages = {
        PretrainSpec: pretrain,
        FinetuneSpec: finetune,
        SampleSpec: sample,
        VerifierSpec: train_verifier,
        ScoreSpec: score,
    }
    stages[type(spec)](spec, store)


def _run(spec: Spec, store: Store, what: str) -> Artifact:
    """Get the artifact, its parents first, and say once in one line what it cost."""
    if not is_done(spec, store):
        for parent in parents(spec):
            compute(parent, store)
    artifact, speaks = _get(spec, store)
    if speaks and not artifact.again:
        stage, _ = VERSIONS[type(spec)]
        how = "cached" if artifact.cached else f"computed in {artifact.seconds:.1f} s"
        tqdm.write(f"{stage:<14} {what} · {how}")
    return artifact


def _get(spec: Spec, store: Store) -> tuple[Artifact, bool]:
    """Return the artifact, and whether this is the first or only process.

    All processes of a launch make it together; the first alone writes it. The others
    read what it is resumed from, and what they would write is dropped.
    """
    stage, _ = VERSIONS[type(spec)]

    def make(work: Path) -> None:
        from gsmlib.study import (
            stages,  # here: what is in the store is read without torch
        )

        stages.make(spec, store, work)

    if not is_launched():
        return store.get(stage, identity(spec), make), True
    from gsmlib.method.training import launched

    state, done = launched(), is_done(spec, store)
    state.wait_for_everyone()  # all have looked before one begins
    if not state.is_main_process:
        if not done:
            with tempfile.TemporaryDirectory() as scratch:
                (Path(scratch) / RESUME).symlink_to(parts_of(spec, store).absolute())
                make(Path(scratch))
        state.wait_for_everyone()  # until the first has written it
    artifact = store.get(stage, identity(spec), make)
    if state.is_main_process:
        state.wait_for_everyone()
    return artifact, state.is_main_process


def pretrain(spec: PretrainSpec, store: Store) -> Artifact:
    """Go on pretraining a model on running text, as with dropout in section 5.2."""
    rate = spec.training.dropout
    what = f"{spec.model} on {spec.n_texts} more texts, dropout {rate:g}"
    return _run(spec, store, what)


def finetune(spec: FinetuneSpec, store: Store) -> Artifact:
    """Finetune a language model on problems (section 4.1); keep the asked epochs."""
    data, epochs = spec.data, spec.training.epochs
    what = (
        f"{spec.model} on {data.n_train} {data.dataset} problems, {epochs} epochs, "
        f"seed {spec.training.seed}"
    )
    return _run(spec, store, what)


def load_finetuned(spec: FinetuneSpec, epoch: int, store: Store) -> "LanguageModel":
    """Return the model after `epoch`, finetuned first where it is not in the store."""
    from gsmlib.method.models import load_saved_language_model

    finetune(spec, store)
    return load_saved_language_model(epoch_folder(spec, epoch, store))


def parameter_count(spec: FinetuneSpec, store: Store) -> int:
    """Return how many numbers the finetuned model has (tied weights once)."""
    finetune(spec, store)
    total = 0
    for path in epoch_folder(spec, spec.keep_epochs[-1], store).glob("*.safetensors"):
        with safe_open(path, "np") as file:
            names = list(file.keys())
            shapes = [file.get_slice(name).get_shape() for name in names]
        total += sum(math.prod(shape) for shape in shapes)
    return total


def epoch_losses(spec: FinetuneSpec, store: Store) -> pd.DataFrame:
    """Return epoch, train_loss, test_loss: mean nats per token of a finetuning run."""
    folder = finetune(spec, store).folder
    history = pd.read_csv(folder / HISTORY)
    train_loss = history.groupby("epoch")["loss"].mean()
    test_loss = {
        int(k): v for k, v in json.loads((folder / LOSSES).read_text()).items()
    }
    table = pd.DataFrame({"train_loss": train_loss, "test_loss": pd.Series(test_loss)})
    return table.rename_axis("epoch").reset_index()


def sample(spec: SampleSpec, store: Store) -> pd.DataFrame:
    """Return completions of a generator, labelled: a row per (problem, sample).

    Columns: problem, sample, text, tokens, forced, logprob, finished, correct, answer.
    Section 4.2: a completion is correct when its final answer is, whatever its steps.
    """
    generator = spec.generator
    what = (
        f"{generator.model} ({generator.data.n_train} problems, epoch {spec.epoch}): "
        f"{spec.n} completions of {spec.n_problems} {spec.split} problems, "
        f"T {spec.temperature:g}"
    )
    return pd.read_parquet(_run(spec, store, what).folder / COMPLETIONS)


def train_verifier(spec: VerifierSpec, store: Store) -> Artifact:
    """Train a verifier on labelled completions, jointly with the language objective."""
    completions = spec.completions
    count = completions.n_problems * (spec.per_problem or completions.n)
    return _run(spec, store, f"{spec.base.model} on {count} completions")


def score(spec: ScoreSpec, store: Store) -> pd.DataFrame:
    """Return a verifier's scores: problem, sample, one column per aggregation.

    The column token_scores has a list of scores per completion, one per token.
    """
    completions = spec.completions
    count = completions.n_problems * completions.n
    what = f"{count} completions of {completions.split} problems"
    return pd.read_parquet(_run(spec, store, what).folder / SCORES)
