"""The mini-GPT family's pretraining: one pass over MiniGSM's running text.

What is shipped in gsmlib/weights was made by `gsmlib pretrain`, which anyone can rerun:
the text, its order and the settings below decide the weights (up to float order).
"""

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import save_file
from torch import float16, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gsmlib.data import load_problems
from gsmlib.data.minigsm import make_problems
from gsmlib.data.webtext import make_web_text
from gsmlib.environment import describe_setup
from gsmlib.method.batching import Row
from gsmlib.method.models import POSITIONS, new_mini_gpt
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.sizes import TOKENIZER_FILE, WEIGHTS
from gsmlib.method.tokenizer import build_tokenizer, load_tokenizer
from gsmlib.method.training import train

# Passages (about 87 tokens each) and learning rate of each size; docs/regime.md says
# what was tried.
RECIPES: dict[str, tuple[int, float]] = {
    "mini-0.1m": (150_000, 6e-3),
    "mini-0.3m": (200_000, 4e-3),
    "mini-1m": (300_000, 3e-3),
    "mini-3m": (400_000, 2e-3),
}
BATCH_TOKENS = 6_000
COMMON = dict(epochs=1, warmup=0.03, weight_decay=0.01)  # of all sizes
VOCABULARY_TEXTS = 20_000
MORE_TEXT_SEED = 1000  # far from 1, the seed of the shipped weights' text
ANNOTATION = re.compile(r"<<[^>]*>>")


def web_rows(tokenizer: PreTrainedTokenizerFast, n: int, seed: int) -> list[Row]:
    """`n` passages as language-model rows with the end token, all of them targets."""
    rows = []
    for start in range(0, n, 10_000):
        texts = [make_web_text(seed, i) for i in range(start, min(n, start + 10_000))]
        rows += text_rows(tokenizer, texts)
    return rows


def text_rows(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    max_length: int | None = None,
) -> list[Row]:
    """Running text as language-model rows with the end token, all of them targets."""
    rows = []
    kind = np.uint16 if len(tokenizer) < 2**16 else np.int64
    for tokens in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        ids = np.array([*tokens, tokenizer.eos_token_id][:max_length], kind)
        rows.append(Row(ids, prompt_length=1))
    return rows


def more_text_rows(
    tokenizer: PreTrainedTokenizerBase, dataset: str, n: int, seed: int
) -> list[Row]:
    """`n` rows of running text for additional pretraining (section 5.2).

    MiniGSM's passages, none of which the shipped weights have seen; of GSM8K, whose
    models' own text is out of reach, the training problems without annotations.
    """
    if dataset == "minigsm":
        return web_rows(tokenizer, n, MORE_TEXT_SEED + seed)
    problems = load_problems(dataset, "train", n, seed)
    texts = ["\n".join(problem) for problem in problems]
    plain = [ANNOTATION.sub("", text) for text in texts]
    return text_rows(tokenizer, plain, POSITIONS)


def pretrain(
    name: str,
    work: Path,
    *,
    n_texts: int = 0,
    learning_rate: float = 0.0,
    precision: str = "fp32",
    optimizer: str = "adam",
    seed: int = 0,
) -> dict:
    """Pretrain the mini-GPT `name`; leave `<name>.safetensors` (fp16) and `.json`.

    The files go to `work`, which also holds the checkpoint an interrupted run resumes
    from; the record (settings, loss by step, versions, seconds) is returned too.
    `n_texts` and `learning_rate` of 0 mean the size's recipe. Raises ValueError where
    there is no such size.
    """
    if name not in RECIPES:
        raise ValueError(f"No mini-GPT is named {name!r}; choose {', '.join(RECIPES)}.")
    began = time.time()
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer()
    texts, rate = RECIPES[name]
    settings = TrainSettings(
        **COMMON,
        learning_rate=learning_rate or rate,
        batch_tokens=BATCH_TOKENS,
        precision=precision,
        optimizer=optimizer,
        seed=seed,
    )
    rows = web_rows(tokenizer, n_texts or texts, seed + 1)
    lm = new_mini_gpt(name, tokenizer, seed=seed)
    history = train(
        lm.model,
        rows,
        settings,
        pad_token=tokenizer.pad_token_id,
        checkpoint=work / f"{name}.resume",
    )
    record = describe(name, lm.model, settings, history) | {"texts": len(rows)}
    return leave(lm.model, record, work, began)


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


def write_tokenizer() -> None:
    """Replace the shipped tokenizer by one of all words of the present grammar.

    That is, of all words that 20,000 problems and passages hold.
    """
    problems = make_problems("train", VOCABULARY_TEXTS, seed=99)
    texts = ["\n".join(problem) for problem in problems]
    texts += [make_web_text(9, index) for index in range(VOCABULARY_TEXTS)]
    WEIGHTS.mkdir(exist_ok=True)
    build_tokenizer(texts).backend_tokenizer.save(str(TOKENIZER_FILE))
