"""Closed forms against brute force over all subsets, and sane degenerate cases."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsmlib.method import metrics, selection
from gsmlib.method.answers import INVALID

RNG = np.random.default_rng(0)
CORRECT = RNG.random((40, 7)) < RNG.random((40, 1))
SCORES = RNG.integers(0, 4, size=(40, 7)) / 3  # many ties


def brute_verified(scores, correct, n):
    """Mean over all n-subsets of the mean correctness of the subset's top scores."""
    wins = []
    for subset in combinations(range(len(scores)), n):
        chosen, outcome = scores[list(subset)], correct[list(subset)]
        wins.append(outcome[chosen == chosen.max()].mean())
    return np.mean(wins)


@pytest.mark.parametrize("n", range(1, 8))
def test_test_at_n_is_the_mean_over_all_subsets(n):
    expected = [
        np.mean([row[list(s)].any() for s in combinations(range(7), n)])
        for row in CORRECT
    ]
    np.testing.assert_allclose(metrics.test_at_n(CORRECT, n), expected, atol=1e-12)


@pytest.mark.parametrize("n", range(1, 8))
def test_verified_at_n_is_the_mean_over_all_subsets(n):
    expected = [brute_verified(s, c, n) for s, c in zip(SCORES, CORRECT, strict=True)]
    found = metrics.verified_at_n(SCORES, CORRECT, n)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.integers(1, 12), st.data())
def test_verified_at_n_on_any_scores(m, data):
    n = data.draw(st.integers(1, m))
    scores = np.array(
        [data.draw(st.sampled_from([-np.inf, 0, 1, 2])) for _ in range(m)]
    )
    correct = np.array([data.draw(st.booleans()) for _ in range(m)])
    found = metrics.verified_at_n(scores[None], correct[None], n)
    np.testing.assert_allclose(found, brute_verified(scores, correct, n), atol=1e-9)


def test_large_n_is_stable():
    correct = np.zeros((1, 3200), dtype=bool)
    correct[0, 0] = True
    found = [metrics.test_at_n(correct, n)[0] for n in (1, 100, 1600, 3200)]
    np.testing.assert_allclose(found, [1 / 3200, 1 / 32, 0.5, 1], atol=1e-9)
    scores = -np.arange(3200.0)[None]
    np.testing.assert_allclose(metrics.verified_at_n(scores, correct, 1600), 0.5)


def test_one_score_for_all_is_a_random_pick():
    for n in (1, 3, 7):
        found = metrics.verified_at_n(np.zeros_like(SCORES), CORRECT, n)
        np.testing.assert_allclose(found, CORRECT.mean(axis=1))


def test_an_oracle_as_score_reaches_test_at_n():
    found = metrics.verified_at_n(CORRECT.astype(float), CORRECT, 4)
    np.testing.assert_allclose(found, metrics.test_at_n(CORRECT, 4))


@pytest.mark.parametrize("n", [0, -1, 8])
def test_n_beyond_the_samples_is_refused(n):
    with pytest.raises(ValueError, match="between 1 and the 7 samples"):
        metrics.test_at_n(CORRECT, n)
    with pytest.raises(ValueError, match="between 1 and the 7 samples"):
        metrics.verified_at_n(SCORES, CORRECT, n)


def test_wrong_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match="differ"):
        metrics.verified_at_n(SCORES[:, :6], CORRECT, 2)
    with pytest.raises(ValueError, match="nan"):
        metrics.verified_at_n(np.full(CORRECT.shape, np.nan), CORRECT, 2)
    with pytest.raises(ValueError, match="problems, samples"):
        metrics.test_at_n(CORRECT[0], 1)


def brute_auc(scores, correct):
    pairs = product(scores[correct], scores[~correct])
    wins = [(a > b) + (a == b) / 2 for a, b in pairs]
    return np.mean(wins) if wins else np.nan


def test_within_problem_auc_counts_all_pairs():
    expected = [brute_auc(s, c) for s, c in zip(SCORES, CORRECT, strict=True)]
    found = metrics.within_problem_auc(SCORES, CORRECT)
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found[CORRECT.all(axis=1)]).all()


def test_pooled_auc_rewards_knowing_difficulty_and_within_does_not():
    assert metrics.pooled_auc(SCORES, CORRECT) == pytest.approx(
        brute_auc(SCORES.ravel(), CORRECT.ravel())
    )
    difficulty = np.repeat(CORRECT.mean(axis=1, keepdims=True), 7, axis=1)
    assert metrics.pooled_auc(difficulty, CORRECT) > 0.7
    assert np.nanmean(metrics.within_problem_auc(difficulty, CORRECT)) == 0.5


# ---------------------------------------------------------------- votes over subsets

ANSWERS = np.where(CORRECT, "1", RNG.choice(["2", "3", INVALID], size=CORRECT.shape))


def slow_vote(n, top_k, kind, subsets=metrics.SUBSETS, seed=3):
    """The votes of `selection` on each of the subsets, one after the other."""
    samples, outcomes = np.tile(np.arange(7), (40, 1)), []
    for number in range(subsets):
        places = np.random.default_rng((seed, number)).permuted(samples, axis=1)
        held = places[:, :n]
        answers, scores = (np.take_along_axis(a, held, 1) for a in (ANSWERS, SCORES))
        chosen = {
            "majority": lambda a, s: selection.majority(a[:, :top_k]),
            "vote": lambda a, s: selection.vote(a, s, top_k),
            "weighted": selection.weighted_vote,
        }[kind](answers.astype(object), scores)
        outcomes.append(chosen == "1")
    return np.mean(outcomes, axis=0)


