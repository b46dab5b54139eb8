"""Speed beside what one would otherwise use, all in one run on the same weights.

Every contender takes its turn in every round, and medians over the rounds are compared:
what else the machine does meets all of them alike. Rates count real tokens or
completions, never padding. FLOP/s are those of the useful work (2 a parameter and token
forward, 6 with gradients, plus attention over what a token sees), so that a share of
the matrix-product peak, measured in the same run, also counts what is wasted.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from baselines import (
    STEPS,
    OneShape,
    PaddedLoop,
    generate,
    sample_as_released,
    score_padded,
)
from endurance import (
    BATCH_TOKENS,
    LEAST_TOKENS,
    MAX_LENGTH,
    SAMPLES,
    STEADY_TOKENS,
    bench_memory,
    bench_scaling,
    bench_steadiness,
    new_verifier,
    problems,
)
from gsmlib.data import load_problems
from gsmlib.environment import best_precision, describe_setup, processor_name
from gsmlib.files import write_file
from gsmlib.method.batching import Row, encode
from gsmlib.method.decoding import Rules, encode_prompt, sample_completions
from gsmlib.method.models import LanguageModel, load_language_model
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.training import new_run, take_step, train
from gsmlib.method.verifier import make_rows, score_completions
from gsmlib.study.pool import count_cores

PROBLEMS = 3  # sampled together
SMOLLM2_ROWS, SMOLLM2_TOKENS = 64, 48
RELEASED_TOKENS = 40  # of the released sampler's algorithm, in a round
GEMM_SIZE = 1536
RESULTS = Path(__file__).with_name("results.json")
RATIOS = {
    "sampling_vs_released": ("sample mini-2m", "ours", "released algorithm"),
    "sampling_vs_generate_mini": ("sample mini-2m", "ours, plain", "generate"),
    "sampling_vs_generate_smollm2": ("sample smollm2-135m", "ours, plain", "generate"),
    "sampling_vs_generate_bf16_mini": (
        "sample mini-2m",
        "ours, plain",
        "generate, bf16",
    ),
    "sampling_vs_generate_bf16_smollm2": (
        "sample smollm2-135m",
        "ours, plain",
        "generate, bf16",
    ),
    "verifier_training_vs_padded": ("verifier mini-2m", "ours, group 20", "padded"),
    "scoring_vs_padded": ("score mini-2m", "ours", "padded"),
    "finetuning_vs_padded": ("finetune mini-4m", "ours", "padded, shuffled"),
    "loop_vs_one_shape_2m": ("finetune mini-2m", "ours", "one shape"),
    "loop_vs_one_shape_4m": ("finetune mini-4m", "ours", "one shape"),
}
ONE_SHAPE = 8, 256  # rows and length: what a piece of ours holds
SHARES = {
    "decode_peak_share_mini": ("sample mini-2m", "ours, plain"),
    "decode_peak_share_smollm2": ("sample smollm2-135m", "ours, plain"),
    "finetuning_peak_share_4m": ("finetune mini-4m", "ours"),
}

# kinds of torch's operators, in their order the first whose words are in the name
OPERATORS = {
    "products with weights": ("::mm", "addmm", "linear"),
    "products of attention": ("bmm", "scaled_dot_product"),
    "softmax and its sums": ("softmax", "amax", "logsumexp"),
    "copies, casts, gathers": ("copy_", "cat", "index", "gather", "fill_", "scatter"),
    "the rest": ("",),
}
Work = Callable[[], tuple[float, float]]  # does some: units and FLOPs done


class Contender(NamedTuple):
    """One way of doing a task."""

    name: str
    work: Work
    precision: str


# --------------------------------------------------------------------------- the parts


def gemm_peak(precision: str, seconds: float = 1.0) -> float:
    """Return FLOP/s of large square matrix products, the best of a second's."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE).to(kind) for _ in range(2))
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds or len(rates) < 5:
        start = time.perf_counter()
        a @ b
        rates.append(2 * GEMM_SIZE**3 / (time.perf_counter() - start))
    return float(np.quantile(rates, 0.9))


def token_flops(lm: LanguageModel, context: float) -> float:
    """Return forward FLOPs of one token that sees `context` others.

    Twice the parameters that multiply (the output embedding does, the input embedding
    does not), and attention's two products per layer.
    """
    config = lm.model.config.get_text_config()
    width, vocabulary = config.hidden_size, config.vocab_size
    tables = sum(p.numel() for n, p in lm.model.named_parameters() if "wpe" in n)
    multiplied = lm.model.num_parameters() - tables  # tied: the output embedding's
    if not config.tie_word_embeddings:
        multiplied -= width * vocabulary
    return 2 * multiplied + 4 * config.num_hidden_layers * width * context


