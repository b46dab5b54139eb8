"""From token scores to a completion's, and from completions' to one chosen answer.

Answers are canonical strings (`answers.final_number`). An invalid answer gets no vote
while any voter has a valid one. All ties go to the answer whose best voter ranks first,
and among equal scores the earlier sample ranks first: every choice is deterministic.
The figures' accuracies are expectations of these choices (`metrics`), where ties share.
"""

import numpy as np
import pandas as pd

from gsmlib.method.answers import INVALID

AGGREGATIONS = ("last", "mean", "min", "max", "product")
NO_VERIFIER = {  # choices among completions that need none: a table's column -> words
    "mean_accuracy": "random pick",
    "majority_vote": "majority vote",
    "by_logprob": "log-probability",
    "by_logprob_per_token": "log-probability per token",
}


def aggregate(token_scores: np.ndarray, how: str = "last") -> float:
    """One score of a solution from its tokens' scores (tokens,).

    `how` is one of AGGREGATIONS. For "product" scores are clipped to [0, 1] first, for
    negative ones would change its sign; elsewhere clipping would only make ties.
    """
    scores = np.asarray(token_scores, np.float64)
    assert scores.ndim == 1 and scores.size, "one score per token, at least one token"
    if how == "last":
        return float(scores[-1])
    if how == "product":
        return float(np.prod(np.clip(scores, 0.0, 1.0)))
    if how in ("mean", "min", "max"):
        return float(getattr(scores, how)())
    raise ValueError(f"There is no aggregation {how!r}; there are {AGGREGATIONS}.")


def best_of(scores: np.ndarray) -> np.ndarray:
    """Return (P,): the index of each problem's highest score in (P, n) (Section 4.2).

    Among equal scores the earlier sample is taken.
    """
    return ranking(scores)[:, 0]


def ranking(scores: np.ndarray) -> np.ndarray:
    """Return (P, n): sample indices from the highest score to the lowest, stable."""
    scores = matrix(scores, "scores").astype(float)
    refuse_nan(scores)
    return np.argsort(-scores, axis=1, kind="stable")


def matrix(values: np.ndarray, name: str) -> np.ndarray:
    """Return values as an array; raises ValueError unless it is (P, n), n >= 1."""
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"{name} must be (problems, samples), not {values.shape}")
    return values


def refuse_nan(scores: np.ndarray) -> None:
    """Raise ValueError where a score is nan."""
    if np.isnan(scores).any():
        raise ValueError("scores hold nan: score every completion before ranking")


def vote(answers: np.ndarray, scores: np.ndarray, top_k: int) -> np.ndarray:
    """Return (P,): the commonest answer of each problem's top_k by score (Section 5.1).

    answers, scores: (P, n). top_k = 1 is the answer of `best_of`; top_k = n is the
    majority with ties broken by score.
    """
    answers = _same_shape(answers, scores)
    if not 1 <= top_k <= answers.shape[1]:
        raise ValueError(f"top_k must lie in 1..{answers.shape[1]}, not {top_k}")
    best = np.take_along_axis(answers, ranking(scores), axis=1)[:, :top_k]
    return _winners(best, np.ones(best.shape))


def majority(answers: np.ndarray) -> np.ndarray:
    """Return (P,): the commonest answer of each row of (P, n); ties: the first seen."""
    answers = np.asarray(answers, dtype=object)
    return _winners(answers, np.ones(answers.shape))


def weighted_vote(answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (P,): the answer with the largest sum of scores; negative scores weigh 0.

    answers, scores: (P, n).
    """
    answers = _same_shape(answers, scores)
    order = ranking(scores)
    weights = np.maximum(np.take_along_axis(np.asarray(scores, float), order, 1), 0)
    return _winners(np.take_along_axis(answers, order, axis=1), weights)


def answer_numbers(answers: np.ndarray) -> np.ndarray:
    """Return (P, n) ints: the same number for the same answer, -1 for an invalid one.

    Each problem's answers are numbered from 0 in order of appearance, so that many
    votes can be counted as arrays (`metrics.vote_at_n`).
    """
    answers = matrix(np.asarray(answers, dtype=object), "answers")
    valid = np.where(answers == INVALID, None, answers)
    return np.stack([pd.factorize(row)[0] for row in valid])


def _winners(answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rows = zip(matrix(answers, "answers"), weights, strict=True)
    return np.array([_winner(row, weight) for row, weight in rows], dtype=object)


def _winner(answers: np.ndarray, weights: np.ndarray) -> str:
    totals: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer != INVALID:
            totals[answer] = totals.get(answer, 0.0) + weight
    return max(totals, key=totals.__getitem__) if totals else INVALID


def _same_shape(answers: np.ndarray, scores: np.ndarray) -> np.ndarray:
    answers = np.asarray(answers, dtype=object)
    if answers.shape != np.shape(scores):
        raise ValueError(
            f"answers {answers.shape} and scores {np.shape(scores)} differ"
        )
    return answers
