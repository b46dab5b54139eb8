"""The tables of 05_verifier_ablations: level and objective (Fig 6a, 6b), sizes (6c)."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from gsmlib.config import VerifierAblationSettings
from gsmlib.experiments.shared import (
    difference,
    finetune_spec,
    limits,
    mean_defined,
    progress,
    scores_and_labels,
    test_spec,
    verifier_spec,
)
from gsmlib.study.pipeline import parameter_count
from gsmlib.study.plan import prepare

from gsmlib.method import metrics
from gsmlib.study.specs import FinetuneSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

# Level and objective of the verifiers of Fig 6a and 6b; the first is the paper's.
VARIANTS = (("token", "joint"), ("solution", "joint"), ("token", "verification only"))
GAIN = ("gain", "gain_low", "gain_high")
LATE = 0.5  # a verifier's late training is the second half of it


def ablation_stages(settings: VerifierAblationSettings) -> list[Spec]:
    """Return the last stages of both tables: Fig 6a and 6b's, and Fig 6c's."""
    scores = [
        spec
        for seed, variant in product(settings.seeds, VARIANTS)
        for spec in checkpoint_scores(settings, seed, *variant)
    ]
    scores += [_pair_scores(settings, *point) for point in _pair_grid(settings)]
    return list(dict.fromkeys([*scores, *(spec.completions for spec in scores)]))


# ------------------------------------------------------------------ level and objective


def verifier_training_curve(
    settings: VerifierAblationSettings, store: Store
) -> pd.DataFrame:
    """Return Fig 6a and 6b's table: a row per (level, objective, checkpoint, seed).

    Columns: dataset, model, n_train, seed, level ("token" or "solution"), objective
    ("joint" or "verification only"), checkpoint, epochs (of the verifier's training so
    far), n, n_problems, accuracy (best of n) with low and high, within_auc, and of the
    same completions mean_accuracy and test_at_n. Paired by problem, each with _low and
    _high: gain of the paper's verifier (token, joint) over this one at the checkpoint;
    and on the last checkpoint's rows slope (least squares, in accuracy per epoch, over
    the second half of the training) and slope_gain, of the paper's over this one's.
    """
    prepare(ablation_stages(settings), store)
    about = {"dataset": settings.dataset, "model": settings.model}
    about |= {"n_train": settings.n_train}
    grid = list(product(settings.seeds, VARIANTS))
    rows: list[dict[str, Any]] = []
    solved: dict[tuple[int, tuple[str, str]], np.ndarray] = {}
    for seed, variant in progress(grid, "level and objective"):
        specs = checkpoint_scores(settings, seed, *variant)
        found = [_verified(spec, store) for spec in specs]
        solved[seed, variant] = np.array([right for right, _ in found])  # (C, P)
        usual = None if variant == VARIANTS[0] else solved[seed, VARIANTS[0]]
        named = about | {"seed": seed, **_names(variant)}
        for place, (_, details) in enumerate(found):
            compared = _compared(settings, solved[seed, variant], usual, place)
            rows.append(named | _progress_at(settings, place) | details | compared)
    return pd.DataFrame(rows)


def checkpoint_scores(
    settings: VerifierAblationSettings, seed: int, level: str, objective: str
) -> list[ScoreSpec]:
    """Return the scores of the test completions by every checkpoint of a verifier.

    Verification only takes batches of half the tokens: as the language rows are left
    out, it then judges as many completions in a step, in as many steps, as the joint
    objective does.
    """
    rate = settings.learning_rate
    generator = _generator(settings, settings.model, settings.n_train, rate, seed)
    usual = verifier_spec(settings, generator)
    joint = objective == "joint"
    training = usual.training.replace(
        epochs=settings.ablation_epochs,
        level=level,
        language_weight=1.0 if joint else 0.0,
        batch_tokens=settings.verifier_batch_tokens // (1 if joint else 2),
    )
    verifier = usual.replace(
        training=training,
        per_problem=settings.ablation_completions,
        checkpoints=settings.checkpoints,
    )
    n, epoch = settings.test_completions, settings.generator_epochs
    completions = test_spec(settings, generator, epoch, n)
    return [
        ScoreSpec(verifier=verifier, completions=completions, checkpoint=number)
        for number in range(1, settings.checkpoints + 1)
    ]


def _names(variant: tuple[str, str]) -> dict[str, str]:
    return dict(zip(("level", "objective"), variant, strict=True))


def _progress_at(settings: VerifierAblationSettings, place: int) -> dict[str, Any]:
    """Return the checkpoint's number, and the epochs of training it has behind it."""
    share = (place + 1) / settings.checkpoints
    return {"checkpoint": place + 1, "epochs": settings.ablation_epochs * share}