def compare(
    task: str, unit: str, contenders: Sequence[Contender], rounds: int
) -> list[dict[str, Any]]:
    """Return a row per contender: its median rate and FLOP/s over the rounds."""
    rates: dict[str, list[tuple[float, float]]] = {c.name: [] for c in contenders}
    for turn in range(rounds + 1):
        for contender in contenders:
            start = time.perf_counter()
            units, flops = contender.work()
            seconds = time.perf_counter() - start
            if turn or rounds == 1:  # the first round warms up
                rates[contender.name].append((units / seconds, flops / seconds))
        print(f"{task}: round {turn} of {rounds}", flush=True)
    rows = []
    for contender in contenders:
        per_second, flops = zip(*rates[contender.name], strict=True)
        row = {"task": task, "contender": contender.name, "unit": unit}
        row |= {"rate": statistics.median(per_second), "rounds": list(per_second)}
        row |= {"gflops": statistics.median(flops) / 1e9}
        rows.append(row | {"precision": contender.precision})
    rows[0]["operators"] = operator_shares(contenders[0].work)
    return rows


def operator_shares(work: Callable[[], Any]) -> dict[str, float]:
    """Return where torch's operators spend their time: a share per kind of OPERATORS.

    What is spent between them, in Python, is not seen.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    spent = dict.fromkeys(OPERATORS, 0.0)
    for event in profiler.key_averages():
        fits = (
            k for k, words in OPERATORS.items() if any(w in event.key for w in words)
        )
        spent[next(fits)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {kind: round(time / total, 3) for kind, time in spent.items() if total}


def practised_model(name: str, count: int = 500) -> LanguageModel:
    """Return a mini-GPT that writes solutions, after one epoch on some problems."""
    lm = load_language_model(name)
    rows = [encode(lm.tokenizer, *p, MAX_LENGTH) for p in problems(count)]
    settings = TrainSettings(epochs=1, learning_rate=1e-3, batch_tokens=4000)
    train(lm.model, rows, settings, pad_token=lm.tokenizer.pad_token_id, progress=False)
    return lm


# ---------------------------------------------------------------------------- sampling


def bench_sampling(
    lm: LanguageModel, name: str, rounds: int, rows: int, new_tokens: int
) -> list[dict[str, Any]]:
    """Compare ours with `generate` at one batch, and with the released algorithm."""
    n_problems = max(1, rows // SAMPLES)
    samples = rows // n_problems
    questions = [p.question for p in load_problems("minigsm", "test", n_problems)]
    longest = max(len(encode_prompt(lm.tokenizer, q)) for q in questions)
    limit = min(MAX_LENGTH, longest + new_tokens)
    flops = token_flops(lm, longest + 30)

    def ours(calculator: bool) -> tuple[float, float]:
        rules = Rules(0.7, seed=0, max_length=limit, calculator=calculator)
        drawn = sample_completions(lm, questions, samples, rules, batch_size=rows)
        tokens = sum(len(c.tokens) for problem in drawn for c in problem)
        return tokens, tokens * flops

    def theirs(calculator: bool, lm: LanguageModel = lm) -> tuple[float, float]:
        tokens = generate(lm, questions, samples, limit - longest, calculator)
        return tokens, tokens * flops

    def released() -> tuple[float, float]:
        tokens = sample_as_released(lm, questions[0], RELEASED_TOKENS)
        return tokens, tokens * flops

    contenders = [
        Contender("ours", lambda: ours(True), "fp32"),
        Contender("ours, plain", lambda: ours(False), "fp32"),
        Contender("generate", lambda: theirs(False), "fp32"),
        Contender("generate, calculator", lambda: theirs(True), "fp32"),
        Contender("released algorithm", released, "fp32"),
    ]
    if best_precision() == "bf16":  # elsewhere it is slower
        half = LanguageModel(deepcopy(lm.model).to(torch.bfloat16), lm.tokenizer)
        work = partial(theirs, False, half)
        contenders.append(Contender("generate, bf16", work, "bf16"))
    return compare(f"sample {name}", "token", contenders, rounds)


# ---------------------------------------------------------------------------- training


def bench_finetuning(name: str, rounds: int) -> list[dict[str, Any]]:
    """Compare ours with a shuffled loop over rows padded to their batch's longest."""
    lm, precision = load_language_model(name), best_precision()
    rows = [encode(lm.tokenizer, *p, MAX_LENGTH) for p in problems(2000)]
    mean = np.mean([len(row.tokens) for row in rows])
    flops = 3 * token_flops(lm, mean / 2)
    settings = TrainSettings(
        epochs=1, learning_rate=1e-4, batch_tokens=BATCH_TOKENS, precision=precision
    )
    ours = Steps(lm.model, rows, (), settings, lm.tokenizer.pad_token_id)
    other = load_language_model(name)
    padded = PaddedLoop(other.model, rows, (), settings, lm.tokenizer.pad_token_id)
    fixed = OneShape(load_language_model(name).model, settings, ONE_SHAPE)
    contenders = [
        Contender("ours", _counting(ours.tokens, flops), precision),
        Contender("one shape", _counting(fixed.tokens, flops), precision),
        Contender("padded, shuffled", _counting(padded.tokens, flops), precision),
    ]
    return compare(f"finetune {name}", "token", contenders, rounds)


