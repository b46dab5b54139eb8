"""Synthetic tables that should give each verdict, claim by claim."""

import numpy as np
import pandas as pd
import pytest

from gsmlib.chapters import rules, test_at_n, verification
from gsmlib.chapters.rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    REVERSED,
)
from gsmlib.chapters.shown import in_sentences
from gsmlib.chapters.test_at_n.verdicts import c2, c3
from gsmlib.chapters.verification.verdicts import c5, c6, c7, take_off
from gsmlib.method.intervals import mean_interval

SIZES = (250, 1000, 4000)
EPOCHS = 8


def with_limits(name, value, half):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def epochs_table(
    rise=0.1,
    fall=0.1,
    half=0.02,
    best=3,
    peak=3,
    accuracy=0.3,
    problems=200,
    seeds=3,
    overfits=0.3,
):
    """Curves of straight lines: the loss is least at `best`, test@n tops at `peak`."""
    rows = []
    for seed in range(seeds):
        for epoch in range(1, EPOCHS + 1):
            late = max(epoch - best, 0) / (EPOCHS - best)
            past = max(epoch - peak, 0) / max(EPOCHS - peak, 1)
            rows.append(
                {"seed": seed, "epoch": epoch, "n": 100, "n_problems": problems}
                | {"test_loss": 1 + abs(epoch - best) / 10}
                | {"test_at_1": accuracy + rise * late + min(epoch, best) / 1e3}
                | {"test_at_n": 0.8 - fall * past - abs(min(epoch - peak, 0)) / 50}
                | with_limits("rise", rise * late, half)
                | with_limits("fall", fall * past, half)
                | with_limits("loss_rise", overfits, 0.05)
            )
    return pd.DataFrame(rows)


def verification_table(
    gains, half=0.02, accuracy=0.3, problems=200, seeds=3, checks=0.1
):
    """gains: model -> gain at each of SIZES."""
    rows = []
    for rank, (model, by_size) in enumerate(gains.items()):
        for seed in range(seeds):
            for n_train, gain in zip(SIZES, by_size, strict=True):
                about = {"model": model, "parameters": 10**rank, "n_train": n_train}
                about |= {"seed": seed, "n_problems": problems}
                limits = with_limits("gain", gain, half)
                rows += [
                    about | {"method": "finetuning", "accuracy": accuracy},
                    about | {"method": "verification", "accuracy": accuracy + gain},
                ]
                rows[-1] |= limits | with_limits("over_random", checks, 0.02)
    return pd.DataFrame(rows)


PAPER_LIKE = {"small": (-0.1, -0.04, 0.15), "large": (-0.08, 0.08, 0.2)}


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(rise=0.1), REPRODUCED),
        (dict(rise=-0.1), REVERSED),
        (dict(rise=0.03, half=0.015), REPRODUCED),
        (dict(rise=0.01, half=0.005), NOT_REPRODUCED),  # surely, but next to nothing
        (dict(rise=0.0, half=0.01), NOT_REPRODUCED),
        (dict(rise=0.01, half=0.05), INCONCLUSIVE),
        (dict(overfits=0.09), NOT_TESTABLE),  # not surely by 5 % of the least loss
        (dict(overfits=0.11), REPRODUCED),
        (dict(accuracy=0.0, rise=0.0), NOT_TESTABLE),
        (dict(problems=6), NOT_TESTABLE),
    ],
)
def test_c2(settings, verdict):
    assert c2(epochs_table(**settings)).verdict == verdict


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (dict(fall=0.2), REPRODUCED),
        (dict(fall=0.2, peak=6), INCONCLUSIVE),
        (dict(fall=0.05, half=0.04), INCONCLUSIVE),
        (dict(fall=0.0, half=0.01), NOT_REPRODUCED),
        (dict(fall=0.1, rise=-0.2), INCONCLUSIVE),
        (dict(problems=6), NOT_TESTABLE),
        (dict(fall=0.2, accuracy=0.0, rise=0.0), NOT_TESTABLE),
    ],
)
def test_c3(settings, verdict):
    assert c3(epochs_table(**settings)).verdict == verdict


def test_a_loss_that_only_wavers_does_not_overfit():
    """From the epoch picked as least to the last it rises, surely above 0 at times."""
    rng = np.random.default_rng(0)
    lows = []
    for _ in range(100):
        wavering = rng.normal(0, 0.25, (3, 20, 400))  # around every problem's own loss
        nats = rng.exponential(1, 400) + wavering
        curves = zip(nats, nats.sum(axis=2).argmin(axis=1), strict=True)
        rises = [(run[-1] - run[least]) / run[least].mean() for run, least in curves]
        lows.append(mean_interval(np.array(rises), share=False).low)
    assert np.mean(np.array(lows) > 0) > 0.1 and max(lows) < rules.OVERFITS


