"""06_test_time_compute: its table, its verdicts and its figures (Fig 7)."""

from importlib import import_module
from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib.chapters import resolve, shared, verification
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.chapters.test_time_compute import CHAPTER, grid, table
from gsmlib.chapters.test_time_compute.figures import METHODS as LOOKS
from gsmlib.chapters.test_time_compute.verdicts import c11, c12
from gsmlib.method import metrics
from gsmlib.method.intervals import difference_interval
from gsmlib.study.pool import list_tasks
from gsmlib.study.stages import folder_of
from gsmlib.study.store import Store

more = import_module("gsmlib.chapters.test_time_compute.grid")
NS = (1, 5, 25, 100, 400, 1600)
COUNTS, KS = (100, 400, 1600), (1, 3, 10, 30, 100)
METHODS = ("verification", *(method for method in LOOKS if method != "verification"))


def with_limits(name, value, half=0.01):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def about_run(seed, problems):
    about = {"dataset": "minigsm", "model": "mini-2m", "n_train": 4000, "seed": seed}
    return about | {"n_problems": problems}


def completions_table(
    heights=(0.2, 0.26, 0.32, 0.36, 0.38, 0.33),
    ns=NS,
    half=0.01,
    *,
    peak=None,
    seeds=3,
    problems=200,
):
    """Fig 7a: verified accuracy of `heights`, the other methods along with it."""
    peak = ns[int(np.argmax(heights))] if peak is None else peak
    rows = []
    grid = product(range(seeds), METHODS, zip(ns, heights, strict=True))
    for seed, method, (n, height) in grid:
        value = height + 0.02 * METHODS.index(method) * np.log(n) / 4 + 0.004 * seed
        row = about_run(seed, problems) | {"method": method, "n": n}
        row |= {"accuracy": value, "low": value - 0.05, "high": value + 0.05}
        row |= with_limits("rise", height - heights[0], half)
        row |= with_limits("over_random", height - heights[0], half)
        row |= with_limits("fall", height - heights[-1], half)
        row |= {"peak": peak, "peak_low": peak / 2, "peak_high": min(2 * peak, ns[-1])}
        rows.append(row)
    return pd.DataFrame(rows)


def voters_table(
    best=(3, 10, 30),
    gain=0.06,
    growth=0.8,
    spread=0.3,
    half=0.01,
    *,
    counts=COUNTS,
    shrink=1.0,
    checks=0.1,
    seeds=3,
    problems=200,
):
    """Fig 7b: for each of `counts` a curve of KS that is highest at its `best` k."""
    rows = []
    for (n, top), seed in product(zip(counts, best, strict=True), range(seeds)):
        for k in (k for k in (*KS, n) if k <= n):
            rise = 0.0 if k == 1 else gain - 0.02 * abs(np.log(k / top))
            value = 0.3 + rise + 0.01 * np.log(n) + 0.004 * seed
            row = about_run(seed, problems) | {"method": "vote of the top k", "n": n}
            row |= {"k": k, "accuracy": value, "low": value - 0.05}
            row |= {"high": value + 0.05} | with_limits("rise", rise, half)
            row |= {"peak": top, "peak_low": top * shrink, "peak_high": top}
            row |= with_limits("over_random", checks + rise, 0.02)
            rows.append(row | with_limits("growth", growth, spread))
    return pd.DataFrame(rows).drop_duplicates(["n", "k", "seed"])


# --------------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The table at smoke, with completions of which some are right."""
    settings = resolve("06_test_time_compute", scale="smoke", seeds=[0, 1])
    store = Store(tmp_path_factory.mktemp("store"))
    return settings, store, table(settings, store)


