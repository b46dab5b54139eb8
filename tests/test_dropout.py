"""Fig 8: arms that differ in dropout alone, the tables, the verdicts, the figures."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib import paper
from gsmlib.chapters import dropout, resolve, verification
from gsmlib.chapters.dropout.grid import (
    COMPARED,
    finetuning_arms,
    solution_arms,
    token_arms,
)
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.chapters.shared import Base, each_seed
from gsmlib.method.selection import NO_VERIFIER
from gsmlib.study import making, results, stages
from gsmlib.study.specs import ScoreSpec
from gsmlib.study.store import Store

CHAPTER = dropout.CHAPTER
SIZES = (250, 1000, 4000)
ARMS = {
    "fig8a": ("without", "dropout", "more pretraining", "the paper's rate"),
    "fig8b": ("solution", "solution, dropout", "token"),
    "fig8c": ("token", "token, dropout"),
}
RATES = {"the paper's rate": paper.DROPOUT}


def with_limits(name, value, half):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def arms_table(
    figure,
    half=0.02,
    accuracy=0.3,
    problems=200,
    seeds=3,
    checks=0.05,
    overfits=0.3,
    **gaps,
):
    """A part of Fig 8; `gaps` are the differences at the largest set, 0 elsewhere."""
    rows = []
    for n_train in SIZES:
        for seed in range(seeds):
            for arm in ARMS[figure]:
                value = accuracy * np.log10(n_train) / np.log10(max(SIZES))
                about = {"dataset": "minigsm", "model": "mini-2m", "n_train": n_train}
                about |= {"seed": seed, "n_problems": problems, "arm": arm}
                about |= {"dropout": RATES.get(arm, 0.05 if "dropout" in arm else 0.0)}
                for name in COMPARED.get(arm, {}):
                    gap = gaps.get(name, 0.0) if n_train == max(SIZES) else 0.0
                    about |= with_limits(name, gap, half)
                value += about.get("gain", 0.0)
                about |= (
                    with_limits("loss_rise", overfits, 0.05)
                    if figure == "fig8a"
                    else with_limits("over_random", checks, 0.02)
                )
                rows.append(about | {"accuracy": value})
                rows[-1] |= {"low": max(value - half, 0), "high": value + half}
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------- arms


@pytest.fixture(scope="module")
def settings():
    return resolve("07_dropout", scale="smoke", sizes=[8], pretraining_texts=20)


def base_of(settings, n_train=8, seed=0):
    return Base(settings.model, n_train, settings.learning_rate, seed)


def changed(before, after):
    """The dotted names of the fields in which two specs differ."""
    if before is None or after is None or not hasattr(before, "model_fields_set"):
        return [""] if before != after else []
    return [
        f"{name}.{rest}".rstrip(".")
        for name in type(before).model_fields
        for rest in changed(getattr(before, name), getattr(after, name))
    ]


def test_finetuning_arms_differ_in_dropout_and_pretraining_alone(settings):
    arms = finetuning_arms(settings, base_of(settings))
    names = ["without", "dropout", "more pretraining", "the paper's rate"]
    plain, dropped, control, papers = (arms[name].generator for name in names)
    assert changed(plain, dropped) == ["training.dropout", "pretraining"]
    assert changed(plain, control) == ["pretraining"]
    assert changed(control, dropped) == [
        "training.dropout",
        "pretraining.training.dropout",
    ]
    assert dropped.pretraining.training.dropout == settings.dropout_rate
    assert dropped.pretraining.n_texts == 20
    assert changed(dropped, papers) == changed(control, dropped)
    assert (dropped.training.dropout, papers.training.dropout) == (0.01, 0.2)
    assert all(spec.temperature == 0 for spec in arms.values())
    same = finetuning_arms(settings.replace(dropout_rate=0.2), base_of(settings))
    assert "the paper's rate" not in same and same["dropout"].generator == papers


def test_one_pretraining_serves_all_seeds_and_sizes():
    mini = resolve("07_dropout", scale="mini")
    found = {
        spec.generator.pretraining
        for base in each_seed(mini, mini.sizes)
        for spec in finetuning_arms(mini, base).values()
    }
    assert len(found - {None}) == 3


def test_verifiers_differ_in_dropout_and_see_the_same_completions(settings):
    base = base_of(settings)
    for arms in (solution_arms(settings, base), token_arms(settings, base)):
        level = next(iter(arms))
        plain, dropped = arms[level].verifier, arms[f"{level}, dropout"].verifier
        assert changed(plain, dropped) == ["training.dropout", "start"]
        generator = plain.completions.generator
        assert changed(generator, dropped.start) == ["training.dropout", "pretraining"]
        assert len({spec.completions for spec in arms.values()}) == 1
    arms = solution_arms(settings, base)
    pair = arms["token"].verifier, arms["solution"].verifier
    assert changed(*pair) == ["training.level"]


@pytest.mark.parametrize(
    ("large", "n", "per_problem", "tested"), [(8, 16, 8, 100), (300, 300, None, 300)]
)
def test_fig8c_has_larger_batches_and_more_completions(large, n, per_problem, tested):
    given = dict(completions=16, ablation_completions=8, test_completions=100)
    mini = resolve("07_dropout", scale="mini", large_completions=large, **given)
    few = solution_arms(mini, base_of(mini, 250))["token"]
    many = token_arms(mini, base_of(mini, 250))["token"]
    assert (many.verifier.completions.n, many.verifier.per_problem) == (n, per_problem)
    assert many.completions.n == tested
    batches = [spec.verifier.training.batch_tokens for spec in (few, many)]
    assert batches[1] == 4 * batches[0] == 4 * mini.verifier_batch_tokens
    assert few.verifier.per_problem == 8


def test_completions_and_finetuned_models_are_those_of_03():
    theirs = verification.CHAPTER.stages(resolve("03_verification", scale="mini"))
    scores = {spec for spec in theirs if isinstance(spec, ScoreSpec)}
    mini = resolve("07_dropout", scale="mini")
    base = base_of(mini, max(mini.sizes), mini.seeds[-1])
    plain = finetuning_arms(mini, base)["without"]
    assert plain in theirs
    for spec in solution_arms(mini, base).values():
        assert spec.completions in {other.completions for other in scores}
        sampled = {other.verifier.completions for other in scores}
        assert spec.verifier.completions in sampled


# ------------------------------------------------------------------------------ tables


@pytest.fixture(scope="module")
def store(tmp_path_factory, settings):
    """A store that holds the stages, and what they were made of."""
    store = Store(tmp_path_factory.mktemp("store"))
    for spec in CHAPTER.stages(settings):
        results.obtain(spec, store)
    return store


@pytest.mark.parametrize("figure", ARMS)
def test_tables_have_a_row_per_size_seed_and_arm(figure, settings, store, monkeypatch):
    def refuse(*arguments, **options):
        pytest.fail("this was not among the stages")

    for stage in stages.STAGES.values():
        monkeypatch.setattr(making, stage.name, refuse)
    table = dropout.table(settings, store, figure[-1])
    # of Fig 8a no completions are sampled
    choices = set() if figure == "fig8a" else set(NO_VERIFIER.values())
    assert set(table["arm"]) == set(ARMS[figure]) | choices
    assert len(table) == len(ARMS[figure]) + len(choices)
    by_arm = table.set_index("arm")
    rates = {
        arm: settings.dropout_rate if "dropout" in arm else 0.0 for arm in by_arm.index
    }
    rates |= dict.fromkeys(choices, np.nan) | RATES
    for arm, rate in by_arm["dropout"].items():
        assert rate == pytest.approx(rates[arm], nan_ok=True)
    assert (table["low"] <= table["accuracy"]).all()
    for arm in ARMS[figure]:
        for name, other in COMPARED.get(arm, {}).items():
            row, expected = by_arm.loc[arm], by_arm["accuracy"]
            assert row[name] == pytest.approx(expected[arm] - expected[other])
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    again = dropout.table(settings, store, figure[-1])
    pd.testing.assert_frame_equal(table, again)


def test_dropout_and_more_pretraining_change_the_weights(settings, store):
    values = []
    for spec in finetuning_arms(settings, base_of(settings)).values():
        model = results.load_finetuned(spec.generator, spec.epoch, store).model
        values.append(model.transformer.h[0].mlp.c_fc.weight)
    assert all(not a.equal(b) for a, b in zip(values, values[1:], strict=False))


# ---------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(gain=0.08), REPRODUCED),
        (dict(gain=0.0, half=0.01), NOT_REPRODUCED),
        (dict(gain=-0.1), REVERSED),
        (dict(gain=0.03, half=0.05), INCONCLUSIVE),
        (dict(gain=0.08, over_control=-0.1), REPRODUCED),
        (dict(gain=0.1, problems=6), NOT_TESTABLE),
        (dict(gain=0.0, accuracy=0.0), NOT_TESTABLE),
        (dict(gain=0.1, overfits=0.04), NOT_TESTABLE),
    ],
)
def test_c13(settings, verdict):
    (found,) = CHAPTER.judge("fig8a", arms_table("fig8a", **settings))
    assert (found.id, found.verdict) == ("C13", verdict)


def test_c13_prints_the_control_beside_it():
    table = arms_table("fig8a", gain=0.08, over_control=0.031)
    (found,) = CHAPTER.judge("fig8a", table)
    assert found.sentence.startswith("dropout of 0.05 changes finetuning by +8.0")
    assert "; dropout of 0.2, by +8.0 points" in found.sentence
    assert "+8.0 points" in found.sentence and "+3.1 points" in found.sentence
    assert "at 4,000 training problems" in found.sentence
    assert found.value == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(gain=0.1, over_token=0.0), REPRODUCED),
        (dict(gain=0.1, over_token=0.1), REPRODUCED),
        (dict(gain=0.1, over_token=-0.1), NOT_REPRODUCED),
        (dict(gain=-0.1, over_token=0.0), REVERSED),
        (dict(gain=0.03, over_token=0.0, half=0.04), INCONCLUSIVE),
        (dict(gain=0.1, over_token=-0.03, half=0.04), INCONCLUSIVE),
        (dict(gain=0.1, problems=6), NOT_TESTABLE),
        (dict(gain=0.1, checks=0.01), NOT_TESTABLE),
    ],
)
def test_c14(settings, verdict):
    (found,) = CHAPTER.judge("fig8b", arms_table("fig8b", **settings))
    assert (found.id, found.verdict) == ("C14", verdict)


@pytest.mark.parametrize("figure", ["fig8b", "fig8c"])
def test_only_the_largest_set_must_check(figure):
    table = arms_table(figure, gain=0.08)
    largest = table["n_train"] == max(SIZES)
    for dead, testable in ((largest, False), (~largest, True)):
        low = table["over_random_low"].where(~dead, -0.1)
        (found,) = CHAPTER.judge(figure, table.assign(over_random_low=low))
        assert (found.verdict != NOT_TESTABLE) == testable


def test_c14_says_which_of_its_two_parts_is_excluded():
    short = CHAPTER.judge("fig8b", arms_table("fig8b", gain=0.1, over_token=-0.1))
    assert "token-level performance is excluded" in short[0].sentence
    table = arms_table("fig8b", gain=0.0, over_token=0.0, half=0.01)
    (useless,) = CHAPTER.judge("fig8b", table)
    assert "a gain of 2 points or more is excluded" in useless.sentence


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(gain=0.02), REPRODUCED),
        (dict(gain=0.01, half=0.01), REPRODUCED),
        (dict(gain=0.1), NOT_REPRODUCED),
        (dict(gain=-0.05), REVERSED),
        (dict(gain=0.02, half=0.06), INCONCLUSIVE),
        (dict(gain=-0.01, half=0.02), INCONCLUSIVE),
        (dict(gain=0.1, problems=6), NOT_TESTABLE),
        (dict(gain=0.02, checks=0.01), NOT_TESTABLE),
    ],
)
def test_c15(settings, verdict):
    (found,) = CHAPTER.judge("fig8c", arms_table("fig8c", **settings))
    assert (found.id, found.verdict) == ("C15", verdict)


# ----------------------------------------------------------------------------- figures


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_drawn(name):
    drawing = CHAPTER.draw(name, arms_table(name, gain=0.1))
    (axes,) = drawing.axes
    labels = axes.get_legend_handles_labels()[1]
    last = [curve.lines[0].get_ydata()[-1] for curve in axes.containers]
    heights = dict(zip(labels, last, strict=True))
    assert len(heights) == len(ARMS[name])
    lifted = {"fig8a": "with dropout"}.get(name, f"{labels[0]}, dropout")
    assert heights[lifted] == pytest.approx(40)
    assert min(last) == pytest.approx(30)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["250", "1K", "4K"]
    assert "Dropout: 0.05." in drawing.texts[-1].get_text().replace("\n", " ")
    plt.close(drawing)
