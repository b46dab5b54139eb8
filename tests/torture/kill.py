"""Studies killed at random moments and resumed: nothing lost, nothing left behind."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from torture import study
from torture.study import INTERVAL

SLACK = 2  # the longest pauses between two units that may pass beside INTERVAL
MOST_KILLS = 3  # of one run


class Unit(NamedTuple):
    """A step or a completion, and when it was done."""

    when: float
    name: str


class Whole(NamedTuple):
    """The uninterrupted study."""

    files: dict[str, str]
    units: Counter
    seconds: float


def run_kills(
    folder: Path, seed: int, count: int, deadline: float
) -> tuple[dict, list[str]]:
    """Kill `count` runs of the study (or as many as there is time for)."""
    rng = random.Random(seed)
    whole = _run_whole(folder / "whole")
    faults: list[str] = []
    figures = dict(runs=0, kills=0, killed_in={}, lost_seconds=0.0, interval=INTERVAL)
    while figures["runs"] < count and time.monotonic() < deadline and len(faults) < 10:
        kills = figures["kills"]
        faults += _run_killed(folder / "killed", rng, whole, figures)
        shutil.rmtree(folder / "killed")
        figures["runs"] += figures["kills"] > kills  # one that got away is no run
    figures["lost_seconds"] = round(figures["lost_seconds"], 2)
    return figures, faults


def _run_whole(folder: Path) -> Whole:
    folder.mkdir(parents=True)
    ended = study.wait(_start(folder))
    assert ended.code == 0, (folder / "printed").read_text()
    names = Counter(unit.name for unit in read_units(folder / "units"))
    return Whole(study.digests(folder), names, ended.seconds)


def _start(folder: Path) -> int:
    def work() -> None:
        study.note_work(folder / "units")
        study.run_study(folder)

    return study.start(work, folder / "printed")


def _run_killed(
    folder: Path, rng: random.Random, whole: Whole, figures: dict
) -> list[str]:
    """One run: killed once to MOST_KILLS times, then resumed until it is done."""
    folder.mkdir()
    kills: list[float] = []
    for attempt in range(MOST_KILLS):
        if attempt and rng.random() < 0.5:
            break
        child = _start(folder)
        _wait_for_a_moment(folder, rng, whole)
        os.kill(child, signal.SIGKILL)
        moment = time.monotonic()
        if study.wait(child).code == 0:  # done before it could be killed
            break
        kills.append(moment)
        where = _where(folder)
        figures["killed_in"][where] = figures["killed_in"].get(where, 0) + 1
    ended = study.wait(_start(folder))
    figures["kills"] += len(kills)
    units = read_units(folder / "units")
    lost, allowed = lost_seconds(units, kills, whole.units), allowed_seconds(units)
    figures["lost_seconds"] = max(figures["lost_seconds"], lost)
    faults = []
    if ended.code:
        faults.append(f"A resumed run ends with {ended.code}: {_last_line(folder)}")
    elif study.digests(folder) != whole.files:
        faults.append("A resumed run's files differ from the uninterrupted run's.")
    if lost > allowed:
        faults.append(f"A kill lost {lost:.1f} s of work, allowed are {allowed:.1f}.")
    left = study.leftovers(folder / "store") if ended.code == 0 else []
    return faults + [f"{name} was left behind." for name in left]


def _wait_for_a_moment(folder: Path, rng: random.Random, whole: Whole) -> None:
    """Wait for a random number of units, or for exporting, and a little longer.

    By what is done, not by the clock: the machine may be busy now and idle then.
    """
    before = len(read_units(folder / "units"))
    left = max(0, whole.units.total() - before)
    count, exporting = before + rng.randrange(left + 1), rng.random() < 0.1
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        there = (folder / "figures").exists()
        if there or (not exporting and len(read_units(folder / "units")) >= count):
            break
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.5 if exporting else 0.1))


def _where(folder: Path) -> str:
    """What was in the making when the child was killed, by its unfinished folder."""
    found = sorted((folder / "store").glob("*/*.work"))
    if found:
        return found[0].parent.name
    return "exporting" if (folder / "figures").exists() else "between stages"


def _last_line(folder: Path) -> str:
    return (folder / "printed").read_text().strip().splitlines()[-1]


def read_units(file: Path) -> list[Unit]:
    """Return what was noted; a killed child's last line may be cut off."""
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = [line.partition(" ") for line in lines]
    return [Unit(float(when), name) for when, _, name in pairs if name]


def lost_seconds(units: list[Unit], kills: list[float], whole: Counter) -> float:
    """Return the most seconds of work before a kill that had to be done again.

    What an earlier kill lost and nothing has done since is that kill's alone.
    """
    counts = Counter(unit.name for unit in units)
    again = {name for name, n in counts.items() if n > whole[name] == 1}
    lost = 0.0
    for before, moment in zip([0.0, *kills], kills, strict=False):
        later = {u.name for u in units if u.when > moment} & again
        between = [u for u in units if before < u.when <= moment and u.name in later]
        lost = max([lost, *(moment - unit.when for unit in between)])
    return lost


def allowed_seconds(units: list[Unit]) -> float:
    """Return INTERVAL and the longest pauses that one unit and its saving took."""
    pairs = zip(units, units[1:], strict=False)
    return INTERVAL + SLACK * max([b.when - a.when for a, b in pairs], default=0.0)
