"""05_verifier_ablations: its table at smoke, its verdicts and its figures (Fig 6)."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib.chapters import resolve, verification
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.chapters.verifier_ablations import CHAPTER, verdicts
from gsmlib.chapters.verifier_ablations.grid import (
    VARIANTS,
    _compared,
    curve_points,
    late_slopes,
    model_pairs,
    pair_points,
    training_curve,
)
from gsmlib.method.intervals import paired
from gsmlib.method.selection import NO_VERIFIER
from gsmlib.study.pool import list_tasks
from gsmlib.study.stages import folder_of
from gsmlib.study.store import Store

TINY = dict(scale="smoke", sizes=[24], test_problems=3, test_completions=3)
OTHERS = (("solution", "joint"), ("token", "verification only"))
OTHER_CHOICES = dict(majority_vote=0.2, by_logprob=0.2, by_logprob_per_token=0.3)


def with_limits(name, value, half=0.02):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def training_table(
    start=-0.04,
    end=0.06,
    steeper=0.03,
    half=0.02,
    *,
    seeds=3,
    checkpoints=8,
    problems=200,
    samples=0.2,
    checks=0.05,
):
    """The paper's verifier rises in a line; it is `start` to `end` above the others."""
    rows = []
    for seed, number in product(range(seeds), range(1, checkpoints + 1)):
        share = (number - 1) / max(1, checkpoints - 1)
        about = {"dataset": "minigsm", "model": "mini-2m", "n_train": 4000}
        about |= {"seed": seed, "checkpoint": number, "n": 100, "n_problems": problems}
        about |= {"epochs": 2 * number / checkpoints, "mean_accuracy": samples}
        about |= {"per_problem": 4}
        usual = 0.25 + 0.1 * share + 0.01 * seed
        gain = start + (end - start) * share
        for level, objective in (("token", "joint"), *OTHERS):
            other = (level, objective) in OTHERS
            value = usual - gain if other else usual
            row = about | {"level": level, "objective": objective, "within_auc": 0.6}
            row |= {"accuracy": value, "low": value - 0.06, "high": value + 0.06}
            row |= with_limits("over_random", checks) | OTHER_CHOICES
            row |= with_limits("gain", gain, half) if other else {}
            if number == checkpoints:
                row |= with_limits("slope", 0.02)
                row |= with_limits("slope_gain", steeper, half) if other else {}
            rows.append(row)
    return pd.DataFrame(rows)


def pairs_table(
    gain=0.08,
    half=0.03,
    *,
    models=("mini-2m", "mini-4m"),
    sizes=(250, 1000, 4000),
    seeds=3,
    problems=200,
    samples=0.2,
    checks=0.05,
):
    rows = []
    grid = product(range(seeds), sizes, enumerate(models), enumerate(models))
    for seed, n_train, (i, generator), (j, verifier) in grid:
        value = 0.1 * np.log10(n_train) - 0.18 + gain * i + 0.03 * j + 0.01 * seed
        row = {"dataset": "minigsm", "generator": generator, "verifier": verifier}
        row |= {"n_train": n_train, "seed": seed, "generator_parameters": 10**i}
        row |= {"verifier_parameters": 10**j, "n": 100, "n_problems": problems}
        row |= {"accuracy": value, "low": value - 0.05, "high": value + 0.05}
        row |= {"within_auc": 0.6, "mean_accuracy": samples, "test_at_n": 0.7}
        row |= with_limits("over_random", checks) | OTHER_CHOICES
        rows.append(row | (with_limits("gain", gain, half) if i > j else {}))
    return pd.DataFrame(rows)


def fig6a_table():
    table = training_table()
    return table[table["objective"] == "joint"]


def fig6b_table():
    table = training_table()
    return table[table["level"] == "token"]


# -------------------------------------------------------------------------- the tables


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    settings = resolve("05_verifier_ablations", **TINY)
    store = Store(tmp_path_factory.mktemp("store"))
    curve = training_curve(settings, store)
    return settings, store, curve, model_pairs(settings, store)


