"""The released solutions of one half of the test problems judge verifiers of the other.

Four systems solved every test problem: 6B and 175B models, finetuned and verified. A
verifier learns from half of the problems and chooses among the four of the other half,
then the halves change places: all problems are judged, none by who saw it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.released_solutions.settings import ReleasedSettings
from gsmlib.data import family
from gsmlib.data.gsm8k import SYSTEMS
from gsmlib.method import metrics, selection
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.study.specs import FinetuneSpec, ReleasedSpec, ScoreSpec
from gsmlib.study.store import Store

HALVES = {"even": "odd", "odd": "even"}  # the half that is judged -> that is learnt
OBJECTIVES = ("joint", "verification only")
ARMS = [(level, of) for level in ("token", "solution") for of in OBJECTIVES]
BEST_SYSTEM = "175b_verification"


def grid(settings: ReleasedSettings) -> list[Point]:
    """Return a point per seed and verifier: its scores of both halves; [] of MiniGSM.

    Verifiers are trained at token or solution level, jointly with the language
    objective on the generator's training problems or alone, in as many steps.
    """
    if family(settings.dataset) != "gsm8k":
        return []
    points = []
    for base in shared.each_seed(settings):
        generator = shared.generator(settings, base)
        for level, objective in ARMS:
            about = shared.describe(settings, base)
            about |= {"level": level, "objective": objective}
            arm = level, objective
            specs = {half: _scores(settings, generator, half, *arm) for half in HALVES}
            points.append(Point(about, specs))
    return points


def _scores(
    settings: ReleasedSettings,
    generator: FinetuneSpec,
    half: str,
    level: str,
    objective: str,
) -> ScoreSpec:
    """Return the scores of one half by a verifier of the other."""
    usual = shared.verifier(settings, generator)
    training = usual.training.replace(group_size=len(SYSTEMS))
    joint = objective == "joint"
    return ScoreSpec(
        verifier=usual.replace(
            completions=released(settings, generator, HALVES[half]),
            training=shared.trained_for(settings, training, level, joint),
        ),
        completions=released(settings, generator, half),
    )


def released(
    settings: ReleasedSettings, generator: FinetuneSpec, half: str
) -> ReleasedSpec:
    """Return the spec of the released solutions of one half of the problems."""
    problems = settings.released_problems
    return ReleasedSpec(
        generator=generator,
        half=half,
        n_problems=(problems + 1) // 2 if half == "even" else problems // 2,
        max_length=settings.max_length,
        precision=settings.precision,
    )


def table(settings: ReleasedSettings, store: Store) -> pd.DataFrame:
    """Return a row per way to choose among the four solutions, and seed.

    Columns: dataset, model, n_train, seed, kind (system, choice, verifier or ceiling),
    choice, n (4), n_problems; accuracy with low and high; paired by problem, each with
    _low and _high: over_random, over a random one of the four, and over_best, over the
    best system alone; within_auc of what ranks them and best_picked, the share of
    problems where the choice is the best system's, with limits both. model and n_train
    are of the verifier, and of the model whose log-probability chooses. Empty at scales
    without GSM8K.
    """
    rows: list[dict[str, Any]] = []
    for place, (about, specs) in enumerate(shared.computed(grid(settings), store)):
        level, objective = about.pop("level"), about.pop("objective")
        runs = [_read(spec, store) for spec in specs.values()]
        run = {name: np.concatenate([of[name] for of in runs]) for name in runs[0]}
        about |= {"n": len(SYSTEMS), "n_problems": len(run["correct"])}
        if place % len(ARMS) == 0:  # what needs no verifier, once a seed
            rows += [about | row for row in _without_verifier(run)]
        choice = f"{level}-level, {objective}"
        rows.append(about | _ranked("verifier", choice, run["score"], run))
    return tabulate(rows, ("choice",))


def _read(spec: ScoreSpec, store: Store) -> dict[str, np.ndarray]:
    """Return what ranks one half's solutions, and their labels: (P, 4) arrays."""
    completions = shared.completions(spec.completions, store)
    scores, correct = shared.scores_and_labels(spec, store)
    return {
        "score": scores,
        "correct": correct.astype(float),
        "answer": selection.answer_numbers(shared.matrix(completions, "answer")),
        "logprob": shared.matrix(completions, "logprob").astype(float),
        "per_token": shared.matrix(completions, "per_token").astype(float),
        "tokens": shared.lengths(completions),
    }


def _without_verifier(run: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    correct = run["correct"]
    for place, system in enumerate(SYSTEMS):
        name = system.replace("b_", "B ")
        yield _solved("system", name, correct[:, place], run)
    random, n = correct.mean(axis=1), len(SYSTEMS)
    yield _solved("choice", "random pick", random, run)
    yield _ranked("choice", "shortest", -run["tokens"].astype(float), run)
    yield _ranked("choice", "log-probability", run["logprob"], run)
    yield _ranked("choice", "log-probability per token", run["per_token"], run)
    vote = metrics.vote_at_n(run["answer"], correct, n, [n])[0]
    yield _solved("choice", "majority vote", vote, run)
    yield _solved("ceiling", "any of the four", correct.max(axis=1), run)


def _ranked(
    kind: str, choice: str, scores: np.ndarray, run: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the row of the best-scored of the four."""
    correct = run["correct"]
    best = metrics.verified_at_n(scores, correct, len(SYSTEMS))
    theirs = np.zeros_like(correct)
    theirs[:, SYSTEMS.index(BEST_SYSTEM)] = 1.0
    picked = metrics.verified_at_n(scores, theirs, len(SYSTEMS))
    return {
        **_solved(kind, choice, best, run),
        **share("within_auc", metrics.within_problem_auc(scores, correct)),
        **share("best_picked", picked),
    }


def _solved(
    kind: str, choice: str, solved: np.ndarray, run: dict[str, np.ndarray]
) -> dict[str, Any]:
    correct = run["correct"]
    return {
        "kind": kind,
        "choice": choice,
        **share("", solved),
        **difference("over_random", solved, correct.mean(axis=1)),
        **difference("over_best", solved, correct[:, SYSTEMS.index(BEST_SYSTEM)]),
    }
