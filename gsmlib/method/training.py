"""One training loop for language models and verifiers (section 4, appendix B).

The language loss at position t predicts token t + 1; the verifier's score at position t
judges the text up to and including token t. Question and padding never enter a
verifier's loss, nor the language loss beside it. Losses are means over their tokens in
the whole batch, however it is computed: in pieces, equal rows once with a weight, and a
question once for all its completions (with dropout they then share its mask). Under
`accelerate launch` every process computes its share of each batch's rows.
"""

import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from gsmlib.method.batching import (
    IGNORE,
    Batch,
    Row,
    collate,
    cut_pieces,
    merge_equal,
    pad_prefixes,
    plan_training,
)
from gsmlib.method.models import (
    RESIDUAL_DROPOUTS,
    LanguageModel,
    Verifier,
    keep_freed_memory,
)
from gsmlib.method.recipe import TrainSettings

CHECKPOINT = "training.safetensors"
log = logging.getLogger(__name__)

EpochCallback = Callable[[int, dict[str, float]], None]
ShareCallback = Callable[[int], None]


# ----------------------------------------------------------------------------- losses


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


class Prefixes(NamedTuple):
    """What a model has computed of P prefixes, each for many rows to go on from."""

    keys_values: list[Tensor]  # (P, H, L, D): keys and values of the first layer, ...
    lengths: Tensor  # (P,)

    def detach(self) -> "Prefixes":
        """The same values as leaves, which gather the gradients of what follows."""
        tensors = [t.detach().requires_grad_() for t in self.keys_values]
        return Prefixes(tensors, self.lengths)

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
    language_model = _language_model(model)
    ids, lengths = pad_prefixes(prefixes, pad_token)
    ids, lengths = ids.to(language_model.device), lengths.to(language_model.device)
    # see `model_inputs` on the mask of ones
    output = language_model.base_model(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True
    )
    layers = output.past_key_values.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    return Prefixes(tensors, lengths)


def batch_losses(
    model: nn.Module,
    batch: Batch,
    loss: Literal["mse", "bce"] = "mse",
    tokens: tuple[int | None, int | None] = (None, None),
    prefixes: Prefixes | None = None,
) -> tuple[Tensor, Tensor]:
    """Verifier and language loss of a batch; a part without targets is 0.

    `tokens` are the two losses' denominators, by default the targets in this batch.
    """
    zero = torch.zeros((), device=batch.input_ids.device)
    scores, logits = forward(model, batch, prefixes)
    weights = batch.weights[:, None].expand_as(batch.input_ids)
    verifier = language = zero
    if logits is not None:
        wanted = batch.language_targets != IGNORE
        targets = batch.language_targets[wanted]
        language = language_loss(logits, targets, tokens[1], weights[wanted])
    if scores is not None and not batch.verifier_targets.isnan().all():
        targets = batch.verifier_targets
        verifier = verifier_loss(scores, targets, loss, tokens[0], weights)
    return verifier, language


