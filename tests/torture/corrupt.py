"""Artifacts damaged file by file: noticed at use, named, built again, numbers right."""

import io
import random
import shutil
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from gsmlib.study.store import MANIFEST, Place, Store, list_files, read_manifest
from torture import study

REAL = 40  # one case in so many is repaired by the stages themselves
DAMAGES = ("flip", "truncate", "delete", "empty", "swap", "exchange", "add")


class Case(NamedTuple):
    """A damaged artifact: what was done to which of its files."""

    damage: str
    folder: Path
    file: Path


def run_corruptions(
    folder: Path, seed: int, count: int, deadline: float
) -> tuple[dict, list[str]]:
    """Damage `count` artifacts of a study, one after the other."""
    rng = random.Random(seed)
    whole, pristine = folder / "whole", folder / "pristine"
    ended = study.wait(study.start(lambda: study.run_study(whole), folder / "printed"))
    assert ended.code == 0, (folder / "printed").read_text()
    shutil.copytree(whole / "store", pristine)
    files = study.digests(whole)
    tried: Counter = Counter()
    faults: list[str] = []
    real = 0
    while tried.total() < count and time.monotonic() < deadline and len(faults) < 20:
        case = damage(rng, whole / "store")
        if case is None:
            continue
        if tried.total() % REAL == REAL - 1:
            real += 1
            faults += _check_study(rng, case, whole, files)
            _restore(whole / "store", pristine)
        else:
            faults += _check_use(case, pristine)
            _restore(case.folder, pristine / case.folder.relative_to(whole / "store"))
        tried[case.damage] += 1
    return {
        "cases": tried.total(),
        "by_damage": dict(tried),
        "recomputed": real,
    }, faults


def damage(rng: random.Random, store: Path) -> Case | None:
    """Damage one artifact at random; None where that would have changed nothing."""
    artifacts = sorted(path.parent for path in store.glob(f"*/*/{MANIFEST}"))
    folder, how = rng.choice(artifacts), rng.choice(DAMAGES)
    file = folder / rng.choice([MANIFEST, *list_files(folder)])
    data = file.read_bytes()
    if how == "flip":
        place, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        file.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
    elif how == "truncate":
        file.write_bytes(data[: rng.randrange(1, len(data))])
    elif how == "delete":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "add":
        file = file.with_name(f"{file.stem}-1{file.suffix}")
        file.write_bytes(data)
    else:
        other = rng.choice(artifacts)
        if how == "exchange":
            return _exchange(folder, other)
        source = other / rng.choice([MANIFEST, *list_files(other)])
        if source.read_bytes() == data:
            return None
        shutil.copyfile(source, file)
    return Case(how, folder, file)


def _exchange(folder: Path, other: Path) -> Case | None:
    """Put another artifact of the stage, intact in itself, in the place of one."""
    if folder == other or folder.parent != other.parent:
        return None
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    return Case("exchange", folder, folder / MANIFEST)


def _check_use(case: Case, pristine: Path) -> list[str]:
    """Ask for the artifact, with the undamaged one as what making it gives."""
    source = pristine / case.folder.parent.name / case.folder.name
    manifest = read_manifest(source / MANIFEST)
    assert manifest is not None, "the undamaged artifact is intact"
    store, made = Store(case.folder.parent.parent), []

    def make(work: Path) -> None:
        made.append(work)
        shutil.copytree(source, work, dirs_exist_ok=True)
        (work / MANIFEST).unlink()

    printed = io.StringIO()
    with redirect_stdout(printed):
        store.get(Place(case.folder.parent.name, manifest["identity"]), make)
    said = printed.getvalue()
    label = f"{case.damage} of {case.folder.parent.name}/{case.file.name}"
    faults = []
    if not made:
        faults.append(f"{label}: not noticed.")
    elif str(case.folder) not in said or said.count("\n") != 1:
        faults.append(f"{label}: said {said!r}.")
    if _contents(case.folder) != _contents(source):
        faults.append(f"{label}: something else is there afterwards.")
    return faults


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_files(folder)}


def _check_study(
    rng: random.Random, case: Case, whole: Path, files: dict[str, Any]
) -> list[str]:
    """Repeat the study, half of its other artifacts gone, which reads the damaged."""
    for artifact in sorted((whole / "store").glob("*/*/")):
        if artifact != case.folder and rng.random() < 0.5:
            shutil.rmtree(artifact)
    shutil.rmtree(whole / "figures")
    log = whole.parent / "printed"
    ended = study.wait(study.start(lambda: study.run_study(whole), log))
    label = f"{case.damage} of {case.folder.parent.name}/{case.file.name}"
    if ended.code:
        return [f"{label}: the study ends with {log.read_text().splitlines()[-1]}"]
    left = study.leftovers(whole / "store")
    faults = [f"{label}: {name} was left behind." for name in left]
    same = study.digests(whole) == files
    return faults if same else [*faults, f"{label}: other numbers."]


def _restore(folder: Path, pristine: Path) -> None:
    """Make a folder what it was."""
    shutil.rmtree(folder)
    shutil.copytree(pristine, folder)
