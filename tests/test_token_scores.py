"""Token scores: the cases' rule, calibration, side by side, and their figures."""

import re
from importlib import import_module

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from gsmlib.chapters import resolve, shared, textpage, verification, verifier_scores
from gsmlib.chapters.shared import scored_completions
from gsmlib.chapters.verifier_scores import CHAPTER, grid
from gsmlib.chapters.verifier_scores import figures as drawn
from gsmlib.chapters.verifier_scores.grid import (
    CASES,
    OUTCOMES,
    find_cases,
    readable,
    reliability,
    share_of_counts,
)
from gsmlib.method.intervals import mean_interval, tabulate, wilson
from gsmlib.study import results
from gsmlib.study.store import Store

matplotlib.use("agg")

TINY = dict(scale="smoke", test_problems=4, test_completions=3, seeds=[0, 1])
HOSTILE = '<script>alert("1")</script>&\n'


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def settings():
    return resolve("08_verifier_scores", **TINY)


# ------------------------------------------------------------------------------- cases


def test_the_most_extreme_of_each_kind_is_found():
    scores = np.array([[0.9, 0.1, 0.6], [0.2, 0.05, 0.95], [0.3, 0.8, 0.02]])
    correct = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]])
    cases = find_cases(scores, correct)
    found = {place: (case.problem, case.sample) for place, case in cases.items()}
    assert found == {1: (0, 0), 2: (1, 1), 3: (0, 1), 4: (2, 2), 5: (1, 2)}
    assert all(case.fits for case in cases.values())


def test_ties_go_to_the_first_problem_then_sample():
    scores, correct = np.full((3, 2), 0.7), np.array([[0, 1], [1, 1], [0, 1]])
    cases = find_cases(scores, correct)
    assert cases[1][2:] == (0, 1)
    assert cases[2][2:] == (1, 0) and cases[3][2:] == (2, 1)  # (0, 1) is shown
    assert not cases[2].fits and not cases[3].fits
    assert cases[5][2:] == (0, 0) and cases[5].fits
    assert cases[4][2:] == (2, 0), "what fits is not taken by what does not"


def test_a_kind_that_does_not_exist_is_replaced_or_left_out():
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    wrong = find_cases(scores, np.zeros((2, 2)))
    assert {place: case.fits for place, case in wrong.items()} == {4: True, 5: False}
    assert wrong[5][2:] == (1, 1)  # the nearest to 0.5
    one = find_cases(scores, np.array([[0, 0], [0, 1]]))
    assert set(one) == {2, 4, 5}, "a completion is shown once"


def test_cases_agree_with_a_search_over_all_completions():
    rng = np.random.default_rng(0)
    scores, correct = rng.random((20, 9)), rng.random((20, 9)) < 0.4
    best = {
        1: max(scores[correct]),
        2: min(scores[correct]),
        4: min(scores[~correct]),
        5: max(scores[~correct]),
    }
    cases = find_cases(scores, correct)
    for place, score in best.items():
        assert scores[cases[place].problem, cases[place].sample] == score
    others = np.arange(20) != cases[2].problem
    second = min(scores[others][correct[others]])
    assert scores[cases[3].problem, cases[3].sample] == second


# ------------------------------------------------------------------------- calibration


def test_bins_hold_every_score_and_their_share():
    scores = np.array([[0.0, 0.05, 0.1], [0.95, 1.0, 0.999]])
    rows = reliability(scores, np.array([[0, 1, 1], [1, 1, 1]]))
    means = [row["right"].mean for row in rows]
    assert [(row["bin"], row["count"]) for row in rows] == [(0, 2), (1, 1), (9, 3)]
    assert means == [0.5, 1, 1]
    assert rows[2]["score"] == pytest.approx(2.949 / 3)


def test_a_calibrated_verifier_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    scores = rng.random((400, 50))
    rows = tabulate(reliability(scores, rng.random(scores.shape) < scores), ["bin"])
    inside = rows["score"].between(rows["right_low"], rows["right_high"])
    assert len(rows) == 10 and np.mean(inside) >= 0.8


