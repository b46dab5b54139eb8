"""GSM8K and the paper's released model solutions, from a folder or downloaded.

The folder is GSM8K_DIR; without it, files come from the public repository's pinned
commit into the cache. Their bytes are checked against known sums in both cases.
"""

import hashlib
import http.client
import json
import os
import re
import urllib.request
from pathlib import Path
from shlex import quote
from typing import Literal, NamedTuple
from urllib.error import URLError

import pandas as pd

from gsmlib import progress
from gsmlib.data import Problem
from gsmlib.data.own import other_format, parse_json
from gsmlib.environment import cache_folder
from gsmlib.files import write_file

SOURCE = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data"
)
SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SOLUTIONS_FILE = "example_model_solutions.jsonl"

_PROBLEM_KEYS = ("question", "answer")
_ANSWER_LINE = re.compile(r"^A: ", re.MULTILINE)


class DataFile(NamedTuple):
    """What a released file must be; `digest` is `sha256:...` or `git:...`."""

    rows: int
    digest: str
    keys: tuple[str, ...] = _PROBLEM_KEYS


# The socratic training file is known by its git object id: commit 3101c7d names it.
FILES = {
    "train.jsonl": DataFile(
        7473, "sha256:17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"
    ),
    "test.jsonl": DataFile(
        1319, "sha256:3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"
    ),
    "train_socratic.jsonl": DataFile(
        7473, "git:8d038499db0e40f3fb7d1f3bbef090cb932c3e2d"
    ),
    "test_socratic.jsonl": DataFile(
        1319, "sha256:c96673362fa7a699f4836a9b6474a067448f95fe58064727501ee63ba4c3fdb6"
    ),
    SOLUTIONS_FILE: DataFile(
        1319,
        "sha256:4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b",
        ("question", "ground_truth", *SYSTEMS),
    ),
}


