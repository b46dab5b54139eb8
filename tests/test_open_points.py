"""The open points: one change each, paired differences, verdicts and the forest."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from gsmlib import claims, experiments, figures
from gsmlib.claims import open_points as judged
from gsmlib.claims.rules import CONTRADICTED, INCONCLUSIVE, NOT_TESTABLE, REPRODUCED
from gsmlib.config import resolve
from gsmlib.experiments import open_points, verification
from gsmlib.method import metrics
from gsmlib.records import Record
from gsmlib.scales import SCALES
from gsmlib.study import artifacts, pipeline
from gsmlib.study.store import Store

matplotlib.use("agg")

NOTEBOOK = "09_open_points"
TINY = dict(scale="smoke", test_problems=4, test_completions=3, completions=3)
VARIANTS = {
    1: ["mean score", "minimum", "maximum", "product"],
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
    return experiments.open_point_table(settings, store)


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
    base, *others = experiments.verifier_variants(settings, settings.seeds[0])
    known = flat(base.scores)
    number = {"verifier.per_problem", "verifier.completions.n"}  # not which they are
    expected = {
        2: {"verifier.training.loss"},
        3: {"verifier.init"},
        4: {"verifier.training.loss_on_question"},
        5: {"verifier.completions.temperature"},
        6: {"verifier.language_rows"},
        7: {"verifier.deduplicate"},
    }
    for variant in others:
        own = flat(variant.scores)
        changed = {name for name in known if own.get(name) != known[name]} - number
        if variant.point == 1:
            assert variant.scores == base.scores and variant.how != base.how
        elif variant.point == 8:
            assert variant.scores.verifier == base.scores.verifier
            assert variant.scores.completions.sampler == base.scores.verifier
        else:
            assert changed == expected[variant.point]
            assert variant.scores.completions == base.scores.completions


def test_a_verifier_learns_from_the_same_number_of_completions_at_either_temperature():
    for asked in (2, 3):
        settings = resolve(NOTEBOOK, ablation_completions=asked, **TINY)
        base, *others = experiments.verifier_variants(settings, 0)
        learnt = [v.scores.verifier for v in (base, *others)]
        assert {v.per_problem or v.completions.n for v in learnt} == {asked}


def test_all_completions_give_03s_verifier_and_any_number_its_test_completions():
    tiny = TINY | dict(ablation_completions=3)
    settings = resolve(NOTEBOOK, **tiny)
    del tiny["ablation_completions"]
    whole = verification.verification_stages(resolve("03_verification", **tiny))
    assert open_points.base_scores(settings, 0) in whole
    assert open_points.greedy_specs(settings, 0)["finetuning"] in whole
    some = settings.replace(ablation_completions=2)
    assert open_points.base_scores(some, 0) not in whole
    completions = {getattr(spec, "completions", None) for spec in whole}
    assert open_points.base_scores(some, 0).completions in completions


def test_finetuning_is_masked_in_one_setting(settings):
    paper, masked = open_points.greedy_specs(settings, 0).values()
    known, own = flat(paper.generator), flat(masked.generator)
    changed = {name for name in known if own[name] != known[name]}
    assert changed == {"training.loss_on_question", "keep_epochs"}
    assert own["training.loss_on_question"] is False


# ---------------------------------------------------------------------- at scale smoke


def test_a_row_per_variant_and_two_that_they_differ_from(table):
    names = table.groupby("point")["variant"].agg(list).to_dict()
    assert names == {0: ["base", "finetuning"]} | VARIANTS
    assert (table["n_problems"] == 4).all()
    rows = table[table["point"] > 0]
    assert rows["gain"].between(rows["gain_low"], rows["gain_high"]).all()
    assert table[["accuracy", "low", "high"]].notna().all(axis=None)


def test_the_notebook_asks_for_nothing_that_was_not_planned(settings, table, store):
    planned = experiments.stages(settings)
    assert all(artifacts.is_done(spec, store) for spec in planned)
    made = {path for path in store.root.glob("*/*") if path.suffix != ".lock"}
    again = experiments.open_point_table(settings, Store(store.root))
    pd.testing.assert_frame_equal(table, again)
    assert made == {path for path in store.root.glob("*/*") if path.suffix != ".lock"}


def test_every_variant_scores_otherwise(settings, table, store):
    """A setting that never reaches the scores is the classic fault here."""
    base, *others = experiments.verifier_variants(settings, 0)
    known = pipeline.score(base.scores, store)
    for variant in others:
        scores = pipeline.score(variant.scores, store)[variant.how]
        same = np.allclose(scores, known["last"], atol=1e-7)
        # a random model never samples the same text twice, so nothing is dropped
        assert same == (variant.point == 7), variant.name


def test_gains_are_paired_by_problem(settings, store, monkeypatch):
    """Of made-up labels and scores, against the plain computation."""
    rng = np.random.default_rng(0)
    base, *others = experiments.verifier_variants(settings, 0)
    shape = (4, 3)
    correct = {
        variant.scores.completions: rng.random(shape) < 0.5
        for variant in (base, *others)
    }
    scores = {variant[2:]: rng.random(shape) for variant in (base, *others)}

    def measure(variant, store):
        marks = correct[variant.scores.completions].astype(float)
        ranked = scores[variant[2:]]
        solved = metrics.verified_at_n(ranked, marks, 3)
        within = metrics.within_problem_auc(ranked, marks)
        return solved, within, float(marks.mean())

    monkeypatch.setattr(open_points, "_measure", measure)
    found = pd.DataFrame(open_points._verifier_rows(settings, 0, store))
    for place, variant in enumerate((base, *others)):
        row = found.iloc[place]
        best = scores[variant[2:]].argmax(axis=1)
        right = correct[variant.scores.completions][np.arange(4), best]
        assert row["accuracy"] == pytest.approx(right.mean())
        if place:
            difference = row["accuracy"] - found["accuracy"][0]
            assert row["gain"] == pytest.approx(difference)


# ----------------------------------------------------------------------------- verdicts


def open_table(gains=None, half=0.01, seeds=3, accuracy=0.3, problems=200, spread=0.0):
    """gains: point -> gain of its variants, 0 where none is given."""
    gains = gains or {}
    about = {"dataset": "minigsm", "model": "mini-1m", "n_train": 4000, "n": 100}
    about |= {"n_problems": problems, "mean_accuracy": 0.1, "within_auc": 0.7}
    rows = []
    for seed in range(seeds):
        at = about | {"seed": seed, "accuracy": accuracy}
        rows += [at | {"point": 0, "variant": name} for name in ("base", "finetuning")]
        for point, names in VARIANTS.items():
            gain = gains.get(point, 0.0) + spread * (seed - 1)
            limits = {"gain": gain, "gain_low": gain - half, "gain_high": gain + half}
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
        (dict(gains={2: 0.05}), CONTRADICTED),
        (dict(gains={5: -0.05}), CONTRADICTED),
        (dict(gains={2: 0.05, 5: -0.05}), CONTRADICTED),
        (dict(gains={2: 0.015}), INCONCLUSIVE),
        (dict(half=0.03), INCONCLUSIVE),
        (dict(spread=0.03), INCONCLUSIVE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(accuracy=0.0), NOT_TESTABLE),
    ],
)
def test_c16(case, verdict):
    assert judged.c16(open_table(**case)).verdict == verdict


def test_c16_says_both_differences_and_keeps_the_larger():
    found = judged.c16(open_table({2: 0.01, 5: -0.04}))
    assert found.value == pytest.approx(-0.04)
    assert "cross-entropy: +1.0 points" in found.sentence
    assert "temperature 1: -4.0 points" in found.sentence


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (dict(gains={3: -0.05}), REPRODUCED),  # of the pretrained over the generator
        (dict(gains={3: 0.05}), CONTRADICTED),
        (dict(gains={3: -0.005}), INCONCLUSIVE),
        (dict(gains={3: -0.05}, half=0.08), INCONCLUSIVE),
        (dict(gains={3: -0.05}, problems=6), NOT_TESTABLE),
        (dict(gains={3: -0.05}, accuracy=0.0), NOT_TESTABLE),
    ],
)
def test_c17(case, verdict):
    assert judged.c17(open_table(**case)).verdict == verdict


def test_c17_is_generator_minus_pretrained():
    found = judged.c17(open_table({3: -0.05}))
    assert found[2:5] == pytest.approx((0.05, 0.04, 0.06))
    assert "+5.0 points (+4.0 to +6.0); within-problem AUC +0.025" in found.sentence


def test_verdicts_come_from_a_table_read_back(table, tmp_path):
    csv = tmp_path / "open_points.csv"
    for rows in (table, open_table()):
        rows.to_csv(csv, index=False)
        again = claims.judge_open_points(pd.read_csv(csv))
        assert str(again) == str(claims.judge_open_points(rows))
    assert claims.JUDGES["open"] is claims.judge_open_points


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
def test_drawn_whole_and_redrawn_byte_for_byte(case, tmp_path):
    table, name = TABLES[case], "open_points"
    figure, axes = figures.new_figure("open")
    figures.open_points(table, axes)
    files = figures.export(figure, table, "quick", name, {}, tmp_path)
    ink = figure.get_tightbbox(figure.canvas.get_renderer())  # in inches
    width, height = figure.get_size_inches()
    assert ink.x0 >= -0.01 and ink.x1 <= width + 0.01
    assert ink.y0 >= -0.01 and ink.y1 <= height + 0.01
    plt.close(figure)
    again = figures.redraw(tmp_path / "quick" / f"{name}.csv", tmp_path / "again")
    for old, new in zip(files, again, strict=False):
        assert old.read_bytes() == new.read_bytes(), old.name


def test_the_forest_draws_the_table():
    table = TABLES["three seeds"]
    figure, axes = figures.new_figure("open")
    left, right = figures.open_points(table, axes)
    labels = [text.get_text().split("  ")[-1] for text in left.get_yticklabels()]
    assert labels == [name for names in VARIANTS.values() for name in names]
    drawn = [bars.lines[0].get_xdata()[0] for bars in left.containers]
    means = table.dropna(subset="gain").groupby("variant", sort=False)["gain"].mean()
    np.testing.assert_allclose(drawn, 100 * means[labels])
    assert len(right.containers) == len(labels) - 1  # no AUC of finetuning
    assert "none" in [text.get_text() for text in right.texts]
    plt.close(figure)
