"""13_selection: its grid, its tables, its verdicts and its figures."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from test_foresight import drawn

from gsmlib import scales
from gsmlib.chapters import find, resolve, selection, shared, verification
from gsmlib.chapters.rules import INCONCLUSIVE, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED
from gsmlib.chapters.selection import CHAPTER
from gsmlib.chapters.selection.figures import METHODS as LOOKS
from gsmlib.method import metrics
from gsmlib.records import SettingsError
from gsmlib.study.estimates import COSTS
from gsmlib.study.pool import list_tasks
from gsmlib.study.results import sample, score
from gsmlib.study.stages import folder_of, locate
from gsmlib.study.store import Store

made_by = import_module("gsmlib.chapters.selection.grid")
TABLES = {
    "gap": selection.choices_table,
    "law": selection.law_table,
    "foresight": selection.foresight_table,
    "doubt": selection.doubt_table,
}
ABOUT = {"dataset": "minigsm", "model": "mini-2m", "n_train": 2000}


def with_limits(name, value, half=0.05):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def accuracy(value, half=0.05):
    return {"accuracy": value, "low": value - half, "high": value + half}


def rows_of(rows, seeds=2, problems=150):
    about = ABOUT | {"n_problems": problems}
    return pd.DataFrame(
        [about | row | {"seed": s} for row in rows for s in range(seeds)]
    )


def choices_table():
    rows = []
    for place, method in enumerate(["greedy", *LOOKS]):
        for n in (1,) if method == "greedy" else (1, 4, 16, 64):
            value = 0.2 + 0.1 * place * np.log(n) / 16 + 0.1 * (method == "greedy")
            row = {"method": method, "n": n, "flops": 1e9 * n} | accuracy(value)
            row |= with_limits("gap", 0.5 - value) | with_limits("over_greedy", value)
            row |= {"best": method == "verification" and n > 1}
            rows.append(row | {"frontier": method == "verification" and n > 1})
    return rows_of(rows)


def law_table(bend=-0.01, half=0.02, misfit=0.01, *, most=200, problems=150, top=0.9):
    law = {"level": 0.0} | with_limits("slope", -0.5) | with_limits("bend", bend, half)
    law |= {"misfit": misfit, "misfit_low": 0.0, "misfit_high": 1.5 * misfit}
    ns = [1, 10, most]
    rows = [
        {"part": "coverage", "n": n} | accuracy(top * (0.3 + 0.7 * i / 2)) | law
        for i, n in enumerate(ns)
    ]
    rates = np.arange(11) / 10
    rows += [
        {"part": "histogram", "rate": r} | with_limits("problems", 0.09) | law
        for r in rates
    ]
    return rows_of(rows, problems=problems)


def foresight_table(
    error=0.005, half=0.01, *, checks=0.1, counts=4, problems=150, rise=0.05
):
    places = np.geomspace(1e-4, 1, 20)
    rows = [
        {"part": "roc", "place": u}
        | with_limits("right", u**0.3)
        | with_limits("alike", 0.5)
        for u in places
    ]
    for n in (1, 4, 16, 64)[:counts]:
        value = 0.3 + rise * np.log(n) / 3
        row = {"part": "curve", "n": n, "few": 16} | accuracy(value)
        row |= with_limits("over_random", checks) | with_limits("one_roc", value + 0.1)
        row |= with_limits("foreseen", value + error)
        rows.append(
            row | with_limits("error", error * np.log(n + 1) / np.log(65), half)
        )
    return rows_of(rows, problems=problems)


def doubt_table():
    rows = []
    for by, area in (("score", 0.3), ("oracle", 0.1), ("random", 0.5)):
        for part in made_by.ANSWERED:
            row = {"part": "abstaining", "by": by, "share": part, "n": 100}
            row |= with_limits("risk", area * part, 0.02)
            rows.append(row | with_limits("area", area))
    for part in made_by.READ:
        row = {"part": "reading", "share": part, "n": 100}
        rows.append(row | with_limits("auc", 0.5 + part / 4))
    return rows_of(rows)


# ----------------------------------------------------------------------------- the grid


@pytest.mark.parametrize("scale", scales.SCALES)
def test_nothing_is_computed_for_this_chapter_alone(scale):
    """The scores are 06's; the greedy solutions are 03's, where it has the model."""
    ours = selection.grid(resolve("13_selection", scale=scale))
    theirs = find("06").grid(resolve("06_test_time_compute", scale=scale))
    for mine, other in zip(ours, theirs, strict=True):
        assert locate(mine.specs["scores"]) == locate(other.specs["scores"])
    compared = verification.grid(resolve("03_verification", scale=scale))
    known = {point.specs["greedy"] for point in compared}
    assert {point.specs["greedy"] for point in ours} <= known


def test_more_completed_problems_have_more_greedy_solutions():
    settings = resolve("13_selection", scale="smoke", test_problems=20)
    (point,) = selection.grid(settings)
    assert point.specs["greedy"].n_problems == 20
    assert point.specs["scores"].completions.n_problems == 20


def test_refusals():
    with pytest.raises(SettingsError, match="-p greedy_problems 1319"):
        resolve("13_selection", scale="smollm2", greedy_problems=2000)


# --------------------------------------------------------------------------- the tables


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings, store and all tables at smoke, by real but random models."""
    settings = resolve("13_selection", scale="smoke", seeds=[0, 1])
    store = Store(tmp_path_factory.mktemp("store"))
    return settings, store, {name: of(settings, store) for name, of in TABLES.items()}


