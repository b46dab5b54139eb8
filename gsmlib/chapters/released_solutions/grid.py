"""The released solutions of one half of the test problems judge verifiers of the other.

Four systems solved every test problem: 6B and 175B models, finetuned and verified. A
verifier learns from half of the problems and chooses among the four of the other half,
then the halves change places: all problems are judged, none by who saw it. As a control
a verifier learns errors planted in the problems' own solutions, and judges such.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.released_solutions.settings import ReleasedSettings
from gsmlib.data import family
from gsmlib.data.gsm8k import SYSTEMS
from gsmlib.method import metrics, planted, selection
from gsmlib.method.intervals import Measure, difference, pseudo_values, share, tabulate
from gsmlib.study.specs import FinetuneSpec, ReleasedSpec, ScoreSpec
from gsmlib.study.store import Store

HALVES = {"even": "odd", "odd": "even"}  # the half that is judged -> that is learnt
BEST_SYSTEM = "175b_verification"
# What ranks the four without a verifier: the choice's name, and the column it ranks by.
RANKINGS = {
    "the better system": "system",
    "shortest": "shortness",
    "log-probability": "logprob",
    "log-probability per token": "per_token",
    "majority, ties to the better system": "agreeing",
}
# What choices are compared with, beside a random one of the four and each system alone.
OVER = {"shortest": "shortness", "likeliest": "per_token", "vote": "agreeing"}
LIKELY = ("log-probability", "log-probability per token")  # which need no verifier
ERRORS = (*planted.KINDS, planted.ANSWER)
ANY = "any of these"
NOTHING = "nothing"  # is learnt where no verifier is asked


def grid(settings: ReleasedSettings) -> list[Point]:
    """Return a point per seed and verifier, its scores of both halves; [] of MiniGSM.

    First those of the released solutions, then of the planted errors, if asked for.
    """
    return [*released_grid(settings), *planted_grid(settings)]


def released_grid(settings: ReleasedSettings) -> list[Point]:
    """Return a point per seed and verifier of the released solutions.

    Of a seed the first is the kind that also votes, see `_by_verifier`.

    Verifiers are trained at token or solution level, jointly with the language
    objective on the generator's training problems or alone, in as many steps.
    """
    return [
        _point(settings, base, arm, "released", "released")
        for base, arm in product(_bases(settings), _arms(settings))
    ]


def planted_grid(settings: ReleasedSettings) -> list[Point]:
    """Return a point per seed and verifier that judges solutions with planted errors.

    Beside the verifiers of the released solutions there is one that learnt planted
    errors, of the other half: at the first level, with the last of the objectives.
    """
    if not settings.planted:
        return []
    control = settings.levels[0], settings.objectives[-1]
    judges = [(arm, "released") for arm in _arms(settings)] + [(control, "planted")]
    return [
        _point(settings, base, arm, learnt, "planted")
        for base, (arm, learnt) in product(_bases(settings), judges)
    ]


def _bases(settings: ReleasedSettings) -> list[shared.Base]:
    """Return what is finetuned, once a seed; nothing where nothing was released."""
    return shared.each_seed(settings) if family(settings.dataset) == "gsm8k" else []


def _arms(settings: ReleasedSettings) -> list[tuple[str, str]]:
    return list(product(settings.levels, settings.objectives))


def _point(
    settings: ReleasedSettings,
    base: shared.Base,
    arm: tuple[str, str],
    learnt: str,
    judged: str,
) -> Point:
    """Return the scores of each half by a verifier of the other's solutions."""
    level, objective = arm
    generator = shared.generator(settings, base)
    usual = shared.verifier(settings, generator)
    training = usual.training.replace(group_size=len(SYSTEMS))
    joint = objective == "joint"
    training = shared.trained_for(settings, training, level, joint)
    specs = {}
    for half, other in HALVES.items():
        completions = released(settings, generator, other, learnt)
        specs[half] = ScoreSpec(
            verifier=usual.replace(completions=completions, training=training),
            completions=released(settings, generator, half, judged),
        )
    about = shared.describe(settings, base) | {"level": level, "objective": objective}
    return Point(about | {"learnt": learnt}, specs)


def released(
    settings: ReleasedSettings, generator: FinetuneSpec, half: str, solutions: str
) -> ReleasedSpec:
    """Return the spec of one half's solutions, released or planted."""
    problems = settings.released_problems
    return ReleasedSpec(
        generator=generator,
        half=half,
        n_problems=(problems + 1) // 2 if half == "even" else problems // 2,
        max_length=settings.released_length,
        precision=settings.precision,
        solutions=solutions,
    )


