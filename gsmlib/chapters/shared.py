"""What several chapters' grids share: specs of the paper's pipeline, and measures.

Specs: a `Base` is finetuned, samples completions of the training problems, from these a
verifier is trained, which scores completions of the test problems.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters.record import Point, stages_of
from gsmlib.chapters.study_settings import (
    SampledSettings,
    StudySettings,
    VerifierSettings,
)
from gsmlib.data import count_problems
from gsmlib.method import metrics, selection
from gsmlib.method.intervals import Measure, difference, share
from gsmlib.method.recipe import TrainSettings
from gsmlib.study import specs
from gsmlib.study.estimates import all_epochs_fit
from gsmlib.study.pool import prepare
from gsmlib.study.results import sample, score
from gsmlib.study.specs import FinetuneSpec, SampleSpec, ScoreSpec, VerifierSpec
from gsmlib.study.store import Store

TEST_LOSS_PROBLEMS = 100
ENDED_FIRST = "last, the unfinished behind all others"  # a way to score a completion
PER_DOUBLING = 2  # points of a curve between n and 2 n


class Base(NamedTuple):
    """What a model is finetuned from and on; settings say how."""

    model: str
    n_train: int
    learning_rate: float
    seed: int


def each_seed(settings: Any, sizes: Sequence[int] = ()) -> list[Base]:
    """Return the bases of settings with one model (`OneModel`), on `sizes` if given."""
    model, rate = settings.model, settings.learning_rate
    by_seed = product(sizes or [settings.n_train], settings.seeds)
    return [Base(model, n, rate, seed) for n, seed in by_seed]


def each_model_and_size(settings: Any) -> list[Base]:
    """Return the bases of settings with several models (`ModelGrid`)."""
    grid = product(settings.rates, settings.sizes, settings.seeds)
    return [Base(model, n, rate, seed) for (model, rate), n, seed in grid]


def describe(settings: StudySettings, base: Base) -> dict[str, Any]:
    """Return the columns of a table that say which base a row is about."""
    about = answered(settings) | {"model": base.model}
    return about | {"n_train": base.n_train, "seed": base.seed}


def answered(settings: StudySettings) -> dict[str, Any]:
    """Return the columns of what is answered: dataset, and split unless it is test."""
    about = {"dataset": settings.data}
    return about if settings.split == "test" else about | {"split": settings.split}


# -------------------------------------------------------------------------------- specs


def finetuned(
    settings: StudySettings, base: Base, epochs: int, keep_all: bool = False
) -> FinetuneSpec:
    """Return the spec of finetuning for `epochs`, the last of which is kept.

    All are kept where so asked, and where they are small: figures then share one run.
    """
    keep_all = keep_all or all_epochs_fit(base.model, epochs)
    return FinetuneSpec(
        model=base.model,
        data=specs.DataSpec(
            dataset=settings.data,
            n_train=base.n_train,
            n_test=_test_loss_problems(settings.data),
            seed=base.seed,
        ),
        training=TrainSettings(
            epochs=epochs,
            learning_rate=base.learning_rate,
            batch_tokens=settings.batch_tokens,
            dropout=settings.dropout,
            precision=settings.precision,
            loss_on_question=None if settings.loss_on_question else False,
            seed=base.seed,
        ),
        keep_epochs=tuple(range(1, epochs + 1)) if keep_all else (epochs,),
        max_length=settings.max_length,
    )


def _test_loss_problems(dataset: str) -> int:
    """How many test problems the test loss is of: all, where there are only a few."""
    return min(TEST_LOSS_PROBLEMS, count_problems(dataset)["test"])


def answers(
    settings: StudySettings, model: FinetuneSpec, n: int = 0, **changes: Any
) -> SampleSpec:
    """Return the spec of `n` completions a problem; n = 0 means one greedy one.

    Of the model after its last epoch; `changes` are fields of the spec that differ.
    """
    usual = dict(
        generator=model,
        split=settings.split,
        n_problems=settings.test_problems,
        epoch=model.training.epochs,
        n=max(1, n),
        temperature=settings.temperature if n else 0.0,
        max_length=settings.max_length,
        precision=settings.sampling_precision,
        seed=model.training.seed,
    )
    return SampleSpec(**{**usual, **changes})


def both_answers(
    settings: SampledSettings, model: FinetuneSpec, **changes: Any
) -> dict[str, SampleSpec]:
    """Return the specs of a model's greedy and of its sampled `answers`."""
    numbers = {"greedy": 0, "sampled": settings.test_completions}
    return {part: answers(settings, model, n, **changes) for part, n in numbers.items()}


def generator(settings: VerifierSettings, base: Base) -> FinetuneSpec:
    """Return the spec of the generator that a base's verifier learns from."""
    return finetuned(settings, base, generator_epochs(settings, base.n_train))


