"""Attention among rows that lie end to end in one line of tokens.

Every linear layer sees the line, without padding between rows and always of nearly the
same length; only here are rows padded, to each other. A question that many rows share
lies in the line once. A model of transformers calls `attend` in the place of its own
attention, within `flat`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "gsmlib_flat"
TYPES = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3")  # all are tested
LENGTH_STEP, ROWS_STEP = 32, 2  # rows are padded to few shapes


class Layout(NamedTuple):
    """Where rows lie in a line of M tokens: heads, then rests, then padding.

    Heads are computed from their first token on: whole rows, and prefixes that rests
    go on from. Where a row is shorter than others its places point at token 0. A
    `_source` says where each token is found among its rows' places, laid end to end.
    """

    heads: Tensor  # (A, L): places of tokens
    head_source: Tensor  # (tokens of heads,)
    head_mask: Tensor  # (L, L): 0 or, where a token does not see another, -inf
    rests: Tensor  # (B, T), B is 0 where there are none
    rest_source: Tensor  # (tokens of rests,)
    rest_mask: Tensor  # (B, 1, T, L + T)
    choice: Tensor  # (B, A): 1 at the prefix that a rest goes on from, else 0

    def to(self, device: torch.device) -> "Layout":
        """The same layout on another device."""
        return Layout(*(tensor.to(device) for tensor in self))


def lay_out(
    heads: Sequence[int], rests: Sequence[int], prefix_of: Sequence[int]
) -> Layout:
    """The layout of rows of so many tokens; rest i goes on from head prefix_of[i]."""
    head_places, head_source = _places(heads, 0)
    rest_places, rest_source = _places(rests, sum(heads))
    length, longest = head_places.shape[1], rest_places.shape[1]
    prefixes = np.zeros(len(rest_places), np.int64)
    prefixes[: len(rests)] = prefix_of
    choice = np.zeros((len(rest_places), len(head_places)), np.float32)
    choice[np.arange(len(rests)), prefix_of] = 1
    hidden = np.zeros((len(rest_places), 1, longest, length + longest), bool)
    lengths = np.array(heads)[prefixes]
    hidden[..., :length] = np.arange(length) >= lengths[:, None, None, None]
    hidden[..., length:] = _later(longest)
    head_mask, rest_mask = (
        np.where(x, -np.inf, 0).astype(np.float32) for x in (_later(length), hidden)
    )
    arrays = head_places, head_source, head_mask, rest_places, rest_source, rest_mask
    return Layout(*map(torch.from_numpy, (*arrays, choice)))


def _places(lengths: Sequence[int], first: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of rows' tokens, padded to few shapes, and where each token is there."""
    if not len(lengths):
        return np.zeros((0, 0), np.int64), np.zeros(0, np.int64)
    lengths = np.array(lengths)
    shape = round_up(len(lengths), ROWS_STEP), round_up(lengths.max(), LENGTH_STEP)
    real = np.zeros(shape, bool)
    real[: len(lengths)] = np.arange(shape[1]) < lengths[:, None]
    places = np.zeros(shape, np.int64)
    places[real] = first + np.arange(lengths.sum())
    return places, np.flatnonzero(real)


def _later(length: int) -> np.ndarray:
    """Which tokens (T, T) stand behind each of T."""
    return np.triu(np.ones((length, length), bool), 1)


