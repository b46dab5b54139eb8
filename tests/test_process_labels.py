"""Labels of lines: the checker's, where lines end, what is learnt, the chapter."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from pydantic import ValidationError

from gsmlib.chapters import process_labels, resolve
from gsmlib.chapters.process_labels import CHAPTER
from gsmlib.chapters.process_labels.grid import (
    ARMS,
    OFFSETS,
    PAPERS,
    PROCESS,
    Lines,
    best_threshold,
    count_found,
    falls,
    found_errors,
    scores_at,
)
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.data import load_problems
from gsmlib.data.checker import check_solution, line_labels
from gsmlib.method import metrics
from gsmlib.method.batching import Targets, collate, make_row
from gsmlib.method.decoding import decode
from gsmlib.method.intervals import mean_interval
from gsmlib.method.losses import verifier_loss
from gsmlib.method.selection import NO_VERIFIER
from gsmlib.method.tokenizer import load_tokenizer
from gsmlib.method.verifier import line_ends, with_lines
from gsmlib.study import making, results, stages
from gsmlib.study.store import Store

QUESTION = (
    "Sam owns 9 pears. Ben has 3 more pears than Ada. Zoe owns 40 pears. "
    "Ada has 4 packs of 5 pears each. How many pears do Ben and Ada have together?"
)
ADA = "Ada has 4 packs of 5 pears each. So Ada has <<4*5=20>>20 pears."
BEN = "Ben has 3 more pears than Ada. Ben owns <<20+3=23>>23 pears."
BOTH = "Ben and Ada have <<23+20=43>>43 pears together."


# ----------------------------------------------------------------- the checker's labels


@pytest.mark.parametrize(
    ("lines", "right"),
    [
        ([ADA, BEN, BOTH, "#### 43"], 4),
        (["Zoe owns 40 pears.", ADA, BEN, BOTH, "#### 43"], 5),  # true, though idle
        ([ADA, ADA, BEN, BOTH, "#### 43"], 5),
        ([BEN, ADA, BOTH, "#### 43"], 0),  # not ready
        ([ADA, BEN.replace("23>>23", "24>>24"), BOTH, "#### 43"], 1),
        ([ADA, BEN, BOTH, "#### 44"], 3),
        ([ADA, BOTH, "#### 43"], 1),  # stopped early
        ([ADA, BEN], 1),  # no answer: the last line does not end it
        (["plums", ADA], 0),
    ],
)
def test_a_line_is_right_while_all_before_it_are(lines, right):
    labels = line_labels(QUESTION, "\n".join(lines))
    assert labels == [place < right for place in range(len(lines))]


def test_labels_agree_with_the_first_error_and_with_the_answer():
    for question, solution in load_problems("minigsm", "dev", 60):
        assert all(line_labels(question, solution))
        lines = solution.split("\n")
        for place in range(len(lines)):
            broken = "\n".join([*lines[:place], *lines[place + 1 :]])
            error, first = check_solution(question, broken)
            labels = line_labels(question, broken)
            assert error and labels.index(False) >= first
            assert error == "not needed" or labels.index(False) == first


# ------------------------------------------------------------ lines' ends, and targets


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
def test_lines_end_where_the_text_breaks(cut, byte_tokenizer, bpe_tokenizer):
    text = "Ann has 4*3=<<4*3=12>>12 apples.\n\nTogether <<3+12=15>>15.\n#### 15"
    for tokenizer in (byte_tokenizer, bpe_tokenizer, load_tokenizer()):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        tokens = tokens[: len(tokens) - cut] + [tokenizer.eos_token_id] * (cut == 0)
        ends, whole = line_ends(tokenizer, tokens), decode(tokenizer, tokens)
        assert len(ends) == len(whole.split("\n")) and ends[-1] == len(tokens) - 1
        for number, end in enumerate(ends[:-1], 1):  # by decoding ever longer texts
            before, upto = (decode(tokenizer, tokens[: end + i]) for i in (0, 1))
            assert before.count("\n") < number <= upto.count("\n")


def test_a_row_learns_its_lines_at_their_ends_alone(byte_tokenizer):
    prompt, text = byte_tokenizer.encode("Q?\n"), "a\nbc\n#### 1"
    solution = [*byte_tokenizer.encode(text), byte_tokenizer.eos_token_id]
    row = make_row(prompt, solution, 100, 1.0)
    lines = with_lines(byte_tokenizer, row, [True, False, False])
    _, targets = Targets(level="line").of(lines)
    places = np.flatnonzero(~np.isnan(targets)) - len(prompt)
    assert places.tolist() == [1, 4, len(solution) - 1]
    assert targets[places + len(prompt)].tolist() == [1, 0, 0]
    usual = with_lines(byte_tokenizer, row)
    assert [label for _, label in usual.lines] == [1.0] * 3
    scores = torch.rand(1, len(row.tokens))
    batch = collate([lines], 0, Targets(level="line"))
    by_hand = ((scores[0, places + len(prompt)].numpy() - [1, 0, 0]) ** 2).mean()
    loss = verifier_loss(scores, batch.verifier_targets)
    assert float(loss) == pytest.approx(by_hand, rel=1e-5)
    with pytest.raises(ValueError, match="3 lines have 2 labels"):
        with_lines(byte_tokenizer, row, [True, False])


def test_lines_that_are_cut_off_are_left_out(byte_tokenizer):
    solution = byte_tokenizer.encode("a\nbc\n#### 1")
    row = make_row([5, 6], solution, 6, 1.0)
    assert row.cut and decode(byte_tokenizer, row.tokens[2:]) == "a\nbc"
    lines = with_lines(byte_tokenizer, row, [True, True, False])
    assert lines.lines == ((3, 1.0), (5, 1.0))


# ---------------------------------------------------------------------------- the specs


@pytest.fixture(scope="module")
def settings():
    return resolve("14_process_labels", scale="smoke")


def test_arms_differ_in_level_and_labels_alone(settings):
    (point,) = process_labels.grid(settings)
    other = resolve("03_verification", scale="smoke").replace(
        models=(settings.model,),
        learning_rates=(settings.learning_rate,),
        sizes=(settings.n_train,),
    )
    from gsmlib.chapters import verification

    (usual,) = verification.grid(other)
    assert list(point.specs) == list(ARMS)
    assert point.specs[PAPERS] == usual.specs["scores"]
    for arm, spec in point.specs.items():
        level, labels = ARMS[arm]
        training = spec.verifier.training
        assert (training.level, spec.verifier.labels) == (level, labels)
        same = spec.verifier.replace(
            training=training.replace(level="token"), labels="outcome"
        )
        assert spec.replace(verifier=same) == point.specs[PAPERS]


def test_other_data_have_no_labels_of_lines(settings):
    released = resolve("14_process_labels", scale="smollm2")
    assert process_labels.grid(released) == []
    assert process_labels.table(released, Store()).empty
    for rule in (c.judge for c in CHAPTER.claims):
        assert rule(pd.DataFrame({"seed": []})).verdict == NOT_TESTABLE
    verifier = process_labels.grid(settings)[0].specs[PROCESS].verifier
    with pytest.raises(ValidationError, match="give level line"):
        verifier.replace(training=verifier.training.replace(level="token"))
    data = verifier.completions.generator.data.replace(dataset="gsm8k")
    generator = verifier.completions.generator.replace(data=data)
    completions = verifier.completions.replace(generator=generator)
    with pytest.raises(ValidationError, match="gsm8k has no process labels|GSM8K has"):
        verifier.replace(completions=completions)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def test_rows_carry_the_labels_of_their_lines(settings, store):
    specs = process_labels.grid(settings)[0].specs
    lm = results.load_finetuned(
        specs[PAPERS].verifier.base, settings.generator_epochs, store
    )
    results.obtain(specs[PAPERS].verifier.completions, store)
    made = results.sample(specs[PAPERS].verifier.completions, store)
    problems = stages.sampled_problems(specs[PAPERS].verifier.completions)
    expected = {
        "line, process": lambda r: line_labels(problems[r.problem].question, r.text),
        "line, outcome": lambda r: [r.correct] * len(r.text.split("\n")),
        "token, outcome": lambda r: [],
    }
    for arm, labels_of in expected.items():
        rows = making.verifier_rows(specs[arm].verifier, lm, store)
        for row, told in zip(rows, made.itertuples(), strict=True):
            labels = labels_of(told)
            assert row.cut or len(row.lines) == len(labels)
            assert [x for _, x in row.lines] == labels[: len(row.lines)]


def test_the_study_at_smoke(settings, store):
    table = process_labels.table(settings, store)
    around = process_labels.falls_table(settings, store)
    assert list(table["arm"]) == [*ARMS, *NO_VERIFIER.values()]
    assert len(around) == len(ARMS) * len(OFFSETS) * 2
    for figure, rows in (("lines", table), ("falls", around)):
        assert {v.verdict for v in CHAPTER.judge(figure, rows)} == {NOT_TESTABLE}
        plt.close(CHAPTER.draw(figure, rows))


# -------------------------------------------------------------------- where errors are


def make_lines(seed, sees=0.0, problems=30, n=6, most=5):
    """Completions of 1 to `most` lines; scores see the labels by so much."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most + 1, (problems, n))
    right = np.where(rng.random((problems, n)) < 0.4, counts, 0)
    right = np.where(right == 0, rng.integers(0, counts), right)
    place = np.arange(most)
    labels = (place < right[..., None]).astype(float)
    scores = sees * labels + (1 - sees) * rng.random(labels.shape)
    return Lines(np.where(place < counts[..., None], scores, np.nan), counts, right)


