"""What a study needs that the store lacks: listed, summed up, computed in parallel.

Every stage is computed by a process of few threads. On small models one thread each
loses little, where the threads of one process spend their time waiting for each other,
and many times as much of it where anything else keeps a core busy.
"""

import io
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from graphlib import TopologicalSorter
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd
import psutil
from tqdm import tqdm

from gsmlib import clock, progress
from gsmlib.environment import count_from, has_gpu, is_launched, product_rate
from gsmlib.study import estimates
from gsmlib.study.checks import check_specs
from gsmlib.study.estimates import Work, estimate_seconds, in_words
from gsmlib.study.results import obtain
from gsmlib.study.specs import Spec
from gsmlib.study.stages import locate, with_parents, work_of
from gsmlib.study.store import Place, Store

THREADS = "OMP_NUM_THREADS"
ALLOCATOR = "GLIBC_TUNABLES"
LARGE_PAGES = "glibc.malloc.hugetlb=1"  # the same results, a little sooner
SLOWER = 1.25  # bfloat16 that takes so many times float32's time is warned of
FEW_SECONDS = 20  # less work than this is not worth starting processes for
WORKER_BYTES = 9 * 2**28  # 2.25 GiB: what `quick` takes, see docs/speed.md
Submit = Callable[[Spec, bool], Future[str]]  # see `work_off`
SAY_EVERY = 1.0  # seconds: a worker says how far its stage is
_told: SimpleQueue | None = None  # a worker's way to say that to its parent
_announced: set[tuple[Path, str]] = set()  # stores and keys that `prepare` has told of


class Task(NamedTuple):
    """A stage that a study needs: where it lies, what it has to do, if it is done."""

    spec: Spec
    place: Place
    work: Work
    seconds: float  # estimated, on one core; 0 where it is done
    done: bool
    asked: bool  # for itself, not only for what is made of it


# ------------------------------------------------------------------------ what is to do


def list_tasks(specs: Sequence[Spec], store: Store) -> list[Task]:
    """Return the stages `specs` and all their ancestors, each once, parents first."""
    asked, tasks = set(specs), []
    for spec in TopologicalSorter(with_parents(specs)).static_order():
        place, work = locate(spec), work_of(spec)
        done = store.has(place)
        seconds = 0.0 if done else estimate_seconds(work)
        tasks.append(Task(spec, place, work, seconds, done, spec in asked))
    return tasks


def needed_tasks(tasks: Sequence[Task]) -> dict[Spec, Task]:
    """Return what has to be computed: not what only a finished stage was made of."""
    known = {task.spec: task for task in tasks}
    waiting = [task.spec for task in tasks if task.asked]
    needed: set[Spec] = set()
    while waiting:
        spec = waiting.pop()
        if spec not in needed and not known[spec].done:
            needed.add(spec)
            waiting += known[spec].place.parents
    return {spec: task for spec, task in known.items() if spec in needed}


def plan_table(tasks: Sequence[Task]) -> pd.DataFrame:
    """Return a row per kind of stage and model: how many, how many done, what is left.

    Columns: stage, model, stages, done, and of what is missing core_minutes (one
    core's), gpu_hours, disk_gb, and memory_gb (the peak of its largest stage).
    """
    needed = needed_tasks(tasks)
    rows = []
    for task in tasks:
        missing, work = task.spec in needed, task.work
        about = (task.place.stage, work.model, 1, int(not missing))
        costs = (
            task.seconds / 60,
            estimates.estimate_gpu_seconds(work) / 3600,
            estimates.estimate_disk(work) / 1e9,
            estimates.estimate_memory(work) / 1e9,
        )
        rows.append((*about, *(missing * cost for cost in costs)))
    by, sums = ["stage", "model"], ["stages", "done", "core_minutes", "gpu_hours"]
    table = pd.DataFrame(rows, columns=[*by, *sums, "disk_gb", "memory_gb"])
    how = dict.fromkeys([*sums, "disk_gb"], "sum") | {"memory_gb": "max"}
    return table.groupby(by, sort=False).agg(how).reset_index()