def round_up(n: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-n // step) * step


def can_flatten(model: PreTrainedModel) -> bool:
    """Whether `attend` computes what this model's own attention does."""
    config = model.config
    if config.model_type not in TYPES or getattr(config, "add_cross_attention", False):
        return False
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    return kinds == {DynamicLayer}  # none sees a part of the past alone


@contextmanager
def flat(model: PreTrainedModel) -> Iterator[None]:
    """Within, forward and backward passes of a model that can take a `layout`."""
    before = model.config._attn_implementation
    if can_flatten(model):
        model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def is_flat(model: PreTrainedModel) -> bool:
    """Whether the model takes a `layout` now."""
    return model.config._attn_implementation == NAME


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention (1, M, H, D) of each token to its row's, up to itself.

    query (1, H, M, D); key, value (1, K, M, D) with K heads, fewer where grouped.
    """
    assert layout is not None, "this attention is for rows in a line"
    width = query.shape[-1]
    scaling = width**-0.5 if scaling is None else scaling
    line = [x.transpose(1, 2).flatten(2)[0] for x in (query, key, value)]  # (M, H D)
    first = [_Gather.apply(x, layout.heads, layout.head_source, 0) for x in line]
    mixed, source = (
        _attend(*first, layout.head_mask, width, scaling),
        layout.head_source,
    )
    if len(layout.rests):
        before = len(layout.head_source)
        query, *own = [
            _Gather.apply(x, layout.rests, layout.rest_source, before) for x in line
        ]
        both = [
            torch.cat((_choose(layout.choice, x), y), 1)
            for x, y in zip(first[1:], own, strict=True)
        ]
        source = torch.cat((source, layout.rest_source + len(mixed)))
        more = _attend(query, *both, layout.rest_mask, width, scaling)
        mixed = torch.cat((mixed, more))
    out = _Place.apply(mixed, source, len(line[0]))
    return out.view(1, len(out), -1, width), None


def _choose(choice: Tensor, heads: Tensor) -> Tensor:
    """The head (L, C) that each rest goes on from: choice (B, A), heads (A, L, C).

    The product copies as exactly as index_select, whose gradient is slow on processors
    and would sum many copies in bfloat16.
    """
    chosen = choice.to(heads.dtype) @ heads.flatten(1)
    return chosen.unflatten(1, heads.shape[1:])


def _attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    width: int,
    scaling: float,
) -> Tensor:
    """(R T, H D) from query (R, T, H D) and keys and values (R, S, K D)."""
    query, keys, values = (
        x.unflatten(2, (-1, width)).transpose(1, 2) for x in (query, keys, values)
    )
    heads, mask = query.shape[1], mask.to(query.dtype)
    if keys.shape[1] < heads:
        share = heads // keys.shape[1]
        keys, values = (x.repeat_interleave(share, 1) for x in (keys, values))
    plain = torch.is_grad_enabled() or query.dtype == torch.bfloat16
    if query.device.type == "cpu" and plain:
        # to train and in bfloat16, plain products are faster: 1.25 and 1.3 times in all
        scores = (query * scaling) @ keys.mT
        scores += mask  # in place: it is the largest tensor of a layer
        mixed = scores.softmax(-1).to(values.dtype) @ values
    else:
        mixed = F.scaled_dot_product_attention(query, keys, values, mask, scale=scaling)
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)


class _Gather(torch.autograd.Function):
    """Tokens (M, C) at `places` (R, T), where `source` finds those from `before` on.

    Gradients come back by a gather too: index_select's own add one row at a time.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, places: Tensor, source: Tensor, before: int
    ) -> Tensor:
        ctx.save_for_backward(source)
        ctx.before, ctx.shape = before, x.shape
        return x.index_select(0, places.flatten()).unflatten(0, places.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (source,) = ctx.saved_tensors
        out = gradient.new_zeros(ctx.shape)
        some = gradient.flatten(0, 1).index_select(0, source)
        out[ctx.before : ctx.before + len(source)] = some
        return out, None, None, None


class _Place(torch.autograd.Function):
    """A line of `n` tokens (n, C): x (N, C) at `source`, and behind these zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(source)
        ctx.shape = x.shape
        out = x.new_zeros(n, x.shape[1])
        out[: len(source)] = x.index_select(0, source)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (source,) = ctx.saved_tensors
        out = gradient.new_zeros(ctx.shape)
        return out.index_copy_(0, source, gradient[: len(source)]), None, None


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
