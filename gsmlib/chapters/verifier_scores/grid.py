"""The tables of 08_verifier_scores: scores of tokens (Fig 13) and of completions.

All artifacts are those of 03_verification. The examples come from the first seed, and a
rule finds them: nobody chooses.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from gsmlib.config import TokenScoreSettings
from gsmlib.experiments.shared import (
    finetune_spec,
    limits,
    matrix,
    mean_defined,
    progress,
    test_spec,
    verifier_spec,
)
from gsmlib.study.artifacts import sampled_problems
from gsmlib.study.pipeline import load_finetuned, sample, score
from gsmlib.study.plan import prepare

from gsmlib.method import metrics, selection
from gsmlib.study.specs import FinetuneSpec, SampleSpec, ScoreSpec, Spec
from gsmlib.study.store import Store

THRESHOLD = 0.5  # a score from here on says "right"
BINS = 10  # of equal width, for the calibration
RESAMPLES = 2000
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


# ------------------------------------------------------------------------- the stages


def token_score_stages(settings: TokenScoreSettings) -> list[Spec]:
    """Return the last stages of the notebook's tables, and the models it looks into."""
    scores = [scores_spec(settings, seed) for seed in settings.seeds]
    completions = [spec.completions for spec in scores]
    models = [scores[0].verifier, completions[0].generator]
    greedy = greedy_spec(settings, settings.seeds[0])
    return [*scores, *completions, *models, greedy]


def scores_spec(settings: TokenScoreSettings, seed: int) -> ScoreSpec:
    """Return the scores of the test completions, as 03_verification has them."""
    epochs = settings.generator_epochs
    generator = _finetuned(settings, epochs, seed)
    return ScoreSpec(
        verifier=verifier_spec(settings, generator),
        completions=test_spec(settings, generator, epochs, settings.test_completions),
    )


def greedy_spec(settings: TokenScoreSettings, seed: int) -> SampleSpec:
    """Return the finetuned model's greedy solutions, as 03_verification has them."""
    epochs = settings.epochs
    return test_spec(settings, _finetuned(settings, epochs, seed), epochs, 0)


def _finetuned(settings: TokenScoreSettings, epochs: int, seed: int) -> FinetuneSpec:
    model, n_train, rate = settings.model, settings.n_train, settings.learning_rate
    return finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)


# ---------------------------------------------------------------- Fig 13: single tokens


def token_score_table(settings: TokenScoreSettings, store: Store) -> pd.DataFrame:
    """Return Fig 13's table: a row per token of the solutions that `find_cases` finds.

    Columns: place (in CASES, from 1), case, fits, problem, sample, correct, last (the
    solution's score), question (on a case's first row, else empty), reference (the
    right answer's line), token (its text), score.
    """
    from gsmlib.method.decoding import decode  # here: it imports torch

    prepare(token_score_stages(settings), store)
    spec = scores_spec(settings, settings.seeds[0])
    scored = scored_completions(spec, store)
    cases = find_cases(matrix(scored, "last"), matrix(scored, "correct"))
    rows = scored.set_index(["problem", "sample"])
    problems = sampled_problems(spec.completions)
    generator, epoch = spec.completions.generator, spec.completions.epoch
    tokenizer = load_finetuned(generator, epoch, store).tokenizer
    parts = []
    for place, case in cases.items():
        row, problem = rows.loc[case.problem, case.sample], problems[case.problem]
        about = {"place": place, "case": case.kind, "fits": case.fits}
        about |= {"problem": case.problem, "sample": case.sample}
        about |= {"correct": bool(row["correct"]), "last": row["last"]}
        texts = [decode(tokenizer, [token]) or "[end]" for token in row["tokens"]]
        part = pd.DataFrame({"token": map(readable, texts)}).assign(**about)
        part["score"] = np.asarray(row["token_scores"], float)
        part["question"] = [readable(problem.question)] + [""] * (len(part) - 1)
        part["reference"] = problem.solution.splitlines()[-1]
        parts.append(part)
    names = [*about, "question", "reference", "token", "score"]
    return pd.concat(parts, ignore_index=True)[names]