# ------------------------------------------------------------------- released solutions


def table(settings: ReleasedSettings, store: Store) -> pd.DataFrame:
    """Return a row per way to choose among the four solutions, and seed.

    Columns: dataset, model, n_train, seed, kind (system, choice, verifier, variant or
    ceiling), choice, n_problems; accuracy with low and high; paired by problem,
    each with _low and _high, what it solves more than those of OVER, than a random one
    and than each system: over_random and so on. Of what ranks them, with limits too:
    within_auc, its adjusted_auc (`metrics.adjusted_auc`: what it knows beyond who wrote
    them) and best_picked, the share of problems where the choice is the best system's.
    model and n_train are of the verifier, and of the model whose log-probability
    chooses. Empty at scales without GSM8K.
    """
    rows: list[dict[str, Any]] = []
    arms, points = len(_arms(settings)), released_grid(settings)
    for place, (about, specs) in enumerate(shared.computed(points, store)):
        arm, _ = _judge(about)
        run = _read(specs, store)
        about |= {"n_problems": len(run["correct"])}
        first = place % arms == 0
        if first:  # what needs no verifier, once a seed
            rows += [about | row for row in _without_verifier(run)]
        rows += [about | row for row in _by_verifier(run, arm, first)]
    return tabulate(rows, ("choice",))


def _judge(about: dict[str, Any]) -> tuple[str, str]:
    """Take out of a point's columns its verifier's name, and what that learnt from."""
    level, objective, learnt = (about.pop(n) for n in ("level", "objective", "learnt"))
    return f"{level}-level, {objective}", learnt


def _read(specs: Mapping[str, ScoreSpec], store: Store) -> dict[str, np.ndarray]:
    """Return what ranks the solutions of both halves, and their labels: (P, 4) arrays.

    `judge` (P,) says which verifier's they are, each half having its own; `system` is
    how often each system is right in the half that the verifier learnt; `agreeing` how
    many of the four give the same answer, among equals the better system's the larger
    by less than one.
    """
    halves = {half: _read_half(spec, store) for half, spec in specs.items()}
    for place, (half, run) in enumerate(halves.items()):
        learnt = halves[HALVES[half]]["correct"].mean(axis=0)
        run["judge"] = np.full(len(run["correct"]), place)
        run["system"] = np.tile(learnt, (len(run["correct"]), 1))
        same = run["answer"][:, :, None] == run["answer"][:, None, :]
        agreeing = np.where(run["answer"] >= 0, same.sum(axis=2), 0)
        run["agreeing"] = agreeing + run["system"]
    return _both(list(halves.values()))


