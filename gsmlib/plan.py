"""What a study needs that the store lacks: listed, estimated, computed in parallel.

Every stage is computed by a process of few threads. On small models one thread each
loses little, where the threads of one process spend their time waiting for each other
(mini-1m trains at 16,000 tokens/s with one thread, at 18,500 with two).
"""

import io
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
from typing import NamedTuple

import pandas as pd
import psutil
import torch
from tqdm import tqdm

from gsmlib import pipeline
from gsmlib.config import (
    FinetuneSpec,
    PretrainSpec,
    SampleSpec,
    ScoreSpec,
    SettingsError,
    Spec,
    VerifierSpec,
)
from gsmlib.store import Store

# Sizes in millions of parameters, for the estimates alone.
MILLIONS = {
    "tiny": 0.1,
    "mini-0.1m": 0.1,
    "mini-0.3m": 0.3,
    "mini-1m": 1.0,
    "mini-3m": 3.0,
    "smollm2-135m": 135,
    "gpt2": 124,
    "gpt2-medium": 355,
    "gpt2-large": 774,
    "gpt2-xl": 1558,
}
OTHER_MILLIONS = 100.0
# Mean tokens of a question and of a solution.
TOKENS = {"minigsm": (110, 80), "gsm8k": (90, 130)}
# Seconds a token on one core of the machine the reports were made on: what every token
# costs, and what a million parameters add (fitted to rates of mini-0.3m to SmolLM2).
TRAINING_COST, SAMPLING_COST = (30e-6, 27e-6), (70e-6, 21e-6)
PASSAGE_TOKENS = 90  # of running text
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


def parents(spec: Spec) -> list[Spec]:
    """Return the stages whose artifacts computing `spec` reads."""
    needed = [value for _, value in spec if type(value) in pipeline.VERSIONS]
    if isinstance(spec, VerifierSpec):
        needed.append(spec.completions.generator)
        needed += [s for s in [spec.base.pretraining] if s is not None]
    return needed


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
        Stage(
            spec, estimate_seconds(spec), pipeline.is_done(spec, store), spec in asked
        )
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


def estimate_seconds(spec: Spec) -> float:
    """Return about how long one core takes for a stage (not its parents)."""
    question, solution = TOKENS[_dataset_of(spec)]
    model = _model_of(spec)
    training = _token_seconds(model, TRAINING_COST)
    if isinstance(spec, PretrainSpec):
        seconds = spec.n_texts * PASSAGE_TOKENS * training
    elif isinstance(spec, FinetuneSpec):
        rows = spec.data.n_train * spec.training.epochs
        seconds = rows * (question + solution) * training
    elif isinstance(spec, SampleSpec):
        tokens = spec.n_problems * (spec.n * solution + question)
        seconds = tokens * _token_seconds(model, SAMPLING_COST)
    elif isinstance(spec, VerifierSpec):
        each = spec.per_problem or spec.completions.n
        completions = spec.completions.n_problems * each
        once = 2 * question + solution  # of a group: its question, its language row
        tokens = solution + once / min(spec.training.group_size, each)
        seconds = completions * tokens * spec.training.epochs * training
    else:
        assert isinstance(spec, ScoreSpec), f"{type(spec).__name__} has no estimate"
        tokens = spec.completions.n_problems * (
            spec.completions.n * solution + question
        )
        seconds = tokens * training / 3  # no gradients
    return START_SECONDS + seconds


def _token_seconds(model: str, cost: tuple[float, float]) -> float:
    millions = MILLIONS.get(model.removesuffix(":random"), OTHER_MILLIONS)
    return cost[0] + cost[1] * millions


def plan_table(stages: Sequence[Stage]) -> pd.DataFrame:
    """Return a row per kind of stage and model: how many, how many done, minutes left.

    Columns: stage, model, stages, done, core_minutes (one core's, of what is missing).
    """
    needed = needed_stages(stages)
    rows = [
        {
            "stage": pipeline.VERSIONS[type(stage.spec)][0],
            "model": _model_of(stage.spec),
            "stages": 1,
            "done": int(stage.spec not in needed),
            "core_minutes": stage.seconds / 60 * (stage.spec in needed),
        }
        for stage in stages
    ]
    table = pd.DataFrame(rows)
    return table.groupby(["stage", "model"], sort=False).sum().reset_index()


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
    given = os.environ.get("GSMLIB_WORKERS", "")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise SettingsError(f"GSMLIB_WORKERS is {given!r}; give a number from 1.")
        return int(given)
    if torch.cuda.is_available():
        return 1
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
        work_off(needed, lambda spec: pool.submit(_compute, spec, store.root))


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
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that share the cores; ended at once when interrupted."""
    threads = str(max(1, count_cores() // workers))
    settings = {"OMP_NUM_THREADS": threads}
    before = set(multiprocessing.active_children())
    with _environment(settings):
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
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


def _compute(spec: Spec, root: Path) -> str:
    """Compute one stage in a worker; return what it printed but for progress bars."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        pipeline.compute(spec, Store(root))
    lines = re.split(r"[\r\n]+", said.getvalue())
    return "\n".join(x for x in lines if "%|" not in x and not x.endswith(" cached"))
