"""Next-token logits for many rows at once: the model's side of sampling.

Rows that enter together form a cohort of one age, so that no row's attention reads
another's longer past. Within a cohort a prompt is computed once, and its keys and
values kept once for all its rows; the linear layers see the rows of all cohorts as one
matrix. GPT-2 and Llama are computed here from the model's own weights (`Engine`); any
other architecture goes through transformers (`PlainEngine`), which is also the slow
path that tests compare with.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

BLOCK = 16  # tokens of room added to a cohort when it is full
PREFILL_TOKENS = 4096  # of prompts computed together
# private operations of torch: where they are missing F.linear serves
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)
PACKS = (
    ONEDNN
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
FIXED_ROTATIONS = ("default", "llama3")  # others change with the length of the text
TANH = partial(F.gelu, approximate="tanh")
GELUS = {"gelu": F.gelu, "gelu_new": TANH, "gelu_pytorch_tanh": TANH}  # GPT-2's


# One block's parts, as `Layer` has them; modules joined by + are one there.
PARTS = {
    GPT2LMHeadModel: "ln_1 attn.c_attn attn.c_proj ln_2 mlp.c_fc mlp.c_proj",
    LlamaForCausalLM: "input_layernorm "
    "self_attn.q_proj+self_attn.k_proj+self_attn.v_proj self_attn.o_proj "
    "post_attention_layernorm mlp.gate_proj+mlp.up_proj mlp.down_proj",
}


def new_engine(model: PreTrainedModel) -> "Engine | PlainEngine":
    """The fastest engine that computes this model, without rows as yet."""
    return Engine(_read(model)) if _can_read(model) else PlainEngine(model)


# -------------------------------------------------------------------- the two families


class Linear(NamedTuple):
    """x @ weight.T + bias; weight (out, in)."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        # PyTorch leaves float32 to MKL, half as fast as oneDNN on an AMD processor
        plain = x.device.type == "cpu" and x.dtype == torch.float32
        if self.weight.is_mkldnn or (ONEDNN and plain):
            return torch.ops.mkldnn._linear_pointwise(x, *self, "none", [], "")
        return F.linear(x, *self)

    def packed(self) -> "Linear":
        """The same, on a CPU in bfloat16 laid out once as its products read it.

        Otherwise every step would lay all weights out anew, for few rows' sake.
        """
        plain = self.weight.device.type == "cpu" and self.weight.dtype == torch.bfloat16
        if not (PACKS and plain):
            return self
        weight = self.weight.contiguous()  # GPT-2's lies the other way
        return Linear(torch.ops.mkldnn._reorder_linear_weight(weight), self.bias)


class Layer(NamedTuple):
    """One transformer block; `qkv` gives all query, then key, then value heads."""

    norm: Callable[[Tensor], Tensor]
    qkv: Linear
    out: Linear
    mlp_norm: Callable[[Tensor], Tensor]
    up: Linear
    down: Linear


@dataclass(frozen=True)
class Weights:
    """A model's own parameters, as `Engine` uses them."""

    heads: int
    kv_heads: int  # fewer than heads: grouped-query attention
    positions: int
    embed: Callable[[Tensor, Tensor], Tensor]  # of token ids and positions
    rotation: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    layers: list[Layer]
    activate: Callable[[Tensor], Tensor]
    norm: Callable[[Tensor], Tensor]
    vocabulary: Linear


def _can_read(model: PreTrainedModel) -> bool:
    """Whether `Engine` computes what this model does."""
    config = model.config
    if type(model) is LlamaForCausalLM:
        rope = model.model.rotary_emb.rope_type
        return config.hidden_act == "silu" and rope in FIXED_ROTATIONS
    if type(model) is not GPT2LMHeadModel:
        return False
    usual = config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
    known = config.activation_function in GELUS
    return usual and known and not config.add_cross_attention


def _read(model: PreTrainedModel) -> Weights:
    config, body = model.config, model.base_model
    is_gpt2 = type(model) is GPT2LMHeadModel
    parts, blocks = PARTS[type(model)].split(), body.h if is_gpt2 else body.layers
    layers = [Layer(*(_read_part(block, part) for part in parts)) for block in blocks]
    heads = config.num_attention_heads
    return Weights(
        heads=heads,
        kv_heads=heads if is_gpt2 else config.num_key_value_heads,
        positions=config.max_position_embeddings,
        embed=partial(_embed, body),
        rotation=None if is_gpt2 else body.rotary_emb,
        layers=layers,
        activate=GELUS[config.activation_function] if is_gpt2 else _swiglu,
        norm=body.ln_f if is_gpt2 else body.norm,
        vocabulary=Linear(model.lm_head.weight, None).packed(),
    )