@pytest.mark.parametrize(
    ("found", "what", "said"),
    [
        (1, "training-set sizes", "1 training-set size, fewer than 3"),
        (1, "numbers of completions", "1 number of completions, fewer than 3"),
        (2, "checkpoints of a verifier", "2 checkpoints of a verifier, fewer than 3"),
    ],
)
def test_too_few_are_counted_in_a_sentence(found, what, said):
    with pytest.raises(rules.NotTestable) as refusal:
        rules.require(found, 3, what)
    assert str(refusal.value) == said


def test_few_epochs_say_nothing():
    table = epochs_table()
    short = table[table["epoch"] <= 3]
    assert [row.verdict for row in test_at_n.CHAPTER.judge("fig3", short)] == [
        NOT_TESTABLE
    ] * 2


@pytest.mark.parametrize(
    ("first", "half", "verdict"),
    [
        (-0.05, 0.02, REPRODUCED),
        (0.1, 0.02, NOT_REPRODUCED),
        (0.01, 0.04, INCONCLUSIVE),
    ],
)
def test_c5(first, half, verdict):
    gains = {"small": (first, 0, 0.1), "large": (first, 0, 0.1)}
    assert c5(verification_table(gains, half)).verdict == verdict


def test_c5_says_nothing_where_nothing_helps_anywhere():
    found = c5(verification_table({"small": (-0.05,) * 3, "large": (-0.03,) * 3}))
    assert (found.verdict, found.value) == (NOT_TESTABLE, pytest.approx(-0.03))
    assert "at 250 training problems: small -5.0 points" in found.sentence
    assert "no model solves 2 % there and surely gains by" in found.sentence
    unsure = {"small": (0.01, 0, 0), "large": (0.01, 0, 0)}
    assert c5(verification_table(unsure, 0.04)).verdict == NOT_TESTABLE
    helped = {"small": (0.1, 0, 0), "large": (0.1, 0, 0)}  # seen without a boost
    assert c5(verification_table(helped)).verdict == NOT_REPRODUCED


def test_c5_asks_only_models_that_verification_helps_somewhere():
    one = {"small": (-0.05, 0, 0.1), "large": (-0.03, 0, 0.01)}
    found = c5(verification_table(one))
    assert (found.verdict, found.value) == (REPRODUCED, pytest.approx(-0.05))
    assert "large not asked" in found.sentence and "large -" not in found.sentence


def test_c5_does_not_ask_models_that_solve_nothing_on_the_smallest_set():
    table = verification_table({"small": (0, 0, 0.2), "large": (0.1, 0.1, 0.2)})
    dead = (table["model"] == "small") & (table["n_train"] == min(SIZES))
    assert c5(table).verdict == NOT_REPRODUCED
    alone = table[table["model"] == "small"].copy()
    assert c5(alone).verdict == INCONCLUSIVE  # 0 (-2.0 to 2.0)
    table.loc[dead, "accuracy"] = alone.loc[dead, "accuracy"] = 0.0
    found = c5(table)
    assert found.verdict == NOT_REPRODUCED and "small not asked" in found.sentence
    assert c5(alone).verdict == NOT_TESTABLE


def test_a_gain_of_one_model_alone_is_not_reversed():
    mixed = {"small": (0, 0, -0.1), "large": (0, 0, 0.2)}
    found = c6(verification_table(mixed))
    assert found.verdict == NOT_REPRODUCED
    assert "a gain of 5 points or more for every model is excluded" in found.sentence


def test_what_is_not_reproduced_says_what_is_excluded():
    lacking = c3(epochs_table(fall=0.0, half=0.01)).sentence
    assert lacking.endswith("; a fall of 2 points or more is excluded; 3 seeds.")
    assert "excluded" not in c3(epochs_table(fall=0.2)).sentence
    assert "excluded" not in c2(epochs_table(rise=-0.1)).sentence  # it is reversed


def test_every_word_has_one_sentence():
    assert list(rules.WORDS)[0] == REPRODUCED and len(rules.WORDS) == 5
    for meaning in rules.WORDS.values():
        assert meaning.endswith(".") and ". " not in meaning
    assert "2 points" in rules.WORDS[NOT_REPRODUCED]
    with pytest.raises(TypeError):
        rules.WORDS[REPRODUCED] = "always."


def test_what_cannot_be_judged_is_measured_all_the_same():
    table = epochs_table(rise=0.1, overfits=0.0)
    verdict = c2(table)
    assert verdict.verdict == NOT_TESTABLE
    assert verdict.low < verdict.value < verdict.high
    never = {"small": (-0.1, -0.1, -0.3), "large": (-0.1, -0.1, -0.2)}
    sentence = c7(verification_table(never)).sentence
    assert "small -30.0 points" in sentence and "large -20.0 points" in sentence


def test_one_model_that_is_helped_is_enough_against_c5():
    gains = {"small": (-0.05, 0, 0.1), "large": (0.1, 0.1, 0.1)}
    assert c5(verification_table(gains)).verdict == NOT_REPRODUCED


