"""Completions that others made: what is known of one, and the plain table of them.

A plain table has a row per completion, JSON lines, a JSON list, CSV or parquet, with
columns of the names below. `samples` reads it, and other systems' own formats.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gsmlib.records import SettingsError, did_you_mean

COLUMNS = {  # what a column is, and the names it goes by; of several the first is taken
    "problem": "problem problem_id question_id doc_id idx index id".split(),
    "question": "question prompt input".split(),
    "sample": "sample sample_id completion_id attempt".split(),
    "text": "text completion response generation".split(),
    "answer": "answer prediction response_answer".split(),
    "gold": "gold target reference ground_truth".split(),
    "correct": "correct is_correct label".split(),
    "system": "system model".split(),
}
# Numbers that say how completions were made and not how good they are.
NO_SCORES = "seed epoch step tokens n_tokens temperature top_p n n_train n_problems"
GIVEN = "given"  # the name of the labels in a plain table
TRUE, FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")


class Row(NamedTuple):
    """A row of a file as it was read."""

    file: str
    name: str  # "line 3"
    values: Mapping[str, Any]

    def refusal(self, what: str, remedy: str) -> SettingsError:
        """Return the error that says what is wrong with this row."""
        return SettingsError(f"{self.file}, {self.name}: {what}; {remedy}.")


class Completion(NamedTuple):
    """A completion of a problem; None is what its file does not say."""

    row: str  # of the file, "line 3"
    problem: str  # its number or name; the question where it has neither
    question: str | None = None
    sample: int | None = None
    text: str | None = None
    answer: str | None = None  # final, as the file has it
    gold: str | None = None  # the right answer, or a solution that ends in it
    correct: Mapping[str, bool] = {}  # labels in the file, by their name
    scores: Mapping[str, float] = {}
    system: str = ""  # who made it, where the file tells several apart


def read_plain(rows: Sequence[Row], scores: Sequence[str]) -> Iterator[Completion]:
    """Yield the completions of a plain table with the scores of the named columns."""
    columns = find_columns(columns_of(rows))
    if not {"problem", "question"} & set(columns):
        raise _lacking(rows[0], "problem or question", "say what problem a row is of")
    if not {"text", "answer"} & set(columns):
        raise _lacking(rows[0], "text or answer", "give one for each completion")
    for row in rows:
        yield _completion(row, columns, scores)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the columns that any row has, in the order of their appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))


def find_columns(there: Iterable[str]) -> dict[str, str]:
    """Return which column of a table is what: {"problem": "doc_id", ...}."""
    there, found = list(there), {}
    for what, names in COLUMNS.items():
        named = [name for name in names if name in there]
        found |= {what: named[0]} if named else {}
    return found


def score_columns(rows: Sequence[Row], asked: Sequence[str]) -> list[str]:
    """Return the columns of a plain table that are scores.

    asked: their names; without any, all that hold numbers, no texts, and mean nothing
    else. A row that lacks one is refused where it is read.
    """
    there = columns_of(rows)
    for name in asked:
        if name not in there:
            near, known = did_you_mean(name, there), ", ".join(there)
            what = f"no column {name!r}{near} for a score"
            raise rows[0].refusal(what, f"name with --scores some of {known}")
    return list(asked) or [n for n in _unnamed(rows) if _share_of_numbers(n, rows) == 1]


def passed_over(rows: Sequence[Row]) -> list[str]:
    """Return the columns that `score_columns` does not take for a few cells alone."""
    return [name for name in _unnamed(rows) if 0.5 < _share_of_numbers(name, rows) < 1]


def _unnamed(rows: Sequence[Row]) -> list[str]:
    """Return the columns whose name does not say what they are."""
    named = {name for names in COLUMNS.values() for name in names}
    return [n for n in columns_of(rows) if n not in {*named, *NO_SCORES.split()}]


def _share_of_numbers(column: str, rows: Sequence[Row]) -> float:
    """Return how many of a column's cells are numbers; a CSV's are all texts."""
    from_csv = all(isinstance(value, str) for value in rows[0].values.values())
    kinds = int | float | str if from_csv else int | float
    values = [row.values.get(column) for row in rows]
    values = [value for value in values if value not in (None, "")]
    numbers = [isinstance(v, kinds) and number_of(v) is not None for v in values]
    return sum(numbers) / max(1, len(numbers))


def _lacking(row: Row, what: str, remedy: str) -> SettingsError:
    there = ", ".join(row.values) or "none"
    return row.refusal(f"no column {what} (it has {there})", remedy)


def _completion(
    row: Row, columns: Mapping[str, str], scores: Sequence[str]
) -> Completion:
    def cell(what: str) -> Any:
        value = row.values.get(columns.get(what, ""))
        return None if value == "" and what not in ("text", "answer") else value

    question, problem = text_of(cell("question")), name_of(cell("problem"))
    if problem is None and question is None:
        raise row.refusal("no problem is named", "give its number or its question")
    text, answer = text_of(cell("text")), text_of(cell("answer"))
    if text is None and answer is None:
        raise row.refusal(
            "neither a text nor an answer", "leave the row out or fill it"
        )
    gold = text_of(cell("gold"))
    if text is not None and gold is None and "#### " in (answer or ""):
        name = columns["answer"]
        what = f"a whole solution in {name}, beside a completion's text"
        raise row.refusal(what, f"call {name} gold if it is the right answer")
    correct = cell("correct")
    return Completion(
        row.name,
        question if problem is None else problem,
        question,
        sample_of(row, cell("sample")),
        text,
        answer,
        gold,
        {} if correct is None else {GIVEN: flag_of(row, columns["correct"], correct)},
        {name: score_of(row, name) for name in scores},
        text_of(cell("system")) or "",
    )


# ------------------------------------------------------------------------------- cells


def text_of(value: Any) -> str | None:
    """Return a cell as text, None where it has nothing; numbers as they are written."""
    return None if value is None else str(value)


def name_of(value: Any) -> str | None:
    """Return what names a problem, a number or a text, so that 7, 7.0 and "7" agree."""
    number = number_of(value)
    if number is not None and number.is_integer():
        return str(int(number))
    return text_of(value)


def number_of(value: Any) -> float | None:
    """Return a cell's number, also one in text as in CSV; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def sample_of(row: Row, value: Any) -> int | None:
    """Return a completion's number among those of its problem."""
    number = number_of(value)
    if value is None or (number is not None and number.is_integer()):
        return None if number is None else int(number)
    remedy = "number the completions of a problem, or leave the column out"
    raise row.refusal(f"sample is {value!r}, no whole number", remedy)


def flag_of(row: Row, column: str, value: Any) -> bool:
    """Return a label, which is right or wrong and nothing else."""
    word = str(value).strip().lower()
    if word not in TRUE + FALSE:
        remedy = "give true or false, 1 or 0"
        raise row.refusal(f"{column} is {value!r}, neither right nor wrong", remedy)
    return word in TRUE


def score_of(row: Row, column: str) -> float:
    """Return a score; nan and infinite ones put no completion above another."""
    number = number_of(row.values.get(column))
    if number is None or not math.isfinite(number):
        said = row.values.get(column)
        remedy = "score every completion, or name the columns to use with --scores"
        raise row.refusal(f"{column} is {said!r}, no finite number", remedy)
    return number