def test_limits_are_over_problems_not_completions():
    """A problem's completions that all agree are one piece of evidence, not fifty."""
    correct = np.repeat(np.arange(20)[:, None] % 2, 50, axis=1)
    row = tabulate(reliability(np.full(correct.shape, 0.5), correct)).iloc[0]
    assert row["right_high"] - row["right_low"] > 0.3
    (row,) = reliability(np.full(correct.shape, 0.5), np.zeros(correct.shape))
    assert tabulate([row])["right_high"].iloc[0] == pytest.approx(wilson(0, 20).high)


def test_a_share_of_many_counts_is_that_of_their_sums():
    """Against a bootstrap over problems, which differ in how many they count."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, size=300)
    right = rng.binomial(counts, rng.random(300))
    found = mean_interval(share_of_counts(right, counts))
    drawn = rng.integers(300, size=(4000, 300))
    shares = right[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert found.mean == pytest.approx(right.sum() / counts.sum())
    assert found[1:] == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=4e-3)


# ---------------------------------------------------------------- tables at scale smoke


def test_tables_rest_on_03s_artifacts(settings):
    """The same specs, and so the same keys, as Fig 5's point of that size."""
    whole = resolve("03_verification", **TINY)
    known = set(verification.CHAPTER.stages(whole))
    points = grid(settings)
    scores, greedy = {p.specs["scores"] for p in points}, points[0].specs["greedy"]
    assert [point.about["seed"] for point in points] == list(settings.seeds)
    assert scores <= known and greedy in known
    assert scores < set(CHAPTER.stages(settings))


def test_fig13s_table_has_a_row_per_token(settings, store):
    table = verifier_scores.token_score_table(settings, store)
    spec = grid(settings)[0].specs["scores"]
    scored = scored_completions(spec, store)
    by_place = scored.set_index(["problem", "sample"])
    assert len(table)
    for _, rows in table.groupby("place"):
        first = rows.iloc[0]
        completion = by_place.loc[first["problem"], first["sample"]]
        assert rows["score"].tolist() == list(completion["token_scores"])
        assert rows["score"].iloc[-1] == first["last"] == completion["last"]
        text = "".join(rows["token"]).replace("[end]", "")  # any special token
        assert text == readable(completion["text"])
        assert first["reference"].startswith("####") and first["question"]
        assert not rows["question"].iloc[1:].any()
    pd.testing.assert_frame_equal(
        table, verifier_scores.token_score_table(settings, store)
    )


def test_calibration_counts_every_completion(settings, store):
    table = verifier_scores.calibration_table(settings, store)
    assert (table.groupby("seed")["count"].sum() == 4 * 3).all()
    assert set(table["seed"]) == {0, 1}
    for seed, rows in table.groupby("seed"):
        spec = grid(settings)[seed].specs["scores"]
        scored = scored_completions(spec, store)
        errors = (scored["last"].clip(0, 1) - scored["correct"]) ** 2
        assert rows["brier"].iloc[0] == pytest.approx(errors.mean())


def test_side_by_side_counts_every_problem(settings, store, monkeypatch):
    """With labels that make every outcome occur, as no smoke model would."""
    specs = grid(settings)[0].specs
    spec, greedy = specs["scores"], specs["greedy"]
    real = {one: results.sample(one, store) for one in (greedy, spec.completions)}
    labels = {greedy: [1, 0, 1, 0], spec.completions: [0, 1, 1, 0]}

    def labelled(one, store):
        right = np.array(labels[one], dtype=bool)
        return real[one].assign(correct=right[real[one]["problem"]])

    for module in (shared, import_module("gsmlib.chapters.verifier_scores.grid")):
        monkeypatch.setattr(module, "sample", labelled)
    table = verifier_scores.side_by_side_table(settings, store)
    assert table["outcome"].tolist() == list(OUTCOMES)
    assert table["problem"].tolist() == [1, 0, 2, 3]
    assert (table["problems"] == 1).all() and (table["n_problems"] == 4).all()
    assert (table["n"] == 3).all() and (table["seed"] == 0).all()
    scores = results.score(spec, store).groupby("problem")["last"].max()
    assert table["score"].tolist() == scores[table["problem"]].tolist()


