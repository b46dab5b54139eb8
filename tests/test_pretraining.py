"""Pretraining in miniature, what is shipped, and the command that makes it."""

import json
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gsmlib import cli
from gsmlib.data.webtext import make_web_text
from gsmlib.method import models, pretraining, schooling, training
from gsmlib.method.models import MINI_SIZES, WEIGHTS, load_language_model, new_mini_gpt
from gsmlib.method.pretraining import RECIPES, pretrain, web_rows
from gsmlib.method.tokenizer import load_tokenizer

NAME = "mini-0.1m"
SHIPPED = [WEIGHTS / f"{name}.safetensors" for name in RECIPES]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Sixty passages are then about ten steps."""
    monkeypatch.setattr(pretraining, "BATCH_TOKENS", 600)


def weights_of(folder):
    return (folder / f"{NAME}.safetensors").read_bytes()


# --------------------------------------------------------------------------- a tiny run


def test_rows_are_passages_with_their_end():
    tokenizer = load_tokenizer()
    rows = web_rows(tokenizer, 3, seed=4)
    texts = [tokenizer.decode(row.tokens) for row in rows]
    assert texts == [make_web_text(4, i) + tokenizer.eos_token for i in range(3)]
    assert all(row.prompt_length == 1 for row in rows)


def test_a_run_leaves_weights_that_load_and_their_record(tmp_path, monkeypatch):
    record = pretrain(NAME, tmp_path / "new", n_texts=60)
    folder = tmp_path / "new"
    assert json.loads((folder / f"{NAME}.json").read_text()) == json.loads(
        json.dumps(record)
    )
    assert record["texts"] == 60
    rows = web_rows(load_tokenizer(), 60, seed=1)
    assert record["tokens"] == sum(len(row.tokens) for row in rows)
    assert record["settings"]["learning_rate"] == RECIPES[NAME][1]
    losses = list(record["loss"].values())
    assert losses[-1] < losses[0] - 0.5
    monkeypatch.setattr(models, "WEIGHTS", folder)
    loaded = load_language_model(NAME).model
    assert record["parameters"] == loaded.num_parameters()
    fresh = new_mini_gpt(NAME, load_tokenizer()).model
    assert not torch.equal(loaded.lm_head.weight, fresh.lm_head.weight)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight


def test_the_seed_and_the_settings_decide_the_weights(tmp_path):
    pretrain(NAME, tmp_path / "one", n_texts=20)
    pretrain(NAME, tmp_path / "same", n_texts=20)
    pretrain(NAME, tmp_path / "seed", n_texts=20, seed=1)
    pretrain(NAME, tmp_path / "rate", n_texts=20, learning_rate=1e-3)
    pretrain(NAME, tmp_path / "bf16", n_texts=20, precision="bf16")
    weights = [weights_of(folder) for folder in sorted(tmp_path.iterdir())]
    assert len(set(weights)) == 4
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "same")


@pytest.mark.parametrize("step", [0, 3])
def test_an_interrupted_run_goes_on_to_the_same_weights(step, tmp_path, monkeypatch):
    pretrain(NAME, tmp_path / "whole", n_texts=40)
    take_step, train = training.take_step, pretraining.train
    taken = []

    def stop(run):
        if len(taken) == step:
            raise KeyboardInterrupt
        taken.append(step)
        return take_step(run)

    def save_often(*arguments, **options):
        return train(*arguments, **options, save_every_seconds=0)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "take_step", stop)
        patch.setattr(pretraining, "train", save_often)
        pretrain(NAME, tmp_path / "cut", n_texts=40)
    assert not list((tmp_path / "cut").glob("*.safetensors"))
    record = pretrain(NAME, tmp_path / "cut", n_texts=40)
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")
    assert next(iter(record["loss"])) == 1


def test_every_size_has_a_recipe():
    assert [*RECIPES, *schooling.RECIPES] == list(MINI_SIZES)
    with pytest.raises(ValueError, match="'mini-9m'; choose mini-0.1m, mini-0.3m"):
        pretrain("mini-9m", WEIGHTS)


# ---------------------------------------------------------------------- what is shipped


def test_the_package_stays_small():
    # both editions'; 16 MB once the first is gone
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 22e6
    names = {file.stem for file in WEIGHTS.glob("*.safetensors")}
    assert names == set(MINI_SIZES)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_weights_and_records_agree_with_the_recipes(file):
    record = json.loads(file.with_suffix(".json").read_text())
    texts, rate = RECIPES[file.stem]
    assert record["model"] == file.stem
    assert (record["texts"], record["settings"]["learning_rate"]) == (texts, rate)
    weights = load_file(file)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert sum(weight.numel() for weight in weights.values()) == record["parameters"]
    lm = load_language_model(file.stem)
    assert lm.model.num_parameters() == record["parameters"]
    assert list(record["loss"].values())[-1] < 0.25 * record["loss"]["1"]
    with safe_open(file, "pt") as stored:
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118


# -------------------------------------------------------------------------- the command


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gsmlib", "pretrain", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


def test_the_command_pretrains_into_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(pretraining, "RECIPES", {NAME: (20, 6e-3)})
    assert run_command(monkeypatch, NAME) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "pretrained"
    for file in (folder / f"{NAME}.safetensors", folder / f"{NAME}.json"):
        assert file.is_file() and str(file) in printed
    assert "20 passages" in printed and "nats a token" in printed


def test_an_unknown_size_is_refused_in_a_sentence(monkeypatch, capsys):
    assert run_command(monkeypatch, "mini-9m") == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert all(name in printed.err for name in RECIPES)


def test_the_help_says_how_to_ship(monkeypatch, capsys):
    assert run_command(monkeypatch, "--help") == 0
    assert "gsmlib/weights" in " ".join(capsys.readouterr().out.split())