def _embed(body: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
    if isinstance(body, GPT2Model):
        return body.wte(ids) + body.wpe(positions)
    return body.embed_tokens(ids)  # its positions are rotations


def _read_part(block: nn.Module, names: str) -> nn.Module | Linear:
    """A norm as it is, or linear modules as one."""
    modules = [block.get_submodule(name) for name in names.split("+")]
    module = modules[0]
    if isinstance(module, Conv1D):
        # GPT-2 stores (in, out)
        return Linear(module.weight.t(), module.bias).packed()
    if not isinstance(module, nn.Linear):
        return module
    bias = None if module.bias is None else torch.cat([m.bias for m in modules])
    return Linear(torch.cat([m.weight for m in modules]), bias).packed()


def _swiglu(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021), halves apart as in transformers."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


# ----------------------------------------------------------------------------- a cohort


class Cohort:
    """Rows that entered together: their prompts, and their own tokens' keys and values.

    G prompts of at most P tokens, padded on the right; R rows of `age` own tokens and
    room for C; N layers; K key heads of width D. Keys lie transposed, so that both
    products of attention read contiguous memory.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: Tensor, rows: Tensor):
        """keys (N, G, K, D, P), values (N, G, K, P, D); rows (R,) of prompt numbers."""
        self.keys, self.values, self.lengths, self.rows = keys, values, lengths, rows
        layers, _, heads, width, _ = keys.shape
        empty = keys.new_zeros((len(rows), heads, 0, width))
        # a tensor a layer: one takes the memory that another has just left
        self.own_keys, self.own_values = [empty.mT] * layers, [empty] * layers
        self.age = 0
        self._arrange()

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, kept: Tensor) -> None:
        """Keep the rows `kept` (places), and the prompts that they need."""
        for own in (self.own_keys, self.own_values):
            for layer, before in enumerate(own):  # one after the other: see __init__
                own[layer] = before[kept]
        needed, self.rows = self.rows[kept].unique(return_inverse=True)
        self.lengths = self.lengths[needed]
        if len(needed) < self.keys.shape[1]:
            self.keys, self.values = self.keys[:, needed], self.values[:, needed]
        self._arrange()

    def _arrange(self) -> None:
        """Lay the rows out by prompt: `grid` (G, W) of rows, and each row's column."""
        counts = self.rows.bincount(minlength=len(self.lengths))
        starts = counts.cumsum(0) - counts
        order = self.rows.argsort(stable=True)
        places = torch.arange(len(order), device=order.device)
        self.columns = torch.empty_like(order)
        self.columns[order] = places - starts[self.rows[order]]
        self.grid = order.new_zeros((len(counts), int(counts.max())))  # spare: row 0
        self.grid[self.rows, self.columns] = places
        size = self.keys.shape[-1]
        places = torch.arange(size, device=order.device)
        self.padding = self.keys.new_zeros((len(self.lengths), 1, size))
        self.padding.masked_fill_(places >= self.lengths[:, None, None], -torch.inf)
        self.padding = self.padding.repeat_interleave(self.keys.shape[2], dim=0)

    def begin(self) -> None:
        """Make room for one more token of every row."""
        room = self.own_keys[0].shape[-1]
        if self.age == room:  # no spare room beyond: bmm is slow on what has gaps
            shape = (*self.own_keys[0].shape[:-1], BLOCK)
            more = self.keys.new_zeros(shape)  # not empty: 0 times nan is nan
            for layer, keys in enumerate(self.own_keys):
                self.own_keys[layer] = torch.cat((keys, more), dim=-1)
                values = self.own_values[layer]
                self.own_values[layer] = torch.cat((values, more.mT), dim=-2)
            self.future = self.keys.new_zeros(room + BLOCK)
            self.future[room:] = -torch.inf
        self.future[self.age] = 0
        self.age += 1

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of each row's newest token to its prompt and to its own tokens.

        query (R, H, D), already scaled; key, value (R, K, D) join the cache. The rows
        of a prompt are one matrix product with it. The two parts are merged by their
        shares of the whole softmax's sum. Returns (R, H * D).
        """
        rows, heads, width = key.shape
        keys, values = self.own_keys[layer], self.own_values[layer]
        keys[..., self.age - 1], values[:, :, self.age - 1] = key, value
        query = query.reshape(rows, heads, -1, width).to(keys.dtype)  # by key head
        own, own_sum = _attend(
            query.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), self.future
        )
        shared, shared_sum = _attend(
            self._gather(query),
            self.keys[layer].flatten(0, 1),
            self.values[layer].flatten(0, 1),
            self.padding,
        )
        shared, shared_sum = self._scatter(shared), self._scatter(shared_sum)
        part = torch.sigmoid(shared_sum - own_sum.view_as(shared_sum)).to(keys.dtype)
        return torch.lerp(own.view_as(shared), shared, part).view(rows, -1)

    def _gather(self, x: Tensor) -> Tensor:
        """(R, K, S, X), S queries a key head, as (G * K, W * S, X): by prompt."""
        prompts, most = self.grid.shape
        grid = x[self.grid.flatten()].view(prompts, most, *x.shape[1:])
        return grid.transpose(1, 2).reshape(prompts * x.shape[1], -1, x.shape[-1])

    def _scatter(self, x: Tensor) -> Tensor:
        """The inverse of `_gather`."""
        prompts, most = self.grid.shape
        x = x.view(prompts, -1, most, x.shape[1] // most, x.shape[2])
        return x[self.rows, :, self.columns]


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of query (B, Q, D) to keys (B, D, T), values (B, T, D), and ln sum exp.

    The sum (B, Q, 1) is the largest score's exp divided by the largest weight.
    """
    scores = torch.bmm(query, keys).add_(mask)  # (B, Q, T)
    weights = scores.softmax(dim=-1, dtype=torch.float32)
    total = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()
    return torch.bmm(weights.to(values.dtype), values), total


# -------------------------------------------------------------------------- the engine


class Engine:
    """Rows of GPT-2 or Llama: `add` them, `step` with their tokens, `keep` the rest."""

    def __init__(self, weights: Weights):
        self.weights, self.cohorts = weights, []
        table = weights.vocabulary.weight
        # a processor multiplies a vector with a matrix faster in float32 than bfloat16
        self.cache_dtype = torch.float32 if table.device.type == "cpu" else table.dtype
        self.positions: list[Tensor] = []  # of each cohort's next tokens

    def add(self, prompts: Sequence[list[int]], counts: Sequence[int]) -> Tensor:
        """Append counts[i] rows of each prompt; return their logits (rows, V)."""
        device = self.weights.vocabulary.weight.device
        widest = max(map(len, prompts))
        ids = torch.tensor([p + [0] * (widest - len(p)) for p in prompts]).to(device)
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        size = max(1, PREFILL_TOKENS // widest)
        parts = [
            self._prefill(ids[start : start + size], lengths[start : start + size])
            for start in range(0, len(prompts), size)
        ]
        keys, values = (torch.cat([part[i] for part in parts], dim=1) for i in (1, 2))
        repeats = torch.tensor(list(counts), device=device)
        rows = torch.arange(len(prompts), device=device).repeat_interleave(repeats)
        self.cohorts.append(Cohort(keys, values, lengths, rows))
        self.positions.append(lengths[rows])
        return self.weights.vocabulary(torch.cat([part[0] for part in parts]))[rows]

    def step(self, tokens: Tensor) -> Tensor:
        """Give each row its next token (R,); return the logits (R, V) behind it."""
        for cohort in self.cohorts:
            cohort.begin()
        sizes = [len(cohort) for cohort in self.cohorts]

        def attend(layer: int, *heads: Tensor) -> Tensor:
            pieces = zip(*(part.split(sizes) for part in heads), strict=True)
            cohorts = zip(self.cohorts, pieces, strict=True)
            mixed = [cohort.attend(layer, *piece) for cohort, piece in cohorts]
            return torch.cat(mixed).to(heads[0].dtype)

        # a row that has stopped, but is still here, must not run out of positions
        positions = torch.cat(self.positions).clamp(max=self.weights.positions - 1)
        hidden = self._run(tokens, positions, attend)
        for places in self.positions:
            places += 1
        return self.weights.vocabulary(hidden)

    def keep(self, kept: Tensor) -> None:
        """Drop the rows where `kept` (R,) is false."""
        pieces = kept.split([len(cohort) for cohort in self.cohorts])
        for place, piece in enumerate(pieces):
            if not piece.all() and piece.any():
                self.cohorts[place].keep(piece.nonzero().squeeze(1))
                self.positions[place] = self.positions[place][piece]
        alive = [place for place, piece in enumerate(pieces) if piece.any()]
        self.cohorts = [self.cohorts[place] for place in alive]
        self.positions = [self.positions[place] for place in alive]

    def _prefill(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last hidden states (G, E), keys (N, G, K, D, P) and values of ids (G, P)."""
        prompts, widest = ids.shape
        keys, values = [], []

        def attend(layer: int, *heads: Tensor) -> Tensor:
            # (G * P, K, D) -> (G, K, P, D)
            query, key, value = (
                part.unflatten(0, (prompts, widest)).transpose(1, 2) for part in heads
            )
            # copies: a part would keep the whole that it was cut from
            keys.append(key.mT.to(self.cache_dtype, copy=True))
            values.append(value.to(self.cache_dtype, copy=True))
            share = query.shape[1] // key.shape[1]
            if share > 1:
                key, value = (x.repeat_interleave(share, 1) for x in (key, value))
            # padding stands behind every real token, so being causal hides it
            mixed = F.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=1.0
            )
            return mixed.transpose(1, 2).flatten(2).flatten(0, 1)

        positions = torch.arange(widest, device=ids.device).repeat(prompts)
        hidden = self._run(ids.flatten(), positions, attend).view(prompts, widest, -1)
        places = torch.arange(prompts, device=ids.device)
        return hidden[places, lengths - 1], torch.stack(keys), torch.stack(values)

    def _run(
        self, ids: Tensor, positions: Tensor, attend: Callable[..., Tensor]
    ) -> Tensor:
        """Hidden states (T, E) of tokens (T,); `attend` mixes them."""
        weights = self.weights
        x = weights.embed(ids, positions)  # (T, E)
        turn = None
        if weights.rotation is not None:
            cos, sin = weights.rotation(x, positions[None])
            turn = cos[0, :, None], sin[0, :, None]  # (T, 1, D)
        sizes = [weights.heads, weights.kv_heads, weights.kv_heads]
        for number, layer in enumerate(weights.layers):
            heads = layer.qkv(layer.norm(x)).unflatten(1, (sum(sizes), -1))
            turned, value = heads.split([sum(sizes[:2]), sizes[2]], dim=1)
            if turn is not None:
                turned = _rotate(turned, *turn)
            query, key = turned.split(sizes[:2], dim=1)
            query = query * query.shape[-1] ** -0.5
            x = x + layer.out(attend(number, query, key, value))
            x = x + layer.down(weights.activate(layer.up(layer.mlp_norm(x))))
        return weights.norm(x)


class PlainEngine:
    """The same three verbs for any causal LM of transformers: one cache a cohort.

    Every row has its own copy of its prompt's keys and values, padded on the left.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.cohorts: list[tuple[DynamicCache, Tensor]] = []  # and its mask (R, T)
        # a row that has stopped, but is still here, must not run out of positions
        self.last_position = getattr(model.config, "max_position_embeddings", 2**31) - 1
        # most models can compute the last position's logits alone; a prompt's are many
        signature = inspect.signature(type(model).forward).parameters
        self.only_last = {"logits_to_keep": 1} if "logits_to_keep" in signature else {}

    def add(self, prompts: Sequence[list[int]], counts: Sequence[int]) -> Tensor:
        """Append counts[i] rows of each prompt; return their logits (rows, V)."""
        widest, device = max(map(len, prompts)), self.model.device
        ids = torch.tensor([[0] * (widest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (widest - len(p)) + [1] * len(p) for p in prompts])
        cache = DynamicCache(config=self.model.config)
        logits = self._forward(ids.to(device), cache, mask.to(device))
        rows = torch.arange(len(prompts)).repeat_interleave(torch.tensor(list(counts)))
        rows = rows.to(device)
        cache.batch_select_indices(rows)
        self.cohorts.append((cache, mask.to(device)[rows]))
        return logits[rows]

    def step(self, tokens: Tensor) -> Tensor:
        """Give each row its next token (R,); return the logits (R, V) behind it."""
        pieces = tokens.split([len(mask) for _, mask in self.cohorts])
        self.cohorts = [
            (cache, F.pad(mask, (0, 1), value=1)) for cache, mask in self.cohorts
        ]
        return torch.cat(
            [
                self._forward(piece[:, None], cache, mask)
                for piece, (cache, mask) in zip(pieces, self.cohorts, strict=True)
            ]
        )

    def keep(self, kept: Tensor) -> None:
        """Drop the rows where `kept` (R,) is false."""
        pieces = kept.split([len(mask) for _, mask in self.cohorts])
        cohorts, self.cohorts = self.cohorts, []
        for (cache, mask), piece in zip(cohorts, pieces, strict=True):
            if piece.any():
                cache.batch_select_indices(piece.nonzero().squeeze(1))
                self.cohorts.append((cache, mask[piece]))

    def _forward(self, ids: Tensor, cache: DynamicCache, mask: Tensor) -> Tensor:
        positions = (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions.clamp(min=0, max=self.last_position),
            past_key_values=cache,
            use_cache=True,
            **self.only_last,
        )
        return output.logits[:, -1]
