"""What a model computes of a batch: scores, logits, losses; questions computed once.

The language loss at position t predicts token t + 1; the verifier's score at position t
judges the text up to and including token t. Question and padding never enter a
verifier's loss, nor the language loss beside it. Losses are means over their tokens in
the whole batch, of which the batches here may be parts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from gsmlib.method.batching import IGNORE, Batch, Row, collate, cut_pieces, pad_prefixes
from gsmlib.method.models import LanguageModel, Verifier

# -------------------------------------------------------------- questions computed once


class Prefixes(NamedTuple):
    """What a model has computed of P prefixes, each for many rows to go on from."""

    keys_values: list[Tensor]  # (P, H, L, D): keys and values of the first layer, ...
    lengths: Tensor  # (P,)

    def detach(self) -> "Prefixes":
        """The same values as leaves, which gather the gradients of what follows."""
        leaves = [t.detach().requires_grad_() for t in self.keys_values]
        return Prefixes(leaves, self.lengths)

    def before(self, rows: Tensor) -> DynamicCache:
        """The cache for rows (B,) that go on from the prefixes of these numbers."""
        # A product with zeros and ones copies as exactly as index_select, whose
        # gradient is slow on CPUs and would sum many copies in bfloat16.
        choice = F.one_hot(rows, len(self.lengths)).to(self.keys_values[0].dtype)
        copies = [
            (choice @ tensor.flatten(1)).unflatten(1, tensor.shape[1:])
            for tensor in self.keys_values
        ]
        return DynamicCache(zip(copies[::2], copies[1::2], strict=True))


def read_prefixes(
    model: nn.Module, prefixes: Sequence[Sequence[int]], pad_token: int
) -> Prefixes:
    """Compute prefixes for many rows to go on from."""
    language_model = language_model_of(model)
    ids, lengths = pad_prefixes(prefixes, pad_token)
    ids, lengths = ids.to(language_model.device), lengths.to(language_model.device)
    # see `model_inputs` on the mask of ones
    output = language_model.base_model(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True
    )
    layers = output.past_key_values.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    return Prefixes(tensors, lengths)


def can_share(model: nn.Module) -> bool:
    """Whether rows can go on from a prefix: every layer keeps all keys and values.

    Where activations are computed twice to save memory, none are kept.
    """
    if any(getattr(m, "gradient_checkpointing", False) for m in model.modules()):
        return False
    config = language_model_of(model).config
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    return kinds == {DynamicLayer}


# ----------------------------------------------------------------------- forward passes


def language_model_of(model: nn.Module) -> PreTrainedModel:
    """The language model itself, or a Verifier's."""
    return model.language_model if isinstance(model, Verifier) else model