def forward(
    model: nn.Module, batch: Batch, prefixes: Prefixes | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Scores (B, T) of a verifier, and logits (N, V) at the N language targets."""
    inputs = model_inputs(batch, prefixes)
    wanted = batch.language_targets != IGNORE
    if not isinstance(model, Verifier):
        with logits_only_at(model, wanted):
            return None, model(**inputs, use_cache=prefixes is not None).logits
    if not wanted.any():
        return model.forward_scores(**inputs), None
    with logits_only_at(model.language_model, wanted):
        return model(**inputs)


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


def can_share(model: nn.Module) -> bool:
    """Whether rows can go on from a prefix: every layer keeps all keys and values.

    Where activations are computed twice to save memory, none are kept.
    """
    if any(getattr(m, "gradient_checkpointing", False) for m in model.modules()):
        return False
    config = _language_model(model).config
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    return kinds == {DynamicLayer}


def max_piece(model: nn.Module) -> int:
    """Padded tokens computed at once: more takes memory, and gains little speed."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    vocabulary = _language_model(model).get_input_embeddings().num_embeddings
    by_logits = 200_000_000 // vocabulary  # values: 0.8 GB in float32
    return max(1, min(8192 if on_gpu else 4096, by_logits))


# ---------------------------------------------------------------------------- the loop


@cache
def launched() -> PartialState:
    """The processes that `accelerate launch` started; this one alone without it."""
    cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    # the first process may test, save or merge while the others wait
    return PartialState(cpu=cpu, timeout=timedelta(days=1))


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
    shares: int = 1,
    on_share: ShareCallback | None = None,
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
    left; so does `on_share(i)`, called once i of `shares` equal parts of all steps are
    taken. With a `checkpoint` folder an interrupted run goes on from its last save (one
    follows every epoch) to the same weights bit for bit, and may call either again.
    Of several processes, which need not be as many as before, the first alone saves and
    makes calls. ValueError: rows, dropout or a checkpoint that do not fit.
    """
    run = new_run(model, rows, settings, language_rows, pad_token)
    if checkpoint is not None:
        load_checkpoint(run, checkpoint)
    calls = _Calls(on_epoch, on_share, _share_ends(len(run.plan), shares))
    if not run.accelerator.is_main_process:
        calls, checkpoint, progress = _Calls(None, None, []), None, False
    _take_steps(run, calls, checkpoint, save_every_seconds, progress)
    return _history(run)


def new_run(
    model: nn.Module,
    rows: Sequence[Row],
    settings: TrainSettings,
    language_rows: Sequence[Row],
    pad_token: int,
) -> Run:
    """Check everything and plan a run, of which no step is taken yet (see `train`)."""
    if not isinstance(model, Verifier) or settings.language_weight == 0:
        language_rows = ()
    _check_rows(model, rows, language_rows, settings)
    _check_dropout(model, settings.dropout)
    keep_freed_memory()
    launched()
    accelerator = Accelerator(mixed_precision="no")  # see `autocast`
    model.to(accelerator.device)
    if os.environ.get("GSMLIB_GRADIENT_CHECKPOINTING", "0") not in ("", "0"):
        _language_model(model).gradient_checkpointing_enable({"use_reentrant": False})
    plan = plan_training(rows, language_rows, settings)
    rows = [*rows, *language_rows]
    optimizer = _make_optimizer(model, settings)
    return Run(rows, plan, settings, pad_token, accelerator, model, optimizer)


def _take_steps(
    run: Run,
    calls: "_Calls",
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
            calls.make(run)
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
    with _random_numbers(settings.seed, step, run.accelerator.process_index):
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

    Every piece's losses are divided by the whole batch's tokens, so that the pieces, of
    all processes, add up to the undivided mean.
    """
    model, settings, device = run.model, run.settings, run.accelerator.device
    weight = settings.language_weight if isinstance(model, Verifier) else 1.0
    rows, counts = _own_share(run.accelerator, *merge_equal(rows))
    pieces = _make_pieces(model, rows, counts, settings, run.pad_token)
    own = count_targets([batch for _, batches in pieces for batch in batches])
    verifies, predicts = _sum(run, torch.tensor(own, device=device)).tolist()
    tokens = (verifies, predicts)
    sums = torch.zeros(2, device=device)
    for prefixes, batches in pieces:
        sums += _add_piece(run, prefixes, batches, tokens, weight)
    if run.accelerator.num_processes > 1:
        _share_gradients(run)
    verifier, language = _sum(run, sums).tolist()
    return {
        "loss": verifier + weight * language,
        "verifier_loss": verifier if tokens[0] else float("nan"),
        "language_loss": language if tokens[1] else float("nan"),
    }


def _own_share(
    accelerator: Accelerator, rows: Sequence[Row], counts: Sequence[int]
) -> tuple[list[Row], list[int]]:
    """What this process computes of a batch: neighbours, so that groups stay whole."""
    lengths = np.array([len(row.tokens) for row in rows])
    middles = np.cumsum(lengths) - lengths / 2
    owner = (middles * accelerator.num_processes / lengths.sum()).astype(int)
    mine = np.flatnonzero(owner == accelerator.process_index)
    return [rows[i] for i in mine], [counts[i] for i in mine]


def _sum(run: Run, values: Tensor) -> Tensor:
    """The sum of all processes' values."""
    return run.accelerator.reduce(values, "sum")


def _share_gradients(run: Run) -> None:
    """Give every process the sum of all processes' gradients."""
    for parameter in run.model.parameters():
        own = parameter.grad
        own = torch.zeros_like(parameter) if own is None else own  # it had no rows
        parameter.grad = _sum(run, own)


def _make_pieces(
    model: nn.Module,
    rows: Sequence[Row],
    counts: Sequence[int],
    settings: TrainSettings,
    pad_token: int,
) -> list[tuple[Sequence[Sequence[int]], list[Batch]]]:
    """Prefixes and the batches that share them, which a loss on questions rules out."""
    on_question = settings.loss_on_question
    if on_question is None:
        on_question = not isinstance(model, Verifier)
    share = not on_question and can_share(model)
    cut = cut_pieces(rows, max_piece(model), share=share) if rows else []
    pieces = []
    for prefixes, groups in cut:
        batches = [
            collate(
                [rows[i] for i in group.rows],
                pad_token,
                loss_on_question=on_question,
                level=settings.level,
                weights=[counts[i] for i in group.rows],
                prefix_of=group.prefix_of,
            )
            for group in groups
        ]
        pieces.append((prefixes, batches))
    return pieces


def _add_piece(
    run: Run,
    prefixes: Sequence[Sequence[int]],
    batches: Sequence[Batch],
    tokens: tuple[int, int],
    weight: float,
) -> Tensor:
    """Add the gradients of batches that share prefixes; return their losses (2,).

    Every batch leaves its gradients at the prefixes' keys and values; last these go
    back through the prefixes themselves. So no two batches are in memory together.
    """
    device, precision = run.accelerator.device, run.settings.precision
    sums, read, shared = torch.zeros(2, device=device), None, None
    if prefixes:
        with autocast(device, precision):
            read = read_prefixes(run.model, prefixes, run.pad_token)
        shared = read.detach()
    for batch in batches:
        batch = Batch(*(tensor.to(device) for tensor in batch))
        with autocast(device, precision):
            parts = batch_losses(run.model, batch, run.settings.loss, tokens, shared)
        run.accelerator.backward(parts[0] + weight * parts[1])
        sums += torch.stack(parts).detach()
    if prefixes:
        gradients = [tensor.grad for tensor in shared.keys_values]
        torch.autograd.backward(read.keys_values, gradients)
    return sums


def count_targets(batches: Sequence[Batch]) -> tuple[int, int]:
    """How many positions the verifier's and the language loss look at."""
    verifier = language = 0.0
    for batch in batches:
        weights = batch.weights[:, None]
        verifier += float((~batch.verifier_targets.isnan() * weights).sum())
        language += float(((batch.language_targets != IGNORE) * weights).sum())
    return round(verifier), round(language)


@contextmanager
def _random_numbers(seed: int, step: int, process: int) -> Iterator[None]:
    """Within, torch's random numbers (dropout) depend on these alone."""
    address = [seed, step, process] if process else [seed, step]
    state = np.random.SeedSequence(address).generate_state(2)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
        yield


def _history(run: Run) -> pd.DataFrame:
    history = pd.DataFrame(run.history)
    history.attrs = _count_cut(run.rows)
    return history


class _Calls(NamedTuple):
    """Whom a run tells of its progress, and after which steps."""

    on_epoch: EpochCallback | None
    on_share: ShareCallback | None
    share_ends: list[int]  # numbers of steps

    def make(self, run: Run) -> None:
        """Make the calls that are due after the steps taken so far."""
        epoch_due = run.epoch_ends and self.on_epoch is not None
        share_due = len(run.history) in self.share_ends and self.on_share is not None
        if epoch_due or share_due:
            run.model.eval()
        if epoch_due:
            entries = _history(run)
            epoch = int(entries["epoch"].iloc[-1])
            means = entries.loc[entries["epoch"] == epoch].filter(like="loss").mean()
            self.on_epoch(epoch, means.to_dict())
        if share_due:
            self.on_share(self.share_ends.index(len(run.history)) + 1)


def _share_ends(steps: int, shares: int) -> list[int]:
    """After how many steps each of `shares` equal parts of them is taken."""
    if shares > steps:
        raise ValueError(f"{shares} shares of {steps} steps asked for.")
    return [-(-steps * i // shares) for i in range(1, shares + 1)]


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
        batch = Batch(*(tensor.to(device) for tensor in batch))
        with autocast(device, precision):
            total += float(batch_losses(lm.model, batch, tokens=tokens)[1])
    lm.model.train(was_training)
    return total
