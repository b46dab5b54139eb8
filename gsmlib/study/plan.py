"""What a study needs that the store lacks: listed, estimated, computed in parallel.

Time is estimated from measured rates, memory, disk and GPU hours from sizes alone.

Every stage is computed by a process of few threads. On small models one thread each
loses little, where the threads of one process spend their time waiting for each other
(mini-1m trains at 16,000 tokens/s with one thread, at 18,500 with two).
"""

import io
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
from tqdm import tqdm

from gsmlib.environment import count_from, has_gpu, is_launched
from gsmlib.study.artifacts import VERSIONS, folder_of, is_done, parents
from gsmlib.study.pipeline import compute
from gsmlib.study.specs import (
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.store import MANIFEST, Store


class Size(NamedTuple):
    """A model's size, for the estimates alone."""

    millions: float  # of parameters
    layers: int
    width: int
    vocabulary: int


SIZES = {
    "tiny": Size(0.1, 2, 32, 1400),
    "mini-0.1m": Size(0.1, 4, 32, 1400),
    "mini-0.3m": Size(0.3, 4, 64, 1400),
    "mini-1m": Size(1.0, 4, 128, 1400),
    "mini-3m": Size(3.0, 6, 192, 1400),
    "smollm2-135m": Size(135, 30, 576, 49_152),
    "gpt2": Size(124, 12, 768, 50_257),
    "gpt2-medium": Size(355, 24, 1024, 50_257),
    "gpt2-large": Size(774, 36, 1280, 50_257),
    "gpt2-xl": Size(1558, 48, 1600, 50_257),
}
# Mean tokens of a question and of a solution.
TOKENS = {"minigsm": (110, 80), "gsm8k": (90, 130)}
# Seconds a token on one core of the machine the reports were made on: what every token
# costs, and what a million parameters add (fitted to rates of mini-0.3m to SmolLM2).
TRAINING_COST, SAMPLING_COST = (30e-6, 27e-6), (70e-6, 21e-6)
PASSAGE_TOKENS = 90  # of running text
# What GPU hours are counted in: an A100's bfloat16 peak, of which this share is used.
GPU, GPU_FLOPS, GPU_SHARE = "NVIDIA A100", 312e12, 0.3
PROCESS_BYTES = 500e6  # of Python and torch
TRAINED_BYTES = 16  # a parameter's weight, gradient and Adam's two states, in float32
LAYER_BYTES = 80  # kept for the backward pass, a token, layer and unit of width
LOGIT_BYTES = 12  # the same, a token and entry of the vocabulary
PIECE_TOKENS, PIECE_LOGITS = 4096, 200e6  # at once, as training.max_piece on a CPU
COMPLETION_BYTES, SCORE_BYTES = 2.5, 7  # on disk, a token
START_SECONDS = 0.3  # of a stage: loading a model and its problems
FEW_SECONDS = 45  # less work than this is not worth starting processes for
WORKER_BYTES = 3 * 2**30


class Stage(NamedTuple):
    """A stage that a study needs: its spec, and its estimated seconds on one core."""

    spec: Spec
    seconds: float
    done: bool
    asked: bool  # for itself, not only for what is made of it


# ------------------------------------------------------------------------ what is to do


def list_stages(specs: Sequence[Spec], store: Store) -> list[Stage]:
    """Return the stages `specs` and all their ancestors, each once, parents first."""
    graph: dict[Spec, list[Spec]] = {}
    waiting = list(specs)
    while waiting:
        spec = waiting.pop()
        if spec not in graph:
            graph[spec] = parents(spec)
            waiting += graph[spec]
    order = TopologicalSorter(graph).static_order()
    asked = set(specs)
    return [
        Stage(spec, estimate_seconds(spec), is_done(spec, store), spec in asked)
        for spec in order
    ]


def needed_stages(stages: Sequence[Stage]) -> dict[Spec, Stage]:
    """Return what has to be computed: not what only a finished stage was made of."""
    known = {stage.spec: stage for stage in stages}
    waiting = [stage.spec for stage in stages if stage.asked]
    needed: set[Spec] = set()
    while waiting:
        spec = waiting.pop()
        if spec not in needed and not known[spec].done:
            needed.add(spec)
            waiting += parents(spec)
    return {spec: stage for spec, stage in known.items() if spec in needed}


def count_tokens(spec: Spec) -> float:
    """Return about how many tokens a stage (not its parents) learns, writes or reads.

    A question that several completions share counts once.
    """
    question, solution = TOKENS[_dataset_of(spec)]
    if isinstance(spec, PretrainSpec):
        return spec.n_texts * spec.training.epochs * PASSAGE_TOKENS
    if isinstance(spec, FinetuneSpec):
        return spec.data.n_train * spec.training.epochs * (question + solution)
    if isinstance(spec, VerifierSpec):
        each = spec.per_problem or spec.completions.n
        completions = spec.completions.n_problems * each
        once = 2 * question + solution  # of a group: its question, its language row
        tokens = solution + once / min(spec.training.group_size, each)
        return completions * tokens * spec.training.epochs
    read = spec.completions if isinstance(spec, ScoreSpec) else spec
    assert isinstance(read, SampleSpec), f"{type(spec).__name__} has no estimate"
    return read.n_problems * (read.n * solution + question)


def estimate_seconds(spec: Spec) -> float:
    """Return about how long one core takes for a stage (not its parents)."""
    fixed, each = SAMPLING_COST if isinstance(spec, SampleSpec) else TRAINING_COST
    seconds = count_tokens(spec) * (fixed + each * _size_of(spec).millions)
    if isinstance(spec, ScoreSpec):
        seconds /= 3  # no gradients
    return START_SECONDS + seconds


def estimate_flops(spec: Spec) -> float:
    """Return a stage's operations: a parameter and token, 6 to learn, 2 otherwise."""
    each = 2 if isinstance(spec, SampleSpec | ScoreSpec) else 6
    return each * 1e6 * _size_of(spec).millions * count_tokens(spec)


def estimate_memory(spec: Spec) -> float:
    """Return about how many bytes a stage takes at its peak, in float32 on a CPU.

    Training: weights, gradients, Adam's states, and what the backward pass needs of
    the tokens computed at once. Sampling: weights, and the cache of the rows in work.
    """
    from gsmlib.method.decoding import BATCH_BYTES, MAX_ROWS  # here: they import torch
    from gsmlib.study.stages import EVALUATION_TOKENS

    size = _size_of(spec)
    parameters = 1e6 * size.millions
    if isinstance(spec, SampleSpec):
        row = 8 * size.layers * size.width * spec.max_length + 32 * size.vocabulary
        return PROCESS_BYTES + 4 * parameters + min(MAX_ROWS * row, BATCH_BYTES)
    if isinstance(spec, ScoreSpec):
        read = EVALUATION_TOKENS * LAYER_BYTES * size.width
        return PROCESS_BYTES + 4 * parameters + read
    tokens = min(PIECE_TOKENS, PIECE_LOGITS / size.vocabulary)
    kept = LAYER_BYTES * size.layers * size.width + LOGIT_BYTES * size.vocabulary
    return PROCESS_BYTES + TRAINED_BYTES * parameters + tokens * kept


def estimate_disk(spec: Spec) -> float:
    """Return about how many bytes of a stage stay in the store."""
    if isinstance(spec, SampleSpec):
        return COMPLETION_BYTES * count_tokens(spec)
    if isinstance(spec, ScoreSpec):
        return SCORE_BYTES * count_tokens(spec)
    models = 1
    if isinstance(spec, FinetuneSpec):
        models = len(spec.keep_epochs)
    elif isinstance(spec, VerifierSpec):
        models = spec.checkpoints
    return models * 4e6 * _size_of(spec).millions


def _size_of(spec: Spec) -> Size:
    """The size of a stage's model; one that is not known counts as GPT-2's smallest."""
    return SIZES.get(_model_of(spec).removesuffix(":random"), SIZES["gpt2"])


def plan_table(stages: Sequence[Stage]) -> pd.DataFrame:
    """Return a row per kind of stage and model: how many, how many done, what is left.

    Columns: stage, model, stages, done, and of what is missing core_minutes (one
    core's), gpu_hours, disk_gb, and memory_gb (the peak of its largest stage).
    """
    needed = needed_stages(stages)
    rows = [_plan_row(stage, stage.spec in needed) for stage in stages]
    columns = dict.fromkeys(rows[0], "sum") | {"memory_gb": "max"} if rows else {}
    by = ["stage", "model"]
    how = {name: way for name, way in columns.items() if name not in by}
    return pd.DataFrame(rows).groupby(by, sort=False).agg(how).reset_index()


def _plan_row(stage: Stage, missing: bool) -> dict[str, Any]:
    spec = stage.spec
    return {
        "stage": VERSIONS[type(spec)][0],
        "model": _model_of(spec),
        "stages": 1,
        "done": int(not missing),
        "core_minutes": missing * stage.seconds / 60,
        "gpu_hours": missing * estimate_flops(spec) / (GPU_FLOPS * GPU_SHARE) / 3600,
        "disk_gb": missing * estimate_disk(spec) / 1e9,
        "memory_gb": missing * estimate_memory(spec) / 1e9,
    }


def cost_table(stages: Sequence[Stage], store: Store) -> pd.DataFrame:
    """Return what finished stages took, as the store noted it.

    Columns: stage, model, stages, minutes (of a stage that was resumed: its last run).
    """
    rows = [
        {
            "stage": VERSIONS[type(stage.spec)][0],
            "model": _model_of(stage.spec),
            "stages": 1,
            "minutes": _seconds_taken(stage.spec, store) / 60,
        }
        for stage in stages
        if stage.done
    ]
    table = pd.DataFrame(rows, columns=["stage", "model", "stages", "minutes"])
    return table.groupby(["stage", "model"], sort=False).sum().reset_index()


def _seconds_taken(spec: Spec, store: Store) -> float:
    manifest = folder_of(spec, store) / MANIFEST
    return json.loads(manifest.read_text())["seconds"]


def _model_of(spec: Spec) -> str:
    """The model that a stage trains, samples from or scores with."""
    if isinstance(spec, VerifierSpec):
        return spec.base.model
    if isinstance(spec, ScoreSpec):
        return _model_of(spec.verifier)
    if isinstance(spec, SampleSpec):
        return _model_of(spec.sampler or spec.generator)
    return spec.model


def _dataset_of(spec: Spec) -> str:
    if isinstance(spec, PretrainSpec):
        return spec.dataset
    if isinstance(spec, FinetuneSpec):
        return spec.data.dataset
    if isinstance(spec, SampleSpec):
        return _dataset_of(spec.generator)
    return _dataset_of(spec.completions)


# --------------------------------------------------------------------------- doing it


def count_workers() -> int:
    """Return how many stages to compute at once: GSMLIB_WORKERS, else what fits.

    That is one per core with 3 GiB of free memory, and one where there is a GPU.
    Raises SettingsError where GSMLIB_WORKERS is no positive number.
    """
    given = count_from("GSMLIB_WORKERS")
    if given:
        return given
    if has_gpu() or is_launched():
        return 1  # all of `accelerate launch`'s processes compute the same stage
    room = psutil.virtual_memory().available // WORKER_BYTES
    return max(1, min(count_cores(), room))


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare(specs: Sequence[Spec], store: Store) -> None:
    """Compute what `specs` need and the store lacks, several stages at a time.

    Does nothing where little is missing or one worker is all there is: the stages are
    then computed where they are asked for. A stage that fails is left to whoever asks
    for it, who gets its error.
    """
    needed = needed_stages(list_stages(specs, store))
    workers = min(count_workers(), len(needed))
    seconds = sum(stage.seconds for stage in needed.values())
    if workers < 2 or seconds < FEW_SECONDS:
        return
    print(
        f"{len(needed)} stages to compute, about {seconds / 60 / workers:.0f} minutes "
        f"by {workers} processes",
        flush=True,
    )
    with processes(workers) as pool:
        work_off(needed, lambda spec: pool.submit(compute_quietly, spec, store.root))


def work_off(
    needed: dict[Spec, Stage], submit: Callable[[Spec], Future[str]]
) -> list[Spec]:
    """Submit stages as their parents finish, the longest first; return what failed."""
    graph = {spec: [p for p in parents(spec) if p in needed] for spec in needed}
    sorter, failed = TopologicalSorter(graph), []
    sorter.prepare()
    running: dict[Future[str], Spec] = {}
    with _Progress(needed) as progress:
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=lambda s: -needed[s].seconds)
            running |= {submit(spec): spec for spec in ready}
            if not running:
                break  # all that is left rests on what failed
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                spec = running.pop(future)
                if _finish(future):
                    sorter.done(spec)
                    progress.finish(spec)
                else:
                    failed.append(spec)
            progress.show(spec for f, spec in running.items() if f.running())
    return failed


