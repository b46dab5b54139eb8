"""The second edition's pretraining: in order, resumable; and what is shipped."""

import json

import pytest
import torch
from safetensors.torch import load_file

from gsmlib.data.schoolwork import make_passage
from gsmlib.method import engine, schooling, training
from gsmlib.method.models import WEIGHTS, load_language_model
from gsmlib.method.schooling import RECIPES, Passages, pretrain
from gsmlib.method.tokenizer import load_tokenizer

NAME = "mini-0.2m"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(schooling, "PASSAGES", 8)
    monkeypatch.setattr(schooling, "BLOCK", 12)


def test_rows_are_the_passages_in_order_whatever_is_read_first():
    tokenizer = load_tokenizer()
    rows = Passages(tokenizer, 40)
    for index in (0, 30, 11, 12, 39):
        text = make_passage(schooling.TEXT_SEED, index).text
        assert tokenizer.decode(rows[index].tokens) == text + tokenizer.eos_token
    assert len(list(rows)) == 40


def test_a_run_learns_and_leaves_weights_and_their_record(tmp_path):
    record = pretrain(NAME, tmp_path, steps=12)
    assert json.loads((tmp_path / f"{NAME}.json").read_text()) == json.loads(
        json.dumps(record)
    )
    losses = list(record["loss"].values())
    assert losses[-1] < losses[0] - 0.5
    assert record["texts"] == 96 and record["settings"]["optimizer"] == "muon"


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    pretrain(NAME, tmp_path / "whole", steps=6)
    take_step, taken = training.take_step, []

    def stop(run):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(run)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "take_step", stop)
        patch.setattr(schooling, "SAVE_SECONDS", 0)
        pretrain(NAME, tmp_path / "cut", steps=6)
    record = pretrain(NAME, tmp_path / "cut", steps=6)
    file = f"{NAME}.safetensors"
    whole, cut = (load_file(tmp_path / x / file) for x in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert list(record["loss"]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_weights_and_records_agree(name):
    record = json.loads((WEIGHTS / f"{name}.json").read_text())
    recipe = RECIPES[name]
    assert record["settings"]["learning_rate"] == recipe.learning_rate
    assert record["texts"] == recipe.steps * 256
    lm = load_language_model(name)
    assert lm.model.num_parameters() == record["parameters"]
    assert list(record["held_out"].values())[-1] < 0.7
    assert type(engine.new_engine(lm.model)) is engine.Engine


@torch.inference_mode()
def test_a_shipped_model_copies_the_fact_that_it_is_to_quote():
    """After the line's first name: the sentence, in nine of ten lines at least."""
    lm = load_language_model("mini-2m")
    hits = []
    for index in range(2000, 2060):
        passage = make_passage(9, index)
        if passage.marks != "at the end" or not passage.lines:
            continue
        first = passage.lines[0].text
        sentence = first.split(". ")[0] + ("" if ". " not in first else ".")
        if sentence not in passage.told or len(sentence.split()) < 4:
            continue
        name = sentence.split(" ")[0]
        tokens = lm.tokenizer.encode(f"{passage.told}\n{name}")
        wanted = lm.tokenizer.encode(sentence.removeprefix(name))
        for _ in wanted:
            logits = lm.model(torch.tensor([tokens])).logits[0, -1]
            tokens.append(int(logits.argmax()))
        hits.append(tokens[-len(wanted) :] == wanted)
    assert len(hits) > 10 and sum(hits) >= 0.9 * len(hits)
