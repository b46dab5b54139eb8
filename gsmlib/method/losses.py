"""What a model computes of a batch: scores, logits, losses; questions computed once.

The language loss at position t predicts token t + 1; the verifier's score at position t
judges the text up to and including token t. Question and padding never enter a
verifier's loss, nor the language loss beside it. Losses are means over their tokens in
the whole batch, of which the batches here may be parts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from gsmlib.method import attention
from gsmlib.method.batching import (
    IGNORE,
    ON_SOLUTION,
    Batch,
    Piece,
    Row,
    Targets,
    collate,
    cut_pieces,
    line_up,
)
from gsmlib.method.models import LanguageModel, Verifier
from gsmlib.method.recipe import EVALUATION_TOKENS
from gsmlib.records import Precision

CPU_TOKENS, GPU_TOKENS = 2048, 8192  # computed at once
LOGITS = 200_000_000  # values at once: 0.8 GB in float32
# Bytes x tokens x layers x width of what a CPU keeps for a backward pass: of
# SmolLM2-135M 1,041 tokens in float32, over 2 GB, or 2,048 in bfloat16. Rows of a
# larger piece also differ more in length, and attention keeps the longest's square.
KEPT = 72_000_000
TARGETS_STEP = 256  # logits are computed for multiples of so many positions

# ----------------------------------------------------------------------- forward passes


def language_model_of(model: nn.Module) -> PreTrainedModel:
    """The language model itself, or a Verifier's."""
    return model.language_model if isinstance(model, Verifier) else model


