"""What the paper measures, as pure functions of (problems, samples) arrays.

Every estimate uses all samples drawn, never the first n: test@n and the verified
accuracy at n are exact expectations over a random subset of n samples, a vote's is the
mean over many such subsets. Intervals come from a bootstrap over problems; the spread
over seeds is reported apart.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from gsmlib.method.selection import matrix, refuse_nan

SUBSETS = 64  # random subsets that a vote's accuracy is the mean over


class Interval(NamedTuple):
    """An estimate with its confidence limits; nan where nothing is known."""

    mean: float
    low: float
    high: float


def test_at_n(correct: np.ndarray, n: int) -> np.ndarray:
    """Return (P,): the chance that a random n-subset of (P, m) samples has a right one.

    Unbiased, 1 - C(m - c, n) / C(m, n) (Chen et al. 2021, eq. 1; the paper's test@n).
    """
    correct = matrix(correct, "correct").astype(bool)
    m = correct.shape[1]
    _check_n(n, m)
    wrong = m - correct.sum(axis=1)
    return 1.0 - _subset_share(m, n)[wrong]


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
    form is known; those of a larger n hold those of a smaller one.
    """
    answers, correct = matrix(answers, "answers"), matrix(correct, "correct")
    ranked = scores is not None
    scores = np.asarray(scores, float) if ranked else np.zeros(answers.shape)
    _check_scores(scores, correct)
    problems, m = answers.shape
    _check_n(n, m)
    if list(top_k) != sorted(top_k) or top_k[0] < 1 or top_k[-1] > n:
        raise ValueError(f"top_k must ascend within 1..{n}, not {list(top_k)}")
    right = _right_answers(answers, correct)
    order = np.argsort(-scores, axis=1, kind="stable")
    answers, scores = (np.take_along_axis(a, order, 1) for a in (answers, scores))
    weights = np.maximum(scores, 0) if weighted else np.ones(answers.shape)
    samples, outcomes = np.tile(np.arange(m), (problems, 1)), []
    for number in range(subsets if n < m or not ranked else 1):
        places = np.random.default_rng((seed, number)).permuted(samples, axis=1)
        held = np.nonzero(places < n)[1].reshape(problems, n) if ranked else places
        some, their = (
            np.take_along_axis(a, held[:, :n], axis=1) for a in (answers, weights)
        )
        outcomes.append(_votes_right(some, their, right, top_k))
    return np.mean(outcomes, axis=0)


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


def wilson(k: float, n: int, level: float = 0.95) -> Interval:
    """Return the share k / n with Wilson's score interval, sane even at 0 of n."""
    if not (n >= 1 and 0 <= k <= n):
        raise ValueError(f"a share needs 0 <= k <= n and n >= 1, not {k} of {n}")
    z = ndtri((1 + level) / 2)
    share = k / n
    centre = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return Interval(share, float(min(low, share)), float(max(high, share)))


def bootstrap_interval(
    values: np.ndarray, *, seed: int = 0, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Return the mean of (P,) values in [0, 1] with its percentile bootstrap interval.

    nan values (undefined problems) are left out. Where all values are equal a bootstrap
    sees no spread: Wilson's interval for their sum stands in.
    """
    values = _defined(values)
    if values.size == 0 or np.ptp(values) > 0:
        return _percentiles(values, seed, level, resamples)
    if not 0 <= values[0] <= 1:
        return Interval(float(values[0]), np.nan, np.nan)
    return wilson(values.sum(), values.size, level)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the mean of a - b over the same P problems, both in [0, 1], bootstrapped.

    Where every difference is the same, as many problems as Wilson allows for 0 of P
    may still differ: the interval is that wide, within [-1, 1].
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values need one shape (P,), not {a.shape}, {b.shape}")
    gaps = _defined(a - b)
    if gaps.size == 0 or np.ptp(gaps) > 0:
        return _percentiles(gaps, seed, level, resamples)
    slack = wilson(0, gaps.size, level).high
    mean = float(gaps[0])
    return Interval(mean, max(-1.0, mean - slack), min(1.0, mean + slack))


def bootstrap_curves(
    values: np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> np.ndarray:
    """Return (resamples, X): mean curves of (seeds, P, X) values, bootstrapped.

    Seeds and problems are drawn anew, the same problems for all seeds: what is read off
    every curve, such as where it peaks, gets an interval that joins both.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 3:
        raise ValueError(f"values must be (seeds, problems, X), not {values.shape}")
    rng = np.random.default_rng(seed)
    seeds, problems, points = values.shape
    by_problem = np.moveaxis(values, 1, 0).reshape(problems, -1)
    chosen = rng.multinomial(problems, np.full(problems, 1 / problems), resamples)
    curves = (chosen @ by_problem / problems).reshape(resamples, seeds, points)
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    return np.einsum("rs,rsx->rx", shares, curves)


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact two-sided p of "a and b (P,) are right equally often"."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes need one shape, not {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest  # here: it takes a second to import

    return float(binomtest(only_a, only_a + only_b).pvalue)


def _percentiles(
    values: np.ndarray, seed: int, level: float, resamples: int
) -> Interval:
    if values.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // values.size)  # bounds the memory of the index matrix
    means = []
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), values.size)
        means.append(values[rng.integers(values.size, size=shape)].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _defined(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"one value per problem, shape (P,), not {values.shape}")
    return values[~np.isnan(values)]


def _check_n(n: int, m: int) -> None:
    if not 1 <= n <= m:
        raise ValueError(f"n must lie between 1 and the {m} samples drawn, not {n}")


def _check_scores(scores: np.ndarray, correct: np.ndarray) -> None:
    if scores.shape != correct.shape:
        raise ValueError(f"scores {scores.shape} and correct {correct.shape} differ")
    refuse_nan(scores)


# ----------------------------------------------------------------- columns of tables


def limits(name: str, values: np.ndarray) -> dict[str, float]:
    """Return mean and bootstrap limits over problems as three columns.

    They are called name, name_low, name_high; without a name accuracy, low, high.
    """
    return as_columns(name, bootstrap_interval(values.astype(float), seed=0))


def difference(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return the mean of a - b over the same problems (P,) as three columns."""
    return as_columns(name, paired_difference(a, b))


def as_columns(name: str, interval: Iterable[float]) -> dict[str, float]:
    """Return an interval as columns, which `limits` names."""
    of = f"{name}_" if name else ""
    names = (name or "accuracy", f"{of}low", f"{of}high")
    return dict(zip(names, interval, strict=True))