def test_tables_are_made_of_the_grids_stages_alone(made):
    settings, store, tables = made
    listed = list_tasks(CHAPTER.stages(settings), store)
    folders = {path for path in store.root.glob("*/*") if path.is_dir()}
    assert folders == {folder_of(task.spec, store) for task in listed}
    assert all(set(table["seed"]) == {0, 1} for table in tables.values())


def test_random_models_are_drawn_and_not_judged(made):
    """Nobody is right: no ROC, no law, nothing to foresee."""
    for name, table in made[2].items():
        for figure in (name, "budget") if name == "gap" else (name,):
            plt.close(CHAPTER.draw(figure, table))
        for verdict in CHAPTER.judge(name, table):
            assert verdict.verdict == NOT_TESTABLE
            assert "nan" not in verdict.sentence


def some_run(seed, problems=24, m=16):
    """Answers of which 0 is right, and scores that favour it."""
    rng = np.random.default_rng(seed)
    likely = rng.random((problems, 1))
    others = rng.choice([-1, 1, 2, 3], (problems, m))
    answers = np.where(rng.random((problems, m)) < likely**3, 0, others)
    three = rng.random((3, problems, m)) + [[[0.3]], [[0.1]], [[0.2]]] * (answers == 0)
    return shared.Completions(answers, answers == 0, *three)


def pretend(monkeypatch, run_of, **changes):
    """Return settings for which each seed's completions are those of `run_of`."""
    usual = dict(scale="smoke", test_completions=16, seeds=[0, 1], test_problems=24)
    settings = resolve("13_selection", **(usual | changes))
    runs = {seed: run_of(seed) for seed in settings.seeds}
    monkeypatch.setattr(shared, "prepare", lambda specs, store: None)
    monkeypatch.setattr(
        made_by, "read_completions", lambda spec, _: runs[spec.completions.seed]
    )
    monkeypatch.setattr(made_by, "_tokens", lambda *_: (10.0, 20.0, 15.0))
    monkeypatch.setattr(shared, "solved", lambda spec, _: np.arange(30) % 2 == 0.0)
    tokens = [np.linspace(0, 1, 7).tolist()] * 24 * 16
    table = pd.DataFrame(
        {"problem": np.repeat(range(24), 16), "sample": [*range(16)] * 24}
    )
    monkeypatch.setattr(made_by, "score", lambda *_: table.assign(token_scores=tokens))
    return settings, runs


