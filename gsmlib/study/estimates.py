"""What a stage costs, estimated: time from measured rates, the rest from sizes alone.

Of the time a part is matrix products, at the rate of this CPU, the rest as it was on
another.

A stage's `Work` says what there is to do; a row of COSTS what that kind of work costs.
"""

from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple

from gsmlib.data import family
from gsmlib.environment import product_rate
from gsmlib.method.recipe import EVALUATION_TOKENS, TrainSettings
from gsmlib.method.sizes import size_of
from gsmlib.records import Precision
from gsmlib.study import specs

# Mean tokens of a question and of a solution.
TOKENS = {"minigsm": (108, 131), "gsm8k": (61, 123)}
SEARCHED = 6  # tokens sampled or scored, for one of a solution that is searched
PASSAGE_TOKENS = 145  # of running text
# What GPU hours are counted in: an A100's bfloat16 peak, of which this share is used.
GPU, GPU_FLOPS, GPU_SHARE = "NVIDIA A100", 312e12, 0.3
PROCESS_BYTES = 500e6  # of Python and torch
TRAINED_BYTES = 16  # a parameter's weight, gradient and Adam's two states, in float32
# In float32, and half as much in bfloat16:
LAYER_BYTES = 80  # kept for the backward pass, a token, layer and unit of width
LOGIT_BYTES = 12  # the same, a token and entry of the vocabulary
HELD = 1.6  # of a process, for a byte in use: freed memory of other sizes
# What is computed at once, as by losses.make_pieces on a CPU.
PIECE_TOKENS, PIECE_LOGITS, PIECE_KEPT = 2048, 200e6, 72e6
START_SECONDS = 0.3  # of a stage: loading a model and its problems
THREAD_GAIN = 0.75  # of a core, by a further thread: SmolLM2's training by two
ALL_EPOCHS_BYTES = 3e9  # more than this is too much to keep every epoch's model


class Work(NamedTuple):
    """What a stage has to do, without its parents."""

    kind: Literal["train", "sample", "score"]
    model: str  # that it trains, samples from or scores with
    tokens: float  # about how many it learns, writes or reads; a shared question once
    models: int = 0  # that it keeps
    max_length: int = 0  # of a sampled row
    precision: Precision = "fp32"  # that it computes in
    steps: float = 0  # about how many updates of its weights


class Cost(NamedTuple):
    """A kind of work: seconds on one core, operations, bytes on disk.

    A token's seconds, beside its products, are some and those of each of its units, as
    many as layers times width: of mini-0.5m and mini-2m as they took with both cores of
    an AMD EPYC busy. Models of width WIDE or more outgrow a core's cache: a unit then
    takes `wide` times as long, as it did in SmolLM2 on an Intel Xeon with tiles.
    """

    seconds: float
    unit: float
    flops: float  # a parameter and token
    disk: float  # bytes a token
    wide: float = 1


COSTS = {
    "train": Cost(15e-6, 40e-9, flops=6, disk=0, wide=2.9),  # finetuning 2.7, else 3.1
    "sample": Cost(25e-6, 80e-9, flops=2, disk=2.5, wide=2),
    "score": Cost(10e-6, 33e-9, flops=2, disk=7),  # no gradients, little to keep
}
PRODUCT_SHARE = 0.55  # of products' rate; SmolLM2: 0.44 (with tiles) to 0.62
WIDE = 512
STEP_SECONDS = 5.4e-9  # a parameter: Adam, clipping, gradients and weights handed over


def pretrain_work(spec: specs.PretrainSpec) -> Work:
    """Return what additional pretraining has to do."""
    tokens = spec.n_texts * spec.training.epochs * PASSAGE_TOKENS
    return _train_work(spec.model, tokens, spec.training, 1)


def finetune_work(spec: specs.FinetuneSpec) -> Work:
    """Return what a finetuning has to do."""
    tokens = spec.data.n_train * spec.training.epochs * sum(_tokens(spec.data.dataset))
    return _train_work(spec.model, tokens, spec.training, len(spec.keep_epochs))


def sample_work(spec: specs.SampleSpec) -> Work:
    """Return what a sampling has to do."""
    model = (spec.sampler.base if spec.sampler else spec.generator).model
    return Work("sample", model, _read(spec), 0, spec.max_length, spec.precision)


def search_work(spec: specs.SearchSpec) -> Work:
    """Return what a search has to do: its lines and their scores, whole solutions'."""
    question, solution = _tokens(spec.generator.data.dataset)
    each = question + SEARCHED * spec.width * spec.branching * solution
    tokens = spec.n_problems * each
    model = spec.generator.model
    return Work("sample", model, tokens, 0, spec.max_length, spec.precision)


def released_work(spec: specs.ReleasedSpec) -> Work:
    """Return what reading released solutions has to do: their log-probabilities."""
    return Work("score", spec.generator.model, _read(spec), precision=spec.precision)


def verifier_work(spec: specs.VerifierSpec) -> Work:
    """Return what a verifier's training has to do."""
    question, solution = _tokens(spec.completions.generator.data.dataset)
    each = spec.per_problem or spec.completions.n
    together = min(spec.training.group_size, each)
    language = question + solution if spec.training.language_weight else 0
    counted = question + solution + language  # of a batch's, whatever is shared
    language /= together if spec.training.shared_language else 1
    tokens = solution + question / together + language
    rows = spec.completions.n_problems * each * spec.training.epochs
    work = _train_work(spec.base.model, rows * tokens, spec.training, spec.checkpoints)
    return work._replace(steps=rows * counted / spec.training.batch_tokens)