def _finish(future: Future[str]) -> bool:
    """Print what a stage had to say; return whether it went well."""
    try:
        tqdm.write(future.result().strip())
    except BrokenProcessPool:
        raise
    except Exception as error:
        tqdm.write(f"A stage failed: {error}")
        return False
    return True


class _Progress:
    """A bar of estimated seconds, which what is running moves too."""

    def __init__(self, needed: dict[Spec, Stage]):
        self.needed, self.finished = needed, 0.0
        self.began: dict[Spec, float] = {}
        left = "{desc}: {percentage:3.0f} % done, {elapsed} so far, {remaining} left"
        total = sum(stage.seconds for stage in needed.values())
        # a log, unlike a terminal, keeps every line: one in half a minute is enough
        pause = 1 if sys.stderr.isatty() else 30
        look = dict(bar_format=left, smoothing=0, mininterval=pause, maxinterval=pause)
        look |= dict(miniters=0)  # the clock goes on when a stage takes longer
        self.bar = tqdm(total=total, desc="stages", **look)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def finish(self, spec: Spec) -> None:
        """Count a stage as done."""
        self.finished += self.needed[spec].seconds

    def show(self, running: Iterable[Spec]) -> None:
        """Count what is running by its time so far, up to nine tenths of it."""
        now, partial = time.monotonic(), 0.0
        for spec in running:
            since = now - self.began.setdefault(spec, now)
            partial += min(since, 0.9 * self.needed[spec].seconds)
        self.bar.update(max(0.0, self.finished + partial - self.bar.n))


@contextmanager
def processes(workers: int, start: str = "spawn") -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that share the cores; ended at once when interrupted.

    start: "fork" is quicker, for processes that do not compute with torch.
    """
    threads = str(max(1, count_cores() // workers))
    settings = {"OMP_NUM_THREADS": threads}
    before = set(multiprocessing.active_children())
    with _environment(settings):
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context(start))
        try:
            yield pool
        except BrokenProcessPool:
            tqdm.write(
                "A process died (was memory short?): going on one stage at a time."
            )
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables that processes started within inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def compute_quietly(spec: Spec, root: Path) -> str:
    """Compute one stage in a worker; return what it printed but for progress bars."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        compute(spec, Store(root))
    lines = re.split(r"[\r\n]+", said.getvalue())
    return "\n".join(x for x in lines if "%|" not in x and not x.endswith(" cached"))
