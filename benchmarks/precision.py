"""Tokens a second of finetuning in float32 and bfloat16, in turns, on one core.

`OMP_NUM_THREADS=1 python benchmarks/precision.py mini-2m`, and with
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 set, as on one with AVX2 alone.
"""

import statistics
import sys
import time

import torch

from gsmlib.data import load_problems
from gsmlib.environment import processor_name
from gsmlib.method.batching import Row, encode
from gsmlib.method.models import load_language_model
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.training import train
from gsmlib.records import Precision

PROBLEMS, ROUNDS, BATCH_TOKENS, LEARNING_RATE = 100, 3, 4_000, 1e-4


def tokens_a_second(name: str, precision: Precision) -> float:
    """Finetune a model for one epoch of `PROBLEMS` problems of MiniGSM."""
    lm = load_language_model(name)
    problems = load_problems("minigsm", "train", PROBLEMS)
    rows: list[Row] = [encode(lm.tokenizer, *problem, 400) for problem in problems]
    settings = TrainSettings(
        epochs=1,
        learning_rate=LEARNING_RATE,
        batch_tokens=BATCH_TOKENS,
        precision=precision,
    )
    start = time.perf_counter()
    train(lm.model, rows, settings, pad_token=lm.tokenizer.pad_token_id)
    return sum(len(row.tokens) for row in rows) / (time.perf_counter() - start)


def main(names: list[str]) -> None:
    """Print the median speed of each model in each precision, and their ratio."""
    print(processor_name(), torch.backends.cpu.get_cpu_capability())
    for name in names or ["mini-2m"]:
        rounds = [
            [tokens_a_second(name, precision) for precision in ("fp32", "bf16")]
            for _ in range(ROUNDS)
        ]
        full, half = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
        print(
            f"{name}: {full:.0f} in float32, {half:.0f} in bfloat16, {half / full:.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