def test_choices_are_those_of_the_metrics(monkeypatch):
    settings, runs = pretend(monkeypatch, some_run)
    table = selection.choices_table(settings, None)
    at = table[(table["seed"] == 1) & (table["n"] == 4)].set_index("method")
    coverage = metrics.test_at_n(runs[1].correct, 4).mean()
    best = metrics.verified_at_n(runs[1].scores, runs[1].correct, 4).mean()
    assert at.loc["verification", "accuracy"] == pytest.approx(best)
    assert at.loc["verification", "gap"] == pytest.approx(coverage - best)
    assert at.loc["random pick", "accuracy"] == pytest.approx(runs[1].correct.mean())
    assert at.loc["verification", "over_greedy"] == pytest.approx(best - 0.5)
    greedy = table[table["method"] == "greedy"]
    assert (greedy["n"] == 1).all() and greedy["gap"].isna().all()


def test_costs_are_two_operations_a_parameter_and_token(monkeypatch):
    settings, _ = pretend(monkeypatch, some_run)
    table = selection.choices_table(settings, None)
    a_token = COSTS["sample"].flops * 1e5  # tiny: 0.1 million parameters
    for n, rows in table.groupby("n"):
        by_method = rows.groupby("method")["flops"].first() / a_token
        assert by_method["majority vote"] == pytest.approx(10 + 20 * n)
        assert by_method["verification"] == pytest.approx(2 * (10 + 20 * n))
    assert (table.loc[table["method"] == "greedy", "flops"] / a_token).eq(25).all()


def test_the_frontier_is_what_nothing_as_cheap_surpasses(monkeypatch):
    table = selection.choices_table(pretend(monkeypatch, some_run)[0], None)
    means = table.groupby(["method", "n"])[["accuracy", "flops"]].mean()
    real = means.drop(["test@n", "random pick"])
    flags = table.groupby(["method", "n"])[["frontier", "best"]].first()
    assert not flags.loc[["test@n", "random pick"]].any(axis=None)
    for name, row in real.iterrows():
        rivals = real.drop(name)
        cheap = rivals[rivals["flops"] <= row["flops"]]
        surpassed = (cheap["accuracy"] > row["accuracy"]).any()
        assert not (flags.loc[name, "frontier"] and surpassed)
        assert (
            surpassed
            or flags.loc[name, "frontier"]
            or (cheap["accuracy"] >= row["accuracy"]).any()
        )
    at = real.drop("greedy").xs(4, level="n")["accuracy"]
    assert flags.xs(4, level="n")["best"].idxmax() == at.idxmax()
    assert not flags.xs(1, level="n")["best"].any()


def test_the_law_is_of_the_mean_coverage(monkeypatch):
    settings, runs = pretend(monkeypatch, some_run)
    table = selection.law_table(settings, None)
    ns = np.array(shared.along_axis(16))
    solved = [
        [metrics.test_at_n(r.correct, n).mean() for n in ns] for r in runs.values()
    ]
    x, y = np.log(ns), np.log(-np.log(np.mean(solved, axis=0)))
    assert table["slope"].iloc[0] == pytest.approx(np.polyfit(x, y, 1)[0])
    assert table["bend"].iloc[0] == pytest.approx(np.polyfit(x, y, 2)[0])
    assert (table["slope_low"] <= table["slope"]).all()
    bins = table[(table["part"] == "histogram") & (table["seed"] == 0)]
    right = runs[0].correct.mean(axis=1)
    assert bins.set_index("rate")["problems"][0.0] == (right == 0).mean()
    inner = ((right > 0.4) & (right <= 0.5)).mean()
    assert bins.set_index("rate")["problems"][0.5] == pytest.approx(inner)


