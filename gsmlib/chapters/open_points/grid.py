"""The table of 09_open_points: what the paper leaves open, one change at a time.

One base verifier and one finetuned model; every variant differs from one of them in a
single setting and answers the same test problems, so that differences are paired.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from gsmlib.config import OpenPointSettings
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
from gsmlib.study.specs import FinetuneSpec, SampleSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

BASE = 0  # the point of the rows that the others are compared with
AGGREGATED = {
    "mean": "mean score",
    "min": "minimum",
    "max": "maximum",
    "product": "product",
}


class Variant(NamedTuple):
    """A verifier at work: the open point it belongs to, its scores, what joins them."""

    point: int  # 1 to 8, or BASE
    name: str
    scores: ScoreSpec
    how: str = "last"


def open_point_table(settings: OpenPointSettings, store: Store) -> pd.DataFrame:
    """Return a row per (variant, seed): the open points, and what they differ from.

    Columns: dataset, model, n_train, seed, n_problems, n, point (1 to 8; 0 for the base
    verifier and the finetuned model), variant, accuracy (best of n; greedy where the
    variant is one of finetuning), low, high; mean_accuracy of single completions; and
    of verifiers within_auc with _low and _high. On the rows of a point also gain and
    auc_gain, over the base and paired by problem, each with _low and _high.
    """
    prepare(open_point_stages(settings), store)
    about = {"dataset": settings.dataset, "model": settings.model}
    about |= {"n_train": settings.n_train}
    rows: list[dict[str, Any]] = []
    for (seed,) in progress([(seed,) for seed in settings.seeds], "open points"):
        found = _verifier_rows(settings, seed, store)
        found += _finetuning_rows(settings, seed, store)
        found.sort(key=lambda row: row["point"])
        rows += [about | {"seed": seed} | row for row in found]
    return pd.DataFrame(rows)


def open_point_stages(settings: OpenPointSettings) -> list[Spec]:
    """Return the last stages of the table of the open points."""
    specs: list[Spec] = []
    for seed in settings.seeds:
        variants = verifier_variants(settings, seed)
        scores = list(dict.fromkeys(variant.scores for variant in variants))
        completions = dict.fromkeys(spec.completions for spec in scores)
        specs += [*scores, *completions, *greedy_specs(settings, seed).values()]
    return specs


def verifier_variants(settings: OpenPointSettings, seed: int) -> list[Variant]:
    """Return the base verifier and, behind it, every variant of it at one seed."""
    base = base_scores(settings, seed)
    retrained = {
        (2, "cross-entropy"): _training(base, loss="bce"),
        (3, "from pretrained"): _verifier(base, init="pretrained"),
        (4, "verifier: on question"): _training(base, loss_on_question=True),
        (5, f"temperature {settings.other_temperature:g}"): _warmer(base, settings),
        (6, "LM on samples"): _verifier(base, language_rows="samples"),
        (7, "no duplicates"): _verifier(base, deduplicate=True),
        (8, "one model"): _one_model(base),
    }
    joined = [Variant(1, name, base, how) for how, name in AGGREGATED.items()]
    others = [Variant(*about, scores) for about, scores in retrained.items()]
    return [Variant(BASE, "base", base), *joined, *others]


def base_scores(settings: OpenPointSettings, seed: int) -> ScoreSpec:
    """Return the scores of the paper's verifier, which the variants differ from.

    It learns from the first `ablation_completions` of each problem; the test
    completions are those of 03_verification.
    """
    epochs = settings.generator_epochs
    generator = _finetuned(settings, epochs, seed)
    whole = settings.ablation_completions == settings.completions
    return ScoreSpec(
        verifier=verifier_spec(settings, generator).replace(
            per_problem=None if whole else settings.ablation_completions
        ),
        completions=test_spec(settings, generator, epochs, settings.test_completions),
    )


def greedy_specs(settings: OpenPointSettings, seed: int) -> dict[str, SampleSpec]:
    """Return greedy solutions of the finetuned model, and of one with point 4's mask.

    The paper's loss is on all training tokens; the mask leaves out the question's.
    """
    epochs = settings.epochs
    paper = _finetuned(settings, epochs, seed)
    training = paper.training.replace(loss_on_question=False)
    masked = paper.replace(training=training, keep_epochs=(epochs,))
    models = {"finetuning": paper, "finetuning: masked": masked}
    return {
        name: test_spec(settings, model, epochs, 0) for name, model in models.items()
    }


def _finetuned(settings: OpenPointSettings, epochs: int, seed: int) -> FinetuneSpec:
    model, n_train, rate = settings.model, settings.n_train, settings.learning_rate
    return finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)


def _verifier(base: ScoreSpec, **changes: Any) -> ScoreSpec:
    """Scores of the same completions by a verifier that differs as said."""
    return base.replace(verifier=base.verifier.replace(**changes))


def _training(base: ScoreSpec, **changes: Any) -> ScoreSpec:
    return _verifier(base, training=base.verifier.training.replace(**changes))


def _warmer(base: ScoreSpec, settings: OpenPointSettings) -> ScoreSpec:
    """The verifier's training completions at the other temperature, and no more."""
    n, temperature = settings.ablation_completions, settings.other_temperature
    completions = base.verifier.completions.replace(n=n, temperature=temperature)
    return _verifier(base, completions=completions, per_problem=None)


def _one_model(base: ScoreSpec) -> ScoreSpec:
    """The base verifier scores what its own language model samples."""
    own = base.completions.replace(sampler=base.verifier)
    return base.replace(completions=own)


def _verifier_rows(
    settings: OpenPointSettings, seed: int, store: Store
) -> list[dict[str, Any]]:
    variants = verifier_variants(settings, seed)
    base, *_ = measured = [_measure(variant, store) for variant in variants]
    rows = []
    for variant, (solved, within, single) in zip(variants, measured, strict=True):
        row = {"point": variant.point, "variant": variant.name}
        row |= {"n_problems": len(solved), "n": settings.test_completions}
        row |= limits("", solved) | {"mean_accuracy": single}
        row |= limits("within_auc", within)
        if variant.point != BASE:
            row |= difference("gain", solved, base[0])
            row |= difference("auc_gain", within, base[1])
        rows.append(row)
    return rows


def _measure(variant: Variant, store: Store) -> tuple[np.ndarray, np.ndarray, float]:
    """Return (P,): best of n right, within-problem AUC; the share right of all."""
    scores, correct = scores_and_labels(variant.scores, store, variant.how)
    solved = metrics.verified_at_n(scores, correct, correct.shape[1])
    return solved, metrics.within_problem_auc(scores, correct), float(correct.mean())


def _finetuning_rows(
    settings: OpenPointSettings, seed: int, store: Store
) -> list[dict[str, Any]]:
    solved = {
        name: first_right(spec, store)
        for name, spec in greedy_specs(settings, seed).items()
    }
    (name, base), (other, masked) = solved.items()
    about = {"n_problems": len(base), "n": 1}
    paper = {"point": BASE, "variant": name} | about | limits("", base)
    changed = {"point": 4, "variant": other} | about | limits("", masked)
    rows = [paper, changed | difference("gain", masked, base)]
    return [row | {"mean_accuracy": row["accuracy"]} for row in rows]
