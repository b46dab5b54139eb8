"""The tables of 08_verifier_scores: scores of tokens (Fig 13) and of completions.

All artifacts are those of 03_verification. The examples come from the first seed, and a
rule finds them: nobody chooses.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point, stages_of
from gsmlib.chapters.shared import describe, verified
from gsmlib.chapters.verifier_scores.settings import TokenScoreSettings
from gsmlib.method import metrics, selection
from gsmlib.method.intervals import Measure, share, tabulate
from gsmlib.study.pool import prepare
from gsmlib.study.results import load_finetuned, sample
from gsmlib.study.stages import sampled_problems
from gsmlib.study.store import Store

THRESHOLD = 0.5  # a score from here on says "right"
BINS = 10  # of equal width, for the calibration
# Fig 13's kinds of case: is the solution right, does the verifier say so, which one.
CASES = (
    ("true positive", True, True, 0),
    ("false negative", True, False, 0),
    ("false negative", True, False, 1),
    ("true negative", False, False, 0),
    ("false positive", False, True, 0),
)
OUTCOMES = {  # of (finetuning, verification)
    "verification wins": (False, True),
    "verification loses": (True, False),
    "both are right": (True, True),
    "both are wrong": (False, False),
}


class Case(NamedTuple):
    """A completion chosen as an example; `fits`: its score lies on the kind's side."""

    kind: str
    fits: bool
    problem: int
    sample: int


def grid(settings: TokenScoreSettings) -> list[Point]:
    """Return a point per seed: the test completions' scores, as 03_verification's.

    The first, which the examples come from, also has the greedy solutions and the
    models that the notebook looks into.
    """
    bases = shared.each_seed(settings)
    points = [
        Point(describe(settings, base), {"scores": verified(settings, base)})
        for base in bases
    ]
    specs = points[0].specs
    specs["verifier"] = specs["scores"].verifier
    specs["generator"] = specs["scores"].completions.generator
    specs["greedy"] = shared.greedily(settings, bases[0])
    return points