def by_hand(lines, threshold):
    hits = said = wrong = 0
    for i, j in np.ndindex(lines.counts.shape):
        length, right = lines.counts[i, j], lines.right[i, j]
        low = [k for k in range(length) if lines.scores[i, j, k] < threshold]
        said += bool(low)
        wrong += right < length
        hits += bool(low) and right < length and low[0] == right
    return hits, said, wrong


def test_errors_found_are_counted_as_by_hand():
    lines = make_lines(0, sees=0.3)
    for threshold in (0.1, 0.4, 0.7):
        counts = [part.sum() for part in count_found(lines, threshold)]
        assert tuple(counts) == by_hand(lines, threshold)
    best, known = best_threshold(lines), lines.scores[~np.isnan(lines.scores)]
    f1 = [2 * h / (s + w) for h, s, w in (by_hand(lines, t) for t in sorted(known))]
    hits, said, wrong = by_hand(lines, best)
    assert max(f1) - 0.03 < 2 * hits / (said + wrong) <= max(f1)


def test_a_score_that_sees_every_line_finds_every_error():
    for values in found_errors(make_lines(1, sees=1.0)).values():
        assert values.mean() == pytest.approx(1)
    blind = found_errors(make_lines(2))["f1"].mean()
    assert 0 < blind < 0.7 < found_errors(make_lines(2, sees=0.6))["f1"].mean()