def _both(halves: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of both halves, the problems of one behind the other's."""
    return {name: np.concatenate([run[name] for run in halves]) for name in halves[0]}


def _read_half(spec: ScoreSpec, store: Store) -> dict[str, np.ndarray]:
    completions = shared.completions(spec.completions, store)
    scores, correct = shared.scores_and_labels(spec, store)
    return {
        "score": scores,
        "mean": shared.scores_and_labels(spec, store, "mean")[0],
        "correct": correct.astype(float),
        "answer": selection.answer_numbers(shared.matrix(completions, "answer")),
        "logprob": shared.matrix(completions, "logprob").astype(float),
        "per_token": shared.matrix(completions, "per_token").astype(float),
        "shortness": -shared.lengths(completions).astype(float),
    }


def _without_verifier(run: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    correct = run["correct"]
    for place, system in enumerate(SYSTEMS):
        name = system.replace("b_", "B ")
        yield _solved("system", name, correct[:, place], run)
    yield _solved("choice", "random pick", correct.mean(axis=1), run)
    for choice, ranking in RANKINGS.items():
        yield _ranked("choice", choice, run[ranking], run)
    yield _solved("choice", "majority vote", _vote(run), run)
    yield _solved("ceiling", "any of the four", correct.max(axis=1), run)


def _by_verifier(
    run: dict[str, np.ndarray], arm: str, votes: bool
) -> Iterator[dict[str, Any]]:
    """Yield the row of a verifier's choice, and what else its scores could do.

    A score of every token also has their mean; the paper's is the last one's. votes:
    it also holds a vote that adds up the scores of equal answers.
    """
    yield _ranked("verifier", arm, run["score"], run)
    if arm.startswith("token"):
        yield _ranked("variant", f"{arm}: mean score", run["mean"], run)
    if votes:
        vote = _vote(run, scores=run["score"], weighted=True)
        yield _solved("variant", f"{arm}: weighted vote", vote, run)


def _vote(run: dict[str, np.ndarray], **weights: Any) -> np.ndarray:
    """Return (P,): is the vote of all four right, a random one where they tie."""
    n = len(SYSTEMS)
    return metrics.vote_at_n(run["answer"], run["correct"], n, [n], **weights)[0]


def _ranked(
    kind: str, choice: str, scores: np.ndarray, run: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the row of the best-scored of the four."""
    correct = run["correct"]
    theirs = np.zeros_like(correct)
    theirs[:, SYSTEMS.index(BEST_SYSTEM)] = 1.0

    def adjusted(there: np.ndarray) -> list[float]:
        parts = (values[there] for values in (scores, correct, run["judge"]))
        return [metrics.adjusted_auc(*parts)]

    return {
        **_solved(kind, choice, _best(scores, correct), run),
        **share("within_auc", metrics.within_problem_auc(scores, correct)),
        "adjusted_auc": Measure(pseudo_values(adjusted, len(correct))[:, 0], False),
        **share("best_picked", _best(scores, theirs)),
    }


def _best(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (P,): the value of the best-scored of the four; equal scores share."""
    return metrics.verified_at_n(scores, values, len(SYSTEMS))


def _solved(
    kind: str, choice: str, solved: np.ndarray, run: dict[str, np.ndarray]
) -> dict[str, Any]:
    correct = run["correct"]
    others = {"random": correct.mean(axis=1)}
    others |= {name: _best(run[of], correct) for name, of in OVER.items()}
    others |= {name: correct[:, place] for place, name in enumerate(SYSTEMS)}
    row: dict[str, Any] = {"kind": kind, "choice": choice, **share("", solved)}
    for name, theirs in others.items():
        row |= difference(f"over_{name}", solved, theirs)
    return row


# --------------------------------------------------------------------- planted errors


def planted_table(settings: ReleasedSettings, store: Store) -> pd.DataFrame:
    """Return a row per judge of planted errors, kind of error, and seed.

    Columns: dataset, model, n_train, seed, judge (a verifier, or a log-probability),
    learnt (from what: released, planted or nothing), error (of ERRORS, or ANY),
    n_problems that have it; auc, with _low and _high, how often the problem's own
    solution outscores it with the error. Empty where nothing is planted.
    """
    rows: list[dict[str, Any]] = []
    for about, specs in shared.computed(planted_grid(settings), store):
        judge, learnt = _judge(about)
        run = _both([_read_planted(spec, store) for spec in specs.values()])
        judges = {judge: ("score", learnt)}
        if learnt == "planted":  # what needs no verifier, once a seed
            judges |= {name: (RANKINGS[name], NOTHING) for name in LIKELY}
        for name, (column, taught) in judges.items():
            for error, wins in _seen(run[column], run["kind"]).items():
                row = about | {"judge": name, "learnt": taught, "error": error}
                row["n_problems"] = int((~np.isnan(wins)).sum())
                rows.append(row | share("auc", wins))
    return tabulate(rows, ("judge", "learnt", "error"))


def _read_planted(spec: ScoreSpec, store: Store) -> dict[str, np.ndarray]:
    completions = shared.completions(spec.completions, store)
    names = ["kind", *(RANKINGS[name] for name in LIKELY)]
    columns = {name: shared.matrix(completions, name) for name in names}
    return columns | {"score": shared.scores_and_labels(spec, store)[0]}


def _seen(scores: np.ndarray, kinds: np.ndarray) -> dict[str, np.ndarray]:
    """Return by kind of error (P,): how often the first of four, right, outscores it.

    nan where a problem has no such error; equal scores count 1/2.
    """
    wins = (scores[:, :1] > scores) + (scores[:, :1] == scores) / 2
    there = {kind: kinds == kind for kind in ERRORS} | {ANY: kinds != ""}
    seen = {kind: np.full(len(kinds), np.nan) for kind in there}
    for kind, some in there.items():
        counts = some.sum(axis=1)
        np.divide((wins * some).sum(axis=1), counts, out=seen[kind], where=counts > 0)
    return seen
