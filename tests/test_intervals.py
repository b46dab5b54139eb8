"""Intervals over problems and seeds: they cover as often as they say, by simulation."""

import numpy as np
import pytest
from scipy.stats import norm, t

from gsmlib.method import intervals
from gsmlib.method.intervals import (
    Interval,
    Measure,
    difference,
    difference_interval,
    mean_interval,
    share,
    tabulate,
    variance_of_mean,
    wilson,
)

RUNS = 400


# ------------------------------------------------------------------------ coverage


def outcomes(rng, seeds, problems, accuracy, of_seeds, of_problems):
    """(RUNS, S, P) of 0 and 1: a probit model with effects of both (SDs) and noise."""
    shape = RUNS, seeds, problems
    ease = of_problems * rng.standard_normal((RUNS, 1, problems))
    luck = of_seeds * rng.standard_normal((RUNS, seeds, 1))
    level = norm.ppf(accuracy) * np.sqrt(1 + of_seeds**2 + of_problems**2)
    return (level + ease + luck + rng.standard_normal(shape) > 0).astype(float)


def covered(values, truth, of_shares):
    found = [mean_interval(run, share=of_shares) for run in values]
    return np.mean([low <= truth <= high for _, low, high in found])


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seeds", [0.0, 0.1, 0.4])
def test_intervals_cover_in_93_to_97_percent(seeds, of_seeds):
    """Over accuracies, problems and how much these differ; a difference too."""
    rng, rates = np.random.default_rng(seeds), []
    for problems in (100, 400):
        for accuracy, of_problems in ((0.05, 1.0), (0.3, 0.3), (0.3, 2.0), (0.6, 1.0)):
            made = outcomes(rng, seeds, problems, accuracy, of_seeds, of_problems)
            rates.append(covered(made, accuracy, True))
            other = outcomes(rng, seeds, problems, 0.5, of_seeds, 0.0)
            rates.append(covered(other - made, 0.5 - accuracy, False))
    assert 0.93 <= np.mean(rates) <= 0.97
    assert min(rates) >= 0.90, "1.6 SE of a run below 0.925"


def test_one_seed_covers_too():
    rng = np.random.default_rng(1)
    made = outcomes(rng, 1, 200, 0.3, 0.0, 1.0)
    assert covered(made, 0.3, True) == pytest.approx(0.95, abs=0.03)


