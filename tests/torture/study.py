"""A study small enough to be killed fifty times: seconds from finetuning to a figure.

Children are forked from this process, which has imported everything and computed
nothing, so that a child costs no second of importing.
"""

import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from gsmlib.chapters import resolve, verification
from gsmlib.method import training
from gsmlib.records import Record
from gsmlib.study import making, parts
from gsmlib.study.specs import Spec
from gsmlib.study.store import Store

INTERVAL = 0.2  # seconds between checkpoints in a campaign; 30 and 60 in earnest
LIMIT = 300  # seconds after which a child is taken for deadlocked
MORE = "max_length=160 batch_tokens=800 verifier_batch_tokens=800"


class Ended(NamedTuple):
    """How a child ended: its exit code, or minus the signal that killed it."""

    code: int
    seconds: float


def settings(models: str = "tiny:random") -> Record:
    """Return settings whose whole study takes a few seconds on one core."""
    given = dict(models=models, sizes="12", epochs=2, completions=2)
    given |= dict(test_problems=4, test_completions=2, completed_problems=8)
    return resolve("03_verification", scale="smoke", more=MORE, **given)


def last_stages(chosen: Record) -> list[Spec]:
    """Return the stages that a study's table is made of."""
    return verification.CHAPTER.stages(chosen)


def run_study(folder: Path, chosen: Record | None = None) -> None:
    """Compute the table and export the figure below `folder`."""
    chosen = chosen or settings()
    os.environ["GSMLIB_WORKERS"] = "1"
    os.environ["GSMLIB_FIGURES"] = str(folder / "figures")
    table = verification.table(chosen, Store(folder / "store"))
    drawing = verification.CHAPTER.draw("fig5", table)
    verification.CHAPTER.export("fig5", drawing, table, chosen)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of the figure, by name."""
    files = sorted(path for path in (folder / "figures").rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def leftovers(store: Path) -> list[str]:
    """Return what a finished store should not hold: unfinished folders, other files."""
    entries = [path for stage in store.iterdir() for path in stage.iterdir()]
    bad = [p for p in entries if p.suffix not in ("", ".lock")]
    bad += [p for p in store.rglob("*") if p.name.endswith((".tmp", ".partial"))]
    return sorted({str(path.relative_to(store)) for path in bad})


# --------------------------------------------------------------------------- children


def note_work(log: Path) -> None:
    """Save as often as INTERVAL says; note every step and completion in a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    step, label = training.take_step, making._label
    parts.SAVE_SECONDS = INTERVAL
    training.train.__kwdefaults__["save_every_seconds"] = INTERVAL

    def note(unit: str) -> None:
        os.write(out, f"{time.monotonic():.3f} {unit}\n".encode())

    def noted_step(run: training.Run) -> dict[str, float]:
        name = f"{_short(run.fingerprint)}-{len(run.history)}"
        entry = step(run)
        note(f"step {name}")
        return entry

    def noted_label(completion: object, problem: object) -> dict:
        note(f"completion {_short(f'{problem.question}{completion.tokens}')}")
        return label(completion, problem)

    training.take_step, making._label = noted_step, noted_label


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def start(work: Callable[[], None], log: Path) -> int:
    """Run `work` in a forked child whose output goes to `log`; return its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        torch.set_num_threads(1)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(child: int, seconds: float = LIMIT) -> Ended:
    """Wait for a child; kill it after `seconds`."""
    begun, ended = time.monotonic(), 0
    while not ended:
        ended, status = os.waitpid(child, os.WNOHANG)
        passed = time.monotonic() - begun
        if not ended and passed > seconds:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - begun)
