"""Eight processes on one store, one of them killed while it holds a lock."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from gsmlib.records import Record
from gsmlib.study import results
from gsmlib.study.store import Store
from torture import study

PATIENCE = 240  # seconds after which a race counts as deadlocked


def run_races(
    folder: Path, seed: int, count: int, deadline: float
) -> tuple[dict, list[str]]:
    """Let `count` processes ask for the same and for different artifacts at once.

    Of every four, two run the whole study (two reports at once), one asks for its
    stages from the last to the first, one for another model's. The first of the three
    to train is killed in the midst of it, its lock in hand; nobody starts it again.
    """
    figures = dict(race_processes=count, killed=0, artifacts=0, built_twice=0)
    whole, shared = folder / "whole", folder / "shared"
    study.wait(study.start(lambda: study.run_study(whole), folder / "printed"))
    shared.mkdir()
    children = [_start(shared, seed + i, folder / f"printed-{i}") for i in range(count)]
    # of three: what the fourth alone was building would be finished by nobody
    others = [child for i, child in enumerate(children) if (seed + i) % 4 < 3]
    victim = _kill_one(shared, others)
    figures["killed"] = int(victim is not None)
    codes = [_end(child, deadline) for child in children if child != victim]
    return figures, _judge(shared, whole, codes, victim, figures)


def _judge(
    shared: Path, whole: Path, codes: list[int], victim: int | None, figures: dict
) -> list[str]:
    began, ended = _builds(shared)
    figures["artifacts"] = len(ended)
    figures["built_twice"] = sum(n > 1 for n in ended.values())
    faults = [f"A process ends with {code}." for code in codes if code]
    faults += [f"{key} was built {n} times." for key, n in ended.items() if n != 1]
    extra = began.total() - ended.total()
    if extra != int(victim is not None):
        faults.append(f"{extra} builds were begun in vain.")
    if victim is None:
        faults.append("No process was caught holding a lock.")
    if study.digests(shared) != study.digests(whole):
        faults.append("The files differ from those of one process alone.")
    return faults + [f"{name} was left." for name in study.leftovers(shared / "store")]


def _start(shared: Path, number: int, log: Path) -> int:
    kind = number % 4

    def work() -> None:
        _note_builds(shared / "builds")
        chosen = study.settings()
        if kind < 2:
            study.run_study(shared, chosen)
        elif kind == 2:
            _compute(shared, chosen, backwards=True)
        else:
            _compute(shared, study.settings("mini-0.2m:random"), backwards=False)

    return study.start(work, log)


def _compute(shared: Path, chosen: Record, backwards: bool) -> None:
    stages = study.last_stages(chosen)
    for spec in reversed(stages) if backwards else stages:
        results.obtain(spec, Store(shared / "store"))


def _note_builds(log: Path) -> None:
    """Note the beginning and the end of every building, with the process's id."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    build = Store._build

    def noted(self: Store, folder: Path, *arguments: object) -> None:
        name = f"{folder.parent.name}/{folder.name}"
        os.write(out, f"begin {name} {os.getpid()}\n".encode())
        build(self, folder, *arguments)
        os.write(out, f"end {name} {os.getpid()}\n".encode())

    Store._build = noted


def _builds(shared: Path) -> tuple[Counter, Counter]:
    """Return how often each artifact was begun and ended."""
    lines = [line.split() for line in (shared / "builds").read_text().splitlines()]
    return tuple(
        Counter(name for what, name, _ in lines if what == kind)
        for kind in ("begin", "end")
    )


def _kill_one(shared: Path, children: list[int]) -> int | None:
    """Kill the first process that is seen to build something; return its id."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        log = shared / "builds"
        lines = log.read_text().splitlines() if log.exists() else []
        last = {line.split()[2]: line.split() for line in lines if line.count(" ") == 2}
        for process, (what, _, _) in last.items():
            if what == "begin" and int(process) in children:
                os.kill(int(process), signal.SIGKILL)
                os.waitpid(int(process), 0)
                return int(process)
        time.sleep(0.001)
    return None


def _end(child: int, deadline: float) -> int:
    left = max(5.0, min(PATIENCE, deadline - time.monotonic()))
    return study.wait(child, left).code
