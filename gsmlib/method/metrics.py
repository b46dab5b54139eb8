"""What the paper measures, as pure functions of (problems, samples) arrays.

Every estimate uses all samples drawn, never the first n: test@n and the verified
accuracy at n are exact expectations over a random subset of n samples, a vote's is the
mean over many such subsets. `intervals` says how sure they are.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from gsmlib.method.selection import matrix, refuse_nan

SUBSETS = 64  # random subsets that a vote's accuracy is the mean over


def test_at_n(correct: np.ndarray, n: int) -> np.ndarray:
    """Return (P,): the chance that a random n-subset of (P, m) samples has a right one.

    Unbiased, 1 - C(m - c, n) / C(m, n) (Chen et al. 2021, eq. 1; the paper's test@n).
    """
    correct = matrix(correct, "correct").astype(bool)
    m = correct.shape[1]
    _check_n(n, m)
    wrong = m - correct.sum(axis=1)
    return 1.0 - _subset_share(m, n)[wrong]


def all_right_at_n(correct: np.ndarray, n: int) -> np.ndarray:
    """Return (P,): the chance that a random n-subset of (P, m) is right in all.

    Unbiased, C(c, n) / C(m, n) of c right ones: pass^n (Yao et al. 2024), the mirror
    of `test_at_n`.
    """
    correct = matrix(correct, "correct").astype(bool)
    m = correct.shape[1]
    _check_n(n, m)
    return _subset_share(m, n)[correct.sum(axis=1)]


def verified_at_n(scores: np.ndarray, correct: np.ndarray, n: int) -> np.ndarray:
    """Return (P,): the expected accuracy of the best-scored of a random n-subset.

    scores, correct: (P, m). Unbiased: the sample of rank r (0 = best) wins with chance
    (C(m - r, n) - C(m - r - 1, n)) / C(m, n); tied samples share theirs evenly.
    """
    scores = matrix(scores, "scores").astype(float)
    correct = matrix(correct, "correct").astype(float)
    _check_scores(scores, correct)
    m = scores.shape[1]
    _check_n(n, m)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(correct, order, axis=1)
    ties = _tie_means(np.take_along_axis(scores, order, axis=1), ranked)
    share = _subset_share(m, n)[::-1]  # share[r]: all of the subset at rank r or below
    return ties @ (share[:-1] - share[1:])


def _subset_share(m: int, n: int) -> np.ndarray:
    """Return (m + 1,): C(k, n) / C(m, n) for k = 0..m, in logs, 0 where k < n."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, m + 1)))])
    k = np.arange(n, m + 1)
    log_choose = log_factorial[k] - log_factorial[k - n]
    return np.concatenate([np.zeros(n), np.exp(log_choose - log_choose[-1])])


def _tie_means(ranked_scores: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """Replace each value of `ranked` (P, m) by the mean of its run of equal scores."""
    starts = np.ones(ranked.shape, dtype=bool)
    starts[:, 1:] = ranked_scores[:, 1:] != ranked_scores[:, :-1]
    run = np.cumsum(starts.ravel()) - 1
    means = np.bincount(run, ranked.ravel()) / np.bincount(run)
    return means[run].reshape(ranked.shape)


def vote_at_n(
    answers: np.ndarray,
    correct: np.ndarray,
    n: int,
    top_k: Sequence[int],
    scores: np.ndarray | None = None,
    *,
    weighted: bool = False,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> np.ndarray:
    """Return (K, P): the accuracy of a vote of the top k of a random n-subset, each k.

    answers: (P, m) numbers of `selection.answer_numbers`; correct, scores: (P, m);
    top_k: (K,) ascending. The rules are those of `selection.vote`; without scores those
    of `selection.majority` on the first k in random order, where `weighted` those of
    `selection.weighted_vote`. The mean over `subsets` seeded subsets, for no closed
    form is known but of n = 1; those of a larger n hold those of a smaller one. Of
    equal scores a random one comes first, for the order of samples means nothing.
    """
    answers, correct = matrix(answers, "answers"), matrix(correct, "correct")
    scores = np.zeros(answers.shape) if scores is None else np.asarray(scores, float)
    _check_scores(scores, correct)
    problems, m = answers.shape
    _check_n(n, m)
    if list(top_k) != sorted(top_k) or top_k[0] < 1 or top_k[-1] > n:
        raise ValueError(f"top_k must ascend within 1..{n}, not {list(top_k)}")
    if n == 1:  # who votes alone wins
        return correct.mean(axis=1)[None]
    right = _right_answers(answers, correct)
    weights = np.maximum(scores, 0) if weighted else np.ones(answers.shape)
    samples, outcomes = np.tile(np.arange(m), (problems, 1)), []
    for number in range(subsets):
        held = np.random.default_rng((seed, number)).permuted(samples, axis=1)[:, :n]
        held = _by_score(held, scores)
        some, their = (np.take_along_axis(a, held, axis=1) for a in (answers, weights))
        outcomes.append(_votes_right(some, their, right, top_k))
    return np.mean(outcomes, axis=0)


def _by_score(held: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return samples (P, n) from the best-scored on, equal ones as they lie."""
    theirs = np.take_along_axis(-scores, held, axis=1)
    return np.take_along_axis(held, theirs.argsort(axis=1, kind="stable"), axis=1)


def _right_answers(answers: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return (P, A): is the answer of this number right."""
    right = np.zeros((len(answers), max(1, answers.max() + 1)), dtype=bool)
    problem, sample = np.nonzero(answers >= 0)
    right[problem, answers[problem, sample]] = correct[problem, sample]
    return right


def _votes_right(
    answers: np.ndarray, weights: np.ndarray, right: np.ndarray, top_k: Sequence[int]
) -> np.ndarray:
    """Return (K, P): is the vote of the first k of (P, n) answers right, for each k.

    The answer of the largest total weight wins, among equals the one seen first.
    """
    shape, n = right.shape, answers.shape[1]
    problem, place = np.nonzero(answers >= 0)
    cell = problem * shape[1] + answers[problem, place]
    weight = weights[problem, place]
    first, totals = np.full(right.size, n), np.zeros(right.size)
    first[cell[::-1]] = place[::-1]  # of several places the last written, the first one
    first, outcomes, start = first.reshape(shape), [], 0
    for k in top_k:
        new = (place >= start) & (place < k)
        totals += np.bincount(cell[new], weight[new], right.size)
        standing = np.where(first < k, totals.reshape(shape), -1)
        best = standing.max(axis=1, keepdims=True)
        winner = np.where(standing == best, first, n + 1).argmin(axis=1)
        outcomes.append(right[np.arange(len(right)), winner] & (best[:, 0] >= 0))
        start = k
    return np.array(outcomes, dtype=float)


def within_problem_auc(scores: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return (P,): how often a right sample outscores a wrong one of the same problem.

    scores, correct: (P, m). Ties count 1/2; nan where a problem lacks either kind. The
    pooled AUC also rewards knowing which problems are hard; this one does not.
    """
    scores = matrix(scores, "scores").astype(float)
    correct = matrix(correct, "correct").astype(bool)
    _check_scores(scores, correct)
    ranks = pd.DataFrame(scores).rank(axis=1).to_numpy()  # ties: their mean rank
    right = correct.sum(axis=1)
    pairs = right * (scores.shape[1] - right)
    wins = (ranks * correct).sum(axis=1) - right * (right + 1) / 2
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def pooled_auc(scores: np.ndarray, correct: np.ndarray) -> float:
    """Return the AUC over all samples of all problems together; ties count 1/2."""
    flat_scores = np.asarray(scores, dtype=float).reshape(1, -1)
    return float(within_problem_auc(flat_scores, np.reshape(correct, (1, -1)))[0])


def adjusted_auc(
    scores: np.ndarray, correct: np.ndarray, judges: np.ndarray | None = None
) -> float:
    """Return how well scores tell right from wrong beyond knowing who was asked.

    scores, correct: (P, m), a column per source, such as a system; judges: (P,), who
    scored a problem, as only scores of one judge are compared. Sources differ in
    how often they are right, and a score that knows only who wrote a sample orders
    those of a problem by it. So for each two sources the difference of their scores is
    compared between the problems that only the one solves and those that only the
    other does: an AUC of 1/2 where scores follow the source alone, whatever its
    accuracy. The mean over pairs, weighted by their comparisons (adjusting for a
    covariate: Janes and Pepe 2009); nan where there are none.
    """
    scores = matrix(scores, "scores").astype(float)
    correct = matrix(correct, "correct").astype(bool)
    _check_scores(scores, correct)
    judges = np.zeros(len(scores)) if judges is None else np.asarray(judges)
    total = comparisons = 0.0
    pairs = combinations(range(scores.shape[1]), 2)
    for judge, (a, b) in product(np.unique(judges), pairs):
        one = (correct[:, a] != correct[:, b]) & (judges == judge)
        only_a = correct[one, a]
        number = int(only_a.sum()) * int((~only_a).sum())
        if number:
            gap = scores[one, a] - scores[one, b]
            total += number * pooled_auc(gap, only_a)
            comparisons += number
    return total / comparisons if comparisons else np.nan


def ratio_by_problem(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return (P,) values whose mean is sum(part) / sum(whole) of counts (P,) both.

    Their spread over problems is the ratio's (the delta method); nan where the whole is
    nothing.
    """
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    if whole.sum() == 0:
        return np.full(len(whole), np.nan)
    ratio = part.sum() / whole.sum()
    return ratio + (part - ratio * whole) / whole.mean()


def risk_at(
    confidence: np.ndarray, wrong: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """Return (X,): the share of wrong answers among the surest, for shares of them.

    confidence, wrong: (P,). Equal confidences count in the mean over their orders; a
    share that ends within an answer counts a part of it (El-Yaniv and Wiener 2010).
    """
    errors = np.concatenate([[0.0], np.cumsum(_errors_in_order(confidence, wrong))])
    answered = np.asarray(shares, dtype=float) * (len(errors) - 1)
    return np.interp(answered, np.arange(len(errors)), errors) / answered


def area_under_risk(confidence: np.ndarray, wrong: np.ndarray) -> float:
    """Return the mean of the risk over all numbers of answers that may be given.

    The area under the risk-coverage curve (Geifman and El-Yaniv 2017), without unit.
    """
    errors = np.cumsum(_errors_in_order(confidence, wrong))
    return float(np.mean(errors / np.arange(1, len(errors) + 1)))


def _errors_in_order(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return (P,): the wrong answers from the surest on, shared by equal ones."""
    confidence, wrong = (
        matrix([a], "answers").astype(float) for a in (confidence, wrong)
    )
    _check_scores(confidence, wrong)
    order = np.argsort(-confidence, axis=1, kind="stable")
    in_order = (np.take_along_axis(a, order, axis=1) for a in (confidence, wrong))
    return _tie_means(*in_order)[0]


def _check_n(n: int, m: int) -> None:
    if not 1 <= n <= m:
        raise ValueError(f"n must lie between 1 and the {m} samples drawn, not {n}")


def _check_scores(scores: np.ndarray, correct: np.ndarray) -> None:
    if scores.shape != correct.shape:
        raise ValueError(f"scores {scores.shape} and correct {correct.shape} differ")
    refuse_nan(scores)