# ----------------------------------------------------------------------------- figures


SOURCE = {"dataset": "minigsm", "model": "mini-4m", "n_train": 4000, "n": 100}
SOURCE |= {"n_problems": 1319, "seed": 2}


def cases_table(places=(1, 2, 3, 4, 5), text="Kim has 3*4=<<3*4=12>>12.\n#### 12"):
    """Solutions of one text whose tokens' scores run from below 0 to above 1."""
    tokens = [*re.findall(r"\n| ?\w+|[^\w]", text), "null", "", "-" * 99, HOSTILE]
    rows = [
        SOURCE
        | {"place": place, "case": CASES[place - 1][0], "fits": place != 5}
        | {"problem": place, "sample": 0, "correct": place < 4, "last": 1 / 3}
        | {"question": "How many $ and <b>?" * 9 if i == 0 else ""}
        | {"reference": "#### 12", "token": token}
        | {"score": -0.1 + 1.2 * i / len(tokens)}
        for place in places
        for i, token in enumerate(tokens)
    ]
    return pd.DataFrame(rows)


def bins_table(seeds=3, bins=10):
    about = {"dataset": "minigsm", "model": "mini-4m", "n_train": 4000, "n": 100}
    about |= {"n_problems": 200, "brier": 0.08, "base_brier": 0.13}
    about |= {"within_auc": 0.7, "pooled_auc": 0.9}
    rows = [
        about
        | {"seed": seed, "bin": place, "count": 1 + 20_000 // 3**place}
        | {"score": (place + 0.5) / 10, "right": (place + seed / 2) / 11}
        | {"right_low": place / 12, "right_high": (place + 2) / 12}
        for seed in range(seeds)
        for place in range(bins)
    ]
    return pd.DataFrame(rows)


def solutions_table(outcomes=4):
    text = "Kim has 3*4=<<3*4=12>>12 apples and some more.\n#### 12\n" + "A" * 99
    rows = [
        SOURCE
        | {"outcome": outcome, "problems": 123, "problem": i}
        | {"question": "How much is $3? " * 9, "reference": "#### 1000000"}
        | {"finetuning": text, "finetuning_right": i in (1, 2)}
        | {"verification": text * 2, "verification_right": i in (0, 2), "score": 0.9}
        for i, outcome in enumerate(list(OUTCOMES)[:outcomes])
    ]
    return pd.DataFrame(rows)


TABLES = {
    "fig13_token_scores": cases_table(),
    "fig13_few": cases_table((4,)),
    "calibration_of_scores": bins_table(),
    "calibration_few": bins_table(1, 1).assign(within_auc=np.nan),
    "sidebyside_solutions": solutions_table(),
    "sidebyside_few": solutions_table(1),
}


def draw(name):
    return CHAPTER.draw(name.partition("_")[0], TABLES[name])


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_cut_off(name):
    figure = draw(name)
    figure.canvas.draw()
    ink = figure.get_tightbbox(figure.canvas.get_renderer())  # in inches
    width, height = figure.get_size_inches()
    assert ink.x0 >= -0.01 and ink.x1 <= width + 0.01
    assert ink.y0 >= -0.01 and ink.y1 <= height + 0.01
    plt.close(figure)


def texts_of(name):
    figure = draw(name)
    found = [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)
    return "".join(found)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("3+4=7\n#### 12", 1, "True positive: 12 is right; score"),
        ("3+4=7\n#### 7\n", 5, "False positive: 7 is wrong, 12 is right; score"),
        ("3+4=7\n#### $7\n", 5, "False positive: 7 is wrong, 12 is right; score"),
        ("3+4=12\nprice 12", 5, "False positive: no answer line, 12 is right; score"),
    ],
)
def test_a_case_says_what_was_answered(text, place, said):
    assert drawn.describe_case(cases_table((place,), text)).startswith(said)


