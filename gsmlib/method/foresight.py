"""What can be said of more completions before they are drawn.

A verifier's ROC within problems and the share of a problem's completions that are right
decide how often the best-scored of n is right: what happens at large n lies near the
ROC's origin, and in how much problems differ there. Coverage (test@n) is often a power
law in n: Brown et al. 2024, "Large Language Monkeys", section 3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, logsumexp, ndtr, ndtri

from gsmlib.method.selection import matrix, refuse_nan

EDGES = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 97)])  # of places, fine at 0
WIDTHS = np.diff(EDGES)
STEPS = 30  # of expectation maximization: more of them follow single completions
ALIKE = np.linspace(0.0, 0.95, 20)  # how alike a problem's right completions may be
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)  # of a normal distribution
CHANCES = _WEIGHTS / _WEIGHTS.sum()
MOST = 32  # right completions of a problem that its part of the ROC rests on


class Places(NamedTuple):
    """What scores say of where right completions lie among their problem's wrong ones.

    problem: (K,) the problem of each; likelihood: (K, cells) how well a place in each
    cell between EDGES explains as many wrong ones above it as there are.
    """

    problem: np.ndarray
    likelihood: np.ndarray


def places_of_right(scores: np.ndarray, correct: np.ndarray) -> Places:
    """Return the places of right completions, from scores and labels (P, m).

    A completion's place is the share of all that the generator could write wrongly on
    its problem which outscore it. Of W wrong ones K do, with the binomial's chance;
    equal ones count half. Problems without a right or a wrong completion say nothing,
    and of more than MOST right ones evenly spread ranks are taken.
    """
    scores = matrix(scores, "scores").astype(float)
    correct = matrix(correct, "correct").astype(bool)
    if scores.shape != correct.shape:
        raise ValueError(f"scores {scores.shape} and correct {correct.shape} differ")
    refuse_nan(scores)
    problems, above, below = [], [], []
    for problem, (row, right) in enumerate(zip(scores, correct, strict=True)):
        if right.all() or not right.any():
            continue
        wrong = np.sort(row[~right])
        some = min(MOST, right.sum())
        ranks = ((np.arange(some) + 0.5) * right.sum() / some).astype(int)
        own = np.sort(row[right])[ranks]
        under = np.mean([np.searchsorted(wrong, own, s) for s in ("left", "right")], 0)
        problems.append(np.full(some, problem))
        above.append(len(wrong) - under)
        below.append(under)
    if not problems:
        return Places(np.empty(0, int), np.empty((0, len(WIDTHS))))
    a, b = (np.concatenate(counts)[:, None] + 1 for counts in (above, below))
    return Places(np.concatenate(problems), np.diff(betainc(a, b, EDGES)) / WIDTHS)


def smooth_roc(places: Places, kept: np.ndarray) -> np.ndarray:
    """Return the ROC within problems at EDGES: which share of right ones lies before.

    kept: (P,) the problems that count, all alike; nan where these say nothing. The
    distribution of places is found by expectation maximization, begun with an even one
    and ended early (Laird 1978). Its first step is the mean of Beta(K + 1, W - K + 1):
    that alone puts a verifier's best completions too low, as if nothing were known
    of others; their own ranks, K / W, put them too high.
    """
    used = np.asarray(kept, bool)[places.problem]
    problem, likelihood = places.problem[used], places.likelihood[used]
    if not len(problem):
        return np.full(len(EDGES), np.nan)
    _, own, counts = np.unique(problem, return_inverse=True, return_counts=True)
    weights = 1 / (counts[own] * len(counts))
    mass = WIDTHS
    for _ in range(STEPS):
        shares = mass * likelihood
        mass = weights @ (shares / shares.sum(axis=1, keepdims=True))
    return np.concatenate([[0.0], np.cumsum(mass)])


def of_problems(roc: np.ndarray, alike: float) -> np.ndarray:
    """Return (NODES, EDGES): the ROCs of problems that differ around `roc`, their mean.

    A right completion's normal score is a part of its problem's, sqrt(alike), and one
    of its own: a Gaussian copula with one factor. alike 0: all problems have one ROC.
    """
    normal = ndtri(np.clip(roc, 1e-12, 1 - 1e-12))
    moved = normal - np.sqrt(alike) * NODES[:, None]
    found = ndtr(moved / np.sqrt(1 - alike))
    found[:, 0], found[:, -1] = roc[0], roc[-1]
    return np.maximum.accumulate(found, axis=1)  # sums of floats may fall


def how_alike(places: Places, kept: np.ndarray, roc: np.ndarray) -> float:
    """Return how alike the right completions of one problem are; nan if unknown.

    The mean of ALIKE, weighted by how likely each makes the places of the problems that
    are kept, problem by problem.
    """
    used = np.asarray(kept, bool)[places.problem]
    problem, likelihood = places.problem[used], places.likelihood[used]
    if not len(problem):
        return float("nan")
    starts = np.flatnonzero(np.diff(problem, prepend=-1))
    fits = []
    for alike in ALIKE:
        each = np.log(likelihood @ np.diff(of_problems(roc, alike)).T + 1e-300)
        by_problem = np.add.reduceat(each, starts)  # (problems, NODES)
        fits.append(logsumexp(by_problem, axis=1, b=CHANCES).sum())
    return float(ALIKE @ np.exp(fits - logsumexp(fits)))


def best_of_n(
    roc: np.ndarray, success: np.ndarray, ns: Sequence[int], alike: float = 0.0
) -> np.ndarray:
    """Return (P, N): the chance that the best-scored of each n completions is right.

    roc: at EDGES; success: (P,) the chance that a problem's completion is right. Wrong
    completions lie evenly over places, right ones as a ROC of `of_problems` says. With
    S(u) the chance that one lies beyond u, the best lies in a cell with the chance that
    S^n falls by there, and is right as often as what lies in that cell.
    """
    success = np.asarray(success, dtype=float)[:, None]
    chances, rocs = ([1.0], [roc]) if alike == 0 else (CHANCES, of_problems(roc, alike))
    found = np.zeros((len(success), len(ns)))
    for chance, each in zip(chances, rocs, strict=True):
        right, wrong = success * np.diff(each), (1 - success) * WIDTHS
        within = right + wrong
        share = np.divide(right, within, out=np.zeros_like(within), where=within > 0)
        beyond = np.clip(1 - success * each - (1 - success) * EDGES, 0, 1)
        falls = (-np.diff(beyond**n) for n in ns)
        wins = [(share * fall).sum(axis=1) for fall in falls]
        found += chance * np.stack(wins, axis=1)
    return found


def foresee(
    places: Places,
    correct: np.ndarray,
    few: int,
    ns: Sequence[int],
    kept: np.ndarray | None = None,
    *,
    one_roc: bool = False,
) -> np.ndarray:
    """Return (P, N): how often the best-scored of n will be right, problem by problem.

    Each half of the problems (even and odd ones) is foreseen by the other: with its
    ROC, with how alike its problems' right completions are (unless `one_roc`), and with
    its shares of right completions as what is likely of a problem before the labels of
    its own first `few` are seen (Bayes' rule); no score of its own is looked at.
    correct: (P, m); kept: (P,) the problems that there are, by default all; nan for
    others, and where the other half says nothing.
    """
    correct = matrix(correct, "correct").astype(bool)
    problems, m = correct.shape
    kept = np.ones(problems, bool) if kept is None else np.asarray(kept, bool)
    seen = correct[:, :few].sum(axis=1)
    shares = (correct.sum(axis=1) + 0.5) / (m + 1)  # neither 0 nor 1
    odd = np.arange(problems) % 2 == 1
    found = np.full((problems, len(ns)), np.nan)
    for half in (odd, ~odd):
        asked, others = kept & half, kept & ~half
        if not (asked.any() and others.any()):
            continue
        roc, known = smooth_roc(places, others), shares[others]
        alike = 0.0 if one_roc else how_alike(places, others, roc)
        curves = best_of_n(roc, known, ns, alike)
        found[asked] = _likely(seen[asked], few, known) @ curves
    return found


def _likely(seen: np.ndarray, few: int, shares: np.ndarray) -> np.ndarray:
    """Return (P, K): how likely each of shares (K,) is where seen (P,) are right."""
    seen = seen[:, None]
    fit = seen * np.log(shares) + (few - seen) * np.log1p(-shares)
    return np.exp(fit - logsumexp(fit, axis=1, keepdims=True))


class PowerLaw(NamedTuple):
    """-log coverage = exp(level) n^slope, fitted to each of some curves.

    bend: the quadratic term in log n, were there one; misfit: the largest difference
    between coverage and the law.
    """

    level: np.ndarray
    slope: np.ndarray
    bend: np.ndarray
    misfit: np.ndarray


def fit_power_law(ns: np.ndarray, coverage: np.ndarray) -> PowerLaw:
    """Return the least-squares line of log(-log coverage) over log n, and its bend.

    ns: (X,); coverage: (..., X). nan for a curve that is 0 or 1 anywhere, for there
    the logarithm is infinite, and for fewer than three points.
    """
    ns, coverage = np.asarray(ns, dtype=float), np.asarray(coverage, dtype=float)
    if len(ns) < 3:
        return PowerLaw(*np.full((4, *coverage.shape[:-1]), np.nan))
    inside = ((coverage > 0) & (coverage < 1)).all(axis=-1, keepdims=True)
    x, y = np.log(ns), np.log(-np.log(np.where(inside, coverage, 0.5)))
    level, slope = np.moveaxis(y @ np.linalg.pinv(np.vander(x, 2, True)).T, -1, 0)
    bend = (y @ np.linalg.pinv(np.vander(x, 3, True)).T)[..., 2]
    law = np.exp(-np.exp(level[..., None] + slope[..., None] * x))
    misfit = np.abs(law - coverage).max(axis=-1)
    found = (level, slope, bend, misfit)
    return PowerLaw(*(np.where(inside[..., 0], each, np.nan) for each in found))
