"""Fig 2 and direct answers: the tables, the fit, the verdicts, the figures."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib.chapters import finetuning_scaling, resolve, rules, verification
from gsmlib.chapters.finetuning_scaling import direct_grid, verdicts
from gsmlib.chapters.finetuning_scaling.grid import slopes
from gsmlib.chapters.finetuning_scaling.verdicts import (
    c1,
    c4,
    fit_line,
    parameters_for,
    ratio,
    size_factor,
)
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.method.intervals import Interval, mean_interval, wilson
from gsmlib.study import making
from gsmlib.study.estimates import estimate_seconds
from gsmlib.study.results import obtain
from gsmlib.study.stages import work_of
from gsmlib.study.store import Store

CHAPTER = finetuning_scaling.CHAPTER

MODELS = {"tiny": 1e5, "small": 1e6, "large": 1e7}
SIZES = (250, 1000, 4000)


def with_limits(name, value, half):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def fig2_table(
    by_data=0.1,
    by_size=0.1,
    half=0.02,
    bend=0.0,
    accuracy=0.3,
    problems=200,
    seeds=3,
    models=MODELS,
    sizes=SIZES,
):
    """A plane over log10(problems) and log10(parameters), and its own slopes."""
    rows, top = [], max(models.values())
    for model, parameters in models.items():
        for n_train in sizes:
            value = accuracy + by_data * np.log10(n_train / max(sizes))
            value += by_size * np.log10(parameters / top)
            value += bend * (parameters not in (top, min(models.values())))
            for seed in range(seeds):
                about = {"dataset": "minigsm", "model": model, "n_train": n_train}
                about |= {"seed": seed, "parameters": parameters}
                row = about | {"n_problems": problems, "accuracy": max(value, 0)}
                row |= {"low": max(value - half, 0), "high": max(value + half, half)}
                if n_train == max(sizes):
                    row |= with_limits("data_slope", by_data, half)
                if parameters == top:
                    steps = np.log10(np.array(list(models.values())) / top)
                    row |= with_limits("size_slope", by_size, half)
                    row |= with_limits("level", value + by_size * steps.mean(), half)
                rows.append(row)
    return pd.DataFrame(rows)


def direct_rows(direct=0.05, steps=0.3, half=0.02, problems=200, seeds=3):
    rows = []
    for seed in range(seeds):
        about = {"dataset": "minigsm", "model": "large", "n_train": 4000, "seed": seed}
        about |= {"parameters": 1e7, "n_problems": problems}
        for answers, value in (("with steps", steps), ("direct", direct)):
            row = about | {"answers": answers, "accuracy": value}
            rows.append(row | {"low": max(value - half, 0), "high": value + half})
        rows[-1] |= with_limits("gap", direct - steps, half)
    return pd.DataFrame(rows)


def verified_rows(gain, half=0.02, model="large", n_train=4000, seeds=3):
    about = {"model": model, "parameters": MODELS.get(model, 1e8), "n_train": n_train}
    about |= {"method": "verification"} | with_limits("gain", gain, half)
    return pd.DataFrame([about | {"seed": seed} for seed in range(seeds)])


# ------------------------------------------------------------------------------ tables


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def prepared(store):
    """Settings at smoke with two seeds, and a store with the last stages alone."""
    settings = resolve("04_finetuning_scaling", scale="smoke", seeds=[0, 1], epochs=1)
    for spec in CHAPTER.stages(settings):
        obtain(spec, store)
    return settings


def test_the_table_has_a_row_per_model_size_and_seed(prepared, store, monkeypatch):
    monkeypatch.setattr(making, "train", lambda *_: pytest.fail("was not prepared"))
    monkeypatch.setattr(making, "stream_completions", making.train)
    table = finetuning_scaling.table(prepared, store)
    keys = ["model", "n_train", "seed"]
    grid = [(m, n, s) for m in prepared.models for n in (8, 24) for s in (0, 1)]
    assert table[keys].apply(tuple, axis=1).tolist() == grid
    assert (table["low"] <= table["accuracy"]).all() and (
        table["n_problems"] == 6
    ).all()
    assert table["parameters"].nunique() == 2
    assert (table["data_slope"].notna() == (table["n_train"] == 24)).all()
    top = table["parameters"] == table["parameters"].max()
    for name in ("size_slope", "level"):
        assert (table[name].notna() == top).all()
        assert (table[f"{name}_low"] <= table[f"{name}_high"])[top].all()
    again = finetuning_scaling.table(prepared, store)
    pd.testing.assert_frame_equal(table, again)


def test_direct_answers_are_paired_with_solutions(prepared, store, monkeypatch):
    monkeypatch.setattr(making, "train", lambda *_: pytest.fail("was not prepared"))
    table = finetuning_scaling.direct_table(prepared, store)
    assert table["answers"].tolist() == ["with steps", "direct"] * 2
    assert (table["model"] == prepared.models[-1]).all()
    gaps = table[table["answers"] == "direct"]
    assert gaps["gap"].between(gaps["gap_low"], gaps["gap_high"]).all()
    wide = table.pivot(index="seed", columns="answers", values="accuracy")
    np.testing.assert_allclose(gaps["gap"], wide["direct"] - wide["with steps"])


def test_direct_answers_differ_in_their_data_alone():
    settings = resolve("04_finetuning_scaling", scale="mini")
    answers = direct_grid(settings)[1].specs
    steps, direct = (answers[name].generator for name in ("with steps", "direct"))
    assert steps.data.seed == settings.seeds[1]
    assert direct.data.answers_only and not steps.data.answers_only
    assert direct.replace(data=steps.data) == steps
    assert steps.model == settings.models[-1]
    assert steps.data.n_train == max(settings.sizes)


def test_generators_are_those_of_03():
    """Every finetuned model that 03 compares with verification is a point of Fig 2."""
    ours = CHAPTER.stages(resolve("04_finetuning_scaling", scale="mini"))
    theirs = verification.CHAPTER.stages(resolve("03_verification", scale="mini"))
    greedy = {spec for spec in theirs if getattr(spec, "temperature", 1) == 0}
    assert greedy and greedy <= set(ours)


def test_estimates_count_every_point():
    settings = resolve("04_finetuning_scaling", scale="mini")
    points = len(settings.models) * len(settings.sizes) * len(settings.seeds)
    specs = CHAPTER.stages(settings)
    assert len(set(specs)) == len(specs) == points + len(settings.seeds)
    assert all(estimate_seconds(work_of(spec)) > 0 for spec in specs)


def test_slopes_are_the_least_squares_of_every_problem():
    rng = np.random.default_rng(0)
    x = np.log10([250, 1000, 2000, 4000])
    ease = rng.random(80)
    solved = (ease[None] < np.array([[0.1], [0.2], [0.4], [0.5]])).astype(float)
    slope = mean_interval(slopes(x, solved), share=False)
    assert slope.mean == pytest.approx(np.polyfit(x, solved.mean(axis=1), 1)[0])
    drawn = [
        np.polyfit(x, solved[:, rng.integers(80, size=80)].mean(axis=1), 1)[0]
        for _ in range(2000)
    ]
    limits = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([slope.low, slope.high], limits, atol=0.02)


def test_a_slope_of_one_point_is_unknown():
    assert not slopes(np.array([2.0, 3.0]), np.zeros((2, 50))).any()
    assert np.isnan(slopes(np.array([2.0]), np.ones((1, 50)))).all()


# ----------------------------------------------------------------------- fit and factor


def test_the_fit_goes_through_points_on_a_line():
    line = fit_line(fig2_table(), 4000)
    assert line.explained == pytest.approx(1)
    np.testing.assert_allclose(line.at(np.array([1e5, 1e6, 1e7])), [0.1, 0.2, 0.3])
    needed = parameters_for(line, 0.8)
    assert needed.mean == pytest.approx(1e12)
    assert needed.low < 1e12 < needed.high < np.inf
    assert fit_line(fig2_table(bend=0.2), 4000).explained < 0.5


def test_a_line_that_may_not_rise_reaches_no_goal():
    unsure = parameters_for(fit_line(fig2_table(by_size=0.01, half=0.1), 4000), 0.8)
    assert np.isfinite(unsure.low) and unsure.high == np.inf
    assert "without limit" in verdicts.in_parameters(unsure)
    falls = parameters_for(fit_line(fig2_table(by_size=-0.1), 4000), 0.8)
    assert falls.mean == falls.high == np.inf
    assert verdicts.in_parameters(falls) == "no number of"
    assert verdicts.in_parameters(Interval(1e12, 3e11, 4e13)) == "1e12 (3e11 to 4e13)"


def test_the_papers_released_points_lead_where_it_says():
    """6B and 175B finetuned: a line through both reaches 80 % near 1e16 parameters."""
    slope = (0.3472 - 0.2168) / np.log10(175 / 6)
    needed = 6e9 * 10 ** ((0.8 - 0.2168) / slope)
    assert 0.5e16 < needed < 5e16


def test_the_size_factor_is_the_gain_on_the_line():
    factor = size_factor(fig2_table(), verified_rows(0.15))
    assert factor.mean == pytest.approx(10**1.5)
    assert 1 < factor.low < factor.mean < factor.high < np.inf
    none = size_factor(fig2_table(), verified_rows(0.0))
    assert none.mean == 1 and none.low < 1 < none.high
    worse = size_factor(fig2_table(), verified_rows(-0.1))
    assert worse.mean == pytest.approx(0.1) and worse.high < 1


def test_the_size_factor_uses_what_both_tables_have():
    other = verified_rows(0.5, model="unknown", n_train=1000)
    small = verified_rows(0.1, model="small", n_train=1000)
    both = pd.concat([other, small])
    assert size_factor(fig2_table(), both).mean == pytest.approx(10)
    more = pd.concat([small, verified_rows(0.2, n_train=9000)])
    assert np.isnan(size_factor(fig2_table(), more)).all()  # C6 is of the largest set
    assert np.isnan(size_factor(fig2_table(), other)).all()
    one = fig2_table(models={"small": 1e6})
    assert np.isnan(size_factor(one, small)).all()
    single = size_factor(fig2_table(seeds=1), verified_rows(0.15, seeds=1))
    assert single.mean == pytest.approx(10**1.5)
    flat = size_factor(fig2_table(by_size=0.0), verified_rows(0.15))
    assert flat.mean == flat.high == np.inf


def test_the_size_factor_survives_the_exported_tables(tmp_path):
    tables = fig2_table(), verified_rows(0.15)
    for number, table in enumerate(tables):
        table.to_csv(tmp_path / f"{number}.csv", index=False)
    read = [pd.read_csv(tmp_path / f"{number}.csv") for number in (0, 1)]
    assert size_factor(*read) == pytest.approx(size_factor(*tables))


def test_a_ratio_of_accuracies():
    found = ratio(Interval(0.05, 0.03, 0.07), Interval(0.2, 0.18, 0.22))
    assert found.mean == pytest.approx(0.25)
    assert 0.1 < found.low < 0.25 < found.high < 0.4
    hopeless = ratio(Interval(0.0, 0.0, 0.04), Interval(0.2, 0.15, 0.25))
    assert hopeless.mean == hopeless.low == 0 < hopeless.high
    sure = Interval(0.2, 0.2, 0.2)  # of it the limits of the other are all there is
    found = ratio(Interval(0.02, 0.01, 0.1), sure)
    assert found == pytest.approx((0.1, 0.05, 0.5), rel=0.07)


def test_few_problems_do_not_show_a_collapse():
    for solved, kept, verdict in ((0, 6, INCONCLUSIVE), (0, 12, REPRODUCED)):
        table = direct_rows()
        for answers, right in (("direct", solved), ("with steps", kept)):
            table.loc[table["answers"] == answers, ["accuracy", "low", "high"]] = [
                *wilson(right, 20)
            ]
        assert c4(table).verdict == verdict


# ---------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(by_size=-0.1), REVERSED),
        (dict(by_data=0.0, half=0.01), NOT_REPRODUCED),
        (dict(by_size=0.03, half=0.05), INCONCLUSIVE),
        (dict(bend=0.15), INCONCLUSIVE),
        (dict(models={"small": 1e6, "large": 1e7}), NOT_TESTABLE),
        (dict(sizes=(4000,)), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(accuracy=0.0), NOT_TESTABLE),
    ],
)
def test_c1(settings, verdict):
    found = c1(fig2_table(**settings))
    assert (found.id, found.verdict) == ("C1", verdict)


def test_c1_extrapolates_in_its_value_and_sentence():
    found = c1(fig2_table())
    assert found.value == pytest.approx(1e12)
    assert "80 % at 1e12 (" in found.sentence and "3 seeds" in found.sentence
    row = rules.ledger_row(found)
    assert row["paper"] == 1e16 and row["interval"][0] < 1e12 < row["interval"][1]
    endless = c1(fig2_table(by_size=-0.1))
    assert rules.ledger_row(endless)["value"] is None
    assert "no number of parameters" in endless.sentence


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(direct=0.0), REPRODUCED),
        (dict(direct=0.28), NOT_REPRODUCED),
        (dict(direct=0.14, half=0.06), INCONCLUSIVE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(steps=0.01, direct=0.0), NOT_TESTABLE),
    ],
)
def test_c4(settings, verdict):
    found = c4(direct_rows(**settings))
    assert (found.id, found.verdict) == ("C4", verdict)
    if verdict == REPRODUCED:
        assert rules.ledger_row(found)["paper"] == pytest.approx(5.2 / 20.6)


# ----------------------------------------------------------------------------- figures


def test_fig2_draws_its_numbers_and_its_fit():
    drawing = CHAPTER.draw("fig2", fig2_table())
    above, below = drawing.axes
    large = above.containers[-1].lines[0].get_ydata()
    expected = [30 + 10 * np.log10(n / 4000) for n in SIZES]
    np.testing.assert_allclose(large, expected)
    np.testing.assert_allclose(below.containers[-1].lines[0].get_ydata(), [10, 20, 30])
    fit = below.lines[-1]
    np.testing.assert_allclose(fit.get_ydata()[[0, -1]].mean(), 20)
    assert "80 % at 1e12" in " ".join(drawing.get_supxlabel().split())
    assert [t.get_text() for t in below.get_xticklabels()] == ["0.1M", "1M", "10M"]
    plt.close(drawing)


def test_one_model_has_no_fit():
    table = fig2_table(models={"only": 1e8}, seeds=1)
    missing = ["size_slope", "size_slope_low", "size_slope_high"]
    drawing = CHAPTER.draw("fig2", table.assign(**dict.fromkeys(missing, np.nan)))
    assert "fit" not in drawing.get_supxlabel()
    labels = drawing.axes[1].get_legend_handles_labels()[1]
    assert labels == ["250 problems", "1K problems", "4K problems"]
    plt.close(drawing)


def test_many_curves_are_thinned():
    models = {f"m{i}": 10.0**i for i in range(4, 10)}
    sizes = (250, 500, 1000, 2000, 4000)
    drawing = CHAPTER.draw("fig2", fig2_table(models=models, sizes=sizes))
    above, below = (axes.get_legend_handles_labels()[1] for axes in drawing.axes)
    assert above == ["m4", "m6", "m7", "m9"]
    assert below[:2] == ["fit at 4K", "250 problems"] and len(below) == 4
    plt.close(drawing)


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(1, [3, 3, 3]), (6_000, [20, 6, 3]), (40_000, [20, 20, 10])],
)
def test_generators_of_small_sets_see_enough_examples(examples, epochs):
    usual = dict(scale="mini", sizes=SIZES, models="mini-0.2m", seeds="0")
    settings = resolve("03_verification", generator_examples=examples, **usual)
    of_size = {
        point.about["n_train"]: point.specs["scores"].completions.generator
        for point in verification.grid(settings)
    }
    assert [of_size[n].training.epochs for n in SIZES] == epochs
    assert all(
        of_size[n].keep_epochs[-1] == k for n, k in zip(SIZES, epochs, strict=True)
    )