def test_a_missing_kind_is_said():
    assert "there is no such completion" in texts_of("fig13_few")
    assert "in no problem" in texts_of("sidebyside_few")
    assert "chosen: right, score 0.90" in texts_of("sidebyside_solutions")
    for page in ("fig13_token_scores", "sidebyside_solutions"):
        told = texts_of(page)
        assert "MiniGSM, 1,319 test problems; mini-4m, 4,000 training problems" in told
        assert "100 completions each; seed 2." in told
    fallback = texts_of("fig13_token_scores")
    assert fallback.count("none beyond 0.5") == 1


def luminance(color):
    """Relative luminance of sRGB (IEC 61966-2-1)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgb(color)
    ]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_colours_keep_their_order_in_grey_and_text_can_be_read():
    faces = [luminance(ink.face) for ink in textpage.SCORE_INKS]
    lightness = 116 * np.cbrt(faces) - 16
    assert (np.diff(lightness) < -5).all()
    assert all(r >= g >= b for r, g, b in (to_rgb(i.face) for i in textpage.SCORE_INKS))
    for ink, face in zip(textpage.SCORE_INKS, faces, strict=True):
        light, dark = sorted([face, luminance(ink.color)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5  # WCAG's contrast


@pytest.mark.parametrize(
    ("score", "place"),
    [(-2.0, 0), (0.0, 0), (0.2, 1), (0.59, 2), (0.8, 4), (1.0, 4), (7.0, 4)],
)
def test_scores_fall_into_fifths(score, place):
    assert drawn.score_bin(score) == place


def test_the_legend_names_its_ends_and_what_lies_beyond():
    said = texts_of("fig13_token_scores")
    scores = TABLES["fig13_token_scores"]["score"]
    assert f"here {scores.min():.2f} to {scores.max():.2f}" in said
    assert "below 0.2" in said and "0.8 and up" in said


def test_a_long_question_is_shown_by_its_end():
    question = "Kim has 3 books. " * 9 + "How many books?"
    shown = drawn._end_of(question)
    assert shown.startswith("… ") and shown.endswith("How many books?")
    assert len(textpage.break_lines([textpage.Span(shown)])) == drawn.QUESTION_LINES
    assert drawn._end_of("How  many?") == "How many?"


def test_html_escapes_all_text_and_names_every_score():
    table = cases_table((1, 4))
    page = verifier_scores.token_score_html(table)
    tags = set(re.findall(r"</?([a-zA-Z]+)", page))
    assert tags == {"p", "b", "br", "ruby", "rt"}
    assert page.count("&lt;script&gt;") == 2 and "&quot;" in page
    assert re.findall(r"<rt>(.*?)</rt>", page) == [f"{x:.2f}" for x in table["score"]]


def test_what_cannot_be_printed_is_a_dot():
    assert readable("a\r\x00b\n\u200bc") == "a··b\n·c"


def test_long_lines_wrap_within_their_half():
    lines = drawn.wrap(solutions_table()["verification"][0], drawn.HALF)
    assert max(map(len, lines)) <= drawn.HALF
    assert "".join("".join(lines).split()) == "".join(
        solutions_table()["verification"][0].split()
    )


def test_calibration_draws_its_shares():
    figure = draw("calibration_of_scores")
    curve = figure.axes[0].containers[0].lines[0]
    shares = TABLES["calibration_of_scores"].groupby("bin")["right"].mean()
    np.testing.assert_allclose(curve.get_ydata(), 100 * shares)
    assert "Brier score 0.080" in figure.axes[0].get_title(loc="left")
    plt.close(figure)