def scored_completions(spec: ScoreSpec, store: Store) -> pd.DataFrame:
    """Return completions joined with their scores: a row per (problem, sample)."""
    keys = ["problem", "sample"]
    return score(spec, store).merge(sample(spec.completions, store), on=keys)


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
    prepare(token_score_stages(settings), store)
    about = {"dataset": settings.dataset, "model": settings.model}
    about |= {"n_train": settings.n_train}
    rows: list[dict[str, Any]] = []
    for (seed,) in progress([(seed,) for seed in settings.seeds], "calibration"):
        scored = scored_completions(scores_spec(settings, seed), store)
        scores = matrix(scored, "last")
        correct = matrix(scored, "correct").astype(float)
        shape = {"n_problems": len(scores), "n": scores.shape[1]}
        overall = _quality(scores, correct)
        bins = reliability(np.clip(scores, 0, 1), correct)
        rows += [about | {"seed": seed} | shape | row | overall for row in bins]
    return pd.DataFrame(rows)


def _quality(scores: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """Return measures of all scores (P, n) against the labels (P, n)."""
    errors = (np.clip(scores, 0, 1) - correct) ** 2
    base = correct.mean()
    return {
        **limits("brier", errors.mean(axis=1)),
        "base_brier": float(base * (1 - base)),
        "within_auc": mean_defined(metrics.within_problem_auc(scores, correct)),
        "pooled_auc": metrics.pooled_auc(scores, correct),
    }


def reliability(
    scores: np.ndarray, correct: np.ndarray, bins: int = BINS
) -> list[dict[str, float]]:
    """Return a row per bin that holds scores: bin, count, score, right with limits.

    scores (P, n) in [0, 1], correct (P, n). Bins are [0, 1/bins), ... and the last one
    has 1 too. Completions of one problem are not independent: limits are over problems.
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    rows = []
    for number in np.unique(place):
        here = place == number
        right = _share((correct * here).sum(axis=1), here.sum(axis=1))
        limit_names = ("right", "right_low", "right_high")
        row = {"bin": int(number), "count": int(here.sum())}
        row |= {"score": float(scores[here].mean())}
        rows.append(row | dict(zip(limit_names, right, strict=True)))
    return rows


def _share(right: np.ndarray, counts: np.ndarray) -> metrics.Interval:
    """Return sum(right) / sum(counts), both (P,), bootstrapped over problems.

    Where all or none are right, Wilson's interval for as many problems stands in.
    """
    right, counts = right[counts > 0], counts[counts > 0]
    share = right.sum() / counts.sum()
    if share in (0, 1):
        return metrics.wilson(share * len(counts), len(counts))
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(counts), size=(RESAMPLES, len(counts)))
    shares = right[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return metrics.Interval(float(share), float(low), float(high))


# ----------------------------------------------------------- solutions side by side


def side_by_side_table(settings: TokenScoreSettings, store: Store) -> pd.DataFrame:
    """Return Appendix D's solutions: the first test problem of each of OUTCOMES.

    A row per outcome that occurs, with columns outcome, problems (with that outcome),
    n_problems, problem, question, reference (the right answer's line), finetuning (the
    greedy solution), finetuning_right, verification (the best-scored completion),
    verification_right, score (the verifier's).
    """
    prepare(token_score_stages(settings), store)
    seed = settings.seeds[0]
    spec, greedy = scores_spec(settings, seed), greedy_spec(settings, seed)
    scored = scored_completions(spec, store)
    chosen = selection.best_of(matrix(scored, "last"))
    best = scored.set_index(["problem", "sample"]).loc[list(enumerate(chosen))]
    plain = sample(greedy, store).sort_values("problem")
    pair = plain["correct"].to_numpy(bool), best["correct"].to_numpy(bool)
    problems, rows = sampled_problems(spec.completions), []
    for outcome, (finetuned, verified) in OUTCOMES.items():
        places = np.flatnonzero((pair[0] == finetuned) & (pair[1] == verified))
        if not len(places):
            continue
        place = int(places[0])
        question, solution = problems[place]
        row = {"outcome": outcome, "problems": len(places), "n_problems": len(chosen)}
        row |= {"problem": place, "question": readable(question)}
        row |= {"reference": solution.splitlines()[-1]}
        row |= {"finetuning": readable(plain["text"].iloc[place])}
        row |= {"finetuning_right": finetuned}
        row |= {"verification": readable(best["text"].iloc[place])}
        row |= {"verification_right": verified, "score": best["last"].iloc[place]}
        rows.append(row)
    return pd.DataFrame(rows)
