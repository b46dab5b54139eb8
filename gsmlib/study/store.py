"""Artifacts on disk: one folder per (stage, version, spec), its manifest written last.

An artifact is built in `<root>/<stage>/<key>.work/`, which survives an interruption so
that checkpoints inside it can be resumed, and becomes `<root>/<stage>/<key>/` by one
rename. Every file's checksum, and its own, is in `manifest.json`; a file that no longer
matches is named and the artifact is rebuilt. A lock per artifact keeps writers apart.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from gsmlib.environment import cache_folder, processor_name
from gsmlib.files import FULL, READ_ONLY, file_sha256, write_file

MANIFEST = "manifest.json"
RESUME = "resume"  # a work folder's checkpoints; dropped when the artifact is done
SPENT = ".spent"  # in a work folder: what earlier runs took, written as one begins
FULL_WORDS = ("No space left", "File too large", "quota exceeded")  # of Rust's errors
ENTRIES = ["identity", "files", "seconds", "created"]  # of a manifest, then sha256
SINCE = [*ENTRIES, "spent"]  # of one that says on which processor, too


class StoreError(RuntimeError):
    """The store cannot be written or read; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where an artifact lies in every store, and what lies there."""

    stage: str
    identity: dict[str, Any]  # all that decides the result
    parents: tuple[Any, ...] = ()  # the specs of what it is made of

    @cached_property  # asked for again and again, and computed once
    def key(self) -> str:
        """The name of its folder, which follows from the identity."""
        return key_of(self.identity)


class Artifact(NamedTuple):
    """A finished artifact, and what getting it took."""

    folder: Path
    cached: bool  # it was there already
    seconds: float


def canonical_json(identity: dict[str, Any]) -> str:
    """Return the one text that equal identities share (sorted names, no spaces)."""
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(identity: dict[str, Any]) -> str:
    """Return the 16 hexadecimal digits that name an artifact's folder."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