def make_pieces(
    model: nn.Module, rows: Sequence[Row], max_tokens: int = 0, *, share: bool = True
) -> list[Piece]:
    """Pieces in which a model computes rows, of `max_tokens` at most.

    0 is what fits while training: more tokens at once take memory, and gain little
    speed.
    """
    lm = language_model_of(model)
    config, embedding = lm.config.get_text_config(), lm.get_input_embeddings()
    weight = embedding.weight
    on_gpu = weight.device.type == "cuda"
    most = [GPU_TOKENS if on_gpu else CPU_TOKENS, LOGITS // embedding.num_embeddings]
    if max_tokens:
        most.append(max_tokens)
    elif not on_gpu:
        item = weight.itemsize * config.num_hidden_layers * config.hidden_size
        most.append(KEPT // item)
    share = share and attention.can_flatten(lm)
    return cut_pieces(rows, max(1, min(most)), share=share) if rows else []


def make_batch(
    model: nn.Module,
    rows: Sequence[Row],
    piece: Piece,
    pad_token: int,
    targets: Targets = ON_SOLUTION,
    weights: Sequence[int] | None = None,
) -> Batch:
    """The batch of a piece of `rows`: in a line, or padded where a model needs that."""
    few = [rows[i] for i in piece.rows]
    counts = None if weights is None else [weights[i] for i in piece.rows]
    if attention.can_flatten(language_model_of(model)):
        return line_up(few, pad_token, targets, counts, piece)
    return collate(few, pad_token, targets, counts)


def forward(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Scores (B, T) of a verifier, and logits (N, V) at the `places` of targets."""
    inputs, wanted = model_inputs(model, batch), places(batch)
    with logits_only_at(language_model_of(model), wanted):
        if isinstance(model, Verifier):
            return model(**inputs, with_logits=len(wanted) > 0)
        return None, model(**inputs, use_cache=False).logits


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """The arguments with which a model computes a batch."""
    # Causal attention hides right padding from every real token; a mask of ones says
    # that none is needed, which lets the fast attention kernels run.
    ids = batch.input_ids
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if batch.layout is None:
        return inputs
    assert attention.is_flat(language_model_of(model)), "see attention.flat"
    return inputs | {"position_ids": batch.position_ids, "layout": batch.layout}


def places(batch: Batch) -> Tensor:
    """Where in the flattened batch (B * T,) the language loss looks.

    As many as targets, rounded up to a TARGETS_STEP by places without one; none where
    there is no target.
    """
    wanted = batch.language_targets.flatten() != IGNORE
    n = min(attention.round_up(int(wanted.sum()), TARGETS_STEP), len(wanted))
    return wanted.int().argsort(descending=True, stable=True)[:n]


@contextmanager
def logits_only_at(model: PreTrainedModel, wanted: Tensor) -> Iterator[None]:
    """Within, the output embedding sees only the places `wanted` (N,) of B * T.

    Logits come out as (N, V): with 49,152 tokens, as SmolLM2 has, the output embedding
    is a large share of all work.
    """
    embedding = model.get_output_embeddings()
    handle = embedding.register_forward_pre_hook(
        lambda _, args: (args[0].flatten(0, 1).index_select(0, wanted),)
    )
    try:
        yield
    finally:
        handle.remove()


def in_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """The model itself, or for "bf16" a copy with its weights in bfloat16.

    A copy, where autocast would turn all weights at every pass: SmolLM2 learns 1.4
    times as fast. A verifier's head and all buffers stay as they are: frequencies of
    rotations in bfloat16 would put distant tokens elsewhere. A model that is in
    bfloat16 comes back as it is.
    """
    low = language_model_of(model).dtype == torch.bfloat16
    if precision == "fp32" or low:
        return model
    copied = deepcopy(model)
    for parameter in language_model_of(copied).parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return copied


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
    logits, targets = logits.flatten(0, -2), targets.flatten()
    counts = (targets != IGNORE).float()
    counts = counts if weights is None else counts * weights.flatten()
    return _CrossEntropy.apply(logits, targets, counts) / tokens


class _CrossEntropy(torch.autograd.Function):
    """Weighted nats (,) of logits (N, V) at targets (N,), computed in float32.

    A part of the rows at a time, with its gradient, which alone is kept: of a large
    vocabulary the whole in float32, and once more for every operation, is most of what
    a training holds.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        slopes, total = torch.empty_like(logits), weights.new_zeros(())
        targets = targets.clamp(min=0)[:, None]  # where IGNORE, the weight is 0
        whole = logits, targets, weights[:, None], slopes
        for some in zip(*(x.split(TARGETS_STEP) for x in whole), strict=True):
            few, target, weight, slope = some
            likely = few.float().log_softmax(-1)
            total -= (likely.gather(1, target) * weight).sum()
            likely.exp_().mul_(weight).scatter_add_(1, target, -weight)
            slope.copy_(likely)
        ctx.save_for_backward(slopes)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * gradient, None, None


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
        verifier += float((~batch.verifier_targets.isnan() * batch.weights).sum())
        wanted = batch.language_targets != IGNORE
        language += float((wanted * batch.weights).sum())
    return round(verifier), round(language)


def batch_losses(
    model: nn.Module,
    batch: Batch,
    loss: Literal["mse", "bce"] = "mse",
    tokens: Sequence[int | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """Verifier and language loss of a batch; a part without targets is 0.

    `tokens` are the two losses' denominators, by default the targets in this batch.
    """
    verifier = language = torch.zeros((), device=batch.input_ids.device)
    scores, logits = forward(model, batch)
    if logits is not None and len(logits):
        wanted = places(batch)
        few = (x.flatten()[wanted] for x in (batch.language_targets, batch.weights))
        targets, weights = few
        language = language_loss(logits, targets, tokens[1], weights)
    if scores is not None and not batch.verifier_targets.isnan().all():
        targets, weights = batch.verifier_targets, batch.weights
        verifier = verifier_loss(scores, targets, loss, tokens[0], weights)
    return verifier, language


# ---------------------------------------------------------------------------- test loss


@torch.inference_mode()
def evaluate_losses(
    lm: LanguageModel,
    rows: Sequence[Row],
    precision: Precision = "fp32",
) -> tuple[list[float], list[int]]:
    """Return the nats of each row's solution, no dropout, and its tokens (R,) both.

    The end token counts. The test loss is the sum of the first over that of the second.
    A question is computed once for those of its solutions that stand in a piece. In
    bfloat16 (`in_precision`) a row's nats depend a little on what is beside it.
    """
    check_lengths(lm.model, rows)
    model, was_training = in_precision(lm.model, precision), lm.model.training
    model.eval()
    rows = [row._replace(label=float("nan")) for row in rows]
    nats, tokens = np.zeros(len(rows)), np.zeros(len(rows), int)
    with attention.flat(model):
        for piece in make_pieces(model, rows, EVALUATION_TOKENS):
            batch = make_batch(model, rows, piece, lm.tokenizer.pad_token_id)
            owner, found = _nats_of_targets(model, batch.to(model.device))
            n = len(piece.rows)
            nats[piece.rows] = np.bincount(owner, found, minlength=n)
            tokens[piece.rows] = np.bincount(owner, minlength=n)
    lm.model.train(was_training)
    return nats.tolist(), tokens.tolist()


def _nats_of_targets(model: nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The nats of a batch's targets (N,), and which of its rows each belongs to."""
    wanted, (_, logits) = places(batch), forward(model, batch)
    targets = batch.language_targets.flatten()[wanted]
    parts = zip(logits.split(TARGETS_STEP), targets.split(TARGETS_STEP), strict=True)
    found = torch.cat(
        [F.cross_entropy(some.float(), few, reduction="none") for some, few in parts]
    )
    real = (targets != IGNORE).cpu().numpy()
    owner = np.searchsorted(batch.ends, wanted.cpu().numpy())
    return owner[real], found.double().cpu().numpy()[real]
