"""One training loop for language models and verifiers (section 4, appendix B).

A step's losses are means over all their tokens in its batch, however that is computed:
in pieces, equal rows once with a weight, and a question once for all its completions
(with dropout they then share its mask). An interrupted run goes on from its checkpoint.
Under `accelerate launch` every process computes its share of each batch's rows.
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
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator, PartialState
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from gsmlib import clock
from gsmlib import progress as bars
from gsmlib.method import attention, batching, losses
from gsmlib.method.batching import Batch, Row
from gsmlib.method.models import RESIDUAL_DROPOUTS, Verifier, keep_freed_memory
from gsmlib.method.recipe import TrainSettings

CHECKPOINT = "training.safetensors"
MUON_RATE = 2.0  # Muon's share of the learning rate
log = logging.getLogger(__name__)

EpochCallback = Callable[[int, dict[str, float]], None]
ShareCallback = Callable[[int], None]


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
    optimizers: list[Optimizer]
    history: list[dict[str, float]] = field(default_factory=list)  # one entry a step

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint must agree on: settings, the rows' lengths and labels."""
        shape = [(len(row.tokens), row.prompt_length, row.label) for row in self.rows]
        checksum = zlib.crc32(np.array(shape).tobytes())
        return f"{self.settings.model_dump_json(exclude_defaults=True)} {checksum}"

    @cached_property
    def computing(self) -> nn.Module:
        """What computes losses and gradients: the model, or a copy in bfloat16.

        A copy hands its gradients on to the model, which adds them up in float32.
        """
        copied = losses.in_precision(self.model, self.settings.precision)
        if copied is not self.model:
            for own, lower in _pairs(self.model, copied):
                if lower.requires_grad:
                    lower.register_post_accumulate_grad_hook(partial(_hand_on, own))
        return copied

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
    taken. With a `checkpoint` folder an interrupted run goes on from its last save to
    the same weights bit for bit, and may call either again. A save follows every epoch,
    and `save_every_seconds` after another, times the seconds it took if these are more
    than one: so saving a large model takes no more than a sixtieth of the time.
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
    accelerator = Accelerator(mixed_precision="no")  # see `losses.in_precision`
    model.to(accelerator.device)
    if os.environ.get("GSMLIB_GRADIENT_CHECKPOINTING", "0") not in ("", "0"):
        language_model = losses.language_model_of(model)
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    plan = batching.plan_training(rows, language_rows, settings)
    rows = [*rows, *language_rows]
    optimizers = make_optimizers(model, settings)
    return Run(rows, plan, settings, pad_token, accelerator, model, optimizers)


def _take_steps(
    run: Run,
    calls: "_Calls",
    checkpoint: Path | None,
    save_every_seconds: float,
    progress: bool,
) -> None:
    """Take the steps still to be taken; an interruption loses those since a save.

    None is lost where the time given is over (`clock`).
    """
    counts = [sum(len(run.rows[i].tokens) for i in batch) for _, batch in run.plan]
    done, saved = sum(counts[: len(run.history)]), time.monotonic()
    pause = save_every_seconds
    look = dict(unit="tok", unit_scale=True, disable=not progress)
    with bars.bar(sum(counts), initial=done, **look) as bar:
        while True:
            # first, because a run may have been interrupted just there
            calls.make(run)
            if len(run.history) == len(run.plan):
                break
            entry = take_step(run)
            bar.set_postfix(epoch=entry["epoch"], loss=entry["loss"], refresh=False)
            bar.update(entry["tokens"])
            over, now = clock.is_over(), time.monotonic()
            due = over or run.epoch_ends or now - saved > pause
            if checkpoint is not None and due:
                save_checkpoint(run, checkpoint)
                saved = time.monotonic()
                pause = save_every_seconds * max(1.0, saved - now)
            if over:
                raise clock.OutOfTime
    run.model.eval()


