"""The specs that several figures share, and how tables of results become numbers."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from gsmlib.config import (
    ScalingSettings,
    StudySettings,
    VerificationSettings,
    VerifierSettings,
)
from gsmlib.method import metrics, selection
from gsmlib.method.answers import final_number
from gsmlib.method.recipe import TrainSettings
from gsmlib.study.artifacts import sampled_problems
from gsmlib.study.pipeline import sample, score
from gsmlib.study.specs import (
    DataSpec,
    FinetuneSpec,
    SampleSpec,
    ScoreSpec,
    VerifierSpec,
)
from gsmlib.study.store import Store

TEST_LOSS_PROBLEMS = 100
# Models whose every epoch is kept, so that figures share one run; a hub model's files
# are gigabytes, and only the epochs a figure needs are kept.
SMALL_MODELS = ("tiny", "mini", "smollm2")


def finetune_spec(
    settings: StudySettings,
    model: str,
    n_train: int,
    learning_rate: float,
    *,
    epochs: int,
    seed: int,
    keep_all: bool = False,
) -> FinetuneSpec:
    """Return the spec of finetuning `model` on `n_train` problems for `epochs`."""
    keep_all = keep_all or model.startswith(SMALL_MODELS)
    return FinetuneSpec(
        model=model,
        data=DataSpec(
            dataset=settings.dataset,
            n_train=n_train,
            n_test=TEST_LOSS_PROBLEMS,
            seed=seed,
        ),
        training=TrainSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch_tokens=settings.batch_tokens,
            dropout=settings.dropout,
            precision=settings.precision,
            seed=seed,
        ),
        keep_epochs=tuple(range(1, epochs + 1)) if keep_all else (epochs,),
        max_length=settings.max_length,
    )


def test_spec(
    settings: StudySettings,
    generator: FinetuneSpec,
    epoch: int,
    n: int,
    *,
    calculator: bool = True,
) -> SampleSpec:
    """Return the spec of `n` completions a test problem; n = 0 means one greedy one."""
    return SampleSpec(
        generator=generator,
        epoch=epoch,
        split="test",
        n_problems=settings.test_problems,
        n=max(1, n),
        temperature=settings.temperature if n else 0.0,
        max_length=settings.max_length,
        calculator=calculator,
        precision=settings.sampling_precision,
        seed=generator.training.seed,
    )


test_spec.__test__ = False  # pytest would take the name for a test


def verifier_spec(settings: VerifierSettings, generator: FinetuneSpec) -> VerifierSpec:
    """Return the spec of a verifier trained on the generator's completions."""
    training = generator.training
    completions = SampleSpec(
        generator=generator,
        epoch=training.epochs,
        split="train",
        n_problems=min(generator.data.n_train, settings.completed_problems),
        n=settings.completions,
        temperature=settings.temperature,
        max_length=settings.max_length,
        precision=settings.sampling_precision,
        seed=training.seed,
    )
    verifier_training = TrainSettings(
        epochs=settings.verifier_epochs,
        learning_rate=settings.verifier_learning_rate,
        batch_tokens=settings.verifier_batch_tokens,
        group_size=settings.verifier_group_size,
        dropout=settings.dropout,
        precision=settings.precision,
        seed=training.seed,
    )
    return VerifierSpec(completions=completions, training=verifier_training)


def models_and_sizes(
    settings: ScalingSettings | VerificationSettings,
) -> list[tuple[str, int, float, int]]:
    """Return model, n_train, learning rate and seed of every point of Fig 2 or 5."""
    rates = zip(settings.models, settings.learning_rates, strict=True)
    return [
        (model, n_train, rate, seed)
        for model, rate in rates
        for n_train in settings.sizes
        for seed in settings.seeds
    ]


def solved_greedily(
    settings: StudySettings,
    generator: FinetuneSpec,
    epoch: int,
    store: Store,
    calculator: bool = True,
) -> np.ndarray:
    """Return (P,): 1 where the greedy solution of a test problem is right, else 0."""
    spec = test_spec(settings, generator, epoch, 0, calculator=calculator)
    return first_right(spec, store)


def first_right(spec: SampleSpec, store: Store) -> np.ndarray:
    """Return (P,): 1 where a problem's first completion is right, else 0."""
    return matrix(sample(spec, store), "correct")[:, 0].astype(float)


def scores_and_labels(
    spec: ScoreSpec, store: Store, how: str = "last"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (P, n) of completions, and (P, n): which of these are right."""
    scores = matrix(score(spec, store), how)
    return scores, matrix(sample(spec.completions, store), "correct")


def majority_right(completions: pd.DataFrame, spec: SampleSpec) -> np.ndarray:
    """Return (P,): 1 where the commonest answer of the completions is right, else 0."""
    chosen = selection.majority(matrix(completions, "answer"))
    references = [final_number(problem.solution) for problem in sampled_problems(spec)]
    return (chosen == np.array(references, dtype=object)).astype(float)


def matrix(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of a (problem, sample) table as a (P, n) array.

    Raises ValueError when a problem lacks samples.
    """
    ordered = table.sort_values(["problem", "sample"])
    n_problems, n = ordered["problem"].nunique(), ordered["sample"].nunique()
    if len(ordered) != n_problems * n:
        raise ValueError("the table lacks samples of some problems")
    return ordered[column].to_numpy().reshape(n_problems, n)


def limits(name: str, values: np.ndarray) -> dict[str, float]:
    """Return mean and bootstrap limits over problems as three columns."""
    interval = metrics.bootstrap_interval(values.astype(float), seed=0)
    if not name:
        return {"accuracy": interval.mean, "low": interval.low, "high": interval.high}
    return as_columns(name, interval)


def difference(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return the mean of a - b over the same problems (P,) as three columns."""
    return as_columns(name, metrics.paired_difference(a, b))


def as_columns(name: str, interval: metrics.Interval) -> dict[str, float]:
    """Return an interval as the columns name, name_low and name_high."""
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, interval, strict=True))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the defined values; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def progress(
    grid: Sequence[tuple], name: str, weights: Sequence[int] | None = None
) -> Iterator[tuple]:
    """Yield the grid's points under a bar that estimates what is left of the whole."""
    weights = weights or [1] * len(grid)
    left = "{desc}: {percentage:3.0f} % done, {elapsed} so far, {remaining} left"
    with tqdm(total=sum(weights), desc=name, bar_format=left) as bar:
        for point, weight in zip(grid, weights, strict=True):
            yield point
            bar.update(weight)
