"""What is foreseen of more completions, against drawing them and by enumeration."""

from itertools import permutations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from gsmlib.method import foresight, metrics
from gsmlib.method.foresight import EDGES, best_of_n, foresee, places_of_right
from gsmlib.method.intervals import mean_interval, pseudo_values

NS = (1, 2, 5, 10, 25, 50, 75)


def binormal(distance, spread, edges=EDGES):
    """The ROC of right scores N(distance, spread^2) among wrong ones N(0, 1)."""
    inner = np.clip(edges, 1e-12, 1 - 1e-12)
    found = ndtr((distance + ndtri(inner)) / spread)
    return np.where(edges == 0, 0.0, np.where(edges == 1, 1.0, found))


def drawn(problems, m, distance, spread, differ, rng):
    """Success rates, distances, scores and labels of a binormal verifier."""
    success = rng.beta(0.5, 1, problems)
    correct = rng.random((problems, m)) < success[:, None]
    own = distance + differ * rng.standard_normal(problems)
    noise = rng.standard_normal((problems, m))
    scores = np.where(correct, own[:, None] + spread * noise, noise)
    return success, own, scores, correct


def exact(success, own, spread):
    """The accuracy of the best of NS, were all ROCs and success rates known."""
    fine = np.concatenate([[0.0], np.geomspace(1e-7, 1, 2000)])
    rocs = np.array([binormal(distance, spread, fine) for distance in own])
    p, u = success[:, None], fine
    beyond = 1 - p * rocs - (1 - p) * u
    right, wrong = p * np.diff(rocs), (1 - p) * np.diff(u)
    share = right / np.maximum(right + wrong, 1e-300)
    return np.array([(-np.diff(beyond**n) * share).sum(1).mean() for n in NS])


def test_best_of_n_is_what_drawing_gives():
    rng, n, p = np.random.default_rng(1), 12, 0.2
    roc, problems = binormal(1.0, 0.5), 40_000
    correct = rng.random((problems, n)) < p
    scores = rng.standard_normal((problems, n))
    scores = np.where(correct, 1 + 0.5 * scores, scores)
    found = correct[range(problems), scores.argmax(axis=1)].mean()
    assert best_of_n(roc, np.array([p]), [n])[0, 0] == pytest.approx(found, abs=0.01)


def test_best_of_n_in_closed_form():
    even = EDGES  # a verifier at chance: no number of completions helps
    np.testing.assert_allclose(
        best_of_n(even, [0.3, 0.0, 1.0], [1, 9, 99]).T, [[0.3, 0, 1]] * 3, atol=1e-9
    )
    perfect = np.where(EDGES > 0, 1.0, 0.0)  # any right one wins
    found = best_of_n(perfect, [0.3], [1, 2, 5])[0]
    np.testing.assert_allclose(found, 1 - 0.7 ** np.array([1, 2, 5]), atol=1e-3)
    for alike in (0.0, 0.4, 0.9):  # a single completion is right as often as it is
        assert best_of_n(binormal(1, 1), [0.3], [1], alike) == pytest.approx(0.3)


def test_rocs_of_problems_have_their_mean():
    roc = binormal(1.0, 0.7)
    for alike in (0.2, 0.8):
        each = foresight.of_problems(roc, alike)
        np.testing.assert_allclose(foresight.CHANCES @ each, roc, atol=5e-3)
    same = foresight.of_problems(roc, 0.0)
    np.testing.assert_allclose(same, np.tile(roc, (len(same), 1)), atol=1e-9)


@pytest.mark.parametrize(
    ("distance", "spread", "differ", "within"),
    [(1, 1, 0, 0.02), (1, 0.6, 0, 0.04), (1, 1, 0.7, 0.03), (1, 0.5, 1.2, 0.04)],
)
def test_the_estimate_is_nearly_unbiased(distance, spread, differ, within):
    """Right scores that spread less (more completions hurt), problems that differ."""
    rng, errors, naive, alike = np.random.default_rng(2), [], [], []
    for _ in range(12):
        success, own, *run = drawn(75, 100, distance, spread, differ, rng)
        places, kept = places_of_right(*run), np.ones(75, bool)
        roc = foresight.smooth_roc(places, kept)
        alike.append(foresight.how_alike(places, kept, roc))
        truth = exact(success, own, spread)
        errors.append(best_of_n(roc, success, NS, alike[-1]).mean(axis=0) - truth)
        naive.append(best_of_n(roc, success, NS).mean(axis=0) - truth)
    assert np.abs(np.mean(errors, axis=0)).max() < within
    part = differ**2 / (differ**2 + spread**2)
    assert np.mean(alike) == pytest.approx(part, abs=0.15)
    if differ:  # one ROC for all promises too much
        assert np.mean(naive, axis=0)[-1] > 2 * within


