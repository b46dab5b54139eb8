"""The table of the open points: what the paper leaves open, one change at a time.

One base verifier and one finetuned model; every variant differs from one of them in a
single setting and answers the same test problems, so that differences are paired.
"""

from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.open_points.settings import OpenPointSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Base
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.study.specs import SampleSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

BASE = 0  # the point of the rows that the others are compared with
AGGREGATED = {"mean score": "mean", "minimum": "min", "maximum": "max"}
AGGREGATED |= {"product": "product", "unfinished last": shared.ENDED_FIRST}


def grid(settings: OpenPointSettings) -> list[Point]:
    """Return a point per seed and variant: a verifier's scores, or greedy solutions.

    Of the open points those that the settings name. A seed's first verifier and its
    first finetuned model are what the others differ from. `about` holds the open point,
    1 to 8 or BASE, and the variant's name.
    """
    return [
        Point(
            shared.describe(settings, base) | {"point": point, "variant": name},
            {"scores" if isinstance(spec, ScoreSpec) else "greedy": spec},
        )
        for base in shared.each_seed(settings)
        for (point, name), spec in _variants(settings, base).items()
        if point in (BASE, *settings.points)
    ]


def table(settings: OpenPointSettings, store: Store) -> pd.DataFrame:
    """Return a row per (variant, seed): the open points, and what they differ from.

    Columns: dataset, model, n_train, seed, point (1 to 8; 0 for the base verifier and
    the finetuned model), variant, n_problems, n, accuracy (best of n; greedy where the
    variant is one of finetuning), low, high; and of verifiers those of
    `shared.verified_best`. On the rows of a point also gain and auc_gain, over the base
    and paired by problem, each with _low and _high.
    """
    rows: list[dict[str, Any]] = []
    bases: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for about, specs in shared.computed(grid(settings), store):
        ((part, spec),) = specs.items()
        found, columns = _measure(spec, store, how_of(about["variant"]))
        base = bases.setdefault((about["seed"], part), found)
        row = about | columns
        if about["point"] != BASE:
            for name, values in found.items():
                row |= difference(name, values, base[name])
        rows.append(row)
    return tabulate(rows, ("point", "variant"))


def how_of(variant: str) -> str:
    """Return how a variant makes one score of the tokens'; see `scores_and_labels`."""
    return AGGREGATED.get(variant, "last")


def _variants(settings: OpenPointSettings, base: Base) -> dict[tuple[int, str], Spec]:
    """Return all variants of one seed by their open point and name."""
    usual, paper = _base_scores(settings, base), shared.greedily(settings, base)
    own = usual.completions.replace(sampler=usual.verifier)  # of its language model
    mask = "masked" if settings.loss_on_question else "on question"
    warm = f"temperature {settings.other_temperature:g}"
    return {
        (BASE, "base"): usual,
        (BASE, "finetuning"): paper,
        **{(1, name): usual for name in AGGREGATED},
        (2, "cross-entropy"): _training(usual, loss="bce"),
        (3, "from pretrained"): _verifier(usual, init="pretrained"),
        (4, "verifier: on question"): _training(usual, loss_on_question=True),
        (4, f"finetuning: {mask}"): _remasked(paper),
        (5, warm): _warmer(usual, settings),
        (6, "LM on samples"): _verifier(usual, language_rows="samples"),
        (7, "no duplicates"): _verifier(usual, deduplicate=True),
        (8, "one model"): usual.replace(completions=own),
    }


def _base_scores(settings: OpenPointSettings, base: Base) -> ScoreSpec:
    """Return the scores of the paper's verifier, which the variants differ from.

    It learns from the first `ablation_completions` of each problem; the test
    completions are those of 03_verification.
    """
    scores = shared.verified(settings, base)
    if settings.ablation_completions == settings.completions:
        return scores
    return _verifier(scores, per_problem=settings.ablation_completions)


def _remasked(paper: SampleSpec) -> SampleSpec:
    """The same of a model finetuned with point 4's mask, or without where it has one.

    The mask leaves questions out of the loss; the paper's is on all training tokens.
    """
    generator = paper.generator
    mask = False if generator.training.loss_on_question is None else None
    training = generator.training.replace(loss_on_question=mask)
    masked = generator.replace(training=training, keep_epochs=(paper.epoch,))
    return paper.replace(generator=masked)


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


def _measure(
    spec: Spec, store: Store, how: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what is compared, (P,) each, by its difference's column; and columns.

    gain: is the best of n, or the greedy solution, right; auc_gain, of verifiers: the
    within-problem AUC.
    """
    if isinstance(spec, SampleSpec):
        right = shared.solved(spec, store)
        return {"gain": right}, {"n_problems": len(right), "n": 1} | share("", right)
    best, columns = shared.verified_best(spec, store, how)
    return {"gain": best, "auc_gain": columns["within_auc"].values}, columns
