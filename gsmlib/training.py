"""One training loop for language models and verifiers (section 4, appendix B).

Right padding throughout. The language loss at position t predicts token t + 1; the
verifier's score at position t judges the text up to and including token t. Question and
padding never enter a verifier's loss, nor the language loss beside it. Losses are means
over their tokens in the whole batch, however many pieces it is computed in.
"""

import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gsmlib.config import TrainSettings
from gsmlib.decoding import encode_prompt
from gsmlib.models import (
    RESIDUAL_DROPOUTS,
    LanguageModel,
    Verifier,
    keep_freed_memory,
)

IGNORE = -100  # a language target that no loss looks at; for verifier targets it is nan
SLICES = 2  # a batch is this many slices, each of rows of similar length
JITTER = 0.1  # lengths count as up to 10 % off when sorted, so that slices change
CHECKPOINT = "training.safetensors"
log = logging.getLogger(__name__)

EpochCallback = Callable[[int, dict[str, float]], None]


class Row(NamedTuple):
    """A tokenized problem with one solution.

    `label` is 1.0 or 0.0 for the verifier, nan for a language-model row; `cut` counts
    the tokens lost at the maximum length.
    """

    tokens: Sequence[int]
    prompt_length: int
    label: float = float("nan")
    cut: int = 0


class Batch(NamedTuple):
    """Rows padded to the longest, and what each position is to be compared with."""

    input_ids: Tensor  # (B, T)
    language_targets: Tensor  # (B, T): at t the token t + 1, or IGNORE
    verifier_targets: Tensor  # (B, T): the row's label, or nan


# ------------------------------------------------------------------------------- rows


def encode(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    solution: str,
    max_length: int,
    label: float = float("nan"),
) -> Row:
    """A row of question, solution and end token, cut at `max_length` tokens.

    Raises ValueError when the question leaves no room for a solution.
    """
    prompt = encode_prompt(tokenizer, question)
    tokens = tokenizer.encode(solution, add_special_tokens=False)
    return make_row(prompt, [*tokens, tokenizer.eos_token_id], max_length, label)


def make_row(
    prompt: list[int], solution: Sequence[int], max_length: int, label: float
) -> Row:
    """A row of prompt and solution tokens, cut at `max_length` (see `encode`)."""
    if len(prompt) >= max_length:
        raise ValueError(
            f"A question of {len(prompt)} tokens leaves no room for a solution within "
            f"{max_length} tokens."
        )
    assert len(solution), "a row needs at least one solution token"
    tokens = [*prompt, *solution]
    cut = max(0, len(tokens) - max_length)
    return Row(tokens[:max_length], len(prompt), label, cut)


def collate(
    rows: Sequence[Row],
    pad_token: int,
    *,
    loss_on_question: bool = False,
    level: Literal["token", "solution"] = "token",
) -> Batch:
    """Pad rows on the right and lay out their targets.

    A language row's targets are the solution's tokens with the end token, and the
    question's from its second on where `loss_on_question`. A labelled row's target is
    its label at every solution token with the end token (`level` "token"), or at the
    last token only ("solution").
    """
    shape = len(rows), max(len(row.tokens) for row in rows)
    ids = np.full(shape, pad_token, np.int64)
    language = np.full(shape, IGNORE, np.int64)
    verifier = np.full(shape, np.nan, np.float32)
    for i, row in enumerate(rows):
        end = len(row.tokens)
        ids[i, :end] = row.tokens
        if np.isnan(row.label):
            first = 1 if loss_on_question else row.prompt_length
            language[i, first - 1 : end - 1] = ids[i, first:end]
        else:
            first = row.prompt_length if level == "token" else end - 1
            verifier[i, first:end] = row.label
    return Batch(*map(torch.from_numpy, (ids, language, verifier)))


# ----------------------------------------------------------------------------- losses


def language_loss(logits: Tensor, targets: Tensor, tokens: int | None = None) -> Tensor:
    """Cross-entropy in nats of logits (..., V) at the targets (...) not IGNORE.

    The mean over `tokens`: the number of targets in the batch that this is a part of,
    by default the number here.
    """
    tokens = (targets != IGNORE).sum() if tokens is None else tokens
    logits, targets = logits.flatten(0, -2).float(), targets.flatten()
    total = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    return total / tokens