@pytest.mark.parametrize("n", [2, 4, 7])
@pytest.mark.parametrize("kind", ["majority", "vote", "weighted"])
def test_votes_over_subsets_are_those_of_selection(n, kind):
    numbers = selection.answer_numbers(ANSWERS.astype(object))
    top_k = [n] if kind == "weighted" else list(range(1, n + 1))
    scores = None if kind == "majority" else SCORES
    found = metrics.vote_at_n(
        numbers, CORRECT, n, top_k, scores, weighted=kind == "weighted", seed=3
    )
    for k, row in zip(top_k, found, strict=True):
        np.testing.assert_allclose(row, slow_vote(n, k, kind))


def test_the_order_of_samples_decides_no_vote():
    correct = np.tile([True, False], (60, 1))
    for order in (correct, correct[:, ::-1]):
        numbers = np.where(order, 0, 1)
        found = metrics.vote_at_n(
            numbers, order, 2, [2], np.ones(order.shape), weighted=True
        )
        assert 0.4 < found.mean() < 0.6


def test_who_votes_alone_wins():
    numbers = selection.answer_numbers(ANSWERS.astype(object))
    for scores, weighted in ((None, False), (SCORES, False), (SCORES, True)):
        alone = metrics.vote_at_n(numbers, CORRECT, 1, [1], scores, weighted=weighted)
        np.testing.assert_allclose(alone, CORRECT.mean(axis=1)[None])


def test_a_vote_of_one_is_the_verified_accuracy():
    scores = RNG.random(CORRECT.shape)  # no ties
    numbers = selection.answer_numbers(ANSWERS.astype(object))
    found = metrics.vote_at_n(numbers, CORRECT, 3, [1], scores, subsets=4000)[0]
    np.testing.assert_allclose(
        found, metrics.verified_at_n(scores, CORRECT, 3), atol=0.04
    )


def test_votes_are_a_matter_of_the_seed():
    numbers = selection.answer_numbers(ANSWERS.astype(object))
    one, again, other = (
        metrics.vote_at_n(numbers, CORRECT, 3, [2], SCORES, seed=seed)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_a_vote_wants_voters():
    numbers = selection.answer_numbers(ANSWERS.astype(object))
    for n, top_k in ((8, [1]), (3, [4]), (3, [0]), (3, [2, 1])):
        with pytest.raises(ValueError, match="must"):
            metrics.vote_at_n(numbers, CORRECT, n, top_k, SCORES)


def adjusted_by_hand(scores, correct):
    """The mean over all comparisons of one pair's two kinds of problems."""
    wins = []
    for a in range(scores.shape[1]):
        for b in range(a):
            gap = scores[:, a] - scores[:, b]
            only_a = [g for g, c in zip(gap, correct, strict=True) if c[a] > c[b]]
            only_b = [g for g, c in zip(gap, correct, strict=True) if c[b] > c[a]]
            wins += [(x > y) + (x == y) / 2 for x in only_a for y in only_b]
    return np.mean(wins) if wins else np.nan


@pytest.mark.parametrize("seed", range(4))
def test_the_adjusted_auc_is_the_mean_over_comparisons(seed):
    rng = np.random.default_rng(seed)
    correct = rng.random((30, 4)) < [0.2, 0.4, 0.35, 0.6]
    scores = rng.integers(0, 5, (30, 4)) + correct * rng.random((30, 1))
    measured = metrics.adjusted_auc(scores, correct)
    assert measured == pytest.approx(adjusted_by_hand(scores, correct))
    halves = [metrics.adjusted_auc(scores[i::2], correct[i::2]) for i in range(2)]
    measured = metrics.adjusted_auc(scores, correct, np.arange(30) % 2)
    assert min(halves) <= measured <= max(halves)


def test_the_adjusted_auc_sees_through_who_wrote_a_sample():
    rng = np.random.default_rng(0)
    accuracy = np.array([0.2, 0.4, 0.35, 0.6])
    correct = rng.random((4000, 4)) < accuracy
    by_source = np.tile(accuracy, (4000, 1))
    assert np.nanmean(metrics.within_problem_auc(by_source, correct)) > 0.6
    assert metrics.adjusted_auc(by_source, correct) == 0.5
    assert metrics.adjusted_auc(by_source + 2 * correct, correct) == 1.0
    noisy = by_source + 0.1 * rng.random((4000, 4))
    assert metrics.adjusted_auc(noisy, correct) == pytest.approx(0.5, abs=0.03)
    assert np.isnan(metrics.adjusted_auc(by_source, np.ones((4000, 4))))
    judges = np.arange(4000) % 2  # who hold other sources for better
    by_judge = np.where(judges[:, None] == 0, by_source, by_source[:, ::-1])
    assert metrics.adjusted_auc(by_judge, correct, judges) == 0.5
    assert metrics.adjusted_auc(by_judge, correct) != 0.5
