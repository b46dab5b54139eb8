"""Model folders as people bring them: read whole, or refused in one sentence."""

import json
import re

import pytest
import torch
import transformers
from conftest import make_tiny_gpt2
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from gsmlib.method.models import (
    LanguageModel,
    load_language_model,
    load_saved_language_model,
    save_language_model,
)
from gsmlib.method.sizes import check_model, size_of
from gsmlib.records import SettingsError

IDS = torch.tensor([[5, 6, 7, 8, 9]])
SIZES = dict(
    vocab_size=258,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=400,
)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
LAYER = "model.layers.1.input_layernorm.weight"


def new_llama(kind=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    return kind(LlamaConfig(**SIZES, **changes)).eval()


@pytest.fixture
def llama(byte_tokenizer, tmp_path):
    """The folder of a Llama whose output embedding is its own."""
    save_language_model(LanguageModel(new_llama(), byte_tokenizer), tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture(params=["gpt2", "llama", "tied llama"])
def folder(request, byte_tokenizer, tmp_path):
    """The folder of a model of one of three kinds."""
    model = {
        "gpt2": lambda: make_tiny_gpt2(byte_tokenizer),
        "llama": new_llama,
        "tied llama": lambda: new_llama(tie_word_embeddings=True),
    }[request.param]()
    save_language_model(LanguageModel(model, byte_tokenizer), tmp_path / "own")
    return tmp_path / "own"


def rewrite(folder, change):
    """Put other weights in the place of a folder's: change(names and tensors)."""
    file = folder / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    save_file(change(weights), file, metadata={"format": "pt"})


def edit(folder, file="config.json", **changes):
    values = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(values | changes))


# ------------------------------------------------------------- other names of weights


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"module.model.{name}",
        lambda name: re.sub(r"(\.0)\.", r"\1._orig_mod.", name),
        lambda name: re.sub(r"(\.1)\.", r"\1._fsdp_wrapped_module.", name),
        lambda name: re.sub(r"(\.1)\.", r"\1._checkpoint_wrapped_module.", name),
    ],
    ids=["compile", "ddp", "ddp compile", "compile ddp", "a module's", "ddp a module's"]
    + ["compiled layer", "fsdp", "checkpointing"],
)
def test_what_wraps_a_model_is_no_part_of_its_weights_names(folder, rename, tmp_path):
    expected = load_language_model(str(folder)).model(IDS).logits
    rewrite(folder, lambda weights: {rename(k): v for k, v in weights.items()})
    lm = load_language_model(str(folder))
    assert torch.equal(lm.model(IDS).logits, expected)
    save_language_model(lm, tmp_path / "again")
    names = load_file(tmp_path / "again" / "model.safetensors")
    assert not any("_orig_mod" in n or n.startswith("module.") for n in names)
    again = load_saved_language_model(tmp_path / "again").model
    assert torch.equal(again(IDS).logits, expected)


def test_weights_under_unknown_names_are_refused(folder):
    rewrite(folder, lambda weights: {f"student.{k}": v for k, v in weights.items()})
    with pytest.raises(ValueError, match=r"missing in its files: .*there is student\."):
        load_language_model(str(folder))


def test_buffers_of_older_versions_are_no_matter(byte_tokenizer, tmp_path):
    model = make_tiny_gpt2(byte_tokenizer)
    save_language_model(LanguageModel(model, byte_tokenizer), tmp_path)
    masks = {"bias": torch.ones(1, 1, 9, 9), "masked_bias": torch.tensor(-1e4)}
    masks = {f"transformer.h.0.attn.{name}": value for name, value in masks.items()}
    rewrite(tmp_path, lambda weights: weights | masks)
    loaded = load_language_model(str(tmp_path)).model
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)


# --------------------------------------------------------- config and weights disagree


def without(name):
    def change(folder):
        rewrite(folder, lambda w: {k: v for k, v in w.items() if k != name})

    return change


def replaced(name, value):
    return lambda folder: rewrite(folder, lambda weights: weights | {name: value})


