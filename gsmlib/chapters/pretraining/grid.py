"""The table of one model's finetuning and verification over its pretraining."""

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.pretraining.settings import CourseSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Base
from gsmlib.data import family
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.sizes import MINI_SIZES, WEIGHTS
from gsmlib.study.results import obtain
from gsmlib.study.specs import FinetuneSpec, PretrainSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

if TYPE_CHECKING:
    from gsmlib.method.models import LanguageModel

RANDOM = ":random"
PASSAGES = 50  # of each number of facts, to measure single steps on
SEED = 0  # one pretraining serves all seeds


def grid(settings: CourseSettings) -> list[Point]:
    """Return a point per seed and length of the pretraining, up to what is shipped."""
    name = settings.model.removesuffix(RANDOM)
    points = []
    for base in shared.each_seed(settings):
        about = shared.describe(settings, base) | {"model": name}
        for texts in settings.pretraining_texts:
            more = {"texts": texts}
            points.append(Point(about | more, _specs(settings, base, texts)))
        if name != settings.model and name in MINI_SIZES:
            more = {"texts": shipped_texts(name)}
            points.append(
                Point(about | more, _specs(settings, base._replace(model=name)))
            )
    return points


def table(settings: CourseSettings, store: Store) -> pd.DataFrame:
    """Return a row per (texts, seed): what a model reaches after so many.

    Columns: dataset, model, n_train, seed, texts; greedy (test@1 after finetuning) and,
    of MiniGSM alone, quotes and steps (the shares of quotes that the pretrained model
    copies, and of single steps that it gets right, before it is finetuned), each with
    _low and _high; gain of the best-scored completion over greedy, paired by problem;
    and the columns of `shared.verified_best`.
    """
    rows = []
    for about, specs in shared.computed(grid(settings), store):
        greedy, scores = specs["greedy"], specs["scores"]
        right = shared.solved(greedy, store)
        best, columns = shared.verified_best(scores, store)
        able = {}
        if family(settings.data) == "minigsm":
            quoted, computed = single_steps(greedy.generator, store)
            able = share("quotes", quoted) | share("steps", computed)
        gain = difference("gain", best, right)
        rows.append(about | share("greedy", right) | able | columns | gain)
    return tabulate(rows, ("texts",))


def single_steps(spec: FinetuneSpec, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays (L,): 1 where a line's quote, its expression is right, else 0.

    Of the model that the finetuning starts from, on passages that it has not read; see
    `competence.measure_steps`.
    """
    from gsmlib.method.competence import measure_steps  # here: it imports torch

    told = measure_steps(load_started(spec, store), PASSAGES)
    return np.concatenate(told["quoted"]), np.concatenate(told["computed"])


def load_started(spec: FinetuneSpec, store: Store) -> "LanguageModel":
    """Return the model that a finetuning starts from, made where it is missing."""
    from gsmlib.study.making import load_start  # here: it imports torch

    if spec.pretraining:
        obtain(spec.pretraining, store)
    return load_start(spec, 0.0, store)


def shipped_texts(name: str) -> int:
    """Return how many passages a shipped mini-GPT has read, by its record."""
    return json.loads((WEIGHTS / f"{name}.json").read_text())["texts"]


def _specs(settings: CourseSettings, base: Base, texts: int = 0) -> dict[str, Spec]:
    """Return the greedy solutions and the scores of a base; texts 0: as it is."""
    model = shared.finetuned(settings, base, settings.epochs)
    generator = shared.generator(settings, base)
    if texts:
        start = {"pretraining": _pretraining(settings, base, texts)}
        model, generator = model.replace(**start), generator.replace(**start)
    return {
        "greedy": shared.answers(settings, model),
        "scores": ScoreSpec(
            verifier=shared.verifier(settings, generator),
            completions=shared.answers(settings, generator, settings.test_completions),
        ),
    }


def _pretraining(settings: CourseSettings, base: Base, texts: int) -> PretrainSpec:
    """The pretraining of the shipped mini-GPTs, of fewer texts; Adam for others."""
    mini = base.model.removesuffix(RANDOM) in MINI_SIZES
    return PretrainSpec(
        model=base.model,
        dataset=settings.data,
        n_texts=texts,
        training=TrainSettings(
            epochs=1,
            learning_rate=settings.pretraining_learning_rate,
            batch_tokens=settings.pretraining_batch_tokens,
            precision=settings.precision,
            optimizer="muon" if mini else "adam",
            warmup=0.03,
            weight_decay=0.01,
            seed=SEED,
        ),
    )
