"""Problems of one's own: a file or a folder of rows with `question` and `answer`.

JSON lines, a JSON list or parquet, each also gzipped; which of them it is, and how its
text is encoded, is seen from the bytes. What is known of such problems, and goes into
the keys of all that is computed from them, is a digest of the rows, not their place.
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from gsmlib.data import NAMES, Problem, family, worlds
from gsmlib.records import SettingsError, did_you_mean
from gsmlib.settings import refuse_number

PARTS = ("train", "test")
COLUMNS = ("question", "answer")
TEST_SHARE = 5  # of a file without parts, one problem in so many is a test problem
UNREAD = ("tokens", "forced")  # of what `gsmlib export` wrote: large, and asked nowhere
SHOWN = 5  # rows that a refusal names
REFERENCE = re.compile(r"(.+)#([0-9a-f]{12})")  # a path, and the digest of its rows
ENDING = r"\.(jsonl|ndjson|json|parquet)(\.gz)?"
# train.jsonl; of the hub train-00000-of-00001.parquet and train/0000.parquet
FILE = r"{part}(-\d+-of-(?P<shards>\d+)(-\w+)?)?" + ENDING
INNER = r"[^.].*\.(jsonl|parquet)(\.gz)?"
GZIPPED, PARQUET = b"\x1f\x8b", b"PAR1"  # how such files begin
FORMATS = "give JSON lines, a JSON list or parquet"


class Row(NamedTuple):
    """A problem, and how its row is called: "line 3"."""

    problem: Problem
    name: str


class Fault(NamedTuple):
    """What is wrong with a row, and with what in it."""

    what: str
    row: str
    detail: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """What faults are sorted by: the file, then the number of the row."""
        file, _, number = self.row.rpartition(" ")
        return file, int(number)


class Own(NamedTuple):
    """Problems of one's own as they were read; rows with a fault are left out."""

    path: Path
    rows: dict[str, list[Row]]  # by part
    faults: list[Fault]
    divided: str  # how train and test problems are told apart
    digest: str  # of the rows

    @property
    def name(self) -> str:
        """The setting's value: the path and the digest, `.../my.jsonl#1a2b3c4d5e6f`."""
        return f"{self.path}#{self.digest}"


def find_dataset(dataset: Any) -> str:
    """Return a data set's name; of one's own problems the whole path and their digest.

    Relative paths are the caller's, `~` is home. SettingsError where there is nothing
    of that name, or where its rows are no longer those of the digest that it came with.
    """
    text = str(dataset)
    if family(text) == "minigsm":
        return worlds.name_of(worlds.knobs_of(text))
    return text if text in NAMES else read_own(text).name


Dataset = Annotated[
    str, BeforeValidator(find_dataset), BeforeValidator(refuse_number)  # this one first
]


def read_own(dataset: str) -> Own:
    """Return the problems of a file or folder; read once until a file changes.

    SettingsError says, in one sentence, why nothing can be read; what is wrong with
    single rows is among its `faults`.
    """
    match = REFERENCE.fullmatch(dataset)
    if match is None or os.path.exists(dataset):
        return _read_now(dataset)
    own = _read_now(match[1])
    if own.digest != match[2]:
        raise SettingsError(
            f"{own.path} has changed: its problems were {match[2]} and are now "
            f"{own.digest}; name it without #{match[2]} to take it as it is."
        )
    return own


def _read_now(dataset: str) -> Own:
    path = Path(os.path.abspath(os.path.expanduser(dataset)))
    try:
        files = tuple(_find_files(path))
        stamps = [file.stat() for _, file in files]
        kept = tuple(
            (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino) for s in stamps
        )
        return _read_files(path, files, kept)
    except FileNotFoundError:
        if dataset in NAMES:
            raise SettingsError(
                f"{dataset} comes with gsmlib and has been checked, and there is no "
                f"file {path}; name a file or a folder of your own."
            ) from None
        known = " and ".join(NAMES)
        raise SettingsError(
            f"no dataset has this name{did_you_mean(dataset, NAMES)} ({known} have "
            f"one), and there is no file {path}."
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}).") from None