class Store:
    """A folder of artifacts; many processes and machines may share it."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root else cache_folder() / "store"
        self._checked: set[Path] = set()  # checksums are computed once per process

    def folder(self, place: Place) -> Path:
        """Return where the artifact lives, or would live."""
        return self.root / place.stage / place.key

    def parts(self, place: Place) -> Path:
        """Return the folder for what an unfinished artifact is resumed from, made."""
        folder = self.folder(place).with_suffix(".work") / RESUME
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def has(self, place: Place) -> bool:
        """Return whether the artifact is there and intact."""
        return self._is_intact(self.folder(place), repair=False)

    def get(
        self,
        place: Place,
        make: Callable[[Path], None],
        spent: dict[str, float] | None = None,
    ) -> Artifact:
        """Return the artifact, built by `make(work folder)` unless it is there intact.

        `make` may find an interrupted predecessor's files in the folder. `spent`: what
        it took where it was computed, if not here. Raises StoreError on a full disk or
        a store that cannot be written or read.
        """
        start = time.perf_counter()
        folder = self.folder(place)
        if self._is_intact(folder, repair=False):
            return Artifact(folder, True, time.perf_counter() - start)
        with self._storage_errors(folder), self._lock(folder):
            cached = self._is_intact(folder, repair=True)
            if not cached:
                self._build(folder, place.identity, make, spent)
        return Artifact(folder, cached, time.perf_counter() - start)

    def check_writable(self) -> None:
        """Make the store's folder; StoreError where nothing could be stored there."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            writable = os.access(self.root, os.W_OK | os.X_OK)
        except OSError:
            writable = False
        if not writable:
            raise StoreError(cannot_write(self.root))

    def seconds(self, place: Place) -> float:
        """Return what making an artifact took, as its manifest says."""
        return sum(self.spent(place).values())

    def spent(self, place: Place) -> dict[str, float]:
        """Return what making an artifact took, in seconds by processor.

        All of its runs count, one that was killed up to its last checkpoint. The
        processor of an artifact from before it was noted is "".
        """
        manifest = json.loads((self.folder(place) / MANIFEST).read_text())
        return manifest.get("spent") or {"": manifest["seconds"]}

    def _build(
        self,
        folder: Path,
        identity: dict[str, Any],
        make: Callable[[Path], None],
        elsewhere: dict[str, float] | None,
    ) -> None:
        start, processor = time.perf_counter(), processor_name()
        work = folder.with_suffix(".work")
        work.mkdir(exist_ok=True)
        spent = _begin(work, processor)
        if find_fault(work) is not None:  # else it was ended just before its renaming
            (work / MANIFEST).unlink(missing_ok=True)
            make(work)
            files = {name: file_sha256(work / name) for name in list_files(work)}
            last = time.perf_counter() - start
            spent[processor] = round(spent.get(processor, 0) + last, 1)
            spent = elsewhere or spent
            manifest = {
                "identity": identity,
                "files": files,
                "seconds": round(sum(spent.values()), 1),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "spent": spent,
            }
            write_file(work / MANIFEST, manifest_text(manifest))
        shutil.rmtree(work / RESUME, ignore_errors=True)
        (work / SPENT).unlink(missing_ok=True)
        os.replace(work, folder)
        self._checked.add(folder)

    def _is_intact(self, folder: Path, repair: bool) -> bool:
        """Compare the files with the manifest; with `repair`, say so and clear away."""
        if folder in self._checked:
            return True
        try:
            if not folder.exists():
                return False
            fault = find_fault(folder)
        except PermissionError as error:
            raise StoreError(cannot_read(error, self.root)) from error
        if fault is None:
            self._checked.add(folder)
        elif repair:
            print(f"The store's {fault} It is built again.", flush=True)
            shutil.rmtree(folder)
        return fault is None

    @contextmanager
    def _lock(self, folder: Path) -> Iterator[None]:
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            print(f"Waiting: another process is building {folder}.", flush=True)
            lock.acquire()
        except OSError as error:
            raise StoreError(
                explain(error, folder) or cannot_write(self.root)
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _storage_errors(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            sentence = explain(error, folder)
            if sentence is None:
                raise
            raise StoreError(sentence) from error


def _begin(work: Path, processor: str) -> dict[str, float]:
    """Return what earlier runs took, in seconds by processor; note that one begins.

    An earlier run took from the writing of its note to that of its last checkpoint. A
    note that cannot be read counts for nothing.
    """
    note, spent = work / SPENT, {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        before = json.loads(note.read_text())
        written = [path.stat().st_mtime for path in work.rglob("*")]
        last = max(written) - note.stat().st_mtime
        earlier, name = dict(before["spent"]), before["processor"]
        spent = earlier | {name: round(earlier.get(name, 0) + last, 1)}
    write_file(note, json.dumps({"processor": processor, "spent": spent}))
    return spent


def explain(error: Exception, folder: Path) -> str | None:
    """Return one sentence for a full disk or a read-only store, else None."""
    number = getattr(error, "errno", None)
    if number in FULL or any(words in str(error) for words in FULL_WORDS):
        return (
            f"The disk is full: {folder} could not be finished; what was finished "
            "before is intact, free some space and run the same command again."
        )
    name = getattr(error, "filename", None)
    root = folder.parent.parent
    missing = number == errno.ENOENT or "No such file" in str(error)
    if missing and not folder.parent.is_dir():
        return (
            f"The store {root} has vanished while {folder.name} was built; see that "
            "its disk is there and run the same command again."
        )
    inside = str(name or root).startswith(str(root))
    return cannot_write(root) if number in READ_ONLY and inside else None


def cannot_write(root: Path) -> str:
    """Return the sentence about a store that refuses writing."""
    return f"The store {root} cannot be written; set GSMLIB_CACHE to a folder that can."


def cannot_read(error: PermissionError, root: Path) -> str:
    """Return the sentence about what another user, or another umask, keeps for itself.

    It is never taken for damaged, which would be cleared away.
    """
    return (
        f"The store's {error.filename} is there but may not be read; let its owner run "
        f"chmod -R a+rX {root}, or set GSMLIB_CACHE to a folder of your own."
    )


def find_fault(folder: Path) -> str | None:
    """Return what is wrong with an artifact's folder as a sentence, or None."""
    path = folder / MANIFEST
    manifest = read_manifest(path)
    if manifest is None:
        return f"{path} is missing, unreadable or changed."
    if key_of(manifest["identity"]) != folder.stem:
        return f"{path} is another artifact's."
    added = set(list_files(folder)) - set(manifest["files"])
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing."
        if file_sha256(path) != expected:
            return f"{path} has changed: its checksum is not the recorded one."
    return f"{folder / min(added)} was not there before." if added else None


def list_files(folder: Path) -> list[str]:
    """Return the names of an artifact's files: no manifest, no checkpoints, no dots.

    File systems and desktops put files of their own, with a dot, wherever they like.
    """
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = [n for n in names if n.parts[0] not in (RESUME, MANIFEST)]
    return sorted(str(name) for name in kept if not name.name.startswith("."))


def manifest_text(manifest: dict[str, Any]) -> str:
    """Return a manifest as it is written: JSON, its own checksum the last entry."""
    plain = json.dumps(manifest, indent=1)
    own = hashlib.sha256(plain.encode()).hexdigest()
    return json.dumps({**manifest, "sha256": own}, indent=1)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest that is what was written, letter for letter, else None.

    Earlier ones lack the processor, the first ones their checksum too.
    """
    try:
        text = path.read_text()
        manifest = json.loads(text)
        own = manifest.pop("sha256", None)
        written = json.dumps(manifest, indent=1) if own is None else None
        if text != (written or manifest_text(manifest)):
            return None
        canonical_json(manifest["identity"]), dict(manifest["files"])
        return manifest if list(manifest) in (ENTRIES, SINCE) else None
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
