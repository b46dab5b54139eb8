"""The open points: one change each, paired differences, verdicts and the forest."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib.chapters import open_points, resolve, shared, verification
from gsmlib.chapters.export import redraw
from gsmlib.chapters.open_points import CHAPTER, how_of, verdicts
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.method import metrics
from gsmlib.records import Record, SettingsError
from gsmlib.scales import SCALES
from gsmlib.study import results, stages
from gsmlib.study.store import Store

matplotlib.use("agg")

NOTEBOOK = "09_open_points"
TINY = dict(scale="smoke", test_problems=4, test_completions=3, completions=3)
VARIANTS = {
    1: ["mean score", "minimum", "maximum", "product", "unfinished last"],
    2: ["cross-entropy"],
    3: ["from pretrained"],
    4: ["verifier: on question", "finetuning: masked"],
    5: ["temperature 1"],
    6: ["LM on samples"],
    7: ["no duplicates"],
    8: ["one model"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def settings():
    return resolve(NOTEBOOK, ablation_completions=2, **TINY)


@pytest.fixture(scope="module")
def table(settings, store):
    return open_points.table(settings, store)


def specs_of(settings, part, seed=0):
    """The variants of a seed, by their open point and name; their scores or greedy."""
    return {
        (about["point"], about["variant"]): specs[part]
        for about, specs in open_points.grid(settings)
        if about["seed"] == seed and part in specs
    }


def flat(spec, path=""):
    """All settings of a spec by their paths, parents included."""
    rows = {}
    for name, value in spec:
        inner = isinstance(value, Record)
        rows |= flat(value, f"{path}{name}.") if inner else {path + name: value}
    return rows


# ----------------------------------------------------------------------------- the grid


@pytest.mark.parametrize("scale", SCALES)
def test_a_variant_differs_from_the_base_in_one_setting(scale):
    settings = resolve(NOTEBOOK, scale=scale, sampling_precision="fp32")
    variants = specs_of(settings, "scores", settings.seeds[0])
    base = variants.pop((0, "base"))
    known = flat(base)
    number = {"verifier.per_problem", "verifier.completions.n"}  # not which they are
    expected = {
        2: {"verifier.training.loss"},
        3: {"verifier.init"},
        4: {"verifier.training.loss_on_question"},
        5: {"verifier.completions.temperature"},
        6: {"verifier.language_rows"},
        7: {"verifier.deduplicate"},
    }
    for (point, name), scores in variants.items():
        own = flat(scores)
        changed = {name for name in known if own.get(name) != known[name]} - number
        assert (how_of(name) != how_of("base")) == (point == 1)
        if point == 1:
            assert scores == base
        elif point == 8:
            assert scores.verifier == base.verifier
            assert scores.completions.sampler == base.verifier
        else:
            assert changed == expected[point]
            assert scores.completions == base.completions


def test_a_verifier_learns_from_the_same_number_of_completions_at_either_temperature():
    for asked in (2, 3):
        settings = resolve(NOTEBOOK, ablation_completions=asked, **TINY)
        learnt = [spec.verifier for spec in specs_of(settings, "scores").values()]
        assert {v.per_problem or v.completions.n for v in learnt} == {asked}


def test_all_completions_give_03s_verifier_and_any_number_its_test_completions():
    tiny = TINY | dict(ablation_completions=3)
    settings = resolve(NOTEBOOK, **tiny)
    del tiny["ablation_completions"]
    whole = verification.CHAPTER.stages(resolve("03_verification", **tiny))
    assert specs_of(settings, "scores")[0, "base"] in whole
    assert specs_of(settings, "greedy")[0, "finetuning"] in whole
    some = specs_of(settings.replace(ablation_completions=2), "scores")
    assert some[0, "base"] not in whole
    completions = {getattr(spec, "completions", None) for spec in whole}
    assert some[0, "base"].completions in completions


def test_some_of_the_points_alone(settings, store):
    some = settings.replace(points=(5, 1))
    tried = specs_of(some, "scores") | specs_of(some, "greedy")
    assert {point for point, _ in tried} == {0, 1, 5}
    whole = specs_of(settings, "scores") | specs_of(settings, "greedy")
    assert tried.items() <= whole.items()
    assert set(open_points.table(some, store)["point"]) == {0, 1, 5}
    with pytest.raises(SettingsError, match="points 9 is none: give some of 1 to 8"):
        resolve(NOTEBOOK, points="3,9", ablation_completions=2, **TINY)


def test_finetuning_is_masked_in_one_setting(settings):
    paper, masked = specs_of(settings, "greedy").values()
    known, own = flat(paper.generator), flat(masked.generator)
    changed = {name for name in known if own[name] != known[name]}
    assert changed == {"training.loss_on_question", "keep_epochs"}
    assert own["training.loss_on_question"] is False


def test_the_mask_is_a_setting_of_everything_finetuned(settings):
    masked = settings.replace(loss_on_question=False)
    ours = specs_of(masked, "greedy")
    assert list(ours) == [(0, "finetuning"), (4, "finetuning: on question")]
    masks = [s.generator.training.loss_on_question for s in ours.values()]
    assert masks == [False, None]
    usual, own = (specs_of(s, "scores")[0, "base"] for s in (settings, masked))
    assert own.completions.generator.training.loss_on_question is False
    assert own.verifier.completions.generator.training.loss_on_question is False
    assert own.verifier.training == usual.verifier.training


# ---------------------------------------------------------------------- at scale smoke


def test_a_row_per_variant_and_two_that_they_differ_from(table):
    names = table.groupby("point")["variant"].agg(list).to_dict()
    assert names == {0: ["base", "finetuning"]} | VARIANTS
    assert (table["n_problems"] == 4).all()
    rows = table[table["point"] > 0]
    assert rows["gain"].between(rows["gain_low"], rows["gain_high"]).all()
    assert table[["accuracy", "low", "high"]].notna().all(axis=None)


def test_the_notebook_asks_for_nothing_that_was_not_planned(settings, table, store):
    planned = CHAPTER.stages(settings)
    assert all(stages.is_done(spec, store) for spec in planned)
    made = {path for path in store.root.glob("*/*") if path.suffix != ".lock"}
    again = open_points.table(settings, Store(store.root))
    pd.testing.assert_frame_equal(table, again)
    assert made == {path for path in store.root.glob("*/*") if path.suffix != ".lock"}


def test_every_variant_scores_otherwise(settings, table, store):
    """A setting that never reaches the scores is the classic fault here."""
    variants = specs_of(settings, "scores")
    known = results.score(variants.pop((0, "base")), store)
    for (point, name), spec in variants.items():
        scores, _ = shared.scores_and_labels(spec, store, how_of(name))
        same = np.allclose(scores.ravel(), known["last"], atol=1e-7)
        # a random model never samples the same text twice, so nothing is dropped
        assert same == (point == 7), name


def test_the_unfinished_are_chosen_where_nothing_else_is_left(
    settings, store, monkeypatch
):
    spec = specs_of(settings, "scores")[0, "base"]
    rows = {"problem": np.repeat([0, 1], 3), "sample": [0, 1, 2] * 2}
    ended = [True, True, False, False, False, False]
    right = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    drawn = pd.DataFrame(rows | {"finished": ended, "correct": right})
    scored = pd.DataFrame(rows | {"last": [0.1, 0.5, 0.9, 0.3, 0.9, 0.1]})
    monkeypatch.setattr(shared, "sample", lambda spec, store: drawn)
    monkeypatch.setattr(shared, "score", lambda spec, store: scored)
    for how, expected in (("last", [0, 0]), (shared.ENDED_FIRST, [1, 2 / 3])):
        scores, correct = shared.scores_and_labels(spec, store, how)
        assert metrics.verified_at_n(scores, correct, 3) == pytest.approx(expected)
    assert metrics.within_problem_auc(scores, correct) == pytest.approx(
        [1, 0.5], nan_ok=True
    )


def test_gains_are_paired_by_problem(settings, store, monkeypatch):
    """Of made-up labels and scores, against the plain computation."""
    rng = np.random.default_rng(0)
    variants = specs_of(settings, "scores")
    shape = (4, 3)
    correct = {spec.completions: rng.random(shape) < 0.5 for spec in variants.values()}
    scores = {
        (spec, how_of(name)): rng.random(shape) for (_, name), spec in variants.items()
    }

    def read(spec, store, how):
        return scores[spec, how], correct[spec.completions].astype(float)

    monkeypatch.setattr(shared, "scores_and_labels", read)
    found = open_points.table(settings, store).set_index(["point", "variant"])
    for (point, name), spec in variants.items():
        row = found.loc[(point, name)]
        best = scores[spec, how_of(name)].argmax(axis=1)
        right = correct[spec.completions][np.arange(4), best]
        assert row["accuracy"] == pytest.approx(right.mean())
        if point:
            difference = row["accuracy"] - found["accuracy"][0, "base"]
            assert row["gain"] == pytest.approx(difference)


# ----------------------------------------------------------------------------- verdicts


def open_table(
    gains=None,
    half=0.01,
    seeds=3,
    accuracy=0.3,
    problems=200,
    spread=0.0,
    checks=0.05,
):
    """gains: point -> gain of its variants, 0 where none is given."""
    gains = gains or {}
    about = {"dataset": "minigsm", "model": "mini-2m", "n_train": 4000, "n": 100}
    about |= {"n_problems": problems, "mean_accuracy": 0.1, "within_auc": 0.7}
    about |= {"over_random": checks, "over_random_low": checks - 0.02}
    about |= {"over_random_high": checks + 0.02}
    rows = []
    for seed in range(seeds):
        at = about | {"seed": seed, "accuracy": accuracy}
        rows += [at | {"point": 0, "variant": name} for name in ("base", "finetuning")]
        for point, names in VARIANTS.items():
            mean = gains.get(point, 0.0)
            gain, reach = mean + spread * (seed - 1), half + 2.5 * spread
            limits = {"gain": gain, "gain_low": mean - reach, "gain_high": mean + reach}
            auc = {f"auc_{name}": value / 2 for name, value in limits.items()}
            for name in names:
                own = auc if name != "finetuning: masked" else {}
                row = at | {"point": point, "variant": name} | limits | own
                rows.append(row | {"accuracy": accuracy + gain})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(gains={1: 0.2, 3: -0.2, 8: 0.1}), REPRODUCED),  # other points
        (dict(gains={2: 0.05}), NOT_REPRODUCED),
        (dict(gains={5: -0.05}), NOT_REPRODUCED),
        (dict(gains={2: 0.05, 5: -0.05}), NOT_REPRODUCED),
        (dict(gains={2: 0.015}), INCONCLUSIVE),
        (dict(half=0.03), INCONCLUSIVE),
        (dict(spread=0.03), INCONCLUSIVE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(accuracy=0.0), NOT_TESTABLE),
        (dict(checks=0.01), NOT_TESTABLE),
    ],
)
def test_c16(case, verdict):
    assert verdicts.c16(open_table(**case)).verdict == verdict


def test_c16_says_both_differences_and_keeps_the_larger():
    found = verdicts.c16(open_table({2: 0.01, 5: -0.04}))
    assert found.value == pytest.approx(-0.04)
    assert "cross-entropy: +1.0 points" in found.sentence
    assert "temperature 1: -4.0 points" in found.sentence
    unsure = open_table({2: 0.01})
    unsure.loc[unsure["point"] == 5, ["gain_low", "gain_high"]] = -0.07, 0.07
    assert verdicts.c16(unsure)[2:5] == (0, -0.07, 0.07)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (dict(gains={3: -0.05}), REPRODUCED),  # of the pretrained over the generator
        (dict(gains={3: 0.05}), REVERSED),
        (dict(gains={3: -0.005}), INCONCLUSIVE),
        (dict(gains={3: -0.05}, half=0.08), INCONCLUSIVE),
        (dict(gains={3: -0.05}, problems=6), NOT_TESTABLE),
        (dict(gains={3: -0.05}, accuracy=0.0), NOT_TESTABLE),
        (dict(gains={3: -0.05}, checks=0.01), NOT_TESTABLE),
    ],
)
def test_c17(case, verdict):
    assert verdicts.c17(open_table(**case)).verdict == verdict


@pytest.mark.parametrize(("judge", "points"), [("c16", (2, 5)), ("c17", (3,))])
def test_only_what_a_claim_compares_must_check(judge, points):
    table = open_table({3: -0.05})
    compared = table["point"].isin((0, *points))
    low = table["over_random_low"]
    for dead, verdict in ((compared, NOT_TESTABLE), (~compared, REPRODUCED)):
        rows = table.assign(over_random_low=low.where(~dead, -0.1))
        assert getattr(verdicts, judge)(rows).verdict == verdict


def test_a_claim_about_points_left_out_is_not_testable():
    table = open_table({3: -0.05})
    some = table[table["point"].isin((0, 1, 3))]
    assert verdicts.c17(some).verdict == REPRODUCED
    found = verdicts.c16(some)
    assert found.verdict == NOT_TESTABLE
    assert "open point 2 is left out" in found.sentence


def test_c17_is_generator_minus_pretrained():
    found = verdicts.c17(open_table({3: -0.05}))
    assert found[2:5] == pytest.approx((0.05, 0.04, 0.06))
    assert "+5.0 points (+4.0 to +6.0); within-problem AUC +0.025" in found.sentence


def test_verdicts_come_from_a_table_read_back(table, tmp_path):
    csv = tmp_path / "open_points.csv"
    for rows in (table, open_table()):
        rows.to_csv(csv, index=False)
        again = CHAPTER.judge("open", pd.read_csv(csv))
        assert str(again) == str(CHAPTER.judge("open", rows))
        assert [verdict.id for verdict in again] == ["C16", "C17"]


# ------------------------------------------------------------------------------- figure


def undefined():
    """As at smoke: nothing is right, and no AUC is defined."""
    table = open_table(seeds=1, accuracy=0.0, half=0.4, problems=6)
    return table.assign(**{n: np.nan for n in table if n.startswith("auc_")})


TABLES = {
    "three seeds": open_table({1: -0.04, 2: 0.01, 8: -0.12}, spread=0.02),
    "one seed": open_table({3: 0.1}, half=0.1, seeds=1),
    "nothing": undefined(),
}


@pytest.mark.parametrize("case", TABLES)
def test_drawn_whole_and_redrawn_byte_for_byte(case, tmp_path, monkeypatch):
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path))
    settings = resolve(NOTEBOOK, scale="quick")
    drawing = CHAPTER.draw("open", TABLES[case])
    files = CHAPTER.export("open", drawing, TABLES[case], settings)
    ink = drawing.get_tightbbox(drawing.canvas.get_renderer())  # in inches
    width, height = drawing.get_size_inches()
    assert ink.x0 >= -0.01 and ink.x1 <= width + 0.01
    assert ink.y0 >= -0.01 and ink.y1 <= height + 0.01
    plt.close(drawing)
    csv = tmp_path / "quick" / "open_points.csv"
    again = redraw(CHAPTER.figure("open"), csv, tmp_path / "again")
    for old, new in zip(files, again, strict=False):
        assert old.read_bytes() == new.read_bytes(), old.name


def test_the_forest_draws_the_table():
    table = TABLES["three seeds"]
    drawing = CHAPTER.draw("open", table)
    left, right = drawing.axes
    labels = [text.get_text().split("  ")[-1] for text in left.get_yticklabels()]
    assert labels == [name for names in VARIANTS.values() for name in names]
    drawn = [bars.lines[0].get_xdata()[0] for bars in left.containers]
    means = table.dropna(subset="gain").groupby("variant", sort=False)["gain"].mean()
    np.testing.assert_allclose(drawn, 100 * means[labels])
    assert len(right.containers) == len(labels) - 1  # no AUC of finetuning
    assert "none" in [text.get_text() for text in right.texts]
    plt.close(drawing)