def require_sound(own: Own, faults: Sequence[Fault] = ()) -> None:
    """Raise SettingsError, in one sentence, where rows have these faults or their own.

    It names all kinds of faults, and of each the first rows. So for an empty part.
    """
    by_kind: dict[str, list[Fault]] = {}
    for fault in [*own.faults, *faults]:
        by_kind.setdefault(fault.what, []).append(fault)
    empty = [part for part in PARTS if not own.rows[part]]
    if empty and not by_kind:
        raise SettingsError(
            f"{own.path} has no {empty[0]} problem: to train and to test it takes two."
        )
    said = []
    for what, found in by_kind.items():
        rows = [f.row + f" ({f.detail})" * bool(f.detail) for f in found[:SHOWN]]
        more = [f"{len(found) - SHOWN:,} more"] * (len(found) > SHOWN)
        said.append(f"{what}: {', '.join([*rows, *more])}")
    if said:
        raise SettingsError(
            f"{own.path} has rows that cannot be used: {'; '.join(said)}; mend them or "
            "leave them out (`gsmlib data` lists all of them)."
        )


# ---------------------------------------------------------------------- files and parts


def _find_files(path: Path) -> list[tuple[str, Path]]:
    """Return (part, file) pairs; the part is empty for a file named by itself."""
    if not path.is_dir():
        return [("", path)]
    files = _parts_in(path) or _parts_below(path)
    missing = [part for part in PARTS if part not in dict(files)]
    if missing:
        there = sorted(file.name for file in path.iterdir())[:SHOWN] or ["nothing"]
        raise SettingsError(
            f"{path} has no {' and no '.join(missing)} file (but {', '.join(there)}); "
            "call its files train.jsonl and test.jsonl, or name one file, which is "
            "divided."
        )
    return files


def _parts_below(path: Path) -> list[tuple[str, Path]]:
    """The parts in the one folder of a folder that has any; of several, in `main`."""
    inner = sorted(folder for folder in path.iterdir() if folder.is_dir())
    found = {folder.name: files for folder in inner if (files := _parts_in(folder))}
    if len(found) > 1 and "main" not in found:
        several = ", ".join(found)
        raise SettingsError(f"{path} holds several data sets; name one: {several}.")
    return found.get("main") or next(iter(found.values()), [])


def _parts_in(folder: Path) -> list[tuple[str, Path]]:
    return [(part, file) for part in PARTS for file in _part_in(folder, part)]


def _part_in(folder: Path, part: str) -> list[Path]:
    """The files of a part in a folder, or in the folder of its name in there."""
    files = {
        file: match
        for file in sorted(folder.iterdir())
        if (match := re.fullmatch(FILE.format(part=part), file.name)) and file.is_file()
    }
    if not files and (folder / part).is_dir():
        inside = sorted((folder / part).iterdir())
        return [f for f in inside if re.fullmatch(INNER, f.name) and f.is_file()]
    shards = {match["shards"] for match in files.values()}
    if len(files) > 1 and (len(shards) > 1 or None in shards):
        several = " and ".join(file.name for file in files)
        raise SettingsError(f"{folder} has {several}; leave one of them there.")
    if shards - {None} and len(files) != (wanted := int(shards.pop())):
        raise SettingsError(f"{folder} has {len(files)} of {wanted} {part} files.")
    return list(files)


@lru_cache(maxsize=8)
def _read_files(
    path: Path, files: tuple[tuple[str, Path], ...], stamps: tuple[Any, ...]
) -> Own:
    """Read the files; the stamps tell whether they are still the same."""
    faults: list[Fault] = []
    parts: dict[str, list[Row]] = {}
    for part, file in files:
        found = list(read_rows(file))
        if not found:
            raise SettingsError(f"{file} has no rows; {FORMATS}.")
        for place, values in found:
            name = f"{file.name} {place}" if part else place
            if fault := _find_fault(values):
                faults.append(Fault(fault, name))
                continue
            problem = Problem(*(_tidy(values[column]) for column in COLUMNS))
            named = part or str(values.get("split") or "")
            parts.setdefault(named, []).append(Row(problem, name))
    divided = "by " + " and ".join(str(file.relative_to(path)) for _, file in files)
    if path == files[0][1]:
        parts, divided = _divide(parts, path)
    rows = {part: parts.get(part, []) for part in PARTS}
    faults += _find_repeats([row for part in PARTS for row in rows[part]])
    problems = [[row.problem for row in rows[part]] for part in PARTS]
    digest = hashlib.sha256(json.dumps(problems).encode()).hexdigest()[:12]
    return Own(path, rows, faults, divided, digest)


