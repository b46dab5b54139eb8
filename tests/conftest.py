"""Shared fixtures: two tokenizers and a tiny random GPT-2."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from gsmlib.method.models import LanguageModel

SENTENCES = (
    "Tom has 3 apples. Ann has 4 times as many apples as Tom.",
    "How many apples do they have together?",
    "Ann has 4*3=<<4*3=12>>12 apples.\nTogether they have <<3+12=15>>15.\n#### 15",
    "It costs $2 = two dollars. He pays $<<2*3=6>>6 for three.\n#### 6",
)
SPECIALS = ["<|endoftext|>", "<|score|>"]


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers wants it, with end token and padding set."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIALS[0], pad_token=SPECIALS[0]
    )


def make_byte_tokenizer() -> PreTrainedTokenizerFast:
    """Two special tokens, then one token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(SPECIALS + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return wrap_tokenizer(tokenizer)


def make_bpe_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, with merged tokens such as ` apples` and `=<<`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    return wrap_tokenizer(tokenizer)


def make_tiny_gpt2(tokenizer, *, seed: int = 0, n_positions: int = 400, **settings):
    """Two layers, width 32, random weights scaled up so that choices are clear-cut."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=n_positions,
        n_embd=32,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
        attn_implementation="eager",  # as saved models of this width are loaded
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="session")
def byte_tokenizer():
    return make_byte_tokenizer()


@pytest.fixture(scope="session")
def bpe_tokenizer():
    return make_bpe_tokenizer()


@pytest.fixture
def tiny_gpt2(byte_tokenizer):
    """A fresh tiny GPT-2 over bytes, in evaluation mode."""
    return LanguageModel(make_tiny_gpt2(byte_tokenizer), byte_tokenizer)


@pytest.fixture
def tiny_bpe_gpt2(bpe_tokenizer):
    """The same over a real GPT-2-style byte-level BPE."""
    return LanguageModel(make_tiny_gpt2(bpe_tokenizer), bpe_tokenizer)
