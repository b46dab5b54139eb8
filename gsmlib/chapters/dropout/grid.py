"""The tables of Fig 8: finetuning and verifiers, with dropout and without.

With dropout a model is first pretrained further under dropout (section 5.2), then
finetuned with it; a verifier starts from such a generator and is trained with dropout.
All verifiers learn from and choose among the plain generator's completions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.dropout.settings import DropoutSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Base
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


def grid(settings: DropoutSettings) -> list[Point]:
    """Return the points of all three tables: a point's specs are its arms."""
    parts = (finetuning_arms, solution_arms, token_arms)
    return [point for arms_of in parts for point in _points(settings, arms_of)]


def _points(
    settings: DropoutSettings,
    arms_of: Callable[[DropoutSettings, Base], dict[str, Spec]],
) -> list[Point]:
    """Return a point per training set and seed of one part of Fig 8."""
    return [
        Point(shared.describe(settings, base), arms_of(settings, base))
        for base in shared.each_size(settings)
    ]


# --------------------------------------------------------------------------- the tables


def finetuning_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8a's table: a row per (n_train, seed, arm).

    Columns: dataset, model, n_train, seed, n_problems, arm, accuracy (greedy test@1),
    low, high. The arms: "without" dropout; with "dropout" in additional pretraining and
    finetuning; "more pretraining", the same with none, which the paper does not have.
    On the rows of the latter two also gain (over "without", paired by problem), on
    those of "dropout" over_control (over "more pretraining"), with _low and _high.
    """
    return _table(_points(settings, finetuning_arms), store)


def solution_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8b's table: a row per (n_train, seed, arm), columns as in Fig 8a's.

    The arms are verifiers: "solution" and "solution, dropout" level, and "token" level
    without. On the rows of "solution, dropout": gain (over "solution") and over_token.
    """
    return _table(_points(settings, solution_arms), store)


def token_table(settings: DropoutSettings, store: Store) -> pd.DataFrame:
    """Return Fig 8c's table: a row per (n_train, seed, arm), columns as in Fig 8a's.

    The arms are verifiers that learn from more completions in larger batches: "token"
    level, and "token, dropout", the latter with gain.
    """
    return _table(_points(settings, token_arms), store)


def _table(points: list[Point], store: Store) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for about, arms in shared.computed(points, store, "dropout"):
        right = {arm: _right(spec, store) for arm, spec in arms.items()}
        for arm, values in right.items():
            row = about | {"n_problems": len(values), "arm": arm}
            row |= shared.limits("", values)
            for name, other in COMPARED.get(arm, {}).items():
                row |= shared.difference(name, values, right[other])
            rows.append(row)
    return pd.DataFrame(rows)


def _right(spec: Spec, store: Store) -> np.ndarray:
    """Return (P,): is the greedy solution, or the best-scored completion, right."""
    if isinstance(spec, SampleSpec):
        return shared.solved(spec, store)
    return shared.verified_best(spec, store)[0]


# ----------------------------------------------------------------------------- the arms


def finetuning_arms(settings: DropoutSettings, base: Base) -> dict[str, SampleSpec]:
    """Return the greedy solutions of Fig 8a's finetuned models."""
    plain = shared.finetuned(settings, base, settings.epochs)
    models = {
        "without": plain,
        "dropout": _pretrained_further(settings, plain, settings.dropout_rate),
        "more pretraining": _pretrained_further(settings, plain, settings.dropout),
    }
    return {arm: shared.answers(settings, model) for arm, model in models.items()}


def solution_arms(settings: DropoutSettings, base: Base) -> dict[str, ScoreSpec]:
    """Return the scores of Fig 8b's verifiers."""
    token = _verifier(settings, base, settings.ablation_completions)
    solution = token.replace(training=token.training.replace(level="solution"))
    verifiers = {
        "solution": solution,
        "solution, dropout": _with_dropout(settings, solution),
        "token": token,
    }
    return _scores(settings, verifiers, settings.test_completions)


def token_arms(settings: DropoutSettings, base: Base) -> dict[str, ScoreSpec]:
    """Return the scores of Fig 8c's verifiers.

    Appendix B: batches 4 times as large, and 300 completions in training and at test.
    """
    many = settings.large_completions
    token = _verifier(settings, base, many)
    batch_tokens = settings.large_batch_factor * settings.verifier_batch_tokens
    token = token.replace(training=token.training.replace(batch_tokens=batch_tokens))
    verifiers = {"token": token, "token, dropout": _with_dropout(settings, token)}
    return _scores(settings, verifiers, max(many, settings.test_completions))


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


def _verifier(settings: DropoutSettings, base: Base, n: int) -> VerifierSpec:
    """The token-level verifier that learns from n completions of each problem.

    Those sampled for 03_verification serve where they are enough.
    """
    generator = shared.finetuned(settings, base, settings.generator_epochs)
    verifier = shared.verifier(settings, generator)
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
    generator = verifiers["token"].completions.generator  # it is all of theirs
    completions = shared.answers(settings, generator, n)
    return {
        arm: ScoreSpec(verifier=verifier, completions=completions)
        for arm, verifier in verifiers.items()
    }