@pytest.mark.parametrize(
    ("last", "half", "verdict"),
    [
        (0.15, 0.05, REPRODUCED),
        (0.08, 0.04, INCONCLUSIVE),  # a sure gain, but not surely a strong one
        (0.0, 0.04, NOT_REPRODUCED),
        (-0.1, 0.04, REVERSED),
        (0.06, 0.1, INCONCLUSIVE),
    ],
)
def test_c6(last, half, verdict):
    gains = {"small": (0, 0, last), "large": (0, 0, last)}
    assert c6(verification_table(gains, half)).verdict == verdict


def test_c6_says_what_the_verifier_did_not_learn_from():
    table = verification_table(PAPER_LIKE)
    words = f"the verifier learnt from completions of {SIZES[-2]:,} of them"
    assert words not in c6(table).sentence
    fewer = table.assign(completed=table["n_train"].clip(upper=SIZES[-2]))
    assert words in c6(fewer).sentence
    assert c6(fewer).verdict == c6(table).verdict


def test_c7():
    swapped = {"small": PAPER_LIKE["large"], "large": PAPER_LIKE["small"]}
    never = {"small": (-0.1, -0.1, -0.1), "large": (-0.1, -0.1, -0.1)}
    cases = [
        (PAPER_LIKE, 0.02, REPRODUCED),
        (PAPER_LIKE, 0.4, INCONCLUSIVE),
        (swapped, 0.02, REVERSED),
        (never, 0.02, NOT_TESTABLE),
        ({"only": PAPER_LIKE["large"]}, 0.02, NOT_TESTABLE),
    ]
    for gains, half, verdict in cases:
        assert c7(verification_table(gains, half)).verdict == verdict


def test_a_model_that_learned_nothing_is_no_evidence():
    table = verification_table({"a": (0, 0, 0), "b": (0, 0, 0)}, accuracy=0.0)
    verdicts = verification.CHAPTER.judge("fig5", table)
    assert [row.verdict for row in verdicts] == [NOT_TESTABLE] * 3
    assert all(np.isnan(row.value) for row in verdicts)


def with_one_dead(gains):
    """Of two models the smaller solves nothing, and gains nothing, precisely."""
    table = verification_table({"small": (0, 0, 0)} | gains)
    small = table["model"] == "small"
    dead = {"accuracy": 0.0, "gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}
    gain = small & table["gain"].notna()
    for name, value in dead.items():
        table.loc[small if name == "accuracy" else gain, name] = value
    return table


def test_a_model_that_learned_nothing_decides_nothing_beside_one_that_did():
    words = "; small left out, solving less than 2 %"
    alone = {"large": PAPER_LIKE["large"]}
    expected = [(REPRODUCED, c5), (REPRODUCED, c6), (NOT_TESTABLE, c7)]
    for verdict, judged in expected:
        found = judged(with_one_dead(alone))
        assert (found.verdict, words in found.sentence) == (verdict, True)
        assert words not in judged(verification_table(PAPER_LIKE)).sentence
    three = {"middle": PAPER_LIKE["small"], "large": PAPER_LIKE["large"]}
    found = c7(with_one_dead(three))
    assert found.verdict == REPRODUCED and "middle" in found.sentence


def test_a_gain_without_a_verifier_that_checks_is_none_of_verification():
    for judged in (c5, c6, c7):
        found = judged(verification_table(PAPER_LIKE, checks=0.0))
        assert found.verdict == NOT_TESTABLE
        assert "no verifier here checks" in found.sentence


def test_take_off_is_where_gains_turn_positive_for_good():
    sizes = np.array([100, 200, 400])
    assert take_off(sizes, np.array([-1, 1, 1])) == pytest.approx(100 * 2**0.5)
    assert take_off(sizes, np.array([1, -1, 3])) == pytest.approx(200 * 2**0.25)
    assert take_off(sizes, np.array([1, 1, 1])) == 100
    assert take_off(sizes, np.array([1, 1, -1])) == np.inf


def test_the_interval_over_seeds_stands_on_all_their_rows():
    limits = {"gain_low": 0.05, "gain_high": 0.2}
    rows = pd.DataFrame([{"gain": gain, **limits} for gain in (0.0, 0.1, 0.2)])
    assert rules.over_seeds(rows, "gain") == pytest.approx((0.1, 0.05, 0.2))
    rows.loc[1, "gain_low"] = 0.06
    with pytest.raises(ValueError, match="hold 2 measurements of gain"):
        rules.over_seeds(rows, "gain")


def test_a_verdict_carries_everything():
    verdict = c6(verification_table(PAPER_LIKE))
    row = rules.ledger_row(verdict)
    assert set(row) >= {"id", "verdict", "value", "interval", "seeds", "paper"}
    assert row["seeds"] == 3 and row["paper"] == pytest.approx(0.2153)
    assert row["interval"][0] < row["value"] < row["interval"][1]
    text = in_sentences(verdict)
    assert "30x" in text and "+20.0 points" in text and "reproduced" in text


def test_a_row_without_numbers_is_plain_json():
    row = rules.ledger_row(c3(epochs_table(problems=6)))
    assert row["value"] is None and row["interval"] is None