def take_step(run: Run) -> dict[str, float]:
    """One update of the weights; returns and keeps its entry of the history."""
    began = time.perf_counter()
    run.computing.train()
    step, settings = len(run.history), run.settings
    epoch, batch = run.plan[step]
    rows = [run.rows[i] for i in batch]
    rate = settings.learning_rate * rate_factor(step / len(run.plan), settings.warmup)
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * (MUON_RATE if isinstance(optimizer, Muon) else 1)
    with _random_numbers(settings.seed, step, run.accelerator.process_index):
        means = add_gradients(run, rows)
    if not np.isfinite(means["loss"]):
        raise FloatingPointError(
            f"The loss is {means['loss']} at step {step + 1}; a lower learning rate "
            "may help."
        )
    parameters = run.model.parameters()
    norm = run.accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    before = run.history[-1]["seconds"] if run.history else 0.0
    run.history.append(
        {"step": step + 1, "epoch": epoch, **means}
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
    model, settings, device = run.computing, run.settings, run.accelerator.device
    weight = settings.language_weight if isinstance(model, Verifier) else 1.0
    rows, counts = _own_share(run.accelerator, *batching.merge_equal(rows))
    batches = _make_batches(run, rows, counts)
    here = torch.tensor(losses.count_targets(batches), device=device)
    tokens = run.accelerator.reduce(here, "sum").tolist()
    sums = torch.zeros(2, device=device)
    if model is not run.model:
        with torch.no_grad():
            for own, lower in _pairs(run.model, model):
                lower.copy_(own)
    with attention.flat(losses.language_model_of(model)):
        for batch in batches:
            parts = losses.batch_losses(model, batch.to(device), settings.loss, tokens)
            run.accelerator.backward(parts[0] + weight * parts[1])
            sums += torch.stack(parts).detach()
    if run.accelerator.num_processes > 1:
        _share_gradients(run)
    verifier, language = run.accelerator.reduce(sums, "sum").tolist()
    return {
        "loss": verifier + weight * language,
        "verifier_loss": verifier if tokens[0] else float("nan"),
        "language_loss": language if tokens[1] else float("nan"),
    }


def _pairs(model: nn.Module, copied: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """The parameters of a model and of its copy."""
    return zip(model.parameters(), copied.parameters(), strict=True)


def _hand_on(own: Tensor, lower: Tensor) -> None:
    """Add a copy's gradient to the model's own."""
    gradient, lower.grad = lower.grad, None
    own.grad = gradient.float() if own.grad is None else own.grad.add_(gradient)


def _own_share(
    accelerator: Accelerator, rows: Sequence[Row], counts: Sequence[int]
) -> tuple[list[Row], list[int]]:
    """What this process computes of a batch: neighbours, so that groups stay whole."""
    lengths = np.array([len(row.tokens) for row in rows])
    middles = np.cumsum(lengths) - lengths / 2
    owner = (middles * accelerator.num_processes / lengths.sum()).astype(int)
    mine = np.flatnonzero(owner == accelerator.process_index)
    return [rows[i] for i in mine], [counts[i] for i in mine]


def _share_gradients(run: Run) -> None:
    """Give every process the sum of all processes' gradients."""
    for parameter in run.model.parameters():
        own = parameter.grad
        own = torch.zeros_like(parameter) if own is None else own  # it had no rows
        parameter.grad = run.accelerator.reduce(own, "sum")


def _make_batches(run: Run, rows: Sequence[Row], counts: Sequence[int]) -> list[Batch]:
    """What is computed at once; a loss on questions rules out that they are shared."""
    on_question = run.settings.loss_on_question
    if on_question is None:
        on_question = not isinstance(run.model, Verifier)
    targets = batching.Targets(on_question, run.settings.level)
    model = run.computing
    pieces = losses.make_pieces(model, rows, share=not on_question)
    return [
        losses.make_batch(model, rows, piece, run.pad_token, targets, counts)
        for piece in pieces
    ]


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


def make_optimizers(model: nn.Module, settings: TrainSettings) -> list[Optimizer]:
    """AdamW, which is Adam where weight_decay is 0; before it Muon, if asked for.

    Biases and gains never decay. Muon takes the matrices that are no embedding, with
    steps of the size of AdamW's (Liu et al. 2025).
    """
    parameters, matrices = list(model.parameters()), []
    if settings.optimizer == "muon":
        language_model = losses.language_model_of(model)
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
        tables.append(language_model.get_output_embeddings().weight)
        others = set(map(id, tables))
        matrices = [p for p in parameters if p.ndim == 2 and id(p) not in others]
    taken = set(map(id, matrices))
    rest = [p for p in parameters if id(p) not in taken]
    adam = AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1]},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type in ("cpu", "cuda"),
    )
    if not matrices:
        return [adam]
    decay = settings.weight_decay
    muon = Muon(matrices, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return [muon, adam]


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
    losses.check_lengths(model, [*rows, *language_rows])
    cut = _count_cut([*rows, *language_rows])
    if cut["rows_cut"]:
        log.warning("%(rows_cut)d of %(rows)d rows were cut at the maximum length", cut)


def _count_cut(rows: Sequence[Row]) -> dict[str, int]:
    return {"rows": len(rows), "rows_cut": sum(row.cut > 0 for row in rows)}


def _check_dropout(model: nn.Module, rate: float) -> None:
    """Dropout is set when a model is loaded: refuse settings that say otherwise."""
    config = losses.language_model_of(model).config
    rates = {getattr(config, name, None) for name in RESIDUAL_DROPOUTS} - {None}
    if (rates or {0.0}) != {rate}:
        raise ValueError(
            f"The settings say dropout {rate}; the model was loaded with "
            f"{', '.join(map(str, rates)) or 'none'}."
        )


# ------------------------------------------------------------------------- checkpoints


def save_checkpoint(run: Run, folder: Path) -> None:
    """Replace the checkpoint in `folder`, which at no moment holds half of one."""
    tensors = {f"model.{name}": p.detach() for name, p in run.model.named_parameters()}
    for number, optimizer in enumerate(run.optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            name = f"optimizer.{number}.{index}"
            tensors |= {f"{name}.{key}": value for key, value in state.items()}
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
                f"{file} is of a run with other settings or rows, or of an earlier "
                "version; delete it to start anew."
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    run.history = json.loads(position["history"])
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for number, optimizer in enumerate(run.optimizers):
        _restore(optimizer, f"optimizer.{number}.", tensors)


def _restore(optimizer: Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the state that the tensors so named hold."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".")
            state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