def cost_table(tasks: Sequence[Task], store: Store) -> pd.DataFrame:
    """Return what finished stages took, as the store noted it.

    Columns: stage, model, processor ("" where none was noted), stages, minutes (of one
    process, all of a stage's runs together).
    """
    rows = []
    for task in (task for task in tasks if task.done):
        spent = store.spent(task.place)
        about = (task.place.stage, task.work.model, " and ".join(spent))
        rows.append((*about, 1, sum(spent.values()) / 60))
    by = ["stage", "model", "processor"]
    table = pd.DataFrame(rows, columns=[*by, "stages", "minutes"])
    return table.groupby(by, sort=False).sum().reset_index()


# --------------------------------------------------------------------------- doing it


def count_workers(peak: float = 0) -> int:
    """Return how many stages to compute at once: GSMLIB_WORKERS, else what fits.

    That is one per core with 2.25 GiB of free memory, or `peak` bytes if a stage takes
    more, and one where there is a GPU.
    Raises SettingsError where GSMLIB_WORKERS is no positive number.
    """
    given = count_from("GSMLIB_WORKERS")
    if given:
        return given
    if has_gpu() or is_launched():
        return 1  # all of `accelerate launch`'s processes compute the same stage
    room = psutil.virtual_memory().available // max(WORKER_BYTES, peak)
    return max(1, min(count_cores(), int(room)))


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count_workers_for(needed: dict[Spec, Task]) -> int:
    """Return how many processes compute these stages; little work is not shared out."""
    peak = max(estimates.estimate_memory(task.work) for task in needed.values())
    workers = count_workers(peak)  # also where not used: GSMLIB_WORKERS is checked
    little = sum(task.seconds for task in needed.values()) < FEW_SECONDS
    return 1 if little else min(workers, len(needed))


def describe_work(needed: dict[Spec, Task]) -> str:
    """Return how many stages are to be computed here, and about how long that takes."""
    if not needed:
        return "nothing to compute"
    workers = _count_workers_for(needed)
    stages = [(task.spec, task.seconds, task.place.parents) for task in needed.values()]
    seconds = estimates.share_out(stages, workers)
    count, processes = f"{len(needed)} stage", f"{workers} process"
    count += "s" * (len(needed) > 1)
    processes += "es" * (workers > 1)
    about = f"{count} to compute, about {in_words(seconds)} by {processes}"
    return about + _caution(needed)


def _caution(needed: dict[Spec, Task]) -> str:
    """Return a warning where stages compute in bfloat16 and this CPU is slow at it."""
    asked = any(task.work.precision == "bf16" for task in needed.values())
    if not asked or has_gpu():
        return ""
    slower = product_rate("fp32") / product_rate("bf16")
    if slower < SLOWER:
        return ""
    return (
        f" (bfloat16 takes this processor {slower:.1f} times as long as float32; "
        "-p precision fp32 is another run)"
    )


def prepare(specs: Sequence[Spec], store: Store) -> None:
    """Compute what `specs` need and the store lacks, under one bar.

    Several stages at a time, unless little is missing or one worker is all there is. A
    stage that fails is left to whoever asks for it, who gets its error; a model that
    cannot be had or cannot read its problems, or a store that cannot be written, is
    refused before all.
    """
    tasks = list_tasks(specs, store)
    if not tasks:
        return
    needed = needed_tasks(tasks)
    check_specs(needed)
    if needed:
        store.check_writable()
    if is_launched():
        return  # its processes compute each stage together, where it is asked for
    stages = {(store.root, task.place.key) for task in tasks}
    if needed or not stages <= _announced:  # once: a notebook asks again and again
        progress.say(_announce(tasks, needed, store))
    _announced.update(stages)
    if not needed:
        return
    began, workers = time.monotonic(), _count_workers_for(needed)
    if workers > 1 and not _work_off_in_processes(needed, store, workers):
        workers, needed = 1, needed_tasks(list_tasks(specs, store))  # that are left
    if workers < 2:
        _work_off_here(needed, store)
    verb = "Stopped after" if clock.is_over() else "Computed in"
    progress.say(f"{verb} {in_words(time.monotonic() - began)}.")


