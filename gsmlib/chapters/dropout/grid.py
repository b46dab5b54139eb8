"""The tables of 07_dropout (Fig 8): finetuning and verifiers, with dropout and without.

With dropout a model is first pretrained further under dropout (section 5.2), then
finetuned with it; a verifier starts from such a generator and is trained with dropout.
All verifiers learn from and choose among the plain generator's completions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from gsmlib.config import DropoutSettings
from gsmlib.experiments.shared import (
    difference,
    finetune_spec,
    first_right,
    limits,
    progress,
    scores_and_labels,
    test_spec,
    verifier_spec,
)
from gsmlib.study.plan import prepare

from gsmlib.method import metrics
from gsmlib.method.recipe import TrainSettings
from gsmlib.study.specs import (
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.store import Store

PRETRAINING_SEED = 0  # one additional pretraining serves all seeds
# What an arm is compared with, problem by problem: column -> the other arm.
COMPARED: dict[str, dict[str, str]] = {
    "dropout": {"gain": "without", "over_control": "more pretraining"},
    "more pretraining": {"gain": "without"},
    "solution, dropout": {"gain": "solution", "over_token": "token"},
    "token, dropout": {"gain": "token"},
}

Arms = dict[str, SampleSpec] | dict[str, ScoreSpec]


def dropout_finetuning_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8a's table: a row per (n_train, seed, arm).

    Columns: dataset, model, n_train, seed, n_problems, arm, accuracy (greedy test@1),
    low, high. The arms: "without" dropout; with "dropout" in additional pretraining and
    finetuning; "more pretraining", the same with none, which the paper does not have.
    On the rows of the latter two also gain (over "without", paired by problem), on
    those of "dropout" over_control (over "more pretraining"), with _low and _high.
    """
    return _table(settings, store, finetuning_arms)


def dropout_solution_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8b's table: a row per (n_train, seed, arm), columns as in Fig 8a's.

    The arms are verifiers: "solution" and "solution, dropout" level, and "token" level
    without. On the rows of "solution, dropout": gain (over "solution") and over_token.
    """
    return _table(settings, store, solution_arms)


def dropout_token_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8c's table: a row per (n_train, seed, arm), columns as in Fig 8a's.

    The arms are verifiers that learn from more completions in larger batches: "token"
    level, and "token, dropout", the latter with gain.
    """
    return _table(settings, store, token_arms)


def dropout_stages(settings: DropoutSettings) -> list[Spec]:
    """Return the last stages of Fig 8's tables."""
    return [
        spec
        for arms_of in (finetuning_arms, solution_arms, token_arms)
        for n_train, seed in _dropout_grid(settings)
        for spec in arms_of(settings, n_train, seed).values()
    ]


def finetuning_arms(
    settings: DropoutSettings, n_train: int, seed: int
) -> dict[str, SampleSpec]:
    """Return the greedy solutions of Fig 8a's finetuned models."""
    plain = _finetuned(settings, settings.epochs, n_train, seed)
    models = {
        "without": plain,
        "dropout": _pretrained_further(settings, plain, settings.dropout_rate),
        "more pretraining": _pretrained_further(settings, plain, settings.dropout),
    }
    return {
        arm: test_spec(settings, model, settings.epochs, 0)
        for arm, model in models.items()
    }


def solution_arms(
    settings: DropoutSettings, n_train: int, seed: int
) -> dict[str, ScoreSpec]:
    """Return the scores of Fig 8b's verifiers."""
    token = _verifier(settings, n_train, seed, settings.ablation_completions)
    training = token.training.replace(level="solution")
    solution = token.replace(training=training)
    verifiers = {
        "solution": solution,
        "solution, dropout": _with_dropout(settings, solution),
        "token": token,
    }
    return _scores(settings, verifiers, settings.test_completions)


def token_arms(
    settings: DropoutSettings, n_train: int, seed: int
) -> dict[str, ScoreSpec]:
    """Return the scores of Fig 8c's verifiers.

    Appendix B: batches 4 times as large, and 300 completions in training and at test.
    """
    many = settings.large_completions
    token = _verifier(settings, n_train, seed, many)
    batch_tokens = settings.large_batch_factor * settings.verifier_batch_tokens
    training = token.training.replace(batch_tokens=batch_tokens)
    token = token.replace(training=training)
    verifiers = {"token": token, "token, dropout": _with_dropout(settings, token)}
    return _scores(settings, verifiers, max(many, settings.test_completions))