def verifier_loss(
    scores: Tensor,
    targets: Tensor,
    loss: Literal["mse", "bce"] = "mse",
    tokens: int | None = None,
) -> Tensor:
    """Squared error or binary cross-entropy of scores (B, T) at the targets not nan.

    Squared error compares the head's output itself with the label; cross-entropy takes
    it as a logit. The mean over `tokens`, as in `language_loss`.
    """
    wanted = ~targets.isnan()
    scores, targets = scores[wanted].float(), targets[wanted]
    compare = F.mse_loss if loss == "mse" else F.binary_cross_entropy_with_logits
    tokens = len(targets) if tokens is None else tokens
    return compare(scores, targets, reduction="sum") / tokens


@contextmanager
def logits_only_at(model: PreTrainedModel, wanted: Tensor) -> Iterator[None]:
    """Within, the output embedding sees only the `wanted` (B, T) of N positions.

    Logits come out as (N, V): with 49,152 tokens, as SmolLM2 has, the output embedding
    is a large share of all work.
    """
    handle = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0][wanted],)
    )
    try:
        yield
    finally:
        handle.remove()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision for a block; nothing changes with "fp32".

    Not accelerate's own, which fixes one precision for the life of the process.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def batch_losses(
    model: nn.Module,
    batch: Batch,
    loss: Literal["mse", "bce"] = "mse",
    tokens: tuple[int | None, int | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """Verifier and language loss of a batch; a part without targets is 0.

    `tokens` are the two losses' denominators, by default the targets in this batch.
    """
    zero = torch.zeros((), device=batch.input_ids.device)
    scores, logits = forward(model, batch)
    verifier = language = zero
    if logits is not None:
        targets = batch.language_targets
        language = language_loss(logits, targets[targets != IGNORE], tokens[1])
    if scores is not None and not batch.verifier_targets.isnan().all():
        verifier = verifier_loss(scores, batch.verifier_targets, loss, tokens[0])
    return verifier, language


def forward(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Scores (B, T) of a verifier, and logits (N, V) at the N language targets."""
    ids = batch.input_ids
    # Causal attention hides right padding from every real token; a mask of ones says
    # that none is needed, which lets the fast attention kernels run.
    mask = torch.ones_like(ids)
    wanted = batch.language_targets != IGNORE
    if not isinstance(model, Verifier):
        with logits_only_at(model, wanted):
            return None, model(ids, attention_mask=mask, use_cache=False).logits
    if not wanted.any():
        return model.forward_scores(ids, mask), None
    with logits_only_at(model.language_model, wanted):
        return model(ids, mask)


# ---------------------------------------------------------------------------- batching


def split_by_length(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Indices in groups of similar length, at most `max_tokens` each with padding.

    A group ends before padding exceeds a 16th of `max_tokens`: more than that costs
    more time than the fixed costs of another forward pass.
    """
    groups, start, total = [], 0, 0
    order = np.argsort(lengths, kind="stable")
    for i, length in enumerate(lengths[order].tolist()):
        padded = length * (i - start + 1)
        too_big = padded > max_tokens or padded - total - length > max_tokens // 16
        if i > start and too_big:
            groups.append(order[start:i])
            start, total = i, 0
        total += length
    return [*groups, order[start:]]


def max_piece(model: nn.Module) -> int:
    """Padded tokens computed at once: more takes memory, and gains little speed."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    vocabulary = _language_model(model).get_input_embeddings().num_embeddings
    by_logits = 200_000_000 // vocabulary  # values: 0.8 GB in float32
    return max(1, min(8192 if on_gpu else 4096, by_logits))


def plan_epoch(
    lengths: np.ndarray, batch_tokens: int, seed: Sequence[int]
) -> list[np.ndarray]:
    """Cut an epoch into ceil(tokens / batch_tokens) batches of nearly equal tokens.

    `lengths` are real tokens, question included, padding not. Items are sorted by
    length, cut into slices, and each batch is SLICES slices chosen at random: little
    padding, without batches of short or of long solutions only.
    """
    generator = np.random.default_rng(seed)
    jitter = generator.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(lengths * jitter)
    sizes = lengths[order]
    n_batches = -(-int(sizes.sum()) // batch_tokens)
    middles = np.cumsum(sizes) - sizes / 2
    slices = (middles * (n_batches * SLICES) / sizes.sum()).astype(int)
    batch_of = generator.permutation(n_batches * SLICES)[slices] // SLICES
    batches = [order[batch_of == batch] for batch in range(n_batches)]
    return [batch for batch in batches if len(batch)]


def pair_rows(
    lengths: np.ndarray, language_lengths: np.ndarray, seed: Sequence[int]
) -> np.ndarray:
    """A language row for every verifier row (section 4.2's equal mix), near in length.

    The language rows are gone through in shuffled order as often as it takes.
    """
    generator = np.random.default_rng(seed)
    rounds = -(-len(lengths) // len(language_lengths))
    shuffled = [generator.permutation(len(language_lengths)) for _ in range(rounds)]
    drawn = np.concatenate(shuffled)[: len(lengths)]
    partners = np.empty(len(lengths), np.int64)
    by_length = drawn[np.argsort(language_lengths[drawn], kind="stable")]
    partners[np.argsort(lengths, kind="stable")] = by_length
    return partners


def plan_training(
    rows: Sequence[Row], language_rows: Sequence[Row], settings: TrainSettings
) -> list[tuple[int, np.ndarray]]:
    """Every step's epoch (from 1) and row indices, from (rows, seed, epoch) alone.

    An epoch is every row once. Language rows are indexed from len(rows) on.
    """
    lengths = np.array([len(row.tokens) for row in rows])
    extra = np.array([len(row.tokens) for row in language_rows])
    plan = []
    for epoch in range(1, settings.epochs + 1):
        if not len(extra):
            batches = plan_epoch(lengths, settings.batch_tokens, [settings.seed, epoch])
        else:
            partners = pair_rows(lengths, extra, [settings.seed, epoch, 1])
            sizes = lengths + extra[partners]
            pairs = plan_epoch(sizes, settings.batch_tokens, [settings.seed, epoch])
            batches = [np.append(b, len(rows) + partners[b]) for b in pairs]
        plan += [(epoch, batch) for batch in batches]
    return plan


# ---------------------------------------------------------------------------- the loop


@dataclass
class Run:
    """A training run: what is fixed, and the three things that move."""

    rows: Sequence[Row]
    plan: list[tuple[int, np.ndarray]]
    settings: TrainSettings
    pad_token: int
    accelerator: Accelerator
    model: nn.Module
    optimizer: AdamW
    history: list[dict[str, float]] = field(default_factory=list)  # one entry a step

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint must agree on: settings, the rows' lengths and labels."""
        shape = [(len(row.tokens), row.prompt_length, row.label) for row in self.rows]
        checksum = zlib.crc32(np.array(shape).tobytes())
        return f"{self.settings.model_dump_json()} {checksum}"

    @property
    def epoch_ends(self) -> bool:
        """Whether the steps taken so far are so many whole epochs (not 0)."""
        done = len(self.history)
        at_end = done == len(self.plan) or self.plan[done][0] != self.plan[done - 1][0]
        return done > 0 and at_end


def train(
    model: nn.Module,
    rows: Sequence[Row],
    settings: TrainSettings,
    *,
    language_rows: Sequence[Row] = (),
    pad_token: int,
    on_epoch: EpochCallback | None = None,
    checkpoint: Path | None = None,
    save_every_seconds: float = 60,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a language model or a Verifier in place; return a row for every step.

    Columns: step and epoch (from 1), loss = verifier_loss + language_weight *
    language_loss (nan where absent), learning_rate, grad_norm (before it is clipped),
    tokens (real ones), seconds so far; attrs counts rows, and those cut at the maximum
    length. A verifier takes as many `language_rows` as rows, unless their weight is 0.

    `on_epoch(epoch, means of the losses)` finds the model in evaluation mode, as it is
    left. With a `checkpoint` folder an interrupted run goes on from its last save (one
    follows every epoch) to the same weights bit for bit, and may call on_epoch again.
    ValueError: rows, dropout or a checkpoint that do not fit.
    """
    if not isinstance(model, Verifier) or settings.language_weight == 0:
        language_rows = ()
    _check_rows(model, rows, language_rows, settings)
    _check_dropout(model, settings.dropout)
    keep_freed_memory()
    accelerator = Accelerator(mixed_precision="no")  # see `autocast`
    model.to(accelerator.device)
    plan = plan_training(rows, language_rows, settings)
    rows = [*rows, *language_rows]
    optimizer = _make_optimizer(model, settings)
    run = Run(rows, plan, settings, pad_token, accelerator, model, optimizer)
    if checkpoint is not None:
        load_checkpoint(run, checkpoint)
    _take_steps(run, on_epoch, checkpoint, save_every_seconds, progress)
    return _history(run)


def _take_steps(
    run: Run,
    on_epoch: EpochCallback | None,
    checkpoint: Path | None,
    save_every_seconds: float,
    progress: bool,
) -> None:
    """Take the steps still to be taken; an interruption loses those since a save."""
    counts = [sum(len(run.rows[i].tokens) for i in batch) for _, batch in run.plan]
    done = sum(counts[: len(run.history)])
    saved = time.monotonic()
    with tqdm(
        total=sum(counts),
        initial=done,
        unit="tok",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        while True:
            # first, because a run may have been interrupted just there
            if run.epoch_ends and on_epoch is not None:
                _call_on_epoch(run, on_epoch)
            if len(run.history) == len(run.plan):
                break
            run.model.train()
            entry = take_step(run)
            bar.set_postfix(epoch=entry["epoch"], loss=entry["loss"], refresh=False)
            bar.update(entry["tokens"])
            due = run.epoch_ends or time.monotonic() - saved > save_every_seconds
            if checkpoint is not None and due:
                save_checkpoint(run, checkpoint)
                saved = time.monotonic()
    run.model.eval()


def take_step(run: Run) -> dict[str, float]:
    """One update of the weights; returns and keeps its entry of the history."""
    began = time.perf_counter()
    step, settings = len(run.history), run.settings
    epoch, batch = run.plan[step]
    rows = [run.rows[i] for i in batch]
    rate = settings.learning_rate * rate_factor(step / len(run.plan), settings.warmup)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    with _random_numbers(settings.seed, step):
        losses = add_gradients(run, rows)
    if not np.isfinite(losses["loss"]):
        raise FloatingPointError(
            f"The loss is {losses['loss']} at step {step + 1}; a lower learning rate "
            "may help."
        )
    norm = run.accelerator.clip_grad_norm_(
        run.model.parameters(), settings.max_grad_norm
    )
    run.optimizer.step()
    run.optimizer.zero_grad()
    before = run.history[-1]["seconds"] if run.history else 0.0
    run.history.append(
        {"step": step + 1, "epoch": epoch, **losses}
        | {"learning_rate": rate, "grad_norm": float(norm)}
        | {"tokens": sum(len(row.tokens) for row in rows)}
        | {"seconds": before + time.perf_counter() - began}
    )
    return run.history[-1]


def rate_factor(done: float, warmup: float) -> float:
    """The learning rate's factor once a share `done` of all steps is taken."""
    rising = (done + 1e-3) / warmup if done < warmup else 1.0
    return min(1.0, rising) * (1 - done)


def add_gradients(run: Run, rows: Sequence[Row]) -> dict[str, float]:
    """Add the gradients of one batch, piece by piece; return the batch's losses.

    Every piece's losses are divided by the whole batch's tokens, so that the pieces add
    up to the undivided mean.
    """
    model, settings, device = run.model, run.settings, run.accelerator.device
    weight = settings.language_weight if isinstance(model, Verifier) else 1.0
    pieces = _make_pieces(model, rows, settings, run.pad_token)
    tokens = count_targets(pieces)
    sums = torch.zeros(2, device=device)
    for piece in pieces:
        piece = Batch(*(tensor.to(device) for tensor in piece))
        with autocast(device, settings.precision):
            parts = batch_losses(model, piece, settings.loss, tokens)
        run.accelerator.backward(parts[0] + weight * parts[1])
        sums += torch.stack(parts).detach()
    verifier, language = sums.tolist()
    return {
        "loss": verifier + weight * language,
        "verifier_loss": verifier if tokens[0] else float("nan"),
        "language_loss": language if tokens[1] else float("nan"),
    }


def _make_pieces(
    model: nn.Module, rows: Sequence[Row], settings: TrainSettings, pad_token: int
) -> list[Batch]:
    """A batch in pieces of rows of similar length; verifiers never see the question."""
    on_question = settings.loss_on_question and not isinstance(model, Verifier)
    lengths = np.array([len(row.tokens) for row in rows])
    return [
        collate(
            [rows[i] for i in group],
            pad_token,
            loss_on_question=on_question,
            level=settings.level,
        )
        for group in split_by_length(lengths, max_piece(model))
    ]


def count_targets(pieces: Sequence[Batch]) -> tuple[int, int]:
    """How many positions the verifier's and the language loss look at."""
    verifier = sum(int((~piece.verifier_targets.isnan()).sum()) for piece in pieces)
    language = sum(int((piece.language_targets != IGNORE).sum()) for piece in pieces)
    return verifier, language


@contextmanager
def _random_numbers(seed: int, step: int) -> Iterator[None]:
    """Within, torch's random numbers (dropout) depend on seed and step alone."""
    state = np.random.SeedSequence([seed, step]).generate_state(2)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
        yield


def _history(run: Run) -> pd.DataFrame:
    history = pd.DataFrame(run.history)
    history.attrs = _count_cut(run.rows)
    return history


def _call_on_epoch(run: Run, on_epoch: EpochCallback) -> None:
    entries = _history(run)
    epoch = int(entries["epoch"].iloc[-1])
    means = entries.loc[entries["epoch"] == epoch].filter(like="loss").mean()
    run.model.eval()
    on_epoch(epoch, means.to_dict())


def _make_optimizer(model: nn.Module, settings: TrainSettings) -> AdamW:
    """AdamW, which is Adam where weight_decay is 0; biases and gains never decay."""
    parameters = list(model.parameters())
    return AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type in ("cpu", "cuda"),
    )


def _check_rows(
    model: nn.Module,
    rows: Sequence[Row],
    language_rows: Sequence[Row],
    settings: TrainSettings,
) -> None:
    """Refuse rows that the model cannot learn from; say how many were cut."""
    verifies = isinstance(model, Verifier)
    if not len(rows):
        raise ValueError("There are no rows to train on.")
    if any(np.isnan(row.label) == verifies for row in rows):
        kind = "a verifier's rows all need" if verifies else "language rows have no"
        raise ValueError(f"The rows do not fit the model: {kind} label.")
    if any(not np.isnan(row.label) for row in language_rows):
        raise ValueError("language_rows have no label.")
    if verifies and settings.language_weight > 0 and not len(language_rows):
        raise ValueError("A language_weight above 0 needs language_rows.")
    check_lengths(model, [*rows, *language_rows])
    cut = _count_cut([*rows, *language_rows])
    if cut["rows_cut"]:
        log.warning("%(rows_cut)d of %(rows)d rows were cut at the maximum length", cut)


def check_lengths(model: nn.Module, rows: Sequence[Row]) -> None:
    """Raise ValueError when a row is longer than the model has positions."""
    longest = max(len(row.tokens) for row in rows)
    config = _language_model(model).config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise ValueError(
            f"A row has {longest} tokens, the model positions for {positions}."
        )


def _count_cut(rows: Sequence[Row]) -> dict[str, int]:
    return {"rows": len(rows), "rows_cut": sum(row.cut > 0 for row in rows)}


def _check_dropout(model: nn.Module, rate: float) -> None:
    """Dropout is set when a model is loaded: refuse settings that say otherwise."""
    config = _language_model(model).config
    rates = {getattr(config, name, None) for name in RESIDUAL_DROPOUTS} - {None}
    if (rates or {0.0}) != {rate}:
        raise ValueError(
            f"The settings say dropout {rate}; the model was loaded with "
            f"{', '.join(map(str, rates)) or 'none'}."
        )


def _language_model(model: nn.Module) -> PreTrainedModel:
    return model.language_model if isinstance(model, Verifier) else model


# ------------------------------------------------------------------------- checkpoints


def save_checkpoint(run: Run, folder: Path) -> None:
    """Replace the checkpoint in `folder`, which at no moment holds half of one."""
    tensors = {f"model.{name}": p.detach() for name, p in run.model.named_parameters()}
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CHECKPOINT}.partial"
    position = {"run": run.fingerprint, "history": json.dumps(run.history)}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    save_file(tensors, partial, metadata=position)
    os.replace(partial, folder / CHECKPOINT)


def load_checkpoint(run: Run, folder: Path) -> None:
    """Move `run` to where it was saved; does nothing where there is no checkpoint.

    Raises ValueError when other settings or rows were saved there.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        return
    with safe_open(file, "pt") as stored:
        position = stored.metadata()
        if position["run"] != run.fingerprint:
            raise ValueError(
                f"{file} is of a run with other settings or rows; delete it to start "
                "anew."
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    run.history = json.loads(position["history"])
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    _restore_optimizer(run.optimizer, tensors)


def _restore_optimizer(optimizer: AdamW, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


# --------------------------------------------------------------------------- test loss


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
    lengths = np.array([len(row.tokens) for row in rows])
    device, was_training = lm.model.device, lm.model.training
    rows = [row._replace(label=float("nan")) for row in rows]
    pad_token = lm.tokenizer.pad_token_id
    groups = split_by_length(lengths, min(batch_tokens, max_piece(lm.model)))
    pieces = [collate([rows[i] for i in group], pad_token) for group in groups]
    tokens = count_targets(pieces)
    lm.model.eval()
    total = 0.0
    for piece in pieces:
        piece = Batch(*(tensor.to(device) for tensor in piece))
        with autocast(device, precision):
            total += float(batch_losses(lm.model, piece, tokens=tokens)[1])
    lm.model.train(was_training)
    return total
