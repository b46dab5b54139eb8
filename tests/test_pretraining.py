"""Pretraining in miniature, what is shipped, and the command that makes it."""

import json
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gsmlib import cli
from gsmlib.data.schoolwork import make_passage
from gsmlib.method import engine, models, pretraining, training
from gsmlib.method.models import MINI_SIZES, WEIGHTS, load_language_model, new_mini_gpt
from gsmlib.method.pretraining import RECIPES, Passages, pretrain
from gsmlib.method.tokenizer import load_tokenizer

NAME = "mini-0.2m"
SHIPPED = [WEIGHTS / f"{name}.safetensors" for name in RECIPES]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Eight passages a step, twelve of them made at once."""
    monkeypatch.setattr(pretraining, "PASSAGES", 8)
    monkeypatch.setattr(pretraining, "BLOCK", 12)


def weights_of(folder):
    return (folder / f"{NAME}.safetensors").read_bytes()


# ---------------------------------------------------------------------------- the rows


def test_rows_are_the_passages_in_order_whatever_is_read_first():
    tokenizer = load_tokenizer()
    rows = Passages(tokenizer, 40, seed=4)
    for index in (0, 30, 11, 12, 39):
        text = make_passage(4, index).text
        assert tokenizer.decode(rows[index].tokens) == text + tokenizer.eos_token
        assert rows[index].prompt_length == 1
    assert len(list(rows)) == len(rows) == 40
    with pytest.raises(IndexError, match="40 passages, not one of number 40"):
        rows[40]


def test_a_passage_that_is_too_long_loses_its_end(monkeypatch):
    tokenizer = load_tokenizer()
    whole = [row.tokens for row in Passages(tokenizer, 12)]
    monkeypatch.setattr(pretraining, "POSITIONS", 100)
    cut = [row.tokens for row in Passages(tokenizer, 12)]
    assert max(map(len, whole)) > 100 == max(map(len, cut))
    for long, short in zip(whole, cut, strict=True):
        assert list(short[:-1]) == list(long[: len(short) - 1])
        assert short[-1] == tokenizer.eos_token_id


# --------------------------------------------------------------------------- a tiny run


def test_a_run_leaves_weights_that_load_and_their_record(tmp_path, monkeypatch):
    record = pretrain(NAME, tmp_path / "new", steps=12)
    folder = tmp_path / "new"
    assert json.loads((folder / f"{NAME}.json").read_text()) == json.loads(
        json.dumps(record)
    )
    assert record["texts"] == 96
    rows = Passages(load_tokenizer(), 96)
    assert record["tokens"] == sum(len(row.tokens) for row in rows)
    settings = record["settings"]
    assert settings["learning_rate"] == RECIPES[NAME].learning_rate
    assert (settings["steps"], settings["passages_a_step"]) == (12, 8)
    losses = list(record["loss"].values())
    assert losses[-1] < losses[0] - 0.5
    monkeypatch.setattr(models, "WEIGHTS", folder)
    loaded = load_language_model(NAME).model
    assert record["parameters"] == loaded.num_parameters()
    fresh = new_mini_gpt(NAME, load_tokenizer()).model
    assert not torch.equal(loaded.lm_head.weight, fresh.lm_head.weight)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight


def test_the_seed_and_the_steps_decide_the_weights(tmp_path):
    pretrain(NAME, tmp_path / "one", steps=3)
    pretrain(NAME, tmp_path / "same", steps=3)
    pretrain(NAME, tmp_path / "seed", steps=3, seed=1)
    pretrain(NAME, tmp_path / "steps", steps=4)
    weights = [weights_of(folder) for folder in sorted(tmp_path.iterdir())]
    assert len(set(weights)) == 3
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "same")


@pytest.mark.parametrize("step", [0, 3])
def test_an_interrupted_run_goes_on_to_the_same_weights(step, tmp_path, monkeypatch):
    pretrain(NAME, tmp_path / "whole", steps=6)
    take_step, taken = training.take_step, []

    def stop(run):
        if len(taken) == step:
            raise KeyboardInterrupt
        taken.append(step)
        return take_step(run)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "take_step", stop)
        patch.setattr(pretraining, "SAVE_SECONDS", 0)
        pretrain(NAME, tmp_path / "cut", steps=6)
    assert not list((tmp_path / "cut").glob("*.safetensors"))
    record = pretrain(NAME, tmp_path / "cut", steps=6)
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert list(record["loss"]) == [1, 2, 3, 4, 5, 6]


def test_every_size_has_a_recipe():
    assert list(RECIPES) == list(MINI_SIZES)
    with pytest.raises(ValueError, match=r"'mini-9m'; choose mini-0\.2m, mini-0\.5m"):
        pretrain("mini-9m", WEIGHTS)


# ---------------------------------------------------------------------- what is shipped


def test_the_package_stays_small():
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 16e6
    names = {file.stem for file in WEIGHTS.glob("*.safetensors")}
    assert names == set(MINI_SIZES)
    records = {file.stem for file in WEIGHTS.glob("*.json")}
    assert records == {*MINI_SIZES, "tokenizer"}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_weights_and_records_agree_with_the_recipes(file):
    record = json.loads(file.with_suffix(".json").read_text())
    recipe = RECIPES[file.stem]
    assert record["model"] == file.stem
    assert record["settings"]["learning_rate"] == recipe.learning_rate
    assert record["settings"]["steps"] == recipe.steps
    assert record["texts"] == recipe.steps * 256
    weights = load_file(file)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert sum(weight.numel() for weight in weights.values()) == record["parameters"]
    lm = load_language_model(file.stem)
    assert lm.model.num_parameters() == record["parameters"]
    assert list(record["held_out"].values())[-1] < 0.7
    assert type(engine.new_engine(lm.model)) is engine.Engine
    with safe_open(file, "pt") as stored:
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118


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


# -------------------------------------------------------------------------- the command


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gsmlib", "pretrain", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


def test_the_command_pretrains_into_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, NAME, RECIPES[NAME]._replace(steps=2))
    assert run_command(monkeypatch, NAME) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "pretrained"
    for file in (folder / f"{NAME}.safetensors", folder / f"{NAME}.json"):
        assert file.is_file() and str(file) in printed
    assert "16 passages" in printed and "nats a token" in printed


def test_an_unknown_size_is_refused_in_a_sentence(monkeypatch, capsys):
    assert run_command(monkeypatch, "mini-9m") == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert all(name in printed.err for name in RECIPES)


def test_the_help_says_how_to_ship(monkeypatch, capsys):
    assert run_command(monkeypatch, "--help") == 0
    assert "gsmlib/weights" in " ".join(capsys.readouterr().out.split())