def test_the_foreseen_curve_stands_beside_later_completions(monkeypatch):
    settings, runs = pretend(monkeypatch, some_run)
    table = selection.foresight_table(settings, None)
    curve = table[table["part"] == "curve"]
    assert (curve["few"] == 4).all() and curve["n"].max() == 12
    last = curve[(curve["n"] == 12) & (curve["seed"] == 0)].iloc[0]
    later = runs[0].scores[:, 4:], runs[0].correct[:, 4:]
    assert last["accuracy"] == pytest.approx(metrics.verified_at_n(*later, 12).mean())
    error = curve["foreseen"] - curve["accuracy"] - curve["error"]
    assert error.abs().max() < 1e-9
    assert (curve["error_low"] < curve["error_high"]).all()
    roc = table[table["part"] == "roc"].groupby("place")["right"].mean()
    assert roc.is_monotonic_increasing and roc.iloc[-1] == pytest.approx(1)


def test_limits_of_the_error_hold_what_they_should(monkeypatch):
    """Binormal verifiers are foreseen without bias: 0 lies within in most runs."""
    held = []
    for first in range(0, 12, 2):

        def run_of(seed, first=first):
            rng = np.random.default_rng((first, seed))
            _, _, scores, correct = drawn(40, 48, 1, 0.8, 0.8, rng)
            return shared.Completions(correct - 1, correct, *[scores] * 3)

        changes = dict(test_problems=40, test_completions=48, seeds=[first])
        table = selection.foresight_table(
            pretend(monkeypatch, run_of, **changes)[0], None
        )
        curve = table[table["part"] == "curve"]
        held.append((curve["error_low"] < 0) & (curve["error_high"] > 0))
    assert np.mean(held) > 0.8


def test_doubts_are_those_of_the_metrics(monkeypatch):
    settings, runs = pretend(monkeypatch, some_run)
    table = selection.doubt_table(settings, None)
    one = table[(table["seed"] == 1) & (table["part"] == "abstaining")]
    wrong = 1 - runs[1].correct[range(24), runs[1].scores.argmax(axis=1)]
    area = metrics.area_under_risk(runs[1].scores.max(axis=1), wrong)
    by = one.groupby("by")["area"].first()
    assert by["score"] == pytest.approx(area)
    assert by["random"] == pytest.approx(wrong.mean())
    assert by["oracle"] <= by["score"]
    end = one[one["share"] == 1.0]["risk"]
    np.testing.assert_allclose(end, wrong.mean())
    risks = one[["risk_low", "risk_high"]]
    assert risks.ge(0).all(axis=None) and risks.le(1).all(axis=None)
    assert (table.loc[table["part"] == "reading", "auc"] == 0.5).all()  # all scores tie


def test_scores_of_a_part_are_those_of_its_last_token():
    lists = np.empty((1, 3), object)
    lists[0] = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [5.0], [1, 2, 3]]
    read = {part: made_by._scores_at(lists, part)[0].tolist() for part in made_by.READ}
    assert read[0.1] == [1, 5, 1] and read[0.5] == [5, 5, 2] and read[1.0] == [10, 5, 3]


def test_reading_all_is_the_score(made):
    settings, store, _ = made
    spec = selection.grid(settings)[0].specs["scores"]
    scored = score(spec, store)
    whole = made_by._scores_at(shared.matrix(scored, "token_scores"), 1.0)
    np.testing.assert_allclose(whole, shared.matrix(scored, "last"))
    tokens = sample(spec.completions, store)["tokens"]
    assert [len(each) for each in scored["token_scores"]] == [len(t) for t in tokens]


@pytest.mark.parametrize("label", [False, True])
def test_all_wrong_or_all_right_is_drawn_and_not_judged(label, monkeypatch, recwarn):
    def run_of(seed):
        run = some_run(seed)
        same = np.full(run.correct.shape, label)
        return run._replace(answers=np.where(same, 0, 1), correct=same)

    settings, _ = pretend(monkeypatch, run_of)
    for name, of in TABLES.items():
        table = of(settings, None)
        for figure in (name, "budget") if name == "gap" else (name,):
            plt.close(CHAPTER.draw(figure, table))
        for verdict in CHAPTER.judge(name, table):
            assert verdict.verdict == NOT_TESTABLE and "nan" not in verdict.sentence
    assert not recwarn.list