def test_one_step_is_the_mean_of_beta_distributions(monkeypatch):
    from scipy.stats import beta

    monkeypatch.setattr(foresight, "STEPS", 1)
    scores = np.array([[5, 4, 3, 2, 1.0], [1, 2, 3, 4, 4]])
    correct = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]], bool)
    places = places_of_right(scores, correct)
    found = foresight.smooth_roc(places, np.ones(2, bool))
    pairs = [(1, 3), (3, 3), (3, 3), (0.5, 3)]  # wrong ones above, of so many; a tie
    expected = np.mean([beta(k + 1, w - k + 1).cdf(EDGES) for k, w in pairs], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    alone = foresight.smooth_roc(places, np.array([True, False]))
    some = np.mean([beta(k + 1, 4 - k).cdf(EDGES) for k in (1, 3)], axis=0)
    np.testing.assert_allclose(alone, some, atol=1e-9)


def test_a_problem_is_foreseen_by_the_other_half_alone():
    rng = np.random.default_rng(3)
    _, _, scores, correct = drawn(30, 40, 1, 1, 0.5, rng)
    before = foresee(places_of_right(scores, correct), correct, 10, [1, 5])
    scores[::2], late = rng.random((15, 40)), correct.copy()
    late[::2, 10:] = ~late[::2, 10:]
    after = foresee(places_of_right(scores, late), late, 10, [1, 5])
    np.testing.assert_allclose(before[::2], after[::2])
    assert not np.allclose(before[1::2], after[1::2])


def test_problems_left_out_are_as_if_there_were_none():
    _, _, scores, correct = drawn(30, 40, 1, 1, 0.5, np.random.default_rng(4))
    kept = np.arange(30) < 20
    found = foresee(places_of_right(scores, correct), correct, 10, [1, 5], kept)
    alone = foresee(
        places_of_right(scores[:20], correct[:20]), correct[:20], 10, [1, 5]
    )
    np.testing.assert_allclose(found[:20], alone)
    assert np.isnan(found[20:]).all()


@pytest.mark.parametrize("label", [0, 1])
def test_nothing_is_foreseen_without_both_kinds(label):
    correct = np.full((6, 8), bool(label))
    places = places_of_right(np.random.default_rng(0).random((6, 8)), correct)
    assert np.isnan(foresee(places, correct, 2, [1, 4])).all()
    assert np.isnan(foresight.smooth_roc(places, np.ones(6, bool))).all()


def test_places_are_refused_without_scores():
    with pytest.raises(ValueError, match="nan"):
        places_of_right(np.array([[np.nan, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="differ"):
        places_of_right(np.ones((2, 3)), np.ones((2, 2)))


# ------------------------------------------------------------------------ the power law


def test_a_power_law_is_found_and_a_bend_is_seen():
    ns = np.array([1, 2, 5, 10, 50, 100])
    straight = np.exp(-np.exp(0.3) * ns**-0.4)
    law = foresight.fit_power_law(ns, straight)
    assert [float(x) for x in law] == pytest.approx([0.3, -0.4, 0, 0], abs=1e-9)
    x = np.log(ns)
    bent = np.exp(-np.exp(0.3 - 0.4 * x - 0.1 * x**2))
    both = foresight.fit_power_law(ns, np.stack([straight, bent]))
    np.testing.assert_allclose(both.bend, [0, -0.1], atol=1e-9)
    slope, level = np.polyfit(x, np.log(-np.log(bent)), 1)
    assert (both.level[1], both.slope[1]) == pytest.approx((level, slope))
    misfit = np.abs(np.exp(-np.exp(level) * ns**slope) - bent).max()
    assert both.misfit[1] == pytest.approx(misfit)


def test_one_rate_for_all_problems_is_no_power_law():
    ns = np.arange(1, 40)
    law = foresight.fit_power_law(ns, 1 - 0.9**ns)
    assert law.bend < -0.1


@pytest.mark.parametrize("coverage", [[0.1, 0.5, 1.0], [0.0, 0.5, 0.6], [0.1, 0.2]])
def test_no_law_where_there_is_no_logarithm(coverage):
    law = foresight.fit_power_law(np.arange(1, len(coverage) + 1), coverage)
    assert np.isnan(law).all()


# ------------------------------------------------------------------ risk, pseudo-values


def test_risk_is_the_mean_over_orders_of_equal_confidences():
    confidence = np.array([3.0, 2, 2, 2, 1])
    wrong = np.array([0.0, 1, 0, 1, 1])
    risks, areas = [], []
    for order in permutations(range(5)):
        if (np.diff(confidence[list(order)]) > 0).any():
            continue
        each = np.cumsum(wrong[list(order)]) / np.arange(1, 6)
        risks.append(each)
        areas.append(each.mean())
    assert len(risks) == 6
    shares = np.arange(1, 6) / 5
    found = metrics.risk_at(confidence, wrong, shares)
    np.testing.assert_allclose(found, np.mean(risks, axis=0))
    area = metrics.area_under_risk(confidence, wrong)
    assert area == pytest.approx(np.mean(areas))
    assert metrics.area_under_risk(0 * wrong, wrong) == pytest.approx(0.6)
    assert metrics.risk_at(confidence, wrong, [0.1]) == pytest.approx(0)


def test_pseudo_values_of_a_mean_are_the_values():
    values = np.random.default_rng(0).random(12)

    def mean(kept):
        return np.array([values[: len(kept)][kept].mean()])

    np.testing.assert_allclose(pseudo_values(mean, 12)[:, 0], values)
    grouped = pseudo_values(mean, 12, groups=4)
    expected = values.reshape(3, 4).mean(axis=0)
    np.testing.assert_allclose(grouped[:, 0], expected)
    assert pseudo_values(mean, 1).shape == (1, 1)


def test_pseudo_values_know_the_spread_of_a_statistic():
    rng, spread, said = np.random.default_rng(1), [], []
    for _ in range(300):
        x = rng.exponential(size=60)
        values = pseudo_values(lambda kept, x=x: np.log(x[kept].mean())[None], 60)
        _, low, high = mean_interval(values.T, share=False)
        spread.append(np.log(x.mean()))
        said.append(low < 0 < high)
    assert np.std(spread) == pytest.approx(60**-0.5, rel=0.15)
    assert 0.9 < np.mean(said) < 0.99