NORM = torch.ones(32)
DISAGREEING = {
    "a layer more": (lambda f: edit(f, num_hidden_layers=3), "model.layers.2."),
    "a layer less": (lambda f: edit(f, num_hidden_layers=1), LAYER),
    "wider": (lambda f: edit(f, intermediate_size=128), "down_proj.*(32, 64).*128"),
    "larger vocabulary": (lambda f: edit(f, vocab_size=260), "embed_tokens.*260"),
    "one weight missing": (without(LAYER), LAYER),
    "no output embedding": (without("lm_head.weight"), "lm_head.weight"),
    "biases": (
        replaced("model.layers.0.self_attn.q_proj.bias", NORM),
        "no place .*q_proj.bias",
    ),
    "norms": (
        replaced("model.layers.0.self_attn.q_norm.weight", NORM),
        "no place .*q_norm.weight",
    ),
    "another head": (replaced("score.weight", torch.ones(2, 32)), "score.weight"),
    "nan": (replaced(LAYER, NORM * float("nan")), "not finite"),
    "integers": (replaced(LAYER, NORM.to(torch.int8)), f"{LAYER} .*quantized .*I8"),
}


@pytest.mark.parametrize("what", DISAGREEING)
def test_weights_that_disagree_with_the_config_are_refused_by_name(what, llama):
    change, words = DISAGREEING[what]
    change(llama)
    with pytest.raises(ValueError, match=words) as refusal:
        load_language_model(str(llama))
    assert str(llama) in str(refusal.value) and "\n" not in str(refusal.value)


# ------------------------------------------------------------ no causal language models


def test_encoders_are_refused_and_decoders_are_not(byte_tokenizer, tmp_path):
    """By what they compute: the weights of an encoder fit a decoder's class."""
    encoder = BertForMaskedLM(BertConfig(**SIZES))
    decoder = BertLMHeadModel(BertConfig(**SIZES, is_decoder=True))
    save_language_model(LanguageModel(encoder, byte_tokenizer), tmp_path / "encoder")
    save_language_model(LanguageModel(decoder, byte_tokenizer), tmp_path / "decoder")
    load_language_model(str(tmp_path / "decoder"))
    with pytest.raises(ValueError, match="no causal language model .*BertForMaskedLM"):
        load_language_model(str(tmp_path / "encoder"))
    with pytest.raises(ValueError, match="no causal language model"):
        load_saved_language_model(tmp_path / "encoder")


def test_models_of_other_kinds_are_refused(byte_tokenizer, tmp_path):
    sizes = dict(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=258, **sizes))
    for name, model, words in (
        ("t5", t5, "no causal language model .*T5ForConditional"),
        ("base", new_llama(LlamaModel), "missing in its files: lm_head.weight"),
    ):
        save_language_model(LanguageModel(model, byte_tokenizer), tmp_path / name)
        with pytest.raises(ValueError, match=words):
            load_language_model(str(tmp_path / name))
    with pytest.raises(SettingsError, match="no causal language model"):
        size_of(str(tmp_path / "t5"))


# ------------------------------------------------------------------------------- files


def only(*kept):
    def change(folder):
        for file in folder.iterdir():
            if file.name not in kept:
                file.unlink()

    return change


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def sharded(change):
    """The weights in several files, then a change."""

    def both(folder):
        (folder / "model.safetensors").unlink()
        new_llama().save_pretrained(folder, max_shard_size="40KB")
        change(folder)

    return both


def second(folder):
    return sorted(folder.glob("model-*.safetensors"))[1]


