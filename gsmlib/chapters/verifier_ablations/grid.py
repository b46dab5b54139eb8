"""The tables of Fig 6: level and objective (6a, 6b), and the models' sizes (6c)."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Base
from gsmlib.chapters.verifier_ablations.settings import VerifierAblationSettings
from gsmlib.method.intervals import NOTHING, difference, tabulate
from gsmlib.study.results import parameter_count
from gsmlib.study.specs import ScoreSpec
from gsmlib.study.store import Store

# Level and objective of the verifiers of Fig 6a and 6b; the first is the paper's.
VARIANTS = (("token", "joint"), ("solution", "joint"), ("token", "verification only"))
LATE = 0.5  # a verifier's late training is the second half of it


def grid(settings: VerifierAblationSettings) -> list[Point]:
    """Return the points of both tables: Fig 6a and 6b's, and Fig 6c's."""
    return [*curve_points(settings), *pair_points(settings)]


# ------------------------------------------------------------------ level and objective


def curve_points(settings: VerifierAblationSettings) -> list[Point]:
    """Return a point per seed and verifier of Fig 6a and 6b: its checkpoints' scores.

    The paper's verifier is a seed's first. Their parts are numbers from 1, as text.
    """
    return [
        Point(
            shared.describe(settings, base) | {"level": level, "objective": objective},
            _checkpoint_scores(settings, base, level, objective),
        )
        for base in shared.each_seed(settings)
        for level, objective in VARIANTS
    ]


def training_curve(settings: VerifierAblationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 6a and 6b's table: a row per (level, objective, checkpoint, seed).

    Columns: dataset, model, n_train, seed, level ("token" or "solution"), objective
    ("joint" or "verification only"), checkpoint, epochs (of the verifier's training so
    far), per_problem (the training problems' completions that it learns from), n,
    n_problems, accuracy (best of n) with low and high, within_auc, and of the
    same completions mean_accuracy and test_at_n. Paired by problem, each with _low and
    _high: gain of the paper's verifier (token, joint) over this one at the checkpoint;
    and on the last checkpoint's rows slope (least squares, in accuracy per epoch, over
    the second half of the training) and slope_gain, of the paper's over this one's.
    """
    points = shared.computed(curve_points(settings), store)
    rows: list[dict[str, Any]] = []
    papers: dict[int, np.ndarray] = {}  # by seed, (C, P) of the paper's verifier
    for about, specs in points:
        found = [shared.verified_best(spec, store) for spec in specs.values()]
        right = np.array([best for best, _ in found])  # (C, P)
        usual = papers.setdefault(about["seed"], right)
        for place, (_, measures) in enumerate(found):
            share = (place + 1) / settings.checkpoints
            epochs = settings.ablation_epochs * share
            other = None if usual is right else usual
            compared = _compared(right, other, place, settings.ablation_epochs)
            so_far = {"checkpoint": place + 1, "epochs": epochs}
            so_far |= {"per_problem": settings.ablation_completions}
            rows.append(about | so_far | measures | compared)
    return tabulate(rows, ("level", "objective", "checkpoint"))


def _checkpoint_scores(
    settings: VerifierAblationSettings, base: Base, level: str, objective: str
) -> dict[str, ScoreSpec]:
    """Return the scores of the test completions by every checkpoint of a verifier."""
    usual = shared.verified(settings, base)
    training = usual.verifier.training.replace(epochs=settings.ablation_epochs)
    joint = objective == "joint"
    verifier = usual.verifier.replace(
        training=shared.trained_for(settings, training, level, joint),
        per_problem=settings.ablation_completions,
        checkpoints=settings.checkpoints,
    )
    return {
        str(number): usual.replace(verifier=verifier, checkpoint=number)
        for number in range(1, settings.checkpoints + 1)
    }


def _compared(
    right: np.ndarray, usual: np.ndarray | None, place: int, epochs: int
) -> dict[str, float]:
    """Return gain, slope and slope_gain at a checkpoint, as far as they are defined.

    right: (checkpoints, P) of this verifier; usual: the same of the paper's.
    """
    found = {}
    if usual is not None:
        found |= difference("gain", usual[place], right[place])
    if place == len(right) - 1:
        slopes = late_slopes(right, epochs)
        found |= difference("slope", slopes, np.zeros_like(slopes))
        if usual is not None:
            found |= difference("slope_gain", late_slopes(usual, epochs), slopes)
    return found


def late_slopes(right: np.ndarray, epochs: float) -> np.ndarray:
    """Return (P,): the least-squares slope per epoch of (checkpoints, P) values.

    Over the second half of the training, its middle included; nan where that is one
    checkpoint only.
    """
    shares = np.arange(1, len(right) + 1) / len(right)
    late = shares >= LATE
    offsets = epochs * (shares[late] - shares[late].mean())
    if len(offsets) < 2:
        return np.full(right.shape[1], np.nan)
    return offsets @ right[late] / (offsets @ offsets)


# -------------------------------------------------------------- sizes of the two models


def pair_points(settings: VerifierAblationSettings) -> list[Point]:
    """Return a point per generator, verifier, training set and seed, small to large."""
    points = []
    for one, other in product(settings.rates, repeat=2):
        names = {"generator": one[0], "verifier": other[0]}
        for n_train, seed in product(settings.sizes, settings.seeds):
            about = shared.answered(settings) | names
            about |= {"n_train": n_train, "seed": seed}
            bases = (Base(name, n_train, rate, seed) for name, rate in (one, other))
            points.append(Point(about, {"scores": _pair_scores(settings, *bases)}))
    return points


def model_pairs(settings: VerifierAblationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 6c's table: a row per (generator, verifier, n_train, seed).

    Columns: dataset, generator, verifier, n_train, seed, generator_parameters,
    verifier_parameters and those of `shared.verified_best`. On the rows of the large
    generator with the small verifier also gain over the small generator with the large
    verifier, paired by problem, with gain_low and gain_high.
    """
    rows: list[dict[str, Any]] = []
    known: dict[tuple[Any, ...], np.ndarray] = {}
    for about, specs in shared.computed(pair_points(settings), store):
        spec = specs["scores"]
        right, measures = shared.verified_best(spec, store)
        counts = {
            "generator_parameters": parameter_count(spec.completions.generator, store),
            "verifier_parameters": parameter_count(spec.verifier.base, store),
        }
        _, generator, verifier, *place = about.values()
        other = known.get((verifier, generator, *place))  # small to large came first
        known[generator, verifier, *place] = right
        gain = {"gain": NOTHING}
        gain = gain if other is None else difference("gain", right, other)
        rows.append(about | counts | measures | gain)
    return tabulate(rows, ("generator", "verifier", "n_train"))


def _pair_scores(
    settings: VerifierAblationSettings, generator: Base, other: Base
) -> ScoreSpec:
    """Return the scores of one model's test completions by the other one's verifier.

    It starts from its own model, finetuned on the same problems, and learns from the
    completions of the generator it is to judge.
    """
    scores = shared.verified(settings, generator)
    if other == generator:
        return scores
    start = shared.generator(settings, other)
    return scores.replace(verifier=scores.verifier.replace(start=start))