def _tidy(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _divide(
    parts: dict[str, list[Row]], file: Path
) -> tuple[dict[str, list[Row]], str]:
    """Divide the rows of one file into train and test; say how.

    Rows that name their part in a column `split` keep it. Without one, the questions'
    sha256 decides: whatever the order of the rows, and neither seed nor scale counts.
    """
    if set(parts) - {""}:
        if set(PARTS) <= set(parts) and "" not in parts:
            return parts, "by the column split"
        named = ", ".join(sorted(filter(None, parts)))
        raise SettingsError(
            f"{file} names {named} in its column split; give every row train or test "
            "there, or leave the column out."
        )
    rows = parts.get("", [])
    ordered = sorted(
        rows, key=lambda row: hashlib.sha256(row.problem.question.encode()).digest()
    )
    held_out = set(ordered[: max(1, len(rows) // TEST_SHARE)])
    divided = {
        "train": [row for row in rows if row not in held_out],
        "test": [row for row in rows if row in held_out],
    }
    return divided, f"one in {TEST_SHARE} is for testing, by the question's sha256"


# ----------------------------------------------------------------------------- the rows


def other_format(data: bytes) -> str:
    """Return what a file is by its bytes where it is not JSON lines in UTF-8."""
    encoding = json.detect_encoding(data)  # by its mark, or by where its zeros are
    formats = {
        "gzipped": data.startswith(GZIPPED),
        "parquet": data.startswith(PARQUET),
        f"text in {encoding.upper()}": encoding.startswith(("utf-16", "utf-32")),
        "text with a byte order mark": encoding == "utf-8-sig",
        "one JSON list": re.match(rb"\s*\[\s*\{", data) is not None,
    }
    return next((name for name, is_so in formats.items() if is_so), "")


def read_rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield a file's rows with what they are called, "line 3"; broken ones as None."""
    data = file.read_bytes()
    if data.startswith(GZIPPED):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise SettingsError(f"{file} is gzipped, and cut off or broken.") from None
    if data.startswith(PARQUET):
        yield from _parquet_rows(data, file)
    else:
        yield from _json_rows(_decode(data, file), file)


def _parquet_rows(data: bytes, file: Path) -> Iterator[tuple[str, Any]]:
    from pyarrow import ArrowException, BufferReader  # here: slow to import
    from pyarrow.parquet import ParquetFile

    try:
        opened = ParquetFile(BufferReader(data))
        names = [name for name in opened.schema_arrow.names if name not in UNREAD]
        rows = opened.read(names).to_pylist()
    except (ArrowException, OSError):
        raise SettingsError(f"{file} is parquet, and cut off or broken.") from None
    yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _decode(data: bytes, file: Path) -> str:
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{file} is neither parquet nor text in UTF-8 or UTF-16 (byte "
            f"{error.start:,}); {FORMATS}, saved as UTF-8."
        ) from None


def _json_rows(text: str, file: Path) -> Iterator[tuple[str, Any]]:
    whole = parse_json(text)
    if isinstance(whole, dict) and isinstance(whole.get("train"), list):
        lists = {part: whole.get(part) for part in PARTS}
        whole = [
            {**row, "split": part} if isinstance(row, dict) else row
            for part, rows in lists.items()
            for row in rows or ()
        ]
    if isinstance(whole, list):
        yield from ((f"row {number}", row) for number, row in enumerate(whole, 1))
        return
    if text.startswith("version https://git-lfs"):
        raise SettingsError(f"{file} is a Git LFS pointer: `git lfs pull` fetches it.")
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows = [(f"line {number}", parse_json(line)) for number, line in lines]
    if lines and not any(isinstance(row, dict) for _, row in rows):
        began = repr(lines[0][1].strip()[:40])
        raise SettingsError(f"{file} has no rows, it begins with {began}; {FORMATS}.")
    yield from rows


def parse_json(text: str | bytes) -> Any:
    """Return what a text says in JSON, None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _find_fault(row: Any) -> str | None:
    """Say what a row lacks to be a problem, or None."""
    if not isinstance(row, dict):
        return "broken, or no JSON object"
    there = ", ".join(sorted(name for name in row if name != "split")) or "none"
    for column in COLUMNS:
        if column not in row:
            return f"no column {column!r} (it has {there})"
        if not _is_text(row[column]):
            return f"no text in {column!r}"
        if not row[column].strip():
            return f"an empty {column}"
    return None


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character
        return False
    return True


def _find_repeats(rows: list[Row]) -> Iterator[Fault]:
    """Find questions that stand twice: a test would ask what was learnt."""
    seen: dict[str, str] = {}
    for problem, name in rows:
        first = seen.setdefault(" ".join(problem.question.casefold().split()), name)
        if first != name:
            yield Fault("a question that stands twice", name, f"as in {first}")