def load_gsm8k(
    split: Literal["train", "test"], variant: Literal["main", "socratic"] = "main"
) -> list[Problem]:
    """Return all problems of a split (7,473 or 1,319) in the file's order.

    "socratic" solutions have a subquestion before each step. Raises FileNotFoundError,
    ConnectionError, OSError or ValueError in one sentence that names the file, the
    setting and the remedy.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    if variant not in ("main", "socratic"):
        raise ValueError(f"variant must be 'main' or 'socratic', not {variant!r}.")
    suffix = "" if variant == "main" else "_socratic"
    rows = _load_rows(f"{split}{suffix}.jsonl")
    return [Problem(row["question"], row["answer"]) for row in rows]


def load_released_solutions() -> pd.DataFrame:
    """Return the paper's own solutions of the test set, one row per problem and system.

    Columns: problem (index in the test file), system (one of SYSTEMS), solution (raw:
    its answer line is `A: 18`), is_correct (as released), reference (the test set's
    solution, ending in `#### 18`). Errors as load_gsm8k. Paper: Fig 5, Appendix D.
    """
    rows = []
    for index, row in enumerate(_load_rows(SOLUTIONS_FILE)):
        reference = with_answer_mark(row["ground_truth"])
        for system in SYSTEMS:
            about = {"problem": index, "system": system, "reference": reference}
            rows.append(about | row[system])
    columns = ["problem", "system", "solution", "is_correct", "reference"]
    return pd.DataFrame(rows, columns=columns)


def released_rows() -> list[dict]:
    """Return the rows of the released solutions as they are; errors as load_gsm8k."""
    return _load_rows(SOLUTIONS_FILE)


def is_here(name: str) -> bool:
    """Return whether a released file is in GSM8K_DIR or the cache: none is loaded."""
    folder = os.environ.get("GSM8K_DIR") or cache_folder() / "gsm8k"
    return (Path(folder).expanduser() / name).is_file()


def with_answer_mark(solution: str) -> str:
    """Write a released solution's answer line `A: 18` as `#### 18`.

    Only at a line's start: problem 331 speaks of "Job A: 2000 hours".
    """
    return _ANSWER_LINE.sub("#### ", solution)


def _load_rows(name: str) -> list[dict]:
    """Read a released file out of GSM8K_DIR or the cache, downloading it if need be."""
    folder = os.environ.get("GSM8K_DIR")
    if folder:
        path = Path(folder).expanduser() / name
        remedy = f"copy it from {SOURCE}/{name}, or unset GSM8K_DIR to download it"
        if FILES[name].keys == _PROBLEM_KEYS:
            own = quote(str(path.parent))
            remedy += f", or give -p dataset {own} if its problems are your own"
        return _parse(name, _read(path, remedy), str(path), remedy)
    path = cache_folder() / "gsm8k" / name
    if path.exists():
        remedy = "delete it and run again to download it"
        return _parse(name, _read(path, remedy), str(path), remedy)
    data = _download(name)
    rows = _parse(name, data, f"The download of {name}", "run again")
    write_file(path, data, "GSMLIB_CACHE")
    return rows


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        missing = path if path.parent.is_dir() else path.parent
        message = f"{missing} does not exist, wanted for {path.name}; {remedy}."
        raise FileNotFoundError(message) from None
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}); {remedy}.") from None


def _parse(name: str, data: bytes, where: str, remedy: str) -> list[dict]:
    """Turn a file's bytes, which must be the released ones, into rows.

    `where` and `remedy` begin and end the message.
    """
    expected = FILES[name]
    if _digest(data, expected.digest) != expected.digest:
        raise ValueError(f"{where}{_explain_difference(data, expected)}; {remedy}.")
    return [json.loads(line) for line in data.removesuffix(b"\n").split(b"\n")]


def _explain_difference(data: bytes, expected: DataFile) -> str:
    """Say why a file is not the released one: its format, its lines, or its bytes."""
    if form := other_format(data):
        return f" is not the released file: it is {form}"
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        row = parse_json(line)
        if fault := _fault(row, expected.keys):
            return f": line {number} {fault}"
        rows.append(row)
    if len(rows) != expected.rows:
        return f" has {len(rows):,} rows where the release has {expected.rows:,}"
    differs = f" differs from the released file ({expected.digest})"
    return differs + _explain_bytes(data, rows)


def _explain_bytes(data: bytes, rows: list[dict]) -> str:
    """Say what an editor or a merge may have done to a file, or nothing."""
    if b"\r\n" in data:
        return ": its lines end in CRLF, as on Windows"
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        first = seen.setdefault(row["question"], number)
        if first != number:
            return f": line {number} repeats the question of line {first}"
    return ""


def _fault(row: object, keys: tuple[str, ...]) -> str | None:
    """Say what is wrong with one row, or None."""
    if not isinstance(row, dict):
        return "is truncated or broken"
    for key in keys:
        if key not in row:
            return f"has no {key!r}"
        if not _is_usable(row[key], key):
            return f"has nothing usable in {key!r}"
    return None


def _is_usable(value: object, key: str) -> bool:
    if key not in SYSTEMS:
        return isinstance(value, str)
    kinds = {"solution": str, "is_correct": bool}
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kind) for name, kind in kinds.items()
    )


def _digest(data: bytes, like: str) -> str:
    """Return the sum of `data` in the form of `like`: `sha256:...` or git's blob id."""
    if like.startswith("git:"):
        return "git:" + hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _download(name: str) -> bytes:
    url = f"{SOURCE}/{name}"
    blocks = []
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            size = int(response.headers.get("Content-Length") or 0) or None
            with progress.bar(size, desc=name, unit="B", unit_scale=True) as bar:
                while block := response.read(1 << 16):
                    blocks.append(block)
                    bar.update(len(block))
    except (URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        remedy = "check the network, or set GSM8K_DIR to a folder that holds the file"
        raise ConnectionError(f"{url} did not answer ({reason}); {remedy}.") from None
    return b"".join(blocks)