def _compared(
    settings: VerifierAblationSettings,
    solved: np.ndarray,
    usual: np.ndarray | None,
    place: int,
) -> dict[str, float]:
    """Return gain, slope and slope_gain at a checkpoint, as far as they are defined.

    solved: (checkpoints, P) of this verifier; usual: the same of the paper's.
    """
    found = {}
    if usual is not None:
        found |= difference("gain", usual[place], solved[place])
    if place == settings.checkpoints - 1:
        slopes = late_slopes(solved, settings.ablation_epochs)
        found |= difference("slope", slopes, np.zeros_like(slopes))
        if usual is not None:
            usual_slopes = late_slopes(usual, settings.ablation_epochs)
            found |= difference("slope_gain", usual_slopes, slopes)
    return found


def late_slopes(solved: np.ndarray, epochs: float) -> np.ndarray:
    """Return (P,): the least-squares slope per epoch of (checkpoints, P) values.

    Over the second half of the training, its middle included; nan where that is one
    checkpoint only.
    """
    shares = np.arange(1, len(solved) + 1) / len(solved)
    late = shares >= LATE
    offsets = epochs * (shares[late] - shares[late].mean())
    if len(offsets) < 2:
        return np.full(solved.shape[1], np.nan)
    return offsets @ solved[late] / (offsets @ offsets)


# -------------------------------------------------------------- sizes of the two models


def model_pairs(settings: VerifierAblationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 6c's table: a row per (generator, verifier, n_train, seed).

    Columns: dataset, generator, verifier, n_train, seed, generator_parameters,
    verifier_parameters, n, n_problems, accuracy (best of n) with low and high,
    within_auc, and of the same completions mean_accuracy and test_at_n. On the rows of
    the large generator with the small verifier also gain over the small generator with
    the large verifier, paired by problem, with gain_low and gain_high.
    """
    prepare(ablation_stages(settings), store)
    grid = _pair_grid(settings)
    rows: list[dict[str, Any]] = []
    solved: dict[tuple[int, int, int, int], np.ndarray] = {}
    weights = [n_train for _, _, n_train, _ in grid]
    for point in progress(grid, "sizes", weights):
        spec = _pair_scores(settings, *point)
        solved[point], details = _verified(spec, store)
        about = _about_pair(settings, spec, point, store)
        rows.append(about | details | dict.fromkeys(GAIN, np.nan))
        generator, verifier, *place = point
        if generator > verifier:  # the other way round came first
            other = solved[verifier, generator, *place]
            rows[-1] |= difference("gain", solved[point], other)
    return pd.DataFrame(rows)


def _pair_grid(settings: VerifierAblationSettings) -> list[tuple[int, int, int, int]]:
    """Return the generator's and the verifier's place in `models`, n_train and seed."""
    places = range(len(settings.models))
    return list(product(places, places, settings.sizes, settings.seeds))


def _pair_scores(
    settings: VerifierAblationSettings,
    generator_place: int,
    verifier_place: int,
    n_train: int,
    seed: int,
) -> ScoreSpec:
    """Return the scores of one model's test completions by the other one's verifier.

    It starts from its own model, finetuned on the same problems, and learns from the
    completions of the generator it is to judge.
    """
    generator, other = (
        _generator(
            settings, settings.models[i], n_train, settings.learning_rates[i], seed
        )
        for i in (generator_place, verifier_place)
    )
    verifier = verifier_spec(settings, generator)
    if generator_place != verifier_place:
        verifier = verifier.replace(start=other)
    n, epoch = settings.test_completions, settings.generator_epochs
    completions = test_spec(settings, generator, epoch, n)
    return ScoreSpec(verifier=verifier, completions=completions)


def _about_pair(
    settings: VerifierAblationSettings,
    spec: ScoreSpec,
    point: tuple[int, int, int, int],
    store: Store,
) -> dict[str, Any]:
    generator, verifier, n_train, seed = point
    names = {"generator": generator, "verifier": verifier}
    about = {name: settings.models[place] for name, place in names.items()}
    about |= {"n_train": n_train, "seed": seed}
    bases = spec.completions.generator, spec.verifier.base
    counts = [parameter_count(base, store) for base in bases]
    columns = ("generator_parameters", "verifier_parameters")
    return (
        {"dataset": settings.dataset} | about | dict(zip(columns, counts, strict=True))
    )


# ------------------------------------------------------------------------ both of these


def _generator(
    settings: VerifierAblationSettings,
    model: str,
    n_train: int,
    rate: float,
    seed: int,
) -> FinetuneSpec:
    epochs = settings.generator_epochs
    return finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)


def _verified(spec: ScoreSpec, store: Store) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (P,): is the best-scored completion right; and measures of the scores."""
    scores, correct = scores_and_labels(spec, store)
    problems, n = scores.shape
    solved = metrics.verified_at_n(scores, correct, n)
    return solved, {
        "n": n,
        "n_problems": problems,
        **limits("", solved),
        "within_auc": mean_defined(metrics.within_problem_auc(scores, correct)),
        "mean_accuracy": correct.mean(),
        "test_at_n": metrics.test_at_n(correct, n).mean(),
    }
