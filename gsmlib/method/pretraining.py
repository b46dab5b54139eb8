"""The mini-GPT family's pretraining: fresh passages, read in order, once.

A step is the next PASSAGES passages of `data.schoolwork`, so that what a model has seen
is told by its number of steps. What is shipped in gsmlib/weights was computed on a GPU,
four sizes side by side, with the step as one CUDA graph; `gsmlib pretrain` takes the
same steps with the loop that finetunes (the same text, order, rates and sums, in
another float order).
"""

import json
import re
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import float16, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gsmlib import progress
from gsmlib.data import family, load_problems
from gsmlib.data.schoolwork import make_passage
from gsmlib.environment import describe_setup
from gsmlib.method import training
from gsmlib.method.batching import Row
from gsmlib.method.models import POSITIONS, keep_freed_memory, new_mini_gpt
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.tokenizer import load_tokenizer


class Recipe(NamedTuple):
    """How far and how fast a size is pretrained."""

    steps: int
    learning_rate: float


RECIPES = {
    "mini-0.2m": Recipe(6600, 5e-3),
    "mini-0.5m": Recipe(6600, 4e-3),
    "mini-2m": Recipe(6600, 3e-3),
    "mini-4m": Recipe(6600, 2.5e-3),
}
COMMON = dict(  # of all sizes
    epochs=1, warmup=0.03, weight_decay=0.01, optimizer="muon", precision="bf16"
)
PASSAGES = 256  # of a step: about 37,000 tokens
BLOCK = 1024  # passages that are made at once
TEXT_SEED = 1  # of what the shipped weights have read
MORE_TEXT_SEED = 1000  # far from it
SAVE_SECONDS = 60
ANNOTATION = re.compile(r"<<[^>]*>>")


# --------------------------------------------------------------------------- the rows


def text_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
    """Running text as language-model rows with the end token, all of them targets."""
    end, most = tokenizer.eos_token_id, POSITIONS - 1
    kind = np.uint16 if len(tokenizer) < 2**16 else np.int64
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    tokens = (np.array([*ids[:most], end], kind) for ids in encoded)
    return [Row(ids, prompt_length=1) for ids in tokens]


def more_text_rows(
    tokenizer: PreTrainedTokenizerBase, dataset: str, n: int, seed: int
) -> list[Row]:
    """`n` rows of running text for additional pretraining (section 5.2).

    MiniGSM's passages, none of which the shipped weights have seen; of other data,
    whose models' own text is out of reach, the training problems without annotations.
    """
    if family(dataset) == "minigsm":
        return list(Passages(tokenizer, n, MORE_TEXT_SEED + seed))
    problems = load_problems(dataset, "train", n, seed)
    texts = ["\n".join(problem) for problem in problems]
    return text_rows(tokenizer, [ANNOTATION.sub("", text) for text in texts])


class Passages(Sequence[Row]):
    """The first `n` passages as rows, made a block at a time where they are read."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, n: int, seed: int = TEXT_SEED
    ):
        self.tokenizer, self.n, self.seed = tokenizer, n, seed
        self.number, self.block = -1, []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.n:
            raise IndexError(f"There are {self.n} passages, not one of number {index}.")
        number, place = divmod(int(index), BLOCK)
        if number != self.number:
            self.number, self.block = number, self._make(number * BLOCK)
        return self.block[place]

    def _make(self, start: int) -> list[Row]:
        several = range(start, min(start + BLOCK, self.n))
        texts = [make_passage(self.seed, index).text for index in several]
        return text_rows(self.tokenizer, texts)


# --------------------------------------------------------------------------- the run


class Pretraining(training.Run):
    """A run over passages, which a checkpoint knows by their number."""

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint must agree on: settings and the number of steps."""
        settings = self.settings.model_dump_json(exclude_defaults=True)
        return f"{settings} {len(self.plan)} x {PASSAGES}"


def pretrain(name: str, work: Path, *, steps: int = 0, seed: int = 0) -> dict:
    """Pretrain the mini-GPT `name`; leave `<name>.safetensors` (fp16) and `.json`.

    The files go to `work`, which also holds the checkpoint an interrupted run resumes
    from; the record (settings, loss by step, versions, seconds) is returned too.
    `steps` of 0 means the size's recipe, fewer steps a shorter course of its own.
    Raises ValueError where there is no such size.
    """
    if name not in RECIPES:
        raise ValueError(f"No mini-GPT is named {name!r}; choose {', '.join(RECIPES)}.")
    began, recipe = time.time(), RECIPES[name]
    work.mkdir(parents=True, exist_ok=True)
    run = _new_run(name, steps or recipe.steps, recipe.learning_rate, seed)
    checkpoint = work / f"{name}.resume"
    training.load_checkpoint(run, checkpoint)
    _take_steps(run, checkpoint)
    record = describe(name, run.model, run.settings, pd.DataFrame(run.history))
    del record["settings"]["batch_tokens"]  # a step is so many passages instead
    record["settings"] |= {"steps": len(run.plan), "passages_a_step": PASSAGES}
    return leave(run.model, record | {"texts": len(run.rows)}, work, began)


def _new_run(name: str, steps: int, rate: float, seed: int) -> Pretraining:
    tokenizer = load_tokenizer()
    settings = TrainSettings(**COMMON, learning_rate=rate, seed=seed)
    keep_freed_memory()
    model = new_mini_gpt(name, tokenizer, seed=seed).model
    accelerator = Accelerator(mixed_precision="no")
    model.to(accelerator.device)
    starts = range(0, steps * PASSAGES, PASSAGES)
    return Pretraining(
        rows=Passages(tokenizer, steps * PASSAGES),
        plan=[(1, np.arange(start, start + PASSAGES)) for start in starts],
        settings=settings,
        pad_token=tokenizer.pad_token_id,
        accelerator=accelerator,
        model=model,
        optimizers=training.make_optimizers(model, settings),
    )


def _take_steps(run: Pretraining, checkpoint: Path) -> None:
    """Take the steps still to be taken, saving every minute."""
    saved = time.monotonic()
    done, steps = len(run.history), len(run.plan)
    with progress.bar(steps, initial=done, unit="step") as bar:
        while len(run.history) < steps:
            entry = training.take_step(run)
            bar.set_postfix(loss=entry["loss"], refresh=False)
            bar.update()
            if time.monotonic() - saved > SAVE_SECONDS:
                training.save_checkpoint(run, checkpoint)
                saved = time.monotonic()
    run.model.eval()


def leave(model: nn.Module, record: dict, work: Path, began: float) -> dict:
    """Write weights and record of a run that `began` then; return the record."""
    record = record | {"minutes": round((time.time() - began) / 60, 1)}
    file = work / f"{record['model']}.safetensors"
    save_half(model, file)
    file.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def describe(
    name: str, model: nn.Module, settings: TrainSettings, history: pd.DataFrame
) -> dict:
    """The record that is shipped beside the weights: the loss of about fifty steps."""
    thinned = history.iloc[:: max(1, len(history) // 50)]
    pairs = zip(thinned.step, thinned.loss, strict=True)
    return {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": int(history["tokens"].sum()),
        "settings": settings.model_dump(),
        "setup": describe_setup(),
        "training_seconds": round(history["seconds"].iloc[-1]),
        "loss": {int(step): round(loss, 4) for step, loss in pairs},
    }


def save_half(model: nn.Module, file: Path) -> None:
    """Write a mini-GPT's weights in float16, as they are shipped."""
    weights = {k: v.to(float16).contiguous() for k, v in model.state_dict().items()}
    weights.pop("lm_head.weight")  # the input embedding, stored once
    save_file(weights, file)
