"""What models must be able to do: their tokenizers, caches, problems; before computing.

The rules themselves (`method.checks`), and that a study asks them first.
"""

import string

import pytest
import torch
from conftest import SPECIALS, make_tiny_gpt2, wrap_tokenizer
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel, WordPiece
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from gsmlib.chapters import resolve, test_at_n, verification
from gsmlib.data import Problem, load_problems
from gsmlib.method import checks
from gsmlib.method.models import LanguageModel, load_language_model, save_language_model
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.sizes import POSITIONS, positions_of
from gsmlib.method.tokenizer import END, SCORE, UNKNOWN, load_tokenizer
from gsmlib.records import SettingsError
from gsmlib.study.checks import check_shipped, check_specs
from gsmlib.study.specs import DataSpec, FinetuneSpec, PretrainSpec
from gsmlib.study.store import Store

MINI = load_tokenizer()
PRINTABLE = [*SPECIALS, *string.printable]


def new_wordpiece(lowercase):
    """As BERT's: spaces come back around every sign."""
    pieces = [*PRINTABLE, *(f"##{sign}" for sign in string.printable)]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIALS[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return wrap_tokenizer(tokenizer)


def new_characters(*merged, normalizer=None):
    """A token a character, but where one is joined to what stands before it."""
    vocabulary = {p: place for place, p in enumerate([*PRINTABLE, *merged])}
    pairs = [(joined[:-1], joined[-1]) for joined in merged]
    tokenizer = Tokenizer(BPE(vocabulary, pairs))
    tokenizer.decoder = decoders.Fuse()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(SPECIALS)
    return wrap_tokenizer(tokenizer)


# ----------------------------------------------------------------------- the tokenizer


def test_unknown_characters_are_not_the_end_of_a_text():
    ends = set(MINI.convert_tokens_to_ids([END, SCORE]))
    for text in ("5 € each", "café", "Ann’s – 2½", "日本", "\U0001f600"):
        tokens = MINI.encode(text)
        assert not ends & set(tokens)
        assert MINI.get_vocab()[UNKNOWN] in tokens
    assert MINI.eos_token_id not in MINI.encode(UNKNOWN)
    assert MINI.unk_token_id != MINI.eos_token_id


@pytest.mark.parametrize("make", [lambda: MINI, new_characters], ids=["mini", "signs"])
def test_tokenizers_that_spell_the_format_pass(make):
    checks.check_format(make(), "own")


def test_byte_level_tokenizers_pass(byte_tokenizer, bpe_tokenizer):
    for tokenizer in (byte_tokenizer, bpe_tokenizer):
        checks.check_format(tokenizer, "own")


LOSSES = {
    "lower case wordpiece": (lambda: new_wordpiece(True), "<<"),
    "cased wordpiece": (lambda: new_wordpiece(False), "####"),
    "line ends": (
        lambda: new_characters(normalizer=normalizers.Replace("\n", " ")),
        r"\\n",
    ),
    "a digit": (
        lambda: new_characters(normalizer=normalizers.Replace("7", "8")),
        "loses '7'",
    ),
    "hashes": (
        lambda: new_characters(normalizer=normalizers.Replace("####", "#")),
        "loses '####'",
    ),
    "equals": (lambda: new_characters(normalizer=normalizers.Replace("=", "")), "'='"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_what_a_tokenizer_loses_of_the_format_is_named(what):
    make, lost = LOSSES[what]
    with pytest.raises(SettingsError, match=f"tokenizer of own cannot .*{lost}"):
        checks.check_format(make(), "own")


@pytest.mark.parametrize("pair", ["=2", "=0", "=9"])
def test_a_vocabulary_that_joins_the_value_to_its_sign_is_refused(pair):
    with pytest.raises(SettingsError, match=f"joins the = of <<.*{pair}.*>>"):
        checks.check_format(new_characters(pair), "own")


@pytest.mark.parametrize("pair", ["3=", "=<", "=-", "= ", "=.", "24"])
def test_other_pairs_leave_the_calculator_its_place(pair):
    checks.check_format(new_characters(pair), "own")


def test_the_problems_own_annotations_are_tried_too():
    """Here = joins the value behind a parenthesis alone."""
    problem = Problem("How many?", "(1+1)=<<(1+1)=2>>2\n#### 2")
    checks.check_problems(new_characters(")="), "own", "some", [problem], 400)
    joining = new_characters(")=", ")=2")
    checks.check_format(joining, "own")
    with pytest.raises(SettingsError, match=r"joins the = of <<\(1\+1\)=2>>"):
        checks.check_problems(joining, "own", "some", [problem], 400)


# ------------------------------------------------------------------------- the problems


def test_problems_with_unknown_characters_are_refused():
    known = load_problems("minigsm", "test", 20)
    checks.check_problems(MINI, "mini-2m", "minigsm", known, 400)
    strange = Problem("Zoë pays 2 € for tea.", "2*1=<<2*1=2>>2\n#### 2")
    with pytest.raises(SettingsError) as refusal:
        checks.check_problems(MINI, "mini-2m", "own", [*known, strange], 400)
    assert "no token for 'ë' in the problem 'Zoë pays" in str(refusal.value)
    assert "1 of 21" in str(refusal.value) and "dataset" in str(refusal.value)


@pytest.mark.parametrize("place", ["question", "solution"])
def test_a_text_that_spells_the_end_token_is_refused(place):
    problem = Problem("How many?", "It is 2.\n#### 2")
    spelled = problem._replace(**{place: f"Say {END} now"})
    with pytest.raises(SettingsError, match="reads as its own mark '<.endoftext.>'"):
        checks.check_problems(MINI, "mini-2m", "own", [problem, spelled], 400)


def test_unknown_words_are_named_where_their_characters_are_known():
    words = ["How", "many", "2", "#", "?", "m", "a", "n", "y", "s", *SPECIALS]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=SPECIALS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = wrap_tokenizer(tokenizer)
    with pytest.raises(SettingsError, match="cannot read 1 of 1"):
        checks.check_problems(wrapped, "own", "own", [Problem("manys", "2")], 400)


def test_a_tokenizer_that_drops_characters_is_refused():
    """Without a token for what it does not know it would read 50% as 50."""
    signs = {sign: place for place, sign in enumerate([*SPECIALS, *"50# of"])}
    tokenizer = wrap_tokenizer(Tokenizer(BPE(signs, [])))
    kept = Problem("50 of 50", "50\n#### 50")
    checks.check_problems(tokenizer, "own", "own", [kept], None)
    with pytest.raises(SettingsError, match="no token for '%'"):
        checks.check_problems(
            tokenizer, "own", "own", [kept, Problem("50% of 50", "5\n#### 5")], None
        )


def test_questions_without_room_are_refused(byte_tokenizer):
    long = Problem("How many? " * 30, "2\n#### 2")
    checks.check_problems(byte_tokenizer, "own", "some", [long], 302)
    checks.check_problems(byte_tokenizer, "own", "some", [long], None)
    with pytest.raises(SettingsError) as refusal:
        checks.check_problems(byte_tokenizer, "own", "some", [long], 301)
    for words in ("max_length 301", "301 of its tokens", "1 of 1", "raise max_length"):
        assert words in str(refusal.value)


# ---------------------------------------------------------------------------- the model

SMALL = dict(
    vocab_size=258,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=400,
)
GROUPED = SMALL | dict(num_key_value_heads=1)


def new_mamba():
    sizes = dict(hidden_size=16, num_hidden_layers=1, state_size=4)
    return MambaForCausalLM(MambaConfig(vocab_size=258, **sizes))


def new_gemma():
    return Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=16))


MODELS = {
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=4)),
    "gemma2": new_gemma,
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_with_a_growing_cache_pass(kind, byte_tokenizer):
    lm = LanguageModel(MODELS[kind]().eval(), byte_tokenizer)
    checks.check_decoding(lm, "own")


