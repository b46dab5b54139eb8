"""Pretraining of the second edition's mini-GPTs: fresh passages, read in order, once.

A step is the next PASSAGES passages of `data.schoolwork`, so that what a model has seen
is told by its number of steps. What is shipped was computed on a GPU, four sizes side
by side, with the step as one CUDA graph; `gsmlib pretrain` takes the same steps with
the loop that finetunes (the same text, order, rates and sums, in another float order).
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from accelerate import Accelerator
from transformers import PreTrainedTokenizerFast

from gsmlib import progress
from gsmlib.data.schoolwork import make_passage
from gsmlib.method import training
from gsmlib.method.batching import Row
from gsmlib.method.models import POSITIONS, keep_freed_memory, new_mini_gpt
from gsmlib.method.pretraining import COMMON, describe, leave
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
PASSAGES = 256  # of a step: about 37,000 tokens
BLOCK = 1024  # passages that are made at once
TEXT_SEED = 1
SAVE_SECONDS = 60


class Passages(Sequence[Row]):
    """The first `n` passages as rows, made a block at a time where they are read."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, n: int):
        self.tokenizer, self.n = tokenizer, n
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
        several = range(start, start + BLOCK)
        texts = [make_passage(TEXT_SEED, index).text for index in several]
        end, most = self.tokenizer.eos_token_id, POSITIONS - 1
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        tokens = (np.array([*ids[:most], end], np.uint16) for ids in encoded)
        return [Row(ids, prompt_length=1) for ids in tokens]


class Schooling(training.Run):
    """A run over passages, which a checkpoint knows by their number."""

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint must agree on: settings and the number of steps."""
        return f"{self.settings.model_dump_json()} {len(self.plan)} x {PASSAGES}"


def pretrain(
    name: str, work: Path, *, precision: str = "fp32", steps: int = 0, seed: int = 0
) -> dict:
    """Pretrain the mini-GPT `name`; leave `<name>.safetensors` (fp16) and `.json`.

    As `pretraining.pretrain`, which see; `steps` of 0 means the size's recipe.
    """
    began, recipe = time.time(), RECIPES[name]
    work.mkdir(parents=True, exist_ok=True)
    run = _new_run(name, steps or recipe.steps, recipe.learning_rate, precision, seed)
    checkpoint = work / f"{name}.resume"
    training.load_checkpoint(run, checkpoint)
    _take_steps(run, checkpoint)
    record = describe(name, run.model, run.settings, pd.DataFrame(run.history))
    del record["settings"]["batch_tokens"]  # a step is so many passages instead
    record["settings"] |= {"steps": len(run.plan), "passages_a_step": PASSAGES}
    return leave(run.model, record | {"texts": len(run.rows)}, work, began)


def _new_run(
    name: str, steps: int, rate: float, precision: str, seed: int
) -> Schooling:
    tokenizer = load_tokenizer()
    settings = TrainSettings(
        **COMMON,
        learning_rate=rate,
        precision=precision,
        optimizer="muon",
        seed=seed,
    )
    keep_freed_memory()
    model = new_mini_gpt(name, tokenizer, seed=seed).model
    accelerator = Accelerator(mixed_precision="no")
    model.to(accelerator.device)
    starts = range(0, steps * PASSAGES, PASSAGES)
    return Schooling(
        rows=Passages(tokenizer, steps * PASSAGES),
        plan=[(1, np.arange(start, start + PASSAGES)) for start in starts],
        settings=settings,
        pad_token=tokenizer.pad_token_id,
        accelerator=accelerator,
        model=model,
        optimizers=training.make_optimizers(model, settings),
    )


def _take_steps(run: Schooling, checkpoint: Path) -> None:
    """Take the steps still to be taken, saving every minute."""
    saved = time.monotonic()
    run.model.train()
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
