"""The page of single problems: who wins on each, and the completions behind it.

Everything comes from the stages of 06_test_time_compute, and is estimated by what makes
its table; the browser only looks up and shows. Where all would be more than MOST_BYTES,
fewer token scores are shown, then fewer problems.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import find, shared
from gsmlib.chapters.shared import METHODS, Completions, read_completions
from gsmlib.chapters.test_time_compute.figures import METHODS as LOOKS
from gsmlib.chapters.test_time_compute.grid import TOP_K_VOTE, Curve, accuracies, grid
from gsmlib.chapters.test_time_compute.settings import MoreCompletionsSettings
from gsmlib.data import Problem, call
from gsmlib.files import write_file
from gsmlib.method import selection
from gsmlib.method.answers import INVALID
from gsmlib.method.intervals import mean_interval
from gsmlib.report.page import EXPLORED, Outcome, render
from gsmlib.study.pool import list_tasks, needed_tasks
from gsmlib.study.results import sample, score
from gsmlib.study.specs import SampleSpec, ScoreSpec, Spec
from gsmlib.study.stages import epoch_folder, sampled_problems
from gsmlib.study.store import Store

NAME, GREEDY = "explorer", "03_verification"
MOST_BYTES = 4_800_000  # of the packed data
MOST_COMPLETIONS = 40_000  # of a seed: what is tried first
EACH = 10  # up to here the sliders have every number of completions and of voters
LEVELS = 10  # steps of a token's score, each a digit and a colour of explorer.css
# As the page lists them, and what it calls them.
LABELS = {
    "verification": LOOKS["verification"][0],
    TOP_K_VOTE: TOP_K_VOTE,
    **{name: LOOKS[name][0] for name in ("weighted vote", "majority vote")},
    **{name: label for name, (label, _) in LOOKS.items() if "log" in name},
    "test@n": LOOKS["test@n"][0],
}
KINDS = (  # of problems, by the choices among all completions; every one is of one kind
    "verifier right, vote wrong",
    "vote right, verifier wrong",
    "both right",
    "both wrong, though some completion is right",
    "no completion right",
)


class Drawn(NamedTuple):
    """What is known of one seed's completions: their table, and its arrays."""

    table: pd.DataFrame  # a row per completion
    arrays: Completions

    def column(self, name: str) -> np.ndarray:
        """Return a column as a (P, m) array."""
        return shared.matrix(self.table, name)


def write_explorer(
    folder: Path, scale: str, outcomes: Sequence[Outcome], store: Store
) -> Path | None:
    """Write `explorer.html` into a run's folder; None where there is nothing to show.

    That is where the chapter did not run well, or the store lacks what it is made of. A
    page of a run before goes.
    """
    page = folder / f"{NAME}.html"
    page.unlink(missing_ok=True)
    settings = find(EXPLORED).resolve(scale=scale)
    if not any(o.notebook == EXPLORED and not o.error for o in outcomes):
        return None
    if not _are_there(find(EXPLORED).stages(settings), store):
        return None
    write_page(page, settings, store)
    return page


def write_page(page: Path, settings: MoreCompletionsSettings, store: Store) -> None:
    """Write the page of a run with these settings, whose stages are in the store."""
    data = collect(settings, store)
    values = {"title": f"Single problems at scale {settings.scale}"}
    values |= {"chapter": EXPLORED, **data["about"], **pack(data)}
    write_file(page, render(f"{NAME}.html", values), "GSMLIB_RUNS")


def _are_there(specs: Sequence[Spec], store: Store) -> bool:
    return not needed_tasks(list_tasks(specs, store))


# ------------------------------------------------------------------------- the numbers