def _examples(
    settings: TokenScoreSettings, store: Store
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the first seed's columns and its specs, computed where need be.

    Columns: dataset, split unless it is test, model, n_train, seed, n_problems, n (the
    completions of each).
    """
    points = grid(settings)
    prepare(stages_of(points), store)
    about, specs = points[0]
    sampled = specs["scores"].completions
    counts = {"n_problems": len(sampled_problems(sampled)), "n": sampled.n}
    return about | counts, specs


# ---------------------------------------------------------------- Fig 13: single tokens


def token_score_table(settings: TokenScoreSettings, store: Store) -> pd.DataFrame:
    """Return Fig 13's table: a row per token of the solutions that `find_cases` finds.

    Columns: what `_examples` tells, place (in CASES, from 1), case, fits, problem,
    sample, correct, last (the solution's score), question (on a case's first row, else
    empty), reference (the right answer's line), token (its text), score.
    """
    from gsmlib.method.decoding import decode  # here: it imports torch

    about, specs = _examples(settings, store)
    spec = specs["scores"]
    cases = find_cases(*shared.scores_and_labels(spec, store))
    rows = shared.scored_completions(spec, store).set_index(["problem", "sample"])
    problems, sampled = sampled_problems(spec.completions), spec.completions
    tokenizer = load_finetuned(sampled.generator, sampled.epoch, store).tokenizer
    parts = []
    for place, (kind, fits, problem, number) in cases.items():
        row, (question, solution) = rows.loc[problem, number], problems[problem]
        texts = [decode(tokenizer, [token]) or "[end]" for token in row["tokens"]]
        part = about | {"place": place, "case": kind, "fits": fits, "problem": problem}
        part |= {"sample": number, "correct": bool(row["correct"]), "last": row["last"]}
        part |= {"question": [readable(question)] + [""] * (len(texts) - 1)}
        part |= {"reference": solution.splitlines()[-1], "token": map(readable, texts)}
        scores = np.asarray(row["token_scores"], float)
        parts.append(pd.DataFrame(part | {"score": scores}))
    return pd.concat(parts, ignore_index=True)


def find_cases(scores: np.ndarray, correct: np.ndarray) -> dict[int, Case]:
    """Return Fig 13's cases by their place in CASES, from 1.

    scores, correct: (P, n). Of a kind's completions the most extreme by score is taken
    (ties: the first problem, then sample), and as the second one that of another
    problem. Where a kind does not exist the completion of its label nearest to it that
    is not shown yet stands in, marked as not fitting; with none left there is no case.
    """
    cells = [_most_extreme(scores, correct, right, high) for _, right, high, _ in CASES]
    found: dict[int, Case] = {}
    for place, (kind, _, high, rank) in enumerate(CASES, 1):
        for cell in cells[place - 1][rank : rank + 1]:
            if (scores[cell] >= THRESHOLD) == high:
                found[place] = Case(kind, True, *cell)
    for place, (kind, *_) in enumerate(CASES, 1):
        shown = [case[2:] for case in found.values()]
        left = [cell for cell in cells[place - 1] if cell not in shown]
        if place not in found and left:
            found[place] = Case(kind, False, *left[0])
    return dict(sorted(found.items()))


def _most_extreme(
    scores: np.ndarray, correct: np.ndarray, right: bool, high: bool
) -> list[tuple[int, int]]:
    """Return (problem, sample) of each problem's extreme one, the most extreme first.

    Of the completions that are right, or wrong: the highest score of each, or the
    lowest.
    """
    problem, number = np.nonzero(np.asarray(correct, bool) == right)
    key = scores[problem, number] * (-1 if high else 1)
    first: dict[int, tuple[int, int]] = {}
    for i in np.lexsort((number, problem, key)):
        first.setdefault(int(problem[i]), (int(problem[i]), int(number[i])))
    return list(first.values())


def readable(text: str) -> str:
    """Return text with a dot for whatever cannot be printed, line ends kept."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


# ------------------------------------------------------------ calibration of the scores


def calibration_table(settings: TokenScoreSettings, store: Store) -> pd.DataFrame:
    """Return how often completions of a score are right: a row per (seed, bin).

    Columns: dataset, model, n_train, seed, n_problems, n, bin (from 0; empty ones are
    left out), count, score (mean), right (the share of them), right_low, right_high (95
    % over problems); and of the seed's scores altogether brier, brier_low, brier_high,
    base_brier (of the share right as every score), within_auc, pooled_auc. Scores are
    P(correct), so they are clipped to [0, 1] but for the AUCs.
    """
    rows: list[dict[str, Any]] = []
    for point in shared.computed(grid(settings), store):
        scores, correct = shared.scores_and_labels(point.specs["scores"], store)
        correct = correct.astype(float)
        about = point.about | {"n_problems": len(scores), "n": scores.shape[1]}
        overall = _quality(scores, correct)
        bins = reliability(np.clip(scores, 0, 1), correct)
        rows += [about | row | overall for row in bins]
    return tabulate(rows, ["bin"])


def _quality(scores: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Return measures of all scores (P, n) against the labels (P, n)."""
    errors = (np.clip(scores, 0, 1) - correct) ** 2
    base = correct.mean()
    return {
        **share("brier", errors.mean(axis=1)),
        "base_brier": float(base * (1 - base)),
        **share("within_auc", metrics.within_problem_auc(scores, correct)),
        "pooled_auc": metrics.pooled_auc(scores, correct),
    }


def reliability(
    scores: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> list[dict[str, Any]]:
    """Return a row per bin that holds scores: bin, count, score, right with limits.

    scores (P, n) in [0, 1], correct (P, n). Bins are [0, 1/bins), ... and the last one
    has 1 too. Completions of one problem are not independent: limits are over problems.
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    rows = []
    for number in np.unique(place):
        here = place == number
        right = Measure(share_of_counts((correct * here).sum(1), here.sum(1)), True)
        row = {"bin": int(number), "count": here.sum(), "score": scores[here].mean()}
        rows.append(row | {"right": right})
    return rows


def share_of_counts(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (P,) values whose mean is sum(right) / sum(counts), both (P,).

    Their spread is the ratio's over problems (the delta method); nan: nothing counted.
    """
    found, values = counts > 0, np.full(len(counts), np.nan)
    values[found] = metrics.ratio_by_problem(right[found], counts[found])
    return values


# ----------------------------------------------------------- solutions side by side


def side_by_side_table(settings: TokenScoreSettings, store: Store) -> pd.DataFrame:
    """Return Appendix D's solutions: the first test problem of each of OUTCOMES.

    A row per outcome that occurs, with what `_examples` tells, outcome, problems (with
    that outcome), problem, question, reference (the right answer's line), finetuning
    (the greedy solution), finetuning_right, verification (the best-scored completion),
    verification_right, score (the verifier's).
    """
    about, specs = _examples(settings, store)
    scored = shared.scored_completions(specs["scores"], store)
    chosen = selection.best_of(shared.matrix(scored, "last"))
    best = scored.set_index(["problem", "sample"]).loc[list(enumerate(chosen))]
    plain = sample(specs["greedy"], store).sort_values("problem")
    problems = sampled_problems(specs["greedy"])
    both = {"question": [readable(problem.question) for problem in problems]}
    both |= {"reference": [p.solution.splitlines()[-1] for p in problems]}
    for method, rows in (("finetuning", plain), ("verification", best)):
        both |= {method: [readable(text) for text in rows["text"]]}
        both |= {f"{method}_right": rows["correct"].to_numpy(bool)}
    pairs = pd.DataFrame(both | {"score": best["last"].to_numpy()})
    by_outcome = pairs.groupby(["finetuning_right", "verification_right"])
    found = []
    for outcome, right in OUTCOMES.items():
        places = by_outcome.indices.get(right, ())
        if len(places):
            row = about | {"outcome": outcome, "problems": len(places)}
            row |= {"problem": places[0]} | pairs.loc[places[0]].to_dict()
            found.append(row)
    return pd.DataFrame(found)
