"""The tables of Fig 8: finetuning and verifiers, with dropout and without.

With dropout a model is first pretrained further under dropout (section 5.2), then
finetuned with it; a verifier starts from such a generator and is trained with dropout.
All verifiers learn from and choose among the plain generator's completions.
"""

from typing import Any

import numpy as np
import pandas as pd

from gsmlib import paper
from gsmlib.chapters import shared
from gsmlib.chapters.dropout.settings import DropoutSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Base
from gsmlib.method import selection
from gsmlib.method.intervals import Measure, difference, share, tabulate
from gsmlib.method.recipe import TrainSettings
from gsmlib.study import specs
from gsmlib.study.results import loss_rise
from gsmlib.study.specs import FinetuneSpec, SampleSpec, ScoreSpec, VerifierSpec
from gsmlib.study.store import Store

PRETRAINING_SEED = 0  # one additional pretraining serves all seeds
# What an arm is compared with, problem by problem: column -> the other arm.
COMPARED: dict[str, dict[str, str]] = {
    "dropout": {"gain": "without", "over_control": "more pretraining"},
    "more pretraining": {"gain": "without"},
    "the paper's rate": {"gain": "without"},
    "solution, dropout": {"gain": "solution", "over_token": "token"},
    "token, dropout": {"gain": "token"},
}


def grid(settings: DropoutSettings) -> list[Point]:
    """Return the points of all three tables."""
    return [point for panel in ARMS for point in panel_points(settings, panel)]


def panel_points(settings: DropoutSettings, panel: str) -> list[Point]:
    """Return a point per training set and seed of a panel: its specs are the arms."""
    return [
        Point(shared.describe(settings, base), ARMS[panel](settings, base))
        for base in shared.each_seed(settings, settings.sizes)
    ]


def table(settings: DropoutSettings, store: Store, panel: str) -> pd.DataFrame:
    """Return the table of Fig 8a, 8b or 8c: a row per (n_train, seed, arm).

    Columns: dataset, model, n_train, seed, n_problems, arm, dropout (its rate),
    accuracy, low, high, and paired by problem, with _low and _high, gain over the arm
    without dropout; of verifiers those of `shared.verified_best`. Further arms are the
    choices of
    selection.NO_VERIFIER among the same completions. The arms:

    a, greedy test@1: "without" dropout; with "dropout" in additional pretraining and
    finetuning, which also has over_control, over the third; "more pretraining", the
    same with no dropout, which the paper does not have; "the paper's rate", dropout of
    0.2 where settings.dropout_rate is another. loss_rise is that of the test loss since
    its least epoch, as a share of the least, with limits.
    b, verifiers: "solution" level; "solution, dropout", which also has over_token, over
    the third; "token" level.
    c, verifiers that learn from more completions in larger batches: "token"; "token,
    dropout".
    """
    rows: list[dict[str, Any]] = []
    points = panel_points(settings, panel)
    for about, arms in shared.computed(points, store):
        found = {arm: _measure(spec, store) for arm, spec in arms.items()}
        for arm, (values, columns) in found.items():
            row = about | {"arm": arm} | columns
            for name, other in COMPARED.get(arm, {}).items():
                row |= difference(name, values, found[other][0])
            rows.append(row)
        if panel != "a":
            n_problems = {"n_problems": len(values)}
            for name, of in selection.NO_VERIFIER.items():
                rows.append(about | n_problems | {"arm": of, "accuracy": columns[name]})
    return tabulate(rows, ("n_train", "arm"))


def _measure(spec: specs.Spec, store: Store) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (P,): is the greedy solution, or the best-scored, right; and columns."""
    if isinstance(spec, ScoreSpec):
        rate = {"dropout": spec.verifier.training.dropout}
        values, columns = shared.verified_best(spec, store)
        return values, rate | columns
    right, rise = shared.solved(spec, store), loss_rise(spec.generator, store)
    about = {"dropout": spec.generator.training.dropout, "n_problems": len(right)}
    return right, about | share("", right) | {"loss_rise": Measure(rise, share=False)}


# ----------------------------------------------------------------------------- the arms


def finetuning_arms(settings: DropoutSettings, base: Base) -> dict[str, SampleSpec]:
    """Return the greedy solutions of Fig 8a's finetuned models."""
    plain = shared.finetuned(settings, base, settings.epochs)
    models = {
        "without": plain,
        "dropout": _pretrained_further(settings, plain, settings.dropout_rate),
        "more pretraining": _pretrained_further(settings, plain, settings.dropout),
    }
    if settings.dropout_rate != paper.DROPOUT:
        models["the paper's rate"] = _pretrained_further(settings, plain, paper.DROPOUT)
    return {arm: shared.answers(settings, model) for arm, model in models.items()}


def solution_arms(settings: DropoutSettings, base: Base) -> dict[str, ScoreSpec]:
    """Return the scores of Fig 8b's verifiers."""
    token = _verifier(settings, base, settings.ablation_completions)
    solution = token.replace(training=token.training.replace(level="solution"))
    dropped = _with_dropout(settings, solution)
    verifiers = {"solution": solution, "solution, dropout": dropped, "token": token}
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


ARMS = {"a": finetuning_arms, "b": solution_arms, "c": token_arms}  # by Fig 8's panel


def _pretrained_further(
    settings: DropoutSettings, spec: FinetuneSpec, dropout: float
) -> FinetuneSpec:
    """The same after additional pretraining, both at this dropout."""
    pretraining = specs.PretrainSpec(
        model=settings.model,
        dataset=settings.data,
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
    generator = shared.generator(settings, base)
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
