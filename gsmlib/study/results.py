"""What the stages give, from pretraining to scores: read from the store, or computed.

A spec holds its parents' specs, so asking for the last result builds whatever is
missing before it. What is in the store is read without torch: only computing
(`gsmlib.study.making`) needs it.
"""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from safetensors import safe_open

from gsmlib import progress
from gsmlib.environment import is_launched
from gsmlib.study import stages
from gsmlib.study.specs import (
    FinetuneSpec,
    ReleasedSpec,
    SampleSpec,
    ScoreSpec,
    SearchSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.stages import COMPLETIONS, SCORES, epoch_folder, locate, verifier_name
from gsmlib.study.store import RESUME, Artifact, Place, Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gsmlib.method.models import LanguageModel, Verifier


def obtain(spec: Spec, store: Store) -> Artifact:
    """Return a stage's artifact, computed first where the store lacks it.

    Its parents come before it; what is computed says so, and what it took.
    """
    place = locate(spec)
    if not store.has(place):
        for parent in place.parents:
            obtain(parent, store)

    def make(work: Path) -> None:
        from gsmlib.study import making  # here: it imports torch

        getattr(making, place.stage)(spec, store, work)

    artifact, speaks = _obtain_together(place, store, make)
    if speaks and not artifact.cached:
        took = f"computed in {artifact.seconds:.1f} s"
        progress.say(f"{place.stage:<14} {spec.describe()} · {took}")
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


def sample(spec: SampleSpec | ReleasedSpec | SearchSpec, store: Store) -> pd.DataFrame:
    """Return completions, sampled or released, labelled: a row per (problem, sample).

    Columns: problem, sample, text, tokens, forced, logprob, finished, correct, answer.
    Of a search, whose best-scored solution is sample 0, also score, and written: the
    tokens of all that was sampled for the problem.
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


def load_verifier(
    spec: VerifierSpec, store: Store
) -> tuple["Verifier", "PreTrainedTokenizerBase"]:
    """Return a verifier and its tokenizer, trained first where the store lacks it."""
    from gsmlib.method.models import load_saved_verifier  # here: it imports torch

    return load_saved_verifier(obtain(spec, store).folder / verifier_name())


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
    history = pd.read_csv(obtain(spec, store).folder / stages.HISTORY)
    train_loss = history.groupby("epoch")["loss"].mean()
    nats, tokens = _test_nats(spec, store)
    test_loss = pd.Series({e: of.sum() / tokens.sum() for e, of in nats.items()})
    table = pd.DataFrame({"train_loss": train_loss, "test_loss": test_loss})
    return table.rename_axis("epoch").reset_index()


def loss_rise(spec: FinetuneSpec, store: Store) -> np.ndarray:
    """Return (P,): by how much the test loss rose from its least epoch to the last.

    As a share of that least loss, a part of each problem's, whose mean is the rise.
    """
    nats, _ = _test_nats(spec, store)
    least = min(nats.values(), key=np.sum)
    return (nats[max(nats)] - least) / least.mean()


def _test_nats(
    spec: FinetuneSpec, store: Store
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Return by epoch the nats of the test solutions (P,), and their tokens (P,)."""
    losses = json.loads((obtain(spec, store).folder / stages.LOSSES).read_text())
    tokens = np.array(losses.pop("tokens"))
    return {int(epoch): np.array(nats) for epoch, nats in losses.items()}, tokens