def _announce(tasks: Sequence[Task], needed: dict[Spec, Task], store: Store) -> str:
    """One line: what is to be computed, and what is there."""
    parts = [describe_work(needed)] if needed else []
    done = [task for task in tasks if task.done]
    if done:
        took = in_words(sum(store.seconds(task.place) for task in done))
        stages = f"{len(done)} stage" + "s" * (len(done) > 1)
        parts.append(f"{stages} from the store (computed once, in {took})")
    return ", ".join(parts) + "."


def _work_off_here(needed: dict[Spec, Task], store: Store) -> None:
    """Compute stages one after the other, parents first; as `work_off`."""
    board, failed = _Progress(needed), set()
    with board.bar:
        for spec, task in needed.items():
            if failed.isdisjoint(task.place.parents):
                try:
                    clock.check()
                    with progress.under(partial(board.show_share, spec)):
                        obtain(spec, store)
                except clock.OutOfTime:
                    return
                except Exception as error:
                    progress.say(f"A stage failed: {error}")
                    failed.add(spec)
            else:
                failed.add(spec)
            board.finished += task.seconds


def _work_off_in_processes(
    needed: dict[Spec, Task], store: Store, workers: int
) -> bool:
    """Compute stages several at a time; return whether no process died on the way."""
    told = multiprocessing.get_context("spawn").SimpleQueue()
    with processes(workers, told=told) as pool:

        def submit(spec: Spec, alone: bool) -> Future[str]:
            threads = count_cores() // (1 if alone else workers)
            with _script_left_alone():
                return pool.submit(compute_quietly, spec, store.root, max(1, threads))

        work_off(needed, submit, told)
        return True
    return False


def work_off(
    needed: dict[Spec, Task], submit: Submit, told: SimpleQueue | None = None
) -> list[Spec]:
    """Submit stages as their parents finish, the longest first; return what failed.

    `submit` is told of a stage that runs alone: all that is left waits for it. Through
    `told` come running stages, each with the share of it that is done and the share
    that was when it was taken up.
    """
    graph = {
        spec: [parent for parent in task.place.parents if parent in needed]
        for spec, task in needed.items()
    }
    sorter, failed = TopologicalSorter(graph), []
    sorter.prepare()
    running: dict[Future[str], Spec] = {}
    board = _Progress(needed)
    with board.bar:
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=lambda s: -needed[s].seconds)
            alone = len(ready) == 1 and not running
            running |= {submit(spec, alone): spec for spec in ready}
            if not running:
                break  # all that is left rests on what failed
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                spec = running.pop(future)
                if _finish(future):
                    sorter.done(spec)
                    board.finished += needed[spec].seconds
                else:
                    failed.append(spec)
            while told is not None and not told.empty():
                board.hear(*told.get())
            board.show(spec for f, spec in running.items() if f.running())
    return failed


def _finish(future: Future[str]) -> bool:
    """Print what a stage had to say; return whether it went well."""
    try:
        progress.say(future.result().strip())
    except BrokenProcessPool:
        raise
    except clock.OutOfTime:
        return False
    except Exception as error:
        progress.say(f"A stage failed: {error}")
        return False
    return True