def generator_epochs(settings: VerifierSettings, n_train: int) -> int:
    """Return how many epochs a generator is finetuned for on so many problems.

    The paper's is for 2 on every training set. A mini-GPT has then hardly met the
    format where the set is small, so that it sees `generator_examples` at least.
    """
    enough = math.ceil(settings.generator_examples / n_train)
    return max(settings.generator_epochs, min(enough, settings.epochs))


def verifier(settings: VerifierSettings, generator: FinetuneSpec) -> VerifierSpec:
    """Return the spec of a verifier trained on the generator's completions."""
    n_problems = min(generator.data.n_train, settings.completed_problems)
    completions = answers(settings, generator, settings.completions)
    return VerifierSpec(
        completions=completions.replace(split="train", n_problems=n_problems),
        training=TrainSettings(
            epochs=settings.verifier_epochs,
            learning_rate=settings.verifier_learning_rate,
            batch_tokens=settings.verifier_batch_tokens,
            group_size=settings.verifier_group_size,
            shared_language=settings.verifier_shared_language,
            dropout=settings.dropout,
            precision=settings.precision,
            seed=generator.training.seed,
        ),
    )


def trained_for(
    settings: VerifierSettings, training: TrainSettings, level: str, joint: bool
) -> TrainSettings:
    """Return a verifier's training at a level, jointly with the language term or alone.

    Alone it takes batches of half the tokens: as the language rows are left out, it
    then judges as many completions in a step, in as many steps, as both together do.
    """
    return training.replace(
        level=level,
        language_weight=1.0 if joint else 0.0,
        batch_tokens=settings.verifier_batch_tokens // (1 if joint else 2),
    )


def taught(verifier: VerifierSpec, level: str, labels: str) -> VerifierSpec:
    """Return the spec of one that learns at another level, or from other labels."""
    training = verifier.training.replace(level=level)
    return verifier.replace(training=training, labels=labels)


def verified(settings: VerifierSettings, base: Base) -> ScoreSpec:
    """Return the spec of a base's test completions, scored by its own verifier."""
    model = generator(settings, base)
    return ScoreSpec(
        verifier=verifier(settings, model),
        completions=answers(settings, model, settings.test_completions),
    )


def greedily(settings: StudySettings, base: Base) -> SampleSpec:
    """Return the spec of a base's greedy test solutions: the finetuning method."""
    return answers(settings, finetuned(settings, base, settings.epochs))


def computed(points: Sequence[Point], store: Store) -> Iterator[Point]:
    """Yield a grid's points, what they need being in the store or computed first."""
    prepare(stages_of(points), store)
    yield from points


# ----------------------------------------------------------------------------- measures


def solved(spec: SampleSpec, store: Store) -> np.ndarray:
    """Return (P,): 1 where a problem's first completion is right, else 0."""
    return matrix(sample(spec, store), "correct")[:, 0].astype(float)