def test_a_row_for_every_verifier_and_checkpoint(made):
    settings, _, curve, _ = made
    assert len(curve) == 3 * settings.checkpoints * len(settings.seeds)
    assert not curve.duplicated(["level", "objective", "checkpoint", "seed"]).any()
    assert curve["epochs"].max() == settings.ablation_epochs
    assert (curve["low"] <= curve["accuracy"]).all()
    assert (curve["accuracy"] <= curve["test_at_n"] + 1e-9).all()
    others = (curve["level"] == "solution") | (curve["objective"] != "joint")
    assert curve["gain"].notna().equals(others)
    last = curve["checkpoint"] == settings.checkpoints
    assert curve["slope"].notna().equals(last)
    assert curve["slope_gain"].notna().equals(last & others)


def test_every_pair_of_models_at_every_size(made):
    settings, _, _, pairs = made
    assert len(pairs) == 4 * len(settings.sizes)
    assert not pairs.duplicated(["generator", "verifier", "n_train", "seed"]).any()
    small, large = settings.models
    crossed = (pairs["generator"] == large) & (pairs["verifier"] == small)
    assert pairs["gain"].notna().equals(crossed)
    by_model = pairs.groupby("generator")["generator_parameters"].first()
    assert by_model[small] < by_model[large]
    assert dict(by_model) == dict(
        pairs.groupby("verifier")["verifier_parameters"].max()
    )


def test_a_second_call_comes_from_the_store(made):
    settings, store, curve, pairs = made
    before = set(store.root.glob("*/*"))
    again = Store(store.root)
    pd.testing.assert_frame_equal(curve, training_curve(settings, again))
    pd.testing.assert_frame_equal(pairs, model_pairs(settings, again))
    assert set(store.root.glob("*/*")) == before


def test_the_stages_are_all_that_was_made(made):
    settings, store, _, _ = made
    listed = list_tasks(CHAPTER.stages(settings), store)
    assert all(task.done for task in listed)
    folders = {path for path in store.root.glob("*/*") if path.is_dir()}
    assert folders == {folder_of(task.spec, store) for task in listed}


def test_verifiers_differ_in_what_is_named_alone():
    settings = resolve("05_verifier_ablations", scale="mini")
    points = [p for p in curve_points(settings) if p.about["seed"] == 1]
    named = [(about["level"], about["objective"]) for about, _ in points]
    assert named == list(VARIANTS)
    usual, solution, alone = (
        specs[str(settings.checkpoints)].verifier for _, specs in points
    )
    assert usual.per_problem == settings.ablation_completions
    assert usual.checkpoints == settings.checkpoints
    assert usual.training.epochs == settings.ablation_epochs
    level = usual.training.replace(level="solution")
    assert solution == usual.replace(training=level)
    half = settings.verifier_batch_tokens // 2
    objective = usual.training.replace(language_weight=0.0, batch_tokens=half)
    assert alone == usual.replace(training=objective)


def test_pairs_of_one_size_are_those_of_fig_5():
    settings = resolve("05_verifier_ablations", scale="mini")
    other = resolve("03_verification", scale="mini")
    fig5 = set(verification.CHAPTER.stages(other))
    for about, specs in pair_points(settings):
        spec = specs["scores"]
        assert (spec in fig5) == (about["generator"] == about["verifier"])
        assert spec.verifier.completions.generator == spec.completions.generator
        base = spec.verifier.base
        assert base.model == about["verifier"]
        assert base.data.n_train == about["n_train"]
        assert base.training.seed == about["seed"]
        assert spec.completions.generator.model == about["generator"]
        assert base.data == spec.completions.generator.data


def test_small_and_large_go_by_parameters_not_by_the_list():
    given = ("mini-0.5m", "mini-0.2m")
    settings = resolve("05_verifier_ablations", scale="mini", models=list(given))
    assert settings.models == given
    usual = resolve("05_verifier_ablations", scale="mini", models=list(given[::-1]))
    assert pair_points(settings) == pair_points(usual)