def test_no_half_sets_its_own_threshold():
    lines = make_lines(3, sees=0.3)
    even = np.arange(len(lines.counts)) % 2 == 0
    parts = [Lines(*(part[here] for part in lines)) for here in (even, ~even)]
    hits, said, wrong = np.sum(
        [
            by_hand(judged, best_threshold(other))
            for judged, other in (parts, parts[::-1])
        ],
        axis=0,
    )
    assert found_errors(lines)["f1"].mean() == pytest.approx(2 * hits / (said + wrong))


def test_scores_around_an_error_are_paired_with_right_ones_there():
    lines = make_lines(4, sees=0.5)
    for offset in OFFSETS:
        wrong, right = scores_at(lines, lines.scores, offset)
        for i in range(len(lines.counts)):
            own, beside = [], []
            for j in range(lines.counts.shape[1]):
                place = lines.right[i, j] + offset
                if lines.right[i, j] == lines.counts[i, j] or place < 0:
                    continue
                others = [
                    lines.scores[i, k, place]
                    for k in range(lines.counts.shape[1])
                    if lines.right[i, k] == lines.counts[i, k] > place
                ]
                if place < lines.counts[i, j] and others:
                    own.append(lines.scores[i, j, place])
                    beside.append(np.mean(others))
            assert np.isnan(wrong[i]) == (not own) == np.isnan(right[i])
            if own:
                assert (wrong[i], right[i]) == pytest.approx(
                    (np.mean(own), np.mean(beside))
                )


def test_a_planted_fall_is_measured():
    lines = make_lines(5, problems=200)
    steps = np.where(np.arange(5) < lines.right[..., None], 0.9, 0.2)
    noise = np.random.default_rng(0).normal(0, 0.05, steps.shape)
    exists = np.arange(5) < lines.counts[..., None]
    seen = lines._replace(scores=np.where(exists, steps + noise, np.nan))
    wrong, right = falls(seen)
    found = mean_interval(wrong - right, share=False)
    assert found.low < 0.7 < found.high and found.high - found.low < 0.1
    blind = mean_interval(np.subtract(*falls(lines)), share=False)
    assert blind.low < 0 < blind.high


def test_a_ratio_by_problem_has_the_spread_of_the_ratio():
    rng = np.random.default_rng(6)
    whole = rng.integers(0, 9, 400)
    part = rng.binomial(whole, 0.3)
    values = metrics.ratio_by_problem(part, whole)
    assert values.mean() == pytest.approx(part.sum() / whole.sum())
    drawn = rng.integers(0, 400, (2000, 400))
    ratios = part[drawn].sum(axis=1) / whole[drawn].sum(axis=1)
    assert values.std() / 20 == pytest.approx(ratios.std(), rel=0.1)
    assert np.isnan(metrics.ratio_by_problem([0, 0], [0, 0])).all()


# ------------------------------------------------------------------------- the verdicts


