"""Whether models can check: single steps, errors by class, the table of goals."""

import json

import numpy as np
import pytest
import torch

from gsmlib.chapters import resolve, verification
from gsmlib.chapters.verification import errors, regime
from gsmlib.data import checker
from gsmlib.data.schoolwork import TextKnobs, make_passage
from gsmlib.method import competence
from gsmlib.method.intervals import tabulate
from gsmlib.method.models import load_language_model
from gsmlib.study.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def smoke():
    """Scale smoke's settings with shipped weights, whose completions can be read."""
    more = "sizes=8,24 models=mini-0.2m learning_rates=2e-3"
    return resolve("03_verification", scale="smoke", more=more, max_length=400)


# ------------------------------------------------------------------- single steps


def test_steps_are_what_greedy_decoding_writes():
    """The fast way reads all steps in one pass; the slow one writes each by itself."""
    lm = load_language_model("mini-0.2m")
    knobs = TextKnobs(people=(6, 6), in_turn=0, quoted=1, marks=(1, 0, 0))
    seen = set()
    for index in range(12):
        text = make_passage(2, index, text=knobs).text
        found = list(competence.judge_steps(lm, text))
        for step, judged in zip(competence.find_steps(text), found, strict=True):
            parts = (step.quote, step.expression)
            slow = tuple(int(written(lm, text, part)) for part in parts)
            assert slow == judged, text[slice(*step.quote)]
            seen.add(slow)
    assert {(0, 1), (1, 1)} <= seen, "both right and wrong ones"


def written(lm, text, part):
    """Whether lm, given all text before a part, greedily writes that part."""
    before = lm.tokenizer.encode(text[: part[0]], add_special_tokens=False)
    wanted = lm.tokenizer.encode(text[: part[1]], add_special_tokens=False)
    tokens = list(before)
    with torch.inference_mode():
        while len(tokens) < len(wanted):
            logits = lm.model(input_ids=torch.tensor([tokens])).logits
            tokens.append(int(logits[0, -1].argmax()))
    return tokens == wanted


def test_a_model_that_knows_nothing_gets_no_step_right():
    table = competence.measure_steps(load_language_model("tiny:random"), passages=5)
    assert table["facts"].tolist() == list(competence.FACTS)
    assert not sum(map(sum, table["quoted"])) + sum(map(sum, table["computed"]))


def test_the_shipped_models_copy_and_compute():
    table = competence.measure_steps(load_language_model("mini-2m"), passages=6)
    for part in ("quoted", "computed"):
        assert np.mean([x for row in table[part] for x in row]) > 0.9, part


# ------------------------------------------------------------------ errors, by class


def test_errors_of_completions_are_the_checkers(smoke, store):
    table = verification.errors_table(smoke, store)
    assert set(table["error"]) == {errors.RIGHT, *checker.ERRORS}
    for share in ("sampled", "chosen", "likeliest"):
        sums = table.groupby(["model", "seed"])[share].sum()
        assert sums.to_numpy() == pytest.approx(1), share
    assert table["accepted"].dropna().between(0, 1).all()


def test_shares_are_of_each_problem():
    whole = np.array([[True, True, False], [False, False, False]])
    part = np.array([[True, False, True], [True, True, True]])
    assert errors.share_of(part, whole) == pytest.approx([0.5, np.nan], nan_ok=True)


# --------------------------------------------------------------------- the goals


def test_the_table_has_goals_for_the_largest_model_alone(
    smoke, store, tmp_path, monkeypatch
):
    monkeypatch.setattr(regime, "PASSAGES", 4)
    both = smoke.replace(
        models=("tiny:random", "mini-0.2m"), learning_rates=(1e-3,) * 2
    )
    table = verification.regime_table(both, store)
    judged = table[table["goal"] != ""]
    assert set(judged["model"]) == {"mini-0.2m"}
    assert set(judged["met"]) <= {"yes", "no"} and (table["met"] == "").any()
    assert len(judged) == 8
    limits = table.dropna(subset=["low"])
    assert limits["value"].between(limits["low"] - 1e-9, limits["high"] + 1e-9).all()
    (tmp_path / "regime.md").write_text(f"a\n{regime.BEGIN}\nold\n{regime.END}\nb\n")
    verification.write_regime(table, tmp_path)
    page = (tmp_path / "regime.md").read_text()
    assert page.startswith("a\n") and page.endswith("b\n") and "old" not in page
    assert page.count("\n| ") == len(table) + 2
    assert len(json.loads((tmp_path / "regime.json").read_text())) == len(table)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (regime.COPIES, "at least 0.97"),
        (regime.GREEDY_FEW, "at most 0.2"),
        (regime.GREEDY_MANY, "0.35 to 0.65"),
        (regime.ANY_OVER_MEAN, "at least 1.5"),
    ],
)
def test_goals_are_said(goal, words):
    assert regime._in_words(goal) == words


def test_a_model_that_solves_nothing_meets_no_goal():
    rows = list(regime._sampled(np.zeros((5, 4)), many=True))
    about = {"model": "mini-0.2m", "n_train": 24}
    told = tabulate([about | row for row in rows], ("quantity",))
    judged = regime._judge(told).set_index("quantity").loc["test@4 over the mean"]
    assert np.isnan(judged["value"]) and judged["met"] == "no"