def test_the_late_slope_is_that_of_the_second_half():
    solved = np.random.default_rng(0).random((8, 5))
    epochs = 2 * np.arange(4, 9) / 8
    expected = np.polyfit(epochs, solved[3:], 1)[0]
    np.testing.assert_allclose(late_slopes(solved, 2), expected)
    assert np.isnan(late_slopes(solved[:1], 2)).all()


def test_slopes_are_compared_problem_by_problem():
    settings = resolve("05_verifier_ablations", scale="quick")
    usual, other = np.random.default_rng(1).random((2, settings.checkpoints, 30))
    place, epochs = settings.checkpoints - 1, settings.ablation_epochs
    found = _compared(other, usual, place, epochs)
    slopes = [late_slopes(x, epochs) for x in (usual, other)]
    for name, pair in (("gain", (usual[-1], other[-1])), ("slope_gain", slopes)):
        assert np.array_equal(found[name].values, paired(*pair))


# ------------------------------------------------------------------------ the verdicts


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(start=0.02), INCONCLUSIVE),  # it does not start slower
        (dict(steeper=-0.03), INCONCLUSIVE),  # it overfits more
        (dict(end=0.01), INCONCLUSIVE),
        (dict(end=-0.05), REVERSED),
        (dict(end=0.0, half=0.01), NOT_REPRODUCED),
        (dict(end=0.01, half=0.005), NOT_REPRODUCED),  # surely next to nothing
        (dict(checkpoints=2), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(samples=0.001), NOT_TESTABLE),
        (dict(checks=0.01), NOT_TESTABLE),  # no verifier beats a random pick
    ],
)
def test_c8(settings, verdict):
    (found,) = CHAPTER.judge("fig6a", training_table(**settings))
    assert (found.id, found.verdict) == ("C8", verdict)


def test_c8_is_judged_by_the_joint_objective_alone():
    table = training_table()
    joint = table["objective"] == "joint"
    table.loc[~joint, ["slope", "slope_low", "slope_high"]] += 0.5
    assert verdicts.c8(table) == verdicts.c8(table[joint])


def test_c9_is_judged_by_the_token_level_alone():
    table = training_table()
    table.loc[table["level"] == "solution", ["gain", "gain_low", "gain_high"]] += 0.5
    assert verdicts.c9(table) == verdicts.c9(table[table["level"] == "token"])


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(start=0.1), REPRODUCED),  # the end alone counts
        (dict(end=0.01), INCONCLUSIVE),
        (dict(end=-0.05), REVERSED),
        (dict(problems=6), NOT_TESTABLE),
        (dict(checks=0.01), NOT_TESTABLE),
    ],
)
def test_c9(settings, verdict):
    (found,) = CHAPTER.judge("fig6b", training_table(**settings))
    assert (found.id, found.verdict) == ("C9", verdict)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(gain=0.02), INCONCLUSIVE),
        (dict(gain=-0.05), REVERSED),
        (dict(models=("mini-2m",)), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(samples=0.0), NOT_TESTABLE),
        (dict(checks=0.01), NOT_TESTABLE),
    ],
)
def test_c10(settings, verdict):
    (found,) = CHAPTER.judge("fig6c", pairs_table(**settings))
    assert (found.id, found.verdict) == ("C10", verdict)


def test_c10_looks_at_the_largest_training_set():
    table = pairs_table()
    table.loc[table["n_train"] < 4000, ["gain", "gain_low", "gain_high"]] = -0.5
    found = verdicts.c10(table)
    assert found.verdict == REPRODUCED and "4,000 training problems" in found.sentence


