"""The table of 03_verification (Fig 5), and the regime measured on the same models."""

from typing import Any

import numpy as np
import pandas as pd

from gsmlib.config import VerificationSettings
from gsmlib.experiments.shared import (
    difference,
    finetune_spec,
    first_right,
    limits,
    majority_right,
    mean_defined,
    models_and_sizes,
    progress,
    scores_and_labels,
    test_spec,
    verifier_spec,
)
from gsmlib.method import metrics
from gsmlib.study.pipeline import parameter_count, sample
from gsmlib.study.plan import prepare
from gsmlib.study.specs import SampleSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

REGIME_SAMPLES, REGIME_VOTERS = 100, 32
REGIME_GOALS = (
    ("greedy test@1, smallest training set", "below 10 %"),
    ("greedy test@1, largest training set", "30-60 %"),
    ("mean accuracy of single samples", ""),
    ("test@100", "at least 1.5x the mean accuracy"),
    ("majority vote of 32", "above the mean accuracy"),
    ("within-problem AUC", "at least 0.65"),
    ("best of 32 by score", ""),
)


def verification_curve(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 5's table: a row per (model, n_train, seed, method).

    Columns: dataset, model, n_train, seed, parameters, n_problems, method ("finetuning"
    or "verification"), accuracy, low, high. On the rows of verification also gain (over
    finetuning, paired by problem), gain_low, gain_high, n, within_auc, pooled_auc, and
    of the same completions majority_vote, mean_accuracy and test_at_n.
    """
    prepare(verification_stages(settings), store)
    grid = models_and_sizes(settings)
    rows: list[dict[str, Any]] = []
    weights = [n_train for _, n_train, _, _ in grid]
    for point in progress(grid, "verification", weights):
        model, n_train, _, seed = point
        about = {"dataset": settings.dataset, "model": model, "n_train": n_train}
        pair = _both_methods(settings, *point, store)
        rows += [about | {"seed": seed} | row for row in pair]
    return pd.DataFrame(rows)


def verification_stages(settings: VerificationSettings) -> list[Spec]:
    """Return the last stages of Fig 5's table."""
    return [
        spec
        for point in models_and_sizes(settings)
        for spec in _both_specs(settings, *point)
    ]


def regime_table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return what decides whether the paper's effects can appear (docs/regime.md).

    Measured on development problems with the largest model, at its smallest and largest
    training set and the first seed. Columns: quantity, value, low and high (95 % over
    problems) and the goal that was set beforehand.
    """
    specs = smallest, largest, scored = _regime_specs(settings)
    prepare(specs, store)
    spec = scored.completions
    completions = sample(spec, store)
    scores, correct = scores_and_labels(scored, store)  # (P, 100)
    voters = completions[completions["sample"] < REGIME_VOTERS]
    within = metrics.within_problem_auc(scores, correct)
    values = (
        first_right(smallest, store),
        first_right(largest, store),
        correct.mean(axis=1),
        metrics.test_at_n(correct, REGIME_SAMPLES),
        majority_right(voters, spec),
        within[~np.isnan(within)],
        metrics.verified_at_n(scores, correct, REGIME_VOTERS),
    )
    table = [
        {"quantity": name} | limits("value", value) | {"goal": goal}
        for (name, goal), value in zip(REGIME_GOALS, values, strict=True)
    ]
    pooled = metrics.pooled_auc(scores, correct)
    return pd.DataFrame([*table, {"quantity": "pooled AUC", "value": pooled}])


def _regime_specs(
    settings: VerificationSettings,
) -> tuple[SampleSpec, SampleSpec, ScoreSpec]:
    """Return greedy solutions after the smallest and largest set, and the scores."""
    more = settings.model_copy(update={"test_completions": REGIME_SAMPLES})
    model, rate, seed = settings.models[-1], settings.learning_rates[-1], settings.seeds
    (small, _), (large, scores) = (
        _both_specs(more, model, n_train, rate, seed[0])
        for n_train in (min(settings.sizes), max(settings.sizes))
    )
    development = {"split": "dev"}
    completions = scores.completions.model_copy(update=development)
    return (
        small.model_copy(update=development),
        large.model_copy(update=development),
        scores.model_copy(update={"completions": completions}),
    )


def _both_methods(
    settings: VerificationSettings,
    model: str,
    n_train: int,
    rate: float,
    seed: int,
    store: Store,
) -> list[dict[str, Any]]:
    """Return the rows of finetuning and of verification for one point of Fig 5."""
    greedy, scores = _both_specs(settings, model, n_train, rate, seed)
    solved = first_right(greedy, store)
    verified, details = _verification(scores, store)
    parameters = parameter_count(greedy.generator, store)
    about = {"parameters": parameters, "n_problems": len(solved)}
    return [
        about | {"method": "finetuning"} | limits("", solved),
        about
        | {"method": "verification"}
        | limits("", verified)
        | difference("gain", verified, solved)
        | details,
    ]


def _both_specs(
    settings: VerificationSettings, model: str, n_train: int, rate: float, seed: int
) -> tuple[SampleSpec, ScoreSpec]:
    """Return the finetuned model's greedy solutions, and the verifier's scores."""
    finetuned, generator = (
        finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)
        for epochs in (settings.epochs, settings.generator_epochs)
    )
    n, epoch = settings.test_completions, settings.generator_epochs
    completions = test_spec(settings, generator, epoch, n)
    verifier = verifier_spec(settings, generator)
    return (
        test_spec(settings, finetuned, settings.epochs, 0),
        ScoreSpec(verifier=verifier, completions=completions),
    )


def _verification(spec: ScoreSpec, store: Store) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (P,): is the best-scored completion right; and measures of the scores."""
    scores, correct = scores_and_labels(spec, store)
    completions, n = sample(spec.completions, store), spec.completions.n
    details = {
        "n": n,
        "within_auc": mean_defined(metrics.within_problem_auc(scores, correct)),
        "pooled_auc": metrics.pooled_auc(scores, correct),
        "majority_vote": majority_right(completions, spec.completions).mean(),
        "mean_accuracy": correct.mean(),
        "test_at_n": metrics.test_at_n(correct, n).mean(),
    }
    return metrics.verified_at_n(scores, correct, n), details