def greedy_and_sampled(
    point: Point, store: Store, names: Sequence[str]
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """Return the columns of a point's `greedy` and `sampled` answers, and who solved.

    Columns: n, n_problems, and under the three `names` test@1, test@n and the mean
    accuracy of single samples, as Measures. Solved: test@1 and test@n, (P,) each.
    """
    first = solved(point.specs["greedy"], store)
    correct = matrix(sample(point.specs["sampled"], store), "correct")
    n = correct.shape[1]
    at_n = metrics.test_at_n(correct, n)
    columns: dict[str, Any] = {"n": n, "n_problems": len(correct)}
    for name, values in zip(names, (first, at_n, correct.mean(axis=1)), strict=True):
        columns |= share(name, values)
    return columns, (first, at_n)


def scored_completions(spec: ScoreSpec, store: Store) -> pd.DataFrame:
    """Return completions joined with their scores: a row per (problem, sample)."""
    prepare([spec, spec.completions], store)
    keys = ["problem", "sample"]
    return score(spec, store).merge(sample(spec.completions, store), on=keys)


def completions(spec: SampleSpec, store: Store) -> pd.DataFrame:
    """Return completions with per_token, the log-probability of a sampled token."""
    table = sample(spec, store)
    drawn = [len(forced) - np.count_nonzero(forced) for forced in table["forced"]]
    return table.assign(per_token=table["logprob"] / np.maximum(drawn, 1))


def lengths(completions: pd.DataFrame) -> np.ndarray:
    """Return (P, n): the tokens of completions, the calculator's and the end's too."""
    return matrix(completions.assign(n=completions["tokens"].map(len)), "n")


def scores_and_labels(
    spec: ScoreSpec, store: Store, how: str = "last"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (P, n) of completions, and (P, n): which of these are right.

    how: a column of `score`, or ENDED_FIRST.
    """
    drawn, found = sample(spec.completions, store), score(spec, store)
    if how == ENDED_FIRST:
        scores = np.where(matrix(drawn, "finished"), matrix(found, "last"), -np.inf)
    else:
        scores = matrix(found, how)
    return scores, matrix(drawn, "correct")


def verified_best(
    spec: ScoreSpec, store: Store, how: str = "last"
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (P,): is the best-scored of all n right; and columns about the choice.

    The columns: n, n_problems, accuracy; over_random, over_vote and over_logprob, its
    gain over selection.NO_VERIFIER's, paired by problem; within_auc, pooled_auc; and of
    the same completions those of `without_verifier`.
    """
    scores, correct = scores_and_labels(spec, store, how)
    n = scores.shape[1]
    best = metrics.verified_at_n(scores, correct, n)
    others = without_verifier(spec.completions, store)
    return best, {
        "n": n,
        "n_problems": len(best),
        **share("", best),
        **difference("over_random", best, others["mean_accuracy"].values),
        **difference("over_vote", best, others["majority_vote"].values),
        **difference("over_logprob", best, others["by_logprob_per_token"].values),
        **share("within_auc", metrics.within_problem_auc(scores, correct)),
        "pooled_auc": metrics.pooled_auc(scores, correct),
        **others,
    }


@lru_cache(maxsize=32)  # many verifiers judge the same completions
def without_verifier(spec: SampleSpec, store: Store) -> dict[str, Measure]:
    """Return what completions reach without a verifier, as columns.

    Those of selection.NO_VERIFIER, of all n completions; test_at_n, which no choice
    exceeds; and logprob_auc, within problems, of the log-probability per token.
    Log-probabilities are the generator's, of the tokens it sampled: the calculator's
    count for neither.
    """
    table = completions(spec, store)
    correct = matrix(table, "correct")
    n = correct.shape[1]
    answers = selection.answer_numbers(matrix(table, "answer"))
    total, per_token = (matrix(table, name) for name in ("logprob", "per_token"))
    values = {
        "mean_accuracy": correct.mean(axis=1),
        "majority_vote": metrics.vote_at_n(answers, correct, n, [n])[0],
        "by_logprob": metrics.verified_at_n(total, correct, n),
        "by_logprob_per_token": metrics.verified_at_n(per_token, correct, n),
        "logprob_auc": metrics.within_problem_auc(per_token, correct),
        "test_at_n": metrics.test_at_n(correct, n),
    }
    return {name: Measure(value, True) for name, value in values.items()}


def matrix(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of a (problem, sample) table as a (P, n) array.

    Raises ValueError when a problem lacks samples.
    """
    ordered = table.sort_values(["problem", "sample"])
    n_problems, n = ordered["problem"].nunique(), ordered["sample"].nunique()
    if len(ordered) != n_problems * n:
        raise ValueError("the table lacks samples of some problems")
    return ordered[column].to_numpy().reshape(n_problems, n)


# --------------------------------------------------------------------- many completions


class Completions(NamedTuple):
    """The test completions of one seed as (P, m) arrays."""

    answers: np.ndarray  # numbers of `selection.answer_numbers`
    correct: np.ndarray
    scores: np.ndarray
    logprobs: np.ndarray  # the generator's, of what it sampled
    per_token: np.ndarray


METHODS = {  # ways to choose: (completions, n) -> (P,), the accuracy by problem
    "verification": lambda run, n: metrics.verified_at_n(run.scores, run.correct, n),
    "majority vote": lambda run, n: metrics.vote_at_n(*run[:2], n, [n])[0],
    "weighted vote": lambda run, n: metrics.vote_at_n(
        *run[:2], n, [n], run.scores, weighted=True
    )[0],
    "log-probability": lambda run, n: metrics.verified_at_n(
        run.logprobs, run.correct, n
    ),
    "log-probability per token": lambda run, n: metrics.verified_at_n(
        run.per_token, run.correct, n
    ),
    "test@n": lambda run, n: metrics.test_at_n(run.correct, n),
}


def read_completions(spec: ScoreSpec, store: Store) -> Completions:
    """Return what is known of scored completions as (P, m) arrays."""
    drawn = completions(spec.completions, store)
    return Completions(
        selection.answer_numbers(matrix(drawn, "answer")),
        matrix(drawn, "correct"),
        matrix(score(spec, store), "last"),
        matrix(drawn, "logprob"),
        matrix(drawn, "per_token"),
    )


def along_axis(m: int) -> list[int]:
    """Return 1 to m in nearly equal steps of a log axis; m halved again and again."""
    steps = np.arange(PER_DOUBLING * np.log2(m) + 1)
    points = np.round(m / 2 ** (steps / PER_DOUBLING)).astype(int)
    return sorted({1, *points.tolist()})