def test_mamba_is_refused(byte_tokenizer):
    lm = LanguageModel(new_mamba().eval(), byte_tokenizer)
    with pytest.raises(SettingsError, match="type mamba.* no cache .* grows"):
        checks.check_decoding(lm, "own")


def test_a_cache_that_computes_something_else_is_refused(tiny_gpt2, monkeypatch):
    checks.check_decoding(tiny_gpt2, "own")
    step = checks.new_engine

    def worse(model):
        engine = step(model)
        add = engine.add
        engine.add = lambda *given: add(*given) + torch.arange(258) / 100
        return engine

    monkeypatch.setattr(checks, "new_engine", worse)
    with pytest.raises(SettingsError, match="something else of a text token by token"):
        checks.check_decoding(tiny_gpt2, "own")


def test_logits_that_the_head_cannot_scale_are_refused(tiny_gpt2, byte_tokenizer):
    checks.check_scoring(tiny_gpt2, "own")
    gemma = LanguageModel(new_gemma().eval(), byte_tokenizer)
    with pytest.raises(SettingsError, match="own cannot be a verifier: .*softcapping"):
        checks.check_scoring(gemma, "own")


# ---------------------------------------------------------------- before it is computed


def refused(tmp_path, words, chapter, name, **changes):
    """A chapter's table is refused in a sentence, and nothing has been computed."""
    settings = resolve(name, scale="smoke", **changes)
    with pytest.raises(ValueError, match=words) as refusal:
        chapter.table(settings, Store(tmp_path / "store"))
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")
    assert not list((tmp_path / "store").glob("*/*"))