def custom(folder):
    code = {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    edit(folder, model_type="x", auto_map=code)
    for name in ("configuration_x.py", "modeling_x.py"):
        (folder / name).write_text("raise SystemExit('code was run')")


def custom_tokenizer(folder):
    code = {"AutoTokenizer": ["tokenization_x.X", None]}
    edit(folder, "tokenizer_config.json", auto_map=code, tokenizer_class="X")
    (folder / "tokenization_x.py").write_text("raise SystemExit('code was run')")


UNUSABLE = {
    "an adapter alone": (
        lambda f: (only("tokenizer.json")(f), written("adapter_config.json", "{}")(f)),
        "PEFT adapter.*merge",
    ),
    "an adapter beside": (written("adapter_config.json", "{}"), "PEFT adapter.*merge"),
    "a tokenizer alone": (only("tokenizer.json"), "config.json is missing"),
    "nothing": (only(), "config.json is missing"),
    "no tokenizer": (only("config.json", "model.safetensors"), "no tokenizer"),
    "pickles": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "no safetensors weights",
    ),
    "another name": (
        lambda f: (f / "model.safetensors").rename(f / "weights.safetensors"),
        "neither model.safetensors nor",
    ),
    "a pointer": (written("model.safetensors", POINTER), "model.* `git lfs pull`"),
    "a config's pointer": (written("config.json", POINTER), "config.* `git lfs pull`"),
    "a tokenizer's pointer": (
        written("tokenizer.json", POINTER),
        "tokenizer.json .*`git lfs pull`",
    ),
    "half of it": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        "model.safetensors cannot be read",
    ),
    "an empty file": (written("model.safetensors", ""), "model.safetensors cannot be"),
    "a shard less": (sharded(lambda f: second(f).unlink()), "00002-of.* is missing"),
    "a shard's pointer": (sharded(lambda f: second(f).write_text(POINTER)), "git lfs"),
    "no index": (
        sharded(lambda f: (f / "model.safetensors.index.json").unlink()),
        "neither model.safetensors nor model.safetensors.index.json",
    ),
    "a list as config": (written("config.json", "[]"), "config.json is no model's"),
    "a broken config": (written("config.json", "{"), "config.json is no JSON"),
    "an unknown type": (lambda f: edit(f, model_type="nonsense"), "`nonsense`"),
    "no type": (written("config.json", "{}"), "model_type"),
    "custom code": (custom, "needs code of its own, which is never run"),
    "a custom tokenizer": (custom_tokenizer, "tokenizer .*needs code of its own"),
    "gptq": (
        lambda f: edit(f, quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantized .gptq",
    ),
    "bitsandbytes": (
        lambda f: edit(f, quantization_config={"quant_method": "bitsandbytes"}),
        "quantized .bitsandbytes",
    ),
    "mlx": (lambda f: edit(f, quantization={"bits": 4}), "are quantized"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_folders_that_are_no_model_are_refused_in_a_sentence(what, llama, monkeypatch):
    """Before anything is computed, and without a question on the terminal."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it was asked"))
    change, words = UNUSABLE[what]
    change(llama)
    for load in (load_language_model, load_saved_language_model):
        with pytest.raises(ValueError, match=words) as refusal:
            load(str(llama))
        sentence = str(refusal.value)
        assert str(llama) in sentence and "\n" not in sentence
        assert sentence.endswith(".")
    if what != "a custom tokenizer":  # it takes the tokenizer to see that
        with pytest.raises(SettingsError, match=words):
            check_model(str(llama))


def test_shards_are_read_whole(llama):
    expected = load_language_model(str(llama)).model(IDS).logits
    sharded(lambda folder: None)(llama)
    assert len(list(llama.glob("*.safetensors"))) > 1
    assert torch.equal(load_language_model(str(llama)).model(IDS).logits, expected)


def test_shards_elsewhere_are_refused(llama):
    """Their changes would not be seen: the files of a folder are its fingerprint."""
    sharded(lambda folder: None)(llama)
    index, name = llama / "model.safetensors.index.json", "sub/part.safetensors"
    first = sorted(llama.glob("*.safetensors"))[0]
    (llama / "sub").mkdir()
    first.rename(llama / name)
    index.write_text(index.read_text().replace(first.name, name))
    with pytest.raises(SettingsError, match="names sub/part.safetensors"):
        check_model(str(llama))


def test_what_is_loaded_leaves_the_verbosity_as_it_was(llama):
    before = transformers.utils.logging.get_verbosity()
    load_language_model(str(llama))
    assert transformers.utils.logging.get_verbosity() == before