def bench_verifier(lm: LanguageModel, name: str, rounds: int) -> list[dict[str, Any]]:
    """Compare verifier training, 100 completions a question, with a padded loop."""
    precision, tokenizer = best_precision(), lm.tokenizer
    questions, completions, labels = _completions(lm)
    rows = make_rows(tokenizer, questions, completions, labels, MAX_LENGTH)
    language = [encode(tokenizer, *p, MAX_LENGTH) for p in problems(len(questions))]
    mean = np.mean([len(row.tokens) for row in rows])
    flops = 2 * 3 * mean * token_flops(lm, mean / 2)  # a verifier and a language row
    contenders = []
    for label, group in (("group 4", 4), ("group 20", 20), ("padded", 0)):
        settings = TrainSettings(
            epochs=1,
            learning_rate=1e-4,
            batch_tokens=BATCH_TOKENS,
            precision=precision,
            group_size=group or 1,
        )
        kind = Steps if group else PaddedLoop
        loop = kind(
            new_verifier(name), rows, language, settings, tokenizer.pad_token_id
        )
        label = f"ours, {label}" if group else label
        work = _counting(loop.completions, flops)
        contenders.append(Contender(label, work, precision))
    return compare(f"verifier {name}", "completion", contenders, rounds)


def _counting(units: Callable[[], int], flops: float) -> Work:
    """Do some work by `units`, each of so many FLOPs."""

    def work() -> tuple[float, float]:
        done = units()
        return done, done * flops

    return work


class Steps:
    """Our training loop, some steps at a time; an epoch that ends begins again."""

    def __init__(
        self,
        model: nn.Module,
        rows: Sequence[Row],
        language_rows: Sequence[Row],
        settings: TrainSettings,
        pad_token: int,
    ):
        self.run = new_run(model, rows, settings, language_rows, pad_token)
        self.n_rows = len(rows)

    def _step(self) -> np.ndarray:
        if len(self.run.history) == len(self.run.plan):
            self.run.history.clear()
        batch = self.run.plan[len(self.run.history)][1]
        take_step(self.run)
        return batch

    def tokens(self) -> int:
        """Take steps; return how many real tokens they saw."""
        batches = [self._step() for _ in range(STEPS)]
        return sum(len(self.run.rows[i].tokens) for batch in batches for i in batch)

    def completions(self) -> int:
        """Take steps; return how many labelled rows they saw."""
        return sum(int((self._step() < self.n_rows).sum()) for _ in range(STEPS))


# ----------------------------------------------------------------------------- scoring


def bench_scoring(lm: LanguageModel, name: str, rounds: int) -> list[dict[str, Any]]:
    """Compare scoring with a loop over padded rows, each computed whole."""
    precision, tokenizer = best_precision(), lm.tokenizer
    questions, completions, _ = _completions(lm)
    verifier, pad_token = new_verifier(name).eval(), tokenizer.pad_token_id
    flat = [
        encode_prompt(tokenizer, question) + tokens
        for question, solutions in zip(questions, completions, strict=True)
        for tokens in solutions
    ]
    order = np.random.default_rng(0).permutation(len(flat))
    mean = np.mean([len(tokens) for tokens in flat])
    flops = len(flat) * mean * token_flops(lm, mean / 2)

    def ours() -> tuple[float, float]:
        score_completions(
            verifier,
            tokenizer,
            questions,
            completions,
            batch_tokens=8192,
            precision=precision,
            progress=False,
        )
        return len(flat), flops

    def padded() -> tuple[float, float]:
        score_padded(verifier, [flat[i] for i in order], pad_token, precision)
        return len(flat), flops

    contenders = [
        Contender("ours", ours, precision),
        Contender("padded", padded, precision),
    ]
    return compare(f"score {name}", "completion", contenders, rounds)