def some_completions(seed, problems=12, m=16):
    """Answers of which 0 is right, and scores that favour it."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(-1, 4, (problems, m))
    correct = answers == 0
    three = rng.random((3, problems, m)) + [[[0.3]], [[0.1]], [[0.2]]] * correct
    return more.Completions(answers, correct, *three)


@pytest.fixture
def pretended(monkeypatch):
    """A settings object, and a table of completions that no model had to sample."""
    changes = dict(scale="smoke", test_completions=16, counts=[4, 16], seeds=[0, 1])
    settings = resolve("06_test_time_compute", **changes)
    monkeypatch.setattr(shared, "prepare", lambda specs, store: None)
    monkeypatch.setattr(
        more,
        "read_completions",
        lambda spec, store: some_completions(spec.completions.seed),
    )
    return settings, table(settings, None)


@pytest.mark.parametrize(("drawn", "counts"), [(16, [16]), (16, [4]), (2, [1])])
def test_one_count_is_drawn_and_not_judged(drawn, counts, pretended, monkeypatch):
    settings = pretended[0].replace(test_completions=drawn, counts=counts)

    def read(spec, store):
        return some_completions(spec.completions.seed, 24, drawn)

    monkeypatch.setattr(more, "read_completions", read)
    rows = table(settings, None)
    voted = rows[rows["k"].notna()]
    assert set(voted["n"]) == set(counts)
    for figure in ("fig7a", "fig7b"):
        plt.close(CHAPTER.draw(figure, voted if figure == "fig7b" else rows))
    (verdict,) = CHAPTER.judge("fig7b", voted)
    assert verdict.verdict == NOT_TESTABLE and "nan" not in verdict.sentence


def test_a_row_for_every_method_number_and_seed(made):
    settings, store, rows = made
    of_7a, of_7b = rows[rows["k"].isna()], rows[rows["k"].notna()]
    assert set(of_7a["method"]) == set(METHODS)
    assert len(of_7a) == 6 * 4 * 2  # methods, 1 to 4 completions, seeds
    assert len(of_7b) == (2 + 4) * 2  # k of 2 and of 4 completions
    assert not rows.duplicated(["method", "n", "k", "seed"]).any()
    assert (rows["low"] <= rows["accuracy"]).all()
    listed = list_tasks(CHAPTER.stages(settings), store)
    folders = {path for path in store.root.glob("*/*") if path.is_dir()}
    assert folders == {folder_of(task.spec, store) for task in listed}


def test_the_verifiers_are_those_of_fig_5():
    settings = resolve("06_test_time_compute", scale="mini")
    fig5 = verification.CHAPTER.stages(resolve("03_verification", scale="mini"))
    known = {spec.verifier for spec in fig5 if hasattr(spec, "verifier")}
    scores = [point.specs["scores"] for point in grid(settings)]
    assert len(scores) == len(settings.seeds)
    assert all(spec.verifier in known for spec in scores)
    assert {spec.completions.n for spec in scores} == {settings.test_completions}


def test_accuracies_are_those_of_the_metrics(pretended):
    _, made = pretended
    answers, correct, scores, *_ = some_completions(1)
    expected = {
        "verification": metrics.verified_at_n(scores, correct, 4),
        "test@n": metrics.test_at_n(correct, 4),
        "majority vote": metrics.vote_at_n(answers, correct, 4, [4])[0],
        "weighted vote": metrics.vote_at_n(
            answers, correct, 4, [4], scores, weighted=True
        )[0],
    }
    rows = made[(made["seed"] == 1) & (made["n"] == 4)].set_index("method")
    for method, solved in expected.items():
        assert rows.loc[method, "accuracy"] == pytest.approx(solved.mean())
    votes = metrics.vote_at_n(answers, correct, 4, [1, 2, 3, 4], scores)
    found = rows.loc[more.TOP_K_VOTE].set_index("k")["accuracy"]
    np.testing.assert_allclose(found.sort_index(), votes.mean(axis=1))


def test_rise_and_fall_are_paired_with_the_ends(pretended):
    _, made = pretended
    one = made[(made["method"] == "verification") & (made["seed"] == 0)]
    for name, end in (("rise", 0), ("fall", -1)):
        expected = one["accuracy"] - one["accuracy"].iloc[end]
        np.testing.assert_allclose(one[name], expected, atol=1e-12)
    by_seed = [some_completions(seed)[2:0:-1] for seed in (0, 1)]
    at = [[metrics.verified_at_n(*both, n) for both in by_seed] for n in (4, 16)]
    expected = difference_interval(*at)
    row = one[one["n"] == 4].iloc[0]
    assert (row["fall_low"], row["fall_high"]) == pytest.approx(expected[1:])


def test_over_random_is_over_the_mean_completion(pretended):
    _, made = pretended
    for seed, rows in made.groupby("seed"):
        expected = rows["accuracy"] - some_completions(seed).correct.mean()
        np.testing.assert_allclose(rows["over_random"], expected, atol=1e-9)


def test_the_peak_is_that_of_the_mean_over_seeds(pretended):
    _, made = pretended
    voted = made["method"] == more.TOP_K_VOTE
    for _, rows in made.fillna({"k": 0}).groupby(["method", voted * made["n"]]):
        x = "k" if rows["k"].any() else "n"
        assert rows["peak"].nunique() == 1
        assert rows["peak"].iloc[0] == rows.groupby(x)["accuracy"].mean().idxmax()
        assert rows["peak_low"].iloc[0] <= rows["peak_high"].iloc[0]


def test_a_best_k_that_grows_with_n_has_slope_one():
    voted = {}
    for n in (16, 64, 256):
        points = more.along_axis(n)
        heights = -np.abs(np.log(points) - np.log(n / 4))
        voted[n] = np.tile(heights[:, None], (2, 1, 9))
    assert more.growth_of_best_k(voted) == pytest.approx((1, 1, 1))
    assert np.isnan(more.growth_of_best_k({16: voted[16]})).all()


def test_points_are_spread_over_a_log_axis():
    assert more.along_axis(1) == [1]
    assert more.along_axis(16) == [1, 2, 3, 4, 6, 8, 11, 16]
    mini = resolve("06_test_time_compute", scale="mini")
    assert set(mini.counts) <= set(more.along_axis(mini.test_completions))


# ------------------------------------------------------------------------ the verdicts

RISING = (0.2, 0.26, 0.32, 0.36, 0.38, 0.39)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(half=0.04), INCONCLUSIVE),  # it may be no fall at all
        (dict(heights=RISING), NOT_REPRODUCED),  # no fall as far as 1,600
        (dict(heights=RISING, half=0.05), INCONCLUSIVE),
        (dict(heights=RISING[:5], ns=NS[:5]), INCONCLUSIVE),  # 400: too short to say
        (dict(heights=(0.2, 0.2, 0.19, 0.19, 0.18, 0.17)), NOT_TESTABLE),  # at chance
        (dict(heights=(0.2, 0.21, 0.2), ns=NS[:3], half=0.02), NOT_TESTABLE),
        (dict(heights=(0.2, 0.21, 0.2), ns=NS[:3], half=0.005), NOT_REPRODUCED),
        (dict(heights=(0.2, 0.23, 0.2), ns=NS[:3], half=0.02), INCONCLUSIVE),
        (dict(heights=(0.2, 0.3), ns=NS[:2]), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(heights=(0.0,) * 6), NOT_TESTABLE),
    ],
)
def test_c11(settings, verdict):
    made = completions_table(**settings)
    if not sum(settings.get("heights", [1])):
        made["accuracy"] = 0.0
    (found,) = CHAPTER.judge("fig7a", made)
    assert (found.id, found.verdict) == ("C11", verdict)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(growth=0.1, spread=0.2), INCONCLUSIVE),
        (dict(gain=0.025, half=0.01), INCONCLUSIVE),
        (dict(gain=0.0), NOT_REPRODUCED),  # no vote of the top few helps
        (dict(growth=-0.5), REVERSED),
        (dict(best=(30, 100, 1600), shrink=0.5), NOT_REPRODUCED),  # not the top few
        (dict(best=(30, 100, 1600), gain=0.1, shrink=0.01), INCONCLUSIVE),
        (dict(best=(100, 400, 1600), gain=0.1, checks=0.0), NOT_TESTABLE),  # at chance
        (dict(counts=(100, 400), best=(3, 10)), NOT_TESTABLE),
        (dict(counts=(5, 10, 20), best=(1, 3, 3)), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
    ],
)
def test_c12(settings, verdict):
    (found,) = CHAPTER.judge("fig7b", voters_table(**settings))
    assert (found.id, found.verdict) == ("C12", verdict)


def test_verdicts_on_the_place_of_a_peak_carry_its_limits():
    peak = c11(completions_table())
    assert peak[2:5] == (400, 200, 800)
    assert "peaks at 400 of 1,600 completions (200 to 800)" in peak.sentence
    assert "falls by 5.0 points" in peak.sentence and "paper's" in peak.sentence
    rising = c11(completions_table(RISING))
    assert "nothing was drawn beyond" in rising.sentence
    voters = c12(voters_table())
    assert voters[2:5] == (30, 30, 30)
    assert "3 of 100, 10 of 400, 30 of 1,600" in voters.sentence


def test_verdicts_are_the_same_from_a_csv(tmp_path):
    for judge, made in ((c11, completions_table()), (c12, voters_table())):
        made.to_csv(tmp_path / "table.csv", index=False)
        assert judge(made) == judge(pd.read_csv(tmp_path / "table.csv"))


# ------------------------------------------------------------------------- the figures


def test_fig7a_marks_the_peak_and_draws_all_methods():
    drawing = CHAPTER.draw("fig7a", completions_table())
    top, bottom = drawing.axes
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert "highest at 400 (200 to 800)" in labels
    looks = {(line.get_marker(), line.get_linestyle()) for line in bottom.lines}
    assert len(looks) == len(METHODS)
    plt.close(drawing)


def test_votes_that_agree_are_both_seen():
    made = completions_table()
    votes = made["method"] == "majority vote"
    made.loc[made["method"] == "weighted vote", "accuracy"] = made.loc[
        votes, "accuracy"
    ].to_numpy()
    bottom = CHAPTER.draw("fig7a", made).axes[1]
    lines = {line.get_label(): line for line in bottom.lines}
    under, over = lines["majority vote"], lines["vote weighted by score"]
    assert over.get_zorder() > under.get_zorder()
    assert over.get_linewidth() < under.get_linewidth()
    plt.close("all")


def test_fig7b_marks_the_best_k_of_every_curve():
    drawing = CHAPTER.draw("fig7b", voters_table())
    (axes,) = drawing.axes
    best = [container.lines[0].get_xdata()[0] for container in axes.containers]
    assert best == [3, 10, 30]
    marks = {container.lines[0].get_marker() for container in axes.containers}
    assert len(marks) == 3
    plt.close(drawing)