@pytest.fixture
def own(tmp_path, byte_tokenizer):
    """What saves a model and returns its folder."""

    def save(model, tokenizer=byte_tokenizer):
        save_language_model(LanguageModel(model, tokenizer), tmp_path / "own")
        return str(tmp_path / "own")

    return save


def test_what_a_model_cannot_do_is_said_before_computing(own, tmp_path):
    at_n = (test_at_n, "02_test_at_n")
    refused(tmp_path, "no cache", *at_n, model=own(new_mamba()))
    cannot = "cannot be a verifier"
    refused(tmp_path, cannot, verification, "03_verification", models=own(new_gemma()))
    long = "of its tokens, and .* raise max_length"
    model = own(MODELS["gpt_neox"]())
    refused(tmp_path, long, *at_n, model=model, more="max_length=150")
    refused(tmp_path, "give 400 or less", *at_n, more="max_length=401")
    refused(tmp_path, "give 400 or less", *at_n, model=model, more="max_length=401")
    lost = make_tiny_gpt2(new_wordpiece(True))
    refused(tmp_path, "loses '<<'", *at_n, model=own(lost, new_wordpiece(True)))


def test_dropout_that_a_model_has_no_place_for_is_refused_first(own, tmp_path):
    sizes = dict(hidden_size=32, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2)
    model = own(OPTForCausalLM(OPTConfig(vocab_size=258, **sizes)))
    words = "'opt' has no residual dropout"
    given = dict(model=model, more="dropout=0.1")
    refused(tmp_path, words, test_at_n, "02_test_at_n", **given)


def finetuned(model, **data):
    training = TrainSettings(epochs=1, learning_rate=1e-3, batch_tokens=500)
    data = DataSpec(**dict(dataset="gsm8k", n_train=4, n_test=2) | data)
    return FinetuneSpec(model=model, data=data, training=training, keep_epochs=(1,))


GSM8K = {
    "train": [Problem("Ann’s cat?", "2*1=<<2*1=2>>2\n#### 2")] * 4,
    "test": [Problem("How many?", "It is 2\n#### 2")] * 2,
}


def test_which_models_read_which_data_is_said(monkeypatch, own, byte_tokenizer):
    """Of GSM8K a mini-GPT knows not all characters; a byte-level model does."""
    monkeypatch.setattr("gsmlib.data.gsm8k.load_gsm8k", lambda split: GSM8K[split])
    monkeypatch.setattr(
        "gsmlib.data._order", lambda split, size, dev, seed: range(size)
    )
    training = TrainSettings(epochs=1, learning_rate=1e-3, batch_tokens=500)
    more = dict(dataset="gsm8k", n_texts=4, training=training)
    for spec in (finetuned("mini-2m"), PretrainSpec(model="mini-2m", **more)):
        for check in (check_specs, check_shipped):
            with pytest.raises(SettingsError, match="mini-2m cannot read gsm8k: .*'’'"):
                check([spec])
    check_specs([finetuned(own(make_tiny_gpt2(byte_tokenizer)))])
    check_shipped([finetuned("smollm2-135m")])  # its tokenizer is not asked for
    check_specs([finetuned("mini-2m", dataset="minigsm")])


def test_positions_are_the_models_own(own):
    assert positions_of("mini-2m") == POSITIONS == positions_of("tiny:random")
    model = load_language_model("tiny:random").model
    assert model.config.n_positions == POSITIONS
    assert positions_of(own(MODELS["gpt_neox"]())) == 400