def collect(settings: MoreCompletionsSettings, store: Store) -> dict[str, Any]:
    """Return all that the page shows, as plain data.

    curves: of every method over the numbers that the sliders take, the accuracy with
    its limits in percent, as Fig 7's table has it. problems: of each its text, `runs`,
    a record per seed (see `_runs`), and of the first seed's completions the tokens and
    token scores, from the best-scored to the worst.
    """
    specs = [point.specs["scores"] for point in grid(settings)]
    drawn = [_read(spec, store) for spec in specs]
    curves = list_curves(settings)
    voters = sorted({k for curve in curves if curve.n for k in curve.points})
    solved = [[accuracies(curve, seed.arrays) for curve in curves] for seed in drawn]
    told = sampled_problems(specs[0].completions)
    shown = told[: max(1, MOST_COMPLETIONS // settings.test_completions)]
    bases = shared.each_seed(settings)
    runs = [
        _runs(*each, voters, len(shown)) for each in zip(drawn, solved, strict=True)
    ]
    for run, base in zip(runs, bases, strict=True):
        _add_greedy(run, settings.scale, base, store)
    pieces, texts = _texts(drawn[0], specs[0].completions, store, len(shown))
    by_curve = [np.array(values) for values in zip(*solved, strict=True)]
    return {
        "about": _about(settings, len(told)),
        "labels": list(LABELS.values()),
        "kinds": KINDS,
        "voters": voters,
        "curves": [_curve(*each) for each in zip(curves, by_curve, strict=True)],
        "pieces": pieces,
        "problems": [
            {**_tell(problem), "runs": list(by_seed), **text}
            for problem, text, *by_seed in zip(shown, texts, *runs, strict=True)
        ],
    }


def _tell(problem: Problem) -> dict[str, Any]:
    """Return a problem's texts and its steps: its solution's lines but the last."""
    return {**problem._asdict(), "steps": len(problem.solution.splitlines()) - 1}


def _about(settings: MoreCompletionsSettings, problems: int) -> dict[str, Any]:
    return {
        "dataset": call(settings.data),
        "model": settings.model,
        "n_train": settings.n_train,
        "n_problems": problems,
        "drawn": settings.test_completions,
        "seeds": list(settings.seeds),
        "levels": LEVELS,
    }


def list_curves(settings: MoreCompletionsSettings) -> list[Curve]:
    """Return a curve per method over the slider's n, and per n the vote's over its k.

    They hold all numbers that Fig 7 has.
    """
    ns = sorted({*slider(settings.test_completions), *settings.counts})
    by_n = [Curve(method, ns) for method in LABELS if method in METHODS]
    return by_n + [Curve(TOP_K_VOTE, slider(n), n) for n in ns]


def slider(most: int) -> list[int]:
    """Return the numbers that a slider takes: each up to EACH, then Fig 7's.

    >>> slider(50)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18, 25, 35, 50]
    """
    return sorted({*range(1, min(most, EACH) + 1), *shared.along_axis(most)})


def _curve(curve: Curve, solved: np.ndarray) -> dict[str, Any]:
    """Return a curve's accuracies; solved: (seeds, points, P).

    limits: by point mean, low and high in percent with the one digit that is shown.
    """
    found = [mean_interval(solved[:, place]) for place in range(len(curve.points))]
    limits = [[round(100 * value, 1) for value in each] for each in found]
    return {
        "label": LABELS[curve.method],
        "n": curve.n,
        "points": curve.points,
        "limits": limits,
    }


# -------------------------------------------------------------- one seed's completions


def _read(spec: ScoreSpec, store: Store) -> Drawn:
    completions = shared.completions(spec.completions, store)
    table = completions.merge(score(spec, store), on=["problem", "sample"])
    return Drawn(table, read_completions(spec, store))


def _runs(
    drawn: Drawn, solved: Sequence[np.ndarray], voters: Sequence[int], most: int
) -> list[dict[str, Any]]:
    """Return what one seed's completions show of each of the first `most` problems.

    answers: each with whether it is right; chosen: by label the number of the answer
    chosen among all completions, of the vote one per number of `voters`; kind: of
    KINDS. wins: by curve and point the chance to be right in thousandths. The rest is a
    list over completions from the best-scored to the worst: samples, ids (of answers,
    -1: none), scores, logprobs and per_token.
    """
    arrays, chosen = drawn.arrays, choose(drawn, voters)
    answers = drawn.column("answer")
    order = selection.ranking(arrays.scores)
    ranked = {
        "ids": arrays.answers,
        "scores": arrays.scores.round(3),
        "logprobs": arrays.logprobs.round(2),
        "per_token": arrays.per_token.round(3),
    }
    kinds = kinds_of(arrays.correct, chosen, arrays.answers)
    wins = [np.rint(1000 * values).astype(int) for values in solved]
    runs = []
    for i in range(most):
        run: dict[str, Any] = {"kind": int(kinds[i]), "samples": order[i].tolist()}
        run |= {name: values[i][order[i]].tolist() for name, values in ranked.items()}
        run["answers"] = _answers(arrays.answers[i], answers[i], arrays.correct[i])
        run["chosen"] = {name: ids[..., i].tolist() for name, ids in chosen.items()}
        run["wins"] = [values[:, i].tolist() for values in wins]
        runs.append(run)
    return runs


def _answers(
    ids: np.ndarray, answers: np.ndarray, correct: np.ndarray
) -> list[tuple[str, int]]:
    """Return a problem's answers by their numbers, each with 1 where it is right."""
    places = [int(np.argmax(ids == number)) for number in range(ids.max() + 1)]
    return [(str(answers[place]), int(correct[place])) for place in places]


def choose(drawn: Drawn, voters: Sequence[int]) -> dict[str, np.ndarray]:
    """Return by label the numbers (P,) of the answers chosen among all completions.

    Of the vote of the top k (K, P), a row per k of `voters`; -1: no valid answer.
    """
    arrays, answers = drawn.arrays, drawn.column("answer")
    by_score = {
        "verification": arrays.scores,
        "log-probability": arrays.logprobs,
        "log-probability per token": arrays.per_token,
    }
    rows = np.arange(len(answers))
    best = {name: selection.best_of(scores) for name, scores in by_score.items()}
    found = {name: arrays.answers[rows, place] for name, place in best.items()}
    voted = {
        "majority vote": selection.majority(answers),
        "weighted vote": selection.weighted_vote(answers, arrays.scores),
    }
    found |= {name: _number(drawn, winner) for name, winner in voted.items()}
    votes = [selection.vote(answers, arrays.scores, k) for k in voters]
    found[TOP_K_VOTE] = np.array([_number(drawn, winner) for winner in votes])
    return {LABELS[name]: ids for name, ids in found.items()}


def _number(drawn: Drawn, answers: np.ndarray) -> np.ndarray:
    """Return (P,): the number of an answer of each problem, -1 for an invalid one."""
    place = (drawn.column("answer") == answers[:, None]).argmax(axis=1)
    ids = drawn.arrays.answers[np.arange(len(answers)), place]
    return np.where(answers == INVALID, -1, ids)


def kinds_of(
    correct: np.ndarray, chosen: dict[str, np.ndarray], ids: np.ndarray
) -> np.ndarray:
    """Return (P,): the place in KINDS of each problem; correct, ids: (P, m)."""

    def is_right(method: str) -> np.ndarray:
        answer = chosen[LABELS[method]]
        return (correct & (ids == answer[:, None]) & (ids >= 0)).any(axis=1)

    verifier, vote = is_right("verification"), is_right("majority vote")
    cases = [verifier & ~vote, vote & ~verifier, verifier & vote, correct.any(axis=1)]
    return np.select(cases, range(len(cases)), len(cases))


def _add_greedy(
    by_problem: list[dict[str, Any]], scale: str, base: shared.Base, store: Store
) -> None:
    """Add the greedy solution of the model finetuned for longer, where it is there.

    It is 03_verification's of the same model, training set and seed: text and right.
    """
    spec = shared.greedily(find(GREEDY).resolve(scale=scale), base)
    if _are_there([spec], store):
        solutions = sample(spec, store).sort_values("problem")
        both = zip(solutions["text"], solutions["correct"], strict=True)
        for run, (text, correct) in zip(by_problem, both, strict=False):
            run["greedy"] = [text, int(correct)]


# --------------------------------------------------------------------------- the texts


def _texts(
    drawn: Drawn, spec: SampleSpec, store: Store, most: int
) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """Return all pieces of text, and of each problem its completions made of them.

    A piece is a token's text and 1 where the calculator wrote it. tokens: from the
    best-scored completion to the worst the numbers of its pieces; levels: one digit a
    token, its score's step of LEVELS.
    """
    columns = (drawn.column(name) for name in ("text", "tokens", "forced"))
    texts, tokens, forced = columns
    scores, order = drawn.column("token_scores"), selection.ranking(drawn.arrays.scores)
    cut, numbers = Cutter(spec, store), {}
    problems = []
    for i in range(most):
        problem: dict[str, Any] = {"tokens": [], "levels": []}
        for j in order[i]:
            pieces = zip(cut(texts[i, j], tokens[i, j]), forced[i, j], strict=True)
            found = [numbers.setdefault(piece, len(numbers)) for piece in pieces]
            problem["tokens"].append(found)
            problem["levels"].append(_levels(scores[i, j]))
        problems.append(problem)
    return [[text, int(forced)] for text, forced in numbers], problems


class Cutter:
    """Cuts completions into the texts of their tokens, by the generator's tokenizer."""

    def __init__(self, spec: SampleSpec, store: Store) -> None:
        from gsmlib.method.pretrained import read_tokenizer  # here: it imports torch

        folder = epoch_folder(spec.generator, spec.epoch, store)
        self.tokenizer = read_tokenizer(str(folder))
        self.known: dict[int, str] = {}

    def __call__(self, text: str, tokens: Sequence[int]) -> list[str]:
        """Return each token's text; that of an end token is empty.

        A letter that several tokens make up stands with the last of them.
        """
        for token in set(tokens) - self.known.keys():
            self.known[token] = self._decode([token])
        pieces = [self.known[token] for token in tokens]
        if "".join(pieces) == text:
            return pieces
        ends = [self._whole(tokens[: n + 1], text) for n in range(len(tokens))]
        starts = [0, *np.maximum.accumulate(ends)[:-1]]
        return [
            text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)
        ]

    def _decode(self, tokens: Sequence[int]) -> str:
        from gsmlib.method.decoding import decode  # here: it imports torch

        return decode(self.tokenizer, tokens)

    def _whole(self, tokens: Sequence[int], text: str) -> int:
        """Return how many letters of the text these first tokens spell."""
        spelled = self._decode(tokens).rstrip("\ufffd")
        return min(len(spelled), len(text))


def _levels(scores: np.ndarray) -> str:
    steps = np.floor(np.asarray(scores, float) * LEVELS).clip(0, LEVELS - 1)
    return "".join(map(str, steps.astype(int)))


# ------------------------------------------------------------------------- the packing


def pack(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data for the template: packed, and how much of it is shown.

    packed: JSON, deflated, in base64. Where this is more than MOST_BYTES, tokens of
    fewer completions of each problem have scores, and at last problems are left out.
    """
    shown, depth = len(data["problems"]), data["about"]["drawn"]
    while True:
        packed = _packed(_cut(data, shown, depth))
        if len(packed) <= MOST_BYTES or (shown, depth) == (1, 0):
            return {"packed": packed, "shown": shown, "depth": depth}
        shown = shown if depth else shown // 2
        depth //= 2


def _cut(data: dict[str, Any], shown: int, depth: int) -> dict[str, Any]:
    """Return the data of fewer problems, with fewer completions' token scores."""
    problems = data["problems"][:shown]
    kept = [each | {"levels": each["levels"][:depth]} for each in problems]
    return data | {"problems": kept}


def _packed(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