@pytest.mark.parametrize(("problems", "m", "seeds"), [(24, 2, [0]), (1, 16, [0, 1])])
def test_few_completions_or_problems_are_drawn(problems, m, seeds, monkeypatch):
    changes = dict(test_completions=m, seeds=seeds, test_problems=problems)
    settings, _ = pretend(monkeypatch, lambda s: some_run(s, problems, m), **changes)
    for name, of in list(TABLES.items())[:3]:
        table = of(settings, None)
        plt.close(CHAPTER.draw(name, table))
        for verdict in CHAPTER.judge(name, table):
            assert verdict.verdict == NOT_TESTABLE


# ------------------------------------------------------------------------- the verdicts


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(half=0.03), INCONCLUSIVE),
        (dict(error=0.05), NOT_REPRODUCED),
        (dict(error=-0.05), NOT_REPRODUCED),
        (dict(error=0.025), INCONCLUSIVE),
        (dict(checks=0.0), NOT_TESTABLE),  # a verifier at chance is no feat
        (dict(counts=2), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(rise=0.01), NOT_TESTABLE),  # so flat that a constant foresees it
        (dict(rise=-0.01), NOT_TESTABLE),
        (dict(rise=-0.05), REPRODUCED),
    ],
)
def test_s1(settings, verdict):
    (found,) = CHAPTER.judge("foresight", foresight_table(**settings))
    assert (found.id, found.verdict) == ("S1", verdict)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(bend=-0.1), REPRODUCED),  # surely bent, but within two points
        (dict(bend=-0.1, misfit=0.03), NOT_REPRODUCED),
        (dict(bend=0.1, misfit=0.03), NOT_REPRODUCED),
        (dict(misfit=0.03), INCONCLUSIVE),
        (dict(most=20), NOT_TESTABLE),  # too short to show a bend
        (dict(bend=np.nan), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(top=0.0), NOT_TESTABLE),
    ],
)
def test_s2(settings, verdict):
    (found,) = CHAPTER.judge("law", law_table(**settings))
    assert (found.id, found.verdict) == ("S2", verdict)


def test_verdicts_say_what_was_found_and_are_the_same_from_a_csv(tmp_path):
    for name, made in (("foresight", foresight_table(0.05)), ("law", law_table())):
        made.to_csv(tmp_path / "table.csv", index=False)
        (found,) = CHAPTER.judge(name, made)
        assert CHAPTER.judge(name, pd.read_csv(tmp_path / "table.csv")) == [found]
        if name == "foresight":
            assert "+5.0 points (+4.0 to +6.0) at 64 completions" in found.sentence
            assert "were all problems alike, +10.0 at 64" in found.sentence


# -------------------------------------------------------------------------- the figures


def test_the_best_choice_has_its_own_mark_in_the_lower_panel():
    drawing = CHAPTER.draw("gap", choices_table())
    top, bottom = drawing.axes
    assert len(top.lines) == len(LOOKS)
    (marks,) = bottom.containers
    assert marks.lines[0].get_color() == LOOKS["verification"][1].color
    plt.close(drawing)


def test_the_roc_is_enlarged_near_the_origin():
    drawing = CHAPTER.draw("foresight", foresight_table())
    top, _ = drawing.axes[:2]
    (inset,) = top.child_axes
    assert inset.get_xscale() == "log" and inset.get_xlim() == (0.1, 10)
    plt.close(drawing)


def test_those_never_solved_stand_apart():
    drawing = CHAPTER.draw("law", law_table())
    _, bottom = drawing.axes
    labels = [tick.get_text() for tick in bottom.get_xticklabels()]
    assert labels[0] == "never" and len(bottom.patches) == 11
    plt.close(drawing)