def test_the_variance_is_unbiased():
    """Of the mean squares' sum, against the spread of the means themselves."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((4000, 3, 1)) + rng.standard_normal((4000, 1, 20))
    values = values + 2 * rng.standard_normal((4000, 3, 20))
    found = np.mean([variance_of_mean(run)[0] for run in values])
    assert found == pytest.approx(values.mean(axis=(1, 2)).var(), rel=0.07)


def test_degrees_of_freedom_follow_what_varies():
    rng = np.random.default_rng(3)
    problems = np.repeat(rng.random((1, 50)), 3, axis=0)
    seeds = np.repeat([[0.1], [0.4], [0.9]], 50, axis=1)
    assert variance_of_mean(seeds)[1] == pytest.approx(2)
    assert variance_of_mean(problems)[1] > 30
    assert variance_of_mean(problems[:1]) == pytest.approx(
        (problems[0].var(ddof=1) / 50, 49)
    )


# ------------------------------------------------------------------- degenerate cases


def test_wilson_against_known_values():
    """Newcombe 1998, table I, method 3."""
    for k, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ]:
        found = wilson(k, n)
        assert found.mean == pytest.approx(k / n)
        assert found[1:] == pytest.approx((low, high), abs=5e-5)
    with pytest.raises(ValueError, match="0 <= k <= n"):
        wilson(3, 2)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_all_or_none_right_is_wilsons(value, seeds):
    found = mean_interval(np.full((seeds, 20), value))
    assert found == wilson(20 * value, 20)
    assert found.high > found.low


def test_one_seed_of_right_and_wrong_is_about_wilsons():
    solved = np.r_[np.ones(30), np.zeros(70)]
    found, expected = mean_interval(solved), wilson(30, 100)
    assert found[1:] == pytest.approx(expected[1:], abs=2e-3)
    assert 0 < mean_interval(np.r_[1.0, np.zeros(99)]).low < 0.01


def test_equal_values_differ_by_nothing():
    """A difference that is the same on every problem is no matter of chance."""
    values = np.random.default_rng(4).random(50)
    assert difference_interval(values, values) == (0, 0, 0)
    assert difference_interval(np.ones((3, 9)), np.ones((3, 9))) == (0, 0, 0)
    assert difference_interval(np.full(9, 0.75), np.full(9, 0.5)) == (0.25,) * 3
    assert difference_interval([0.5], [0.5]) == (0, 0, 0)
    assert difference_interval(np.ones((3, 1)), np.ones((3, 1))) == (0, 0, 0)


@pytest.mark.parametrize("level", [95, 1, 0, -0.5, np.nan])
def test_a_level_that_is_none_is_refused(level):
    for interval in (mean_interval, lambda x, level: wilson(5, 10, level)):
        with pytest.raises(ValueError, match="a level lies between 0 and 1"):
            interval(np.ones(9), level=level)


def test_differences_of_one_seed_are_students():
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 40))
    found = difference_interval(a, b)
    half = t.ppf(0.975, 39) * (a - b).std(ddof=1) / 40**0.5
    assert found == pytest.approx(((a - b).mean(), *((a - b).mean() + [-half, half])))


def test_undefined_problems_are_left_out():
    values = np.array([np.nan, 0.2, 0.4, np.nan])
    assert mean_interval(values).mean == pytest.approx(0.3)
    assert np.isnan(mean_interval(np.array([np.nan]))).all()
    found = mean_interval([[0.1, np.nan, 0.3, 0.5], [0.2, 0.4, 0.6, np.nan]])
    assert found.mean == pytest.approx((0.3 + 0.4) / 2)
    assert np.isnan(difference_interval([1.0], [0.0]).low)


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(2)
    a = (rng.random(300) < 0.5).astype(float)
    b = a.copy()
    b[:12] = 1 - b[:12]
    found, alone = difference_interval(a, b), mean_interval(a)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.high - found.low < 0.6 * (alone.high - alone.low)


@pytest.mark.parametrize("wrong", [np.ones((2, 2, 2)), np.full(4, 1.5)])
def test_what_is_no_share_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\(seeds, problems\)|\[0, 1\]"):
        mean_interval(wrong)
    with pytest.raises(ValueError, match="one shape"):
        difference_interval(np.ones(5), np.ones(4))


def test_mcnemar_is_the_binomial_test_of_the_disagreements():
    a = np.array([1] * 9 + [0] * 1 + [1] * 10, dtype=bool)
    b = np.array([0] * 9 + [1] * 1 + [1] * 10, dtype=bool)
    assert intervals.mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10)
    assert intervals.mcnemar(a, a) == 1.0
    with pytest.raises(ValueError, match="one shape"):
        intervals.mcnemar(a, b[:3])


def test_curves_are_resampled_over_seeds_and_problems_alike():
    curves = np.random.default_rng(6).random((1, 50, 4))
    found = intervals.bootstrap_curves(curves)
    low, high = np.quantile(found[:, 2], [0.025, 0.975])
    expected = mean_interval(curves[0, :, 2])
    np.testing.assert_allclose((low, high), expected[1:], atol=0.01)
    apart = np.stack([curves[0], curves[0] + 1])  # two seeds: 0, 1/2 or 1 is added
    added = intervals.bootstrap_curves(apart) - found
    assert set(np.round(added.ravel(), 9)) == {0, 0.5, 1}
    assert np.array_equal(found, intervals.bootstrap_curves(curves))
    with pytest.raises(ValueError, match="seeds, problems, X"):
        intervals.bootstrap_curves(curves[0])


# ---------------------------------------------------------------------------- tables


def test_limits_join_the_seeds_and_stand_on_all_their_rows():
    rng = np.random.default_rng(7)
    solved = rng.random((2, 3, 40)) < 0.4
    rows = [
        {
            "arm": arm,
            "seed": seed,
            **share("", values),
            **difference("gain", values, 0 * values),
        }
        for arm, by_seed in zip("ab", solved, strict=True)
        for seed, values in enumerate(by_seed.astype(float))
    ]
    made = tabulate(rows, ["arm"])
    assert list(made) == "arm seed accuracy low high gain gain_low gain_high".split()
    for arm, values in zip("ab", solved.astype(float), strict=True):
        some = made[made["arm"] == arm]
        assert some["accuracy"].tolist() == pytest.approx(values.mean(axis=1))
        expected = mean_interval(values)
        np.testing.assert_allclose(some[["low", "high"]], [expected[1:]] * 3)
        expected = mean_interval(values, share=False)
        np.testing.assert_allclose(some[["gain_low", "gain_high"]], [expected[1:]] * 3)


def test_cells_may_be_intervals_and_rows_lack_columns():
    made = tabulate([{"seed": 0, "peak": Interval(4, 2, 8)}, {"seed": 1, "p": 0.1}])
    assert made["peak_high"].iloc[0] == 8 and np.isnan(made["peak_low"].iloc[1])


def test_rows_of_one_seed_must_differ_in_a_named_column():
    rows = [{"seed": 0, "n": n, "x": Measure(np.ones(4), True)} for n in (1, 2)]
    assert len(tabulate(rows, ["n"])) == 2
    with pytest.raises(ValueError, match="several rows of one seed measure x"):
        tabulate(rows)