def _completions(
    lm: LanguageModel, count: int = 8
) -> tuple[list[str], list[list[list[int]]], list[list[bool]]]:
    """Return questions, 100 sampled completions of each, and whether they are right."""
    chosen = problems(count)
    questions = [p.question for p in chosen]
    drawn = sample_completions(lm, questions, SAMPLES, Rules(0.7, seed=0))
    tokens = [[c.tokens for c in problem] for problem in drawn]
    labels = [[bool(c.finished) for c in problem] for problem in drawn]
    return questions, tokens, labels


# --------------------------------------------------------------------------- the whole


def run_benchmarks(
    rounds: int, smollm2: bool = True, tokens: int = STEADY_TOKENS
) -> dict[str, Any]:
    """Run everything; return ratios, shares of the peak, all rows and the machine.

    `tokens` are those of the long training.
    """
    peaks = {precision: gemm_peak(precision) for precision in ("fp32", "bf16")}
    lm = practised_model("mini-2m")
    rows = bench_sampling(lm, "mini-2m", rounds, PROBLEMS * SAMPLES, 120)
    rows += bench_verifier(lm, "mini-2m", rounds)
    rows += bench_scoring(lm, "mini-2m", rounds)
    rows += bench_finetuning("mini-2m", rounds)
    rows += bench_finetuning("mini-4m", rounds)
    if smollm2:
        lm = load_language_model("smollm2-135m")
        size = (SMOLLM2_ROWS, SMOLLM2_TOKENS)
        rows += bench_sampling(lm, "smollm2-135m", max(1, rounds // 2), *size)
    for row in rows:
        row["peak_share"] = row["gflops"] * 1e9 / peaks[row["precision"]]
    return {
        "ratios": _ratios(rows),
        "machine": _machine(),
        "gemm_peak_gflops": {name: peak / 1e9 for name, peak in peaks.items()},
        "rows": rows,
        "scaling": bench_scaling(),
        "memory_gb": bench_memory(),
        "steadiness": bench_steadiness("mini-2m", tokens),
    }


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the named ratios of rates, and shares of the peak, that the rows allow."""
    known = {(row["task"], row["contender"]): row for row in rows}
    ratios = {
        name: known[task, ours]["rate"] / known[task, other]["rate"]
        for name, (task, ours, other) in RATIOS.items()
        if {(task, ours), (task, other)} <= known.keys()
    }
    shares = {
        name: known[key]["peak_share"] for name, key in SHARES.items() if key in known
    }
    return {name: round(value, 3) for name, value in (ratios | shares).items()}


def _machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "cores": count_cores(),
        "threads": torch.get_num_threads(),
        "setup": describe_setup(),
    }


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write the results as JSON, rates with four digits, beside other processors'."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[results["machine"]["processor"]] = results
    short = json.loads(
        json.dumps(known), parse_float=lambda x: float(f"{float(x):.4g}")
    )
    write_file(path, json.dumps(short, indent=1) + "\n")


def as_table(results: dict[str, Any]) -> pd.DataFrame:
    """Return a line per contender: rate, times the slowest's, share of the peak."""
    table = pd.DataFrame(results["rows"])
    table = table.drop(columns=["rounds", "operators"], errors="ignore")
    slowest = table.groupby("task")["rate"].transform("min")
    table["times_slowest"] = table["rate"] / slowest
    return table


def main() -> None:
    """Measure, write results.json beside this file, and print the table."""
    parser = argparse.ArgumentParser(description="Speed beside the alternatives.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--smollm2", action=argparse.BooleanOptionalAction, default=True
    )
    parser.add_argument("--tokens", type=int, default=STEADY_TOKENS)
    given = parser.parse_args()
    for name, least in dict(rounds=1, tokens=LEAST_TOKENS).items():
        if getattr(given, name) < least:
            value = getattr(given, name)
            parser.error(f"--{name} is {value}; give a number from {least}.")
    results = run_benchmarks(given.rounds, given.smollm2, given.tokens)
    write_results(results, RESULTS)
    print(as_table(results).round(3).to_string(index=False))
    for name, value in results["ratios"].items():
        print(f"{name}: {value:g}")
    print(f"Written: {RESULTS}")


if __name__ == "__main__":
    main()
