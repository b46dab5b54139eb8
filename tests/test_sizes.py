"""Sizes of models: those with a name here, and of any other by its config."""

import huggingface_hub
import pytest
from huggingface_hub.utils import OfflineModeIsEnabled
from transformers import GPT2Config, LlamaConfig

from gsmlib.chapters import finetuning_scaling, resolve
from gsmlib.method.models import load_language_model
from gsmlib.method.sizes import MINI_SIZES, SIZES, Size, check_model, size_of
from gsmlib.records import SettingsError
from gsmlib.study import estimates
from gsmlib.study.estimates import (
    Work,
    all_epochs_fit,
    estimate_disk,
    estimate_memory,
    estimate_seconds,
)
from gsmlib.study.store import Store

LLAMA = LlamaConfig(
    vocab_size=1000,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize("name", [f"{n}:random" for n in ("tiny", *MINI_SIZES)])
def test_named_sizes_are_about_right(name):
    lm, size = load_language_model(name), size_of(name)
    config = lm.model.config
    assert (size.layers, size.width) == (config.n_layer, config.n_embd)
    assert size.millions == pytest.approx(lm.model.num_parameters() / 1e6, rel=0.5)
    assert size.vocabulary == pytest.approx(len(lm.tokenizer), rel=0.1)


def test_an_unknown_models_size_is_its_configs(tmp_path):
    LLAMA.save_pretrained(tmp_path)
    attention = 64 * 64 * 2 + 64 * 32 * 2
    layer = attention + 3 * 64 * 128 + 2 * 64
    parameters = 3 * layer + 64 + 2 * 1000 * 64
    assert size_of(str(tmp_path)) == Size(parameters / 1e6, 3, 64, 1000)


def test_a_folders_size_is_that_of_its_config_now(tmp_path):
    LLAMA.save_pretrained(tmp_path)
    before = size_of(str(tmp_path))
    type(LLAMA)(**{**LLAMA.to_dict(), "num_hidden_layers": 6}).save_pretrained(tmp_path)
    assert (before.layers, size_of(str(tmp_path)).layers) == (3, 6)


def test_a_7b_model_costs_what_7b_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "product_rate", lambda _: 1e11)
    config = LlamaConfig()  # Llama 2 7B's sizes
    config.save_pretrained(tmp_path)
    assert size_of(str(tmp_path)).millions == pytest.approx(6738, rel=0.001)
    big, gpt2 = (
        Work("train", model, 1e6, models=1) for model in (str(tmp_path), "gpt2")
    )
    assert estimate_memory(big) > 100e9 > 10 * estimate_memory(gpt2)
    assert estimate_seconds(big) > 50 * estimate_seconds(gpt2)
    assert estimate_disk(big) == pytest.approx(4 * 6.738e9, rel=0.001)


def test_what_there_is_no_config_of_is_refused_in_a_sentence():
    with pytest.raises(SettingsError) as refusal:
        size_of("no/such-model")
    sentence = str(refusal.value)
    assert "'no/such-model'" in sentence and "smollm2-135m" in sentence
    assert sentence.endswith(".") and "\n" not in sentence


def test_a_name_that_begins_as_ours_is_not_ours(tmp_path, monkeypatch):
    """Small models are told by their size, not by the letters of their name."""
    monkeypatch.chdir(tmp_path)
    GPT2Config(n_embd=2048, n_layer=24, n_head=16).save_pretrained("mini-giant")
    assert not all_epochs_fit("mini-giant", 20)
    assert all_epochs_fit("mini-4m", 20) and all_epochs_fit("smollm2-135m", 2)
    assert not all_epochs_fit("gpt2", 20)
    assert "mini-giant" not in SIZES


@pytest.mark.parametrize("name", ["tiny", "gpt2:random", "mini-9m", "mini-9m:random"])
def test_names_that_no_model_has_are_refused(name):
    with pytest.raises(SettingsError, match="known(| names): mini-0.2m"):
        size_of(name)
    with pytest.raises(SettingsError, match="known(| names): mini-0.2m"):
        check_model(name)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "HF_HUB_OFFLINE is set"),
        (ConnectionError("no route"), "the hub was asked in vain: no route"),
        (TimeoutError("10 s"), "the hub was asked in vain: 10 s"),
    ],
)
def test_the_hub_is_asked_once(monkeypatch, error, words):
    asked = []

    def answer(url, timeout):
        asked.append(url)
        raise error or OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    with pytest.raises(SettingsError, match=words):
        check_model("nobody/no-such-model")
    assert len(asked) == 1 and "nobody/no-such-model" in asked[0]


def test_a_folder_without_weights_is_refused_before_computing(tmp_path):
    LLAMA.save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="no safetensors weights"):
        check_model(str(tmp_path))


def test_nothing_is_computed_where_one_of_the_models_is_not_there(tmp_path):
    settings = resolve(
        "04_finetuning_scaling", scale="smoke", models="tiny:random,gpt2"
    )
    store = Store(tmp_path)
    with pytest.raises(SettingsError, match="'gpt2'"):
        finetuning_scaling.table(settings, store)
    assert not list(tmp_path.glob("*/*"))