def with_limits(name, value, half):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def arms_table(
    gain=0.0, f1=0.0, half=0.02, checks=0.1, problems=200, random=0.3, mixed=90
):
    rows = []
    for seed in range(3):
        about = {"seed": seed, "n": 8, "n_problems": problems, "dataset": "minigsm"}
        for arm in ARMS:
            row = about | {"arm": arm} | with_limits("over_random", checks, 0.02)
            row |= {"n_mixed": min(mixed, problems)}
            row |= with_limits("over_outcome", 0.01, 0.02) if arm == PROCESS else {}
            for name, value in (("accuracy", 0.5), ("sound", 0.4), ("f1", 0.3)):
                row[name], row[f"{name}_low"] = value, value - 0.05
                row[f"{name}_high"] = value + 0.05
            row |= {"low": 0.45, "high": 0.55, "precision": 0.3, "precision_low": 0.2}
            row |= {"precision_high": 0.4, "recall": 0.3, "recall_low": 0.2}
            row |= {"recall_high": 0.4}
            if arm != PAPERS:
                row |= with_limits("over_paper", gain, half)
                row |= with_limits("sound_over_paper", gain, half)
                row |= with_limits("f1_over_paper", f1, half)
            rows.append(row)
        for words in NO_VERIFIER.values():
            solved = {"accuracy": random, "low": random - 0.02, "high": random + 0.02}
            rows.append(about | {"arm": words} | solved)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(gain=0.05), REPRODUCED),
        (dict(gain=0.01, half=0.005), NOT_REPRODUCED),
        (dict(gain=-0.05), REVERSED),
        (dict(gain=0.02, half=0.05), INCONCLUSIVE),
        (dict(gain=0.05, checks=0.01), NOT_TESTABLE),
        (dict(gain=0.05, random=0.01), NOT_TESTABLE),
        (dict(gain=0.05, problems=6), NOT_TESTABLE),
    ],
)
def test_l1(settings, verdict):
    found, _ = CHAPTER.judge("lines", arms_table(**settings))
    assert (found.id, found.verdict) == ("L1", verdict)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(f1=0.2), REPRODUCED),
        (dict(f1=0.0, half=0.01), NOT_REPRODUCED),
        (dict(f1=-0.2), REVERSED),
        (dict(f1=0.2, problems=6), NOT_TESTABLE),
        (dict(f1=1.0, mixed=1), NOT_TESTABLE),  # one wrong solution, and it was found
    ],
)
def test_l2(settings, verdict):
    _, found = CHAPTER.judge("lines", arms_table(**settings))
    assert (found.id, found.verdict) == ("L2", verdict)


def falls_rows(fall=0.2, half=0.05, problems=200, mixed=90):
    rows = []
    for seed in range(3):
        for arm in ARMS:
            for offset in OFFSETS:
                for kind, score in (("wrong", 0.3), ("right", 0.8)):
                    row = {"seed": seed, "arm": arm, "offset": offset, "kind": kind}
                    row |= {"n_problems": problems, "dataset": "minigsm"}
                    row |= {"n_mixed": min(mixed, problems)}
                    row |= with_limits("score", score + offset / 100, 0.04)
                    if (kind, offset) == ("wrong", 0):
                        row |= with_limits("fall", fall, half)
                    rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(), REPRODUCED),
        (dict(fall=0.0, half=0.01), NOT_REPRODUCED),
        (dict(fall=-0.2), REVERSED),
        (dict(fall=0.03), INCONCLUSIVE),
        (dict(fall=np.nan), NOT_TESTABLE),
        (dict(fall=0.4, half=0.01, mixed=2), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
    ],
)
def test_l3(settings, verdict):
    (found,) = CHAPTER.judge("falls", falls_rows(**settings))
    assert (found.id, found.verdict) == ("L3", verdict)
    assert "0.20 " in found.sentence or settings


# -------------------------------------------------------------------------- the figures


def test_every_verifier_and_choice_is_drawn():
    top, bottom = CHAPTER.draw("lines", arms_table()).axes
    names = [label.get_text() for label in top.get_yticklabels()]
    assert names == [*ARMS, *NO_VERIFIER.values()]
    assert [label.get_text() for label in bottom.get_yticklabels()] == list(ARMS)
    assert top.get_legend_handles_labels()[1] == ["right answer", "sound"]
    assert bottom.get_legend_handles_labels()[1] == ["precision", "recall", "F1"]


def test_scores_fall_in_the_figure_as_in_the_table():
    panels = CHAPTER.draw("falls", falls_rows()).axes
    assert [panel.get_title(loc="right") for panel in panels] == [PAPERS, PROCESS]
    for panel in panels:
        wrong = panel.containers[1].lines[0].get_ydata()
        assert wrong == pytest.approx([28, 29, 30, 31, 32])