def forward(
    model: nn.Module, batch: Batch, prefixes: Prefixes | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Scores (B, T) of a verifier, and logits (N, V) at the N language targets."""
    inputs = model_inputs(batch, prefixes)
    wanted = batch.language_targets != IGNORE
    with logits_only_at(language_model_of(model), wanted):
        if isinstance(model, Verifier):
            return model(**inputs, with_logits=bool(wanted.any()))
        return None, model(**inputs, use_cache=prefixes is not None).logits


def model_inputs(batch: Batch, prefixes: Prefixes | None = None) -> dict[str, Any]:
    """The arguments with which a model computes a batch."""
    ids = batch.input_ids
    # Causal attention hides right padding from every real token; a mask of ones says
    # that none is needed, which lets the fast attention kernels run.
    mask = torch.ones_like(ids)
    if prefixes is None:
        return {"input_ids": ids, "attention_mask": mask}
    # padding between a prefix and its rows is not to be seen
    lengths = prefixes.lengths[batch.prefix_of]
    longest = prefixes.keys_values[0].shape[-2]
    seen = torch.arange(longest, device=ids.device) < lengths[:, None]  # (B, L)
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([seen.to(mask), mask], 1),
        "position_ids": batch.position_ids,
        "past_key_values": prefixes.before(batch.prefix_of),
    }


@contextmanager
def logits_only_at(model: PreTrainedModel, wanted: Tensor) -> Iterator[None]:
    """Within, the output embedding sees only the `wanted` (B, T) of N positions.

    Logits come out as (N, V): with 49,152 tokens, as SmolLM2 has, the output embedding
    is a large share of all work.
    """
    embedding = model.get_output_embeddings()
    handle = embedding.register_forward_pre_hook(lambda _, args: (args[0][wanted],))
    try:
        yield
    finally:
        handle.remove()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision for a block; nothing changes with "fp32".

    Not accelerate's own, which fixes one precision for the life of the process.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def max_piece(model: nn.Module) -> int:
    """Padded tokens computed at once: more takes memory, and gains little speed."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    vocabulary = language_model_of(model).get_input_embeddings().num_embeddings
    by_logits = 200_000_000 // vocabulary  # values: 0.8 GB in float32
    return max(1, min(8192 if on_gpu else 4096, by_logits))


def check_lengths(model: nn.Module, rows: Sequence[Row]) -> None:
    """Raise ValueError when a row is longer than the model has positions."""
    longest = max(len(row.tokens) for row in rows)
    config = language_model_of(model).config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise ValueError(
            f"A row has {longest} tokens, the model positions for {positions}."
        )


# ------------------------------------------------------------------------------- losses


def language_loss(
    logits: Tensor,
    targets: Tensor,
    tokens: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy in nats of logits (..., V) at the targets (...) not IGNORE.

    The mean over `tokens`: the number of targets in the batch that this is a part of,
    by default the number here. A target of weight w (...) counts as w targets.
    """
    tokens = (targets != IGNORE).sum() if tokens is None else tokens
    logits, targets = logits.flatten(0, -2).float(), targets.flatten()
    nats = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    return (nats if weights is None else nats * weights.flatten()).sum() / tokens


def verifier_loss(
    scores: Tensor,
    targets: Tensor,
    loss: Literal["mse", "bce"] = "mse",
    tokens: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Squared error or binary cross-entropy of scores (B, T) at the targets not nan.

    Squared error compares the head's output itself with the label; cross-entropy takes
    it as a logit. The mean over `tokens`, with `weights` (B, T), as in `language_loss`.
    """
    wanted = ~targets.isnan()
    scores, targets = scores[wanted].float(), targets[wanted]
    compare = F.mse_loss if loss == "mse" else F.binary_cross_entropy_with_logits
    tokens = len(targets) if tokens is None else tokens
    errors = compare(scores, targets, reduction="none")
    return (errors if weights is None else errors * weights[wanted]).sum() / tokens


def count_targets(batches: Sequence[Batch]) -> tuple[int, int]:
    """How many positions the verifier's and the language loss look at."""
    verifier = language = 0.0
    for batch in batches:
        weights = batch.weights[:, None]
        verifier += float((~batch.verifier_targets.isnan() * weights).sum())
        language += float(((batch.language_targets != IGNORE) * weights).sum())
    return round(verifier), round(language)


def batch_losses(
    model: nn.Module,
    batch: Batch,
    loss: Literal["mse", "bce"] = "mse",
    tokens: Sequence[int | None] = (None, None),
    prefixes: Prefixes | None = None,
) -> tuple[Tensor, Tensor]:
    """Verifier and language loss of a batch; a part without targets is 0.

    `tokens` are the two losses' denominators, by default the targets in this batch.
    """
    verifier = language = torch.zeros((), device=batch.input_ids.device)
    scores, logits = forward(model, batch, prefixes)
    weights = batch.weights[:, None].expand_as(batch.input_ids)
    if logits is not None:
        wanted = batch.language_targets != IGNORE
        targets = batch.language_targets[wanted]
        language = language_loss(logits, targets, tokens[1], weights[wanted])
    if scores is not None and not batch.verifier_targets.isnan().all():
        targets = batch.verifier_targets
        verifier = verifier_loss(scores, targets, loss, tokens[0], weights)
    return verifier, language


# ---------------------------------------------------------------------------- test loss


@torch.inference_mode()
def evaluate_loss(
    lm: LanguageModel,
    rows: Sequence[Row],
    batch_tokens: int,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> float:
    """Test loss: mean nats per solution token (end token included), no dropout.

    `batch_tokens` bounds the padded tokens computed at once.
    """
    check_lengths(lm.model, rows)
    device, was_training = lm.model.device, lm.model.training
    rows = [row._replace(label=float("nan")) for row in rows]
    pad_token = lm.tokenizer.pad_token_id
    max_tokens = min(batch_tokens, max_piece(lm.model))
    pieces = cut_pieces(rows, max_tokens, share=False)
    groups = [group.rows for piece in pieces for group in piece.groups]
    batches = [collate([rows[i] for i in group], pad_token) for group in groups]
    tokens = count_targets(batches)
    lm.model.eval()
    total = 0.0
    for batch in batches:
        batch = batch.to(device)
        with autocast(device, precision):
            total += float(batch_losses(lm.model, batch, tokens=tokens)[1])
    lm.model.train(was_training)
    return total