def _train_work(
    model: str, tokens: float, training: TrainSettings, models: int
) -> Work:
    steps, precision = tokens / training.batch_tokens, training.precision
    return Work("train", model, tokens, models, precision=precision, steps=steps)


def score_work(spec: specs.ScoreSpec) -> Work:
    """Return what a scoring has to do."""
    verifier, tokens = spec.verifier, _read(spec.completions)
    precision = verifier.training.precision
    return Work("score", verifier.base.model, tokens, precision=precision)


def _read(completions: specs.SampleSpec | specs.ReleasedSpec) -> float:
    """Tokens of completions and, once each, of their questions."""
    question, solution = _tokens(completions.generator.data.dataset)
    return completions.n_problems * (completions.n * solution + question)


def _tokens(dataset: str) -> tuple[int, int]:
    """Mean tokens of a question and of a solution; one's own count as GSM8K's."""
    return TOKENS.get(family(dataset), TOKENS["gsm8k"])


def in_words(seconds: float) -> str:
    """Return a duration as it is said, in days, hours and minutes.

    >>> [in_words(seconds) for seconds in (0, 80, 780, 3_600, 7_500)]
    ['0 seconds', '80 seconds', '13 minutes', '1 hour', '2 hours 5 minutes']
    >>> [in_words(86_400 * days) for days in (4.63, 40.3, 4906)]
    ['4 days 15 hours', '40 days', '4,906 days']
    """
    minutes = round(seconds / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if seconds < 90:
        parts = {"second": round(seconds)}
    elif not days:
        parts = {"hour": hours, "minute": minutes % 60}
    else:
        parts = {"day": days, "hour": hours if days < 10 else 0}
    said = [f"{n:,} {unit}{'s' * (n != 1)}" for unit, n in parts.items() if n]
    return " ".join(said) or "0 seconds"


def estimate_seconds(work: Work) -> float:
    """Return about how long one core of this CPU takes."""
    rate = PRODUCT_SHARE * product_rate(work.precision)
    cost, size = COSTS[work.kind], size_of(work.model)
    unit = cost.unit * (cost.wide if size.width >= WIDE else 1)
    others = work.tokens * (cost.seconds + unit * size.layers * size.width)
    others += work.steps * STEP_SECONDS * 1e6 * size.millions
    return START_SECONDS + others + estimate_flops(work) / rate


def share_out(
    stages: Iterable[tuple[Hashable, float, Iterable[Hashable]]], workers: int
) -> float:
    """Return about how long stages take together, shared out among processes.

    stages: of each its name, one core's seconds and its parents, which stand before it.
    It is no less than the longest chain, whose stages wait for each other, takes where
    each has all cores to itself.
    """
    total, chains = 0.0, {}
    for name, seconds, parents in stages:
        before = max((chains.get(parent, 0.0) for parent in parents), default=0.0)
        chains[name] = before + seconds
        total += seconds
    alone = max(chains.values()) / (1 + THREAD_GAIN * (workers - 1))
    return max(total / workers, alone)


def estimate_flops(work: Work) -> float:
    """Return the operations: a parameter and token, 6 to learn, 2 otherwise."""
    return COSTS[work.kind].flops * 1e6 * size_of(work.model).millions * work.tokens


def estimate_gpu_seconds(work: Work) -> float:
    """Return about how long a GPU takes, from operations alone."""
    return estimate_flops(work) / (GPU_FLOPS * GPU_SHARE)


def estimate_memory(work: Work) -> float:
    """Return about how many bytes there are at the peak, on a CPU.

    Training: weights, gradients, Adam's states, a copy where bfloat16 computes, and
    what the backward pass needs of the tokens computed at once; all this HELD times,
    as a long training of SmolLM2 was measured in float32. Sampling: weights, and the
    cache of the rows in work.
    """
    from gsmlib.method.decoding import BATCH_BYTES, MAX_ROWS  # here: it imports torch

    size = size_of(work.model)
    parameters = 1e6 * size.millions
    if work.kind == "train":
        inner = size.layers * size.width
        item, copied = (2, 2) if work.precision == "bf16" else (4, 0)
        most = PIECE_KEPT / item / inner
        tokens = min(PIECE_TOKENS, PIECE_LOGITS / size.vocabulary, most)
        kept = item / 4 * (LAYER_BYTES * inner + LOGIT_BYTES * size.vocabulary)
        trained = (TRAINED_BYTES + copied) * parameters
        return PROCESS_BYTES + HELD * (trained + tokens * kept)
    if work.kind == "score":
        read = EVALUATION_TOKENS * LAYER_BYTES * size.width
        return PROCESS_BYTES + 4 * parameters + read
    row = 8 * size.layers * size.width * work.max_length + 32 * size.vocabulary
    return PROCESS_BYTES + 4 * parameters + min(MAX_ROWS * row, BATCH_BYTES)


def estimate_disk(work: Work) -> float:
    """Return about how many bytes stay in the store."""
    models = work.models * 4e6 * size_of(work.model).millions
    return COSTS[work.kind].disk * work.tokens + models


def all_epochs_fit(model: str, epochs: int) -> bool:
    """Return whether the models after every epoch are small enough to be kept."""
    return epochs * 4e6 * size_of(model).millions <= ALL_EPOCHS_BYTES