class _Progress:
    """A bar of estimated seconds, which what is running moves too."""

    def __init__(self, needed: dict[Spec, Task]):
        self.needed, self.finished = needed, 0.0
        self.began: dict[Spec, float] = {}
        self.shares: dict[Spec, float] = {}  # of the stages that say how far they are
        self.resumed: dict[Spec, float] = {}  # of these, what they went on from
        left = "{percentage:3.0f} % done, {elapsed} so far, {remaining} left: {desc}"
        total = sum(stage.seconds for stage in needed.values())
        look = dict(bar_format=left, smoothing=0, mininterval=1, maxinterval=1)
        look |= dict(miniters=0)  # the clock goes on when a stage takes longer
        self.bar = progress.bar(total, **look)

    def show(self, running: Iterable[Spec]) -> None:
        """Count what is running: by its time, up to nine tenths, till it says more.

        Where workers speak, a stage that none spoke of is not running: it waits.
        """
        now, begun, names = time.monotonic(), 0.0, []
        heard = [s for s in running if not self.shares or s in self.shares]
        for spec in heard:
            seconds, share = self.needed[spec].seconds, self.shares.get(spec)
            since = now - self.began.setdefault(spec, now)
            begun += share * seconds if share else min(since, 0.9 * seconds)
            names.append(self._name(spec))
        self._move(begun, " · ".join(names))

    def hear(self, spec: Spec, share: float, resumed: float) -> None:
        """Note how far a stage is; its later bars begin anew, and are not heard."""
        if spec not in self.shares:
            self.began[spec] = time.monotonic()
        self.shares[spec] = max(share, self.shares.get(spec, 0.0))
        self._resume(spec, resumed)

    def show_share(self, spec: Spec, share: float, resumed: float) -> None:
        """Count the one stage that is running by the share of it that is done."""
        self._resume(spec, resumed)
        self._move(share * self.needed[spec].seconds, self._name(spec))

    def _resume(self, spec: Spec, share: float) -> None:
        """Leave what an earlier run did out of the speed that the time left is by."""
        self.resumed[spec] = max(share, self.resumed.get(spec, 0.0))
        seconds = [done * self.needed[s].seconds for s, done in self.resumed.items()]
        self.bar.initial = sum(seconds)

    def _name(self, spec: Spec) -> str:
        task = self.needed[spec]
        return f"{task.place.stage} {task.work.model}"

    def _move(self, begun: float, names: str) -> None:
        self.bar.set_description_str(names, refresh=False)
        self.bar.update(max(0.0, self.finished + begun - self.bar.n))


@contextmanager
def processes(
    workers: int, start: str = "spawn", told: SimpleQueue | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that share the cores; ended at once when interrupted.

    start: "fork" is quicker, for processes that do not compute with torch. told: what
    `compute_quietly` says is put there.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context(start)
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (told,))
    set_for_them = {THREADS: str(max(1, count_cores() // workers))}
    set_for_them[ALLOCATOR] = os.environ.get(ALLOCATOR, LARGE_PAGES)
    try:
        with _inherited(set_for_them):
            yield pool
    except BrokenProcessPool:
        progress.say(
            "A process died (was memory short?): going on one stage at a time."
        )
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _inherited(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started within."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ |= before


@contextmanager
def _script_left_alone() -> Iterator[None]:
    """Let processes that are started within not run the user's script once more.

    Python's spawned processes do, unless it is below `if __name__ == "__main__"`.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _begin_worker(told: SimpleQueue | None) -> None:
    """Let a worker end when its parent does, and its bars have a lock of its threads.

    A parent that is killed cannot end its workers, and they would compute on. By
    default tqdm makes a semaphore for all processes, which a worker that is ended
    leaves behind, and Python then warns of.
    """
    global _told
    _told = told
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def compute_quietly(spec: Spec, root: Path, threads: int = 0) -> str:
    """Compute one stage in a worker, without a bar; return what it printed.

    By so many threads; 0 leaves their number as it is. The next stage begins with the
    memory that this one freed.
    """
    clock.check()  # first: the import takes seconds
    import torch  # here: listing what there is to do does not need it

    from gsmlib.method.models import return_freed_memory

    if threads:
        torch.set_num_threads(threads)
    said = io.StringIO()
    quiet = progress.under(_teller(spec))
    with quiet, redirect_stdout(said), redirect_stderr(said):
        obtain(spec, Store(root))
    return_freed_memory()
    return said.getvalue()


def _teller(spec: Spec) -> progress.Report:
    """Return what tells a worker's parent which share of a stage is done."""
    due = time.monotonic() + SAY_EVERY

    def tell(share: float, resumed: float) -> None:
        nonlocal due
        if _told is not None and time.monotonic() >= due:
            _told.put((spec, share, resumed))
            due = time.monotonic() + SAY_EVERY

    if _told is not None:
        _told.put((spec, 0.0, 0.0))
    return tell