def test_only_the_verifiers_that_are_compared_must_check():
    def dead(table, rows):
        """No verifier of these rows checks."""
        return table.assign(over_random_low=table["over_random_low"].where(~rows, -0.1))

    table, pairs = training_table(), pairs_table()
    early, joint = table["checkpoint"] < 8, table["objective"] == "joint"
    token = table["level"] == "token"
    for judged, rows, verdict in [
        (verdicts.c8, ~early & joint, NOT_TESTABLE),
        (verdicts.c8, early | ~joint, REPRODUCED),
        (verdicts.c8, ~early & joint & token, REPRODUCED),  # the other one checks
        (verdicts.c9, ~early & token, NOT_TESTABLE),
        (verdicts.c9, early | ~token, REPRODUCED),
    ]:
        assert judged(dead(table, rows)).verdict == verdict
    compared = pairs["generator"] != pairs["verifier"]
    compared &= pairs["n_train"] == 4000
    assert verdicts.c10(dead(pairs, compared)).verdict == NOT_TESTABLE
    assert verdicts.c10(dead(pairs, ~compared)).verdict == REPRODUCED


def test_no_verifier_that_checks_is_told_with_the_mean_over_seeds():
    table = training_table(checks=0.0)
    table["over_random"] += 0.03 * (table["seed"] - 1)
    told = "no verifier here checks: best-scored minus random completion is +0.0 points"
    assert verdicts.c8(table).sentence == f"{told} (-2.0 to +2.0) at most."


def test_a_table_of_one_method_tests_nothing():
    table = training_table()
    usual = table[(table["level"] == "token") & (table["objective"] == "joint")]
    found = [verdicts.c8(usual), verdicts.c9(usual)]
    assert [row.verdict for row in found] == [NOT_TESTABLE] * 2


def test_sentences_give_the_numbers():
    sentence = verdicts.c8(training_table()).sentence
    for words in (
        "-4.0 points",
        "+6.0 points",
        "epoch 0.25 and",
        "at epoch 2;",
        "3 seeds",
    ):
        assert words in sentence
    assert (
        "generator mini-4m with verifier mini-2m"
        in verdicts.c10(pairs_table()).sentence
    )
    assert "one model size only" in verdicts.c10(pairs_table(models=("a",))).sentence


# ------------------------------------------------------------------------- the figures


@pytest.mark.parametrize("name", ["fig6a", "fig6b"])
def test_two_verifiers_are_drawn_from_the_whole_table(name):
    drawing = CHAPTER.draw(name, training_table(seeds=1))
    (axes,) = drawing.axes
    usual, other = (c.lines[0].get_ydata() for c in axes.containers)
    np.testing.assert_allclose(other[-1], usual[-1] - 6)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(labels[:4]) == set(NO_VERIFIER.values()) and len(labels) == 6
    (samples,) = [line for line in axes.lines if line.get_label() == "random pick"]
    assert list(samples.get_ydata()) == pytest.approx([20, 20])
    told = " ".join(drawing.get_supxlabel().split())
    assert "learn from 4 completions a training problem" in told
    plt.close(drawing)


def test_fig6c_draws_a_curve_a_pair():
    drawing = CHAPTER.draw("fig6c", pairs_table())
    (axes,) = drawing.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0] == "mini-4m, mini-4m" and len(set(labels)) == 4
    (others,) = drawing.legends
    assert [x.get_text() for x in others.get_texts()] == [*NO_VERIFIER.values()]
    marks = {container.lines[0].get_marker() for container in axes.containers}
    assert len(marks) == 4
    plt.close(drawing)


def test_fig6c_of_a_single_size_has_a_row_a_pair():
    table = pairs_table(sizes=(1000,))
    drawing = CHAPTER.draw("fig6c", table)
    (axes,) = drawing.axes
    told = [label.get_text() for label in axes.get_yticklabels()]
    assert told[0] == "mini-4m, mini-4m" and len(set(told)) == 4
    for place, label in enumerate(told):
        generator, verifier = label.split(", ")
        is_pair = (table["generator"] == generator) & (table["verifier"] == verifier)
        drawn = axes.containers[place].lines[0]
        assert drawn.get_xdata() == pytest.approx(100 * table[is_pair].accuracy.mean())
        assert drawn.get_ydata() == [place]
    plt.close(drawing)
