"""Seconds of each campaign of `make torture`, and that campaigns can fail."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from torture import expressions, inputs, kill, page, texts
from torture.campaigns import CAMPAIGNS
from torture.expressions import shunting_yard
from torture.inputs import Mistake

from gsmlib.environment import project_root
from gsmlib.method import answers, calculator
from gsmlib.method.decoding import Completion


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The record of a short run of everything, in a process that may be forked."""
    file = tmp_path_factory.mktemp("torture") / "torture.json"
    command = [sys.executable, "-m", "torture", "--short", "--seed", "1"]
    settings = dict(PYTHONPATH=str(Path(__file__).parent), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [*command, "--record", str(file)],
        env={**os.environ, **settings, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert file.exists(), done.stderr
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_short_campaign_finds_nothing(record, name):
    assert record["campaigns"][name]["failures"] == []


def test_what_a_short_campaign_tries(record):
    campaigns = record["campaigns"]
    assert campaigns["kill"]["runs"] == 1 and campaigns["corrupt"]["cases"] == 80
    assert campaigns["corrupt"]["recomputed"] >= 1
    assert campaigns["race"]["killed"] == 1 and campaigns["race"]["artifacts"] >= 10
    assert campaigns["expressions"]["evaluated"] > 10_000
    assert record["bad_inputs"] == len(inputs.MISTAKES) >= 40
    assert record["failures"] == 0 and record["seeds"]["kill"] == 1


def test_the_committed_page_is_written_from_the_committed_record():
    known = json.loads((project_root() / "docs" / "torture.json").read_text())
    text = (project_root() / "docs" / "torture.md").read_text()
    assert page.write_page(known) == text
    totals = page.totals(known["campaigns"])
    assert {name: known[name] for name in totals} == totals


# -------------------------------------------------------------- that campaigns can fail


def soon():
    return time.monotonic() + 30


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: Fraction(7),
        lambda text: None,
        lambda text: Fraction(shunting_yard(text)) if len(text) > 30 else None,
        lambda text: len(text) / 0,
    ],
)
def test_a_calculator_that_errs_is_found_out(monkeypatch, wrong):
    monkeypatch.setattr(calculator, "evaluate", wrong)
    assert expressions.run_expressions(1, 1, soon())[1]


def test_a_slow_expression_is_found_out(monkeypatch):
    evaluate = calculator.evaluate

    def slow(text):
        if text.startswith("((((("):
            time.sleep(0.02)
        return evaluate(text)

    monkeypatch.setattr(calculator, "evaluate", slow)
    faults = expressions.run_expressions(1, 1, soon())[1]
    assert any("ms" in fault for fault in faults)


def test_answers_that_err_are_found_out(monkeypatch):
    monkeypatch.setattr(answers, "final_number", lambda text: "7")
    assert texts.run_texts(1, 200, soon())[1]


def test_a_decoder_that_errs_is_found_out(byte_tokenizer):
    tokens = byte_tokenizer.encode("<<1+1=2>>")
    forced = [False] * 6 + [True] * 3
    right = Completion("", tokens, forced, 0.0, True)
    assert not texts.check_completion(byte_tokenizer, right, 20)
    value = right._replace(tokens=byte_tokenizer.encode("<<1+1=3>>"))
    silent = right._replace(forced=[False] * 9)
    for wrong in (value, silent):
        assert texts.check_completion(byte_tokenizer, wrong, 20)
    assert texts.check_completion(byte_tokenizer, right, 5)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda _: None, "nothing is said"),
        (lambda _: [][0], "IndexError"),
        (lambda _: inputs._computed(), "computing starts"),
        (lambda _: int("x"), "without"),
    ],
)
def test_a_mistake_without_its_sentence_is_found_out(make, fault, tmp_path):
    mistake = Mistake("here", "a mistake", make, ("epochs",))
    assert fault in inputs.commit(mistake, tmp_path)[1]


def test_work_is_lost_to_the_kill_that_lost_it():
    """By hand: b is lost to the first kill and done again only after the second."""
    done = [(1.0, "a"), (2.0, "b"), (5.0, "b"), (6.0, "c"), (7.0, "c"), (9.0, "a")]
    units = [kill.Unit(*each) for each in done]
    whole = Counter(a=2, b=1, c=1)  # two completions are alike: a tells nothing
    assert kill.lost_seconds(units, [2.5, 4.0], whole) == 0.5
    assert kill.lost_seconds(units, [2.5, 4.0, 6.75], whole) == 0.75
    assert kill.lost_seconds(units[:2] + units[3:4], [2.5], whole) == 0


# ------------------------------------------------------------------- the two algorithms


def test_the_other_algorithm_agrees_with_arithmetic():
    assert shunting_yard("2*(3+4)-10/4") == Fraction(23, 2)
    assert shunting_yard("--.5*-2") == -1
    assert shunting_yard("8//2/4") == 1 and shunting_yard("8//3") is None
    assert shunting_yard("1/(2-2)") is None


def test_grown_values_agree_with_the_other_algorithm():
    pool = expressions.grow_pool(random.Random(3), 400)
    known = [grown for grown in pool if grown.value is not None]
    assert len(known) > 300
    assert all(shunting_yard(grown.text) == grown.value for grown in known)