def _dropout_grid(settings: DropoutSettings) -> list[tuple[int, int]]:
    return [(n_train, seed) for n_train in settings.sizes for seed in settings.seeds]


def _finetuned(
    settings: DropoutSettings, epochs: int, n_train: int, seed: int
) -> FinetuneSpec:
    model, rate = settings.model, settings.learning_rate
    return finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)


def _pretrained_further(
    settings: DropoutSettings, spec: FinetuneSpec, dropout: float
) -> FinetuneSpec:
    """The same after additional pretraining, both at this dropout."""
    pretraining = PretrainSpec(
        model=settings.model,
        dataset=settings.dataset,
        n_texts=settings.pretraining_texts,
        training=TrainSettings(
            epochs=1,
            learning_rate=settings.pretraining_learning_rate,
            batch_tokens=settings.batch_tokens,
            dropout=dropout,
            precision=settings.precision,
            seed=PRETRAINING_SEED,
        ),
    )
    training = spec.training.replace(dropout=dropout)
    return spec.replace(pretraining=pretraining, training=training)


def _verifier(
    settings: DropoutSettings, n_train: int, seed: int, n: int
) -> VerifierSpec:
    """The token-level verifier that learns from n completions of each problem.

    Those sampled for 03_verification serve where they are enough.
    """
    generator = _finetuned(settings, settings.generator_epochs, n_train, seed)
    verifier = verifier_spec(settings, generator)
    if n < verifier.completions.n:
        return verifier.replace(per_problem=n)
    return verifier.replace(completions=verifier.completions.replace(n=n))


def _with_dropout(settings: DropoutSettings, verifier: VerifierSpec) -> VerifierSpec:
    """The same from a generator with dropout, and trained with dropout."""
    generator, rate = verifier.completions.generator, settings.dropout_rate
    return verifier.replace(
        start=_pretrained_further(settings, generator, rate),
        training=verifier.training.replace(dropout=rate),
    )


def _scores(
    settings: DropoutSettings, verifiers: dict[str, VerifierSpec], n: int
) -> dict[str, ScoreSpec]:
    """The verifiers' scores of n completions of each test problem."""
    epochs = settings.generator_epochs
    return {
        arm: ScoreSpec(
            verifier=verifier,
            completions=test_spec(settings, verifier.completions.generator, epochs, n),
        )
        for arm, verifier in verifiers.items()
    }


def _table(
    settings: DropoutSettings,
    store: Store,
    arms_of: Callable[[DropoutSettings, int, int], Arms],
) -> pd.DataFrame:
    """Return a row per (n_train, seed, arm) of one part of Fig 8."""
    prepare(dropout_stages(settings), store)
    grid = _dropout_grid(settings)
    weights = [n_train for n_train, _ in grid]
    rows: list[dict[str, Any]] = []
    for n_train, seed in progress(grid, "dropout", weights):
        arms = arms_of(settings, n_train, seed)
        right = {arm: _right(spec, store) for arm, spec in arms.items()}
        about = {"dataset": settings.dataset, "model": settings.model}
        about |= {"n_train": n_train, "seed": seed}
        for arm, values in right.items():
            row = about | {"n_problems": len(values), "arm": arm} | limits("", values)
            rows.append(row | _differences(arm, right))
    return pd.DataFrame(rows)


def _right(spec: SampleSpec | ScoreSpec, store: Store) -> np.ndarray:
    """Return (P,): is the greedy solution, or the best-scored completion, right."""
    if isinstance(spec, SampleSpec):
        return first_right(spec, store)
    scores, correct = scores_and_labels(spec, store)
    return metrics.verified_at_n(scores, correct, spec.completions.n)


def _differences(arm: str, right: dict[str, np.ndarray]) -> dict[str, float]:
    """Return an arm's paired differences as columns with _low and _high."""
    columns: dict[str, float] = {}
    for name, other in COMPARED.get(arm, {}).items():
        columns |= difference(name, right[arm], right[other])
    return columns
