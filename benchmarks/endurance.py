"""Time and memory of long runs, each in a process of its own, and what all share."""

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.data import Problem, load_problems
from gsmlib.environment import best_precision
from gsmlib.method.batching import encode
from gsmlib.method.decoding import Rules, stream_completions
from gsmlib.method.models import Verifier, find_reserved_token, load_language_model
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.training import train
from gsmlib.method.verifier import make_rows, score_completions

SAMPLES = 100  # completions a problem
MAX_LENGTH = 400
BATCH_TOKENS = 8_000
SCALING = (100, 1_000, 10_000)  # completions, for time and memory
STEADY_TOKENS, LEAST_TOKENS = 10_000_000, 100_000  # of the long training
MEMORY_MODELS = ("mini-2m", "mini-4m")


def problems(n: int) -> list[Problem]:
    """Training problems of MiniGSM."""
    return load_problems("minigsm", "train", n)


def new_verifier(name: str) -> Verifier:
    """An untrained verifier on a language model by name."""
    lm = load_language_model(name)
    return Verifier(lm.model, find_reserved_token(lm.tokenizer))


def lines_of(path: Path) -> list[str]:
    """A file's lines; none where it is missing."""
    return path.read_text().splitlines() if path.exists() else []


def bench_scaling() -> list[dict[str, Any]]:
    """Sample ten times as many completions, twice over: seconds and peak memory."""
    rows = []
    for count in SCALING:
        seconds, gigabytes = _alone(_sample_many, count)
        print(f"{count} completions: {seconds:.1f} s, {gigabytes:.2f} GB", flush=True)
        rows.append({"completions": count, "seconds": seconds, "peak_gb": gigabytes})
    return rows


def bench_memory() -> dict[str, float]:
    """Peak memory in GB of each task in a process of its own, one round of it."""
    peaks = {"nothing but imports": _alone(peak_memory)}
    tasks = [(t, n) for t in ("finetune", "verifier", "score") for n in MEMORY_MODELS]
    for task, name in tasks:
        peaks[f"{task} {name}"] = _alone(_do_once, task, name)
    for task, peak in peaks.items():
        print(f"{task}: {peak:.2f} GB", flush=True)
    return peaks


def _alone(work: Callable[..., Any], *arguments: Any) -> Any:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _do_once(task: str, name: str) -> float:
    """One epoch of training, or one scoring, and nothing else: peak memory."""
    lm, precision = load_language_model(name), best_precision()
    tokenizer = lm.tokenizer
    language = [encode(tokenizer, *p, MAX_LENGTH) for p in problems(2000)]
    settings = TrainSettings(
        epochs=1, learning_rate=1e-4, batch_tokens=BATCH_TOKENS, precision=precision
    )
    options = dict(pad_token=tokenizer.pad_token_id, progress=False)
    if task == "finetune":
        train(lm.model, language, settings, **options)
        return peak_memory()
    questions = [p.question for p in problems(40)]
    solutions = [[row.tokens[row.prompt_length :]] * 20 for row in language[:40]]
    solutions = [
        [[*tokens[:-1], 5 + j] for j, tokens in enumerate(same)] for same in solutions
    ]
    verifier = new_verifier(name)
    if task == "score":
        limits = dict(batch_tokens=8192, precision=precision, progress=False)
        score_completions(verifier, tokenizer, questions, solutions, **limits)
    else:
        labels = [[True] * 20] * 40
        rows = make_rows(tokenizer, questions, solutions, labels, MAX_LENGTH)
        settings = settings.replace(group_size=20)
        train(verifier, rows, settings, language_rows=language, **options)
    return peak_memory()


def bench_steadiness(name: str, tokens: int) -> dict[str, Any]:
    """Tokens a second in each tenth of one long training, and its peak memory."""
    rates, peak = _alone(_train_long, name, tokens)
    steady = {"model": name, "tokens": tokens, "rates": rates, "peak_gb": peak}
    print(f"{tokens} tokens: {steady}", flush=True)
    return steady | {"last_to_first": rates[-1] / rates[0]}


def _train_long(name: str, tokens: int) -> tuple[list[float], float]:
    lm = load_language_model(name)
    rows = [encode(lm.tokenizer, *p, MAX_LENGTH) for p in problems(8000)]
    epochs = -(-tokens // sum(len(row.tokens) for row in rows))
    settings = TrainSettings(
        epochs=epochs,
        learning_rate=1e-4,
        batch_tokens=BATCH_TOKENS,
        precision=best_precision(),
    )
    pad_token = lm.tokenizer.pad_token_id
    history = train(lm.model, rows, settings, pad_token=pad_token, progress=False)
    history = history[history["tokens"].cumsum() <= tokens]
    spent = history["seconds"].diff().fillna(history["seconds"].iloc[0])
    tenth = np.minimum(np.arange(len(history)) * 10 // len(history), 9)
    sums = pd.DataFrame({"tokens": history["tokens"], "spent": spent})
    sums = sums.groupby(tenth).sum()
    return (sums["tokens"] / sums["spent"]).tolist(), peak_memory()


def _sample_many(count: int) -> tuple[float, float]:
    """Sample in a process of its own, and keep nothing: seconds and peak memory."""
    lm = load_language_model("mini-0.5m")
    questions = [p.question for p in problems(max(1, count // SAMPLES))]
    start = time.perf_counter()
    rules = Rules(0.7, seed=0, max_length=200)
    for _ in stream_completions(lm, questions, SAMPLES, rules):
        pass
    return time.perf_counter() - start, peak_memory()


def peak_memory() -> float:
    """Return the most memory this process has held, in GB.

    Linux' own count: getrusage's goes on from the parent's.
    """
    for line in lines_of(Path("/proc/self/status")):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
