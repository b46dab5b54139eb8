"""What is wrong with problems of one's own: answers and annotations, row by row.

A reference without an answer would make every completion wrong, and an annotation that
the calculator does not complete in its way teaches what sampling cannot do.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from statistics import median

import pandas as pd

from gsmlib.data import family
from gsmlib.data.own import Fault, Own, Row, read_own, require_sound
from gsmlib.method.answers import decimal_places, final_number, to_number
from gsmlib.method.calculator import (
    Annotation,
    evaluate,
    find_annotations,
    format_value,
)

MARK = "#### "


def check_rows(dataset: str) -> None:
    """Raise SettingsError, in one sentence, where rows of one's own have faults."""
    if family(dataset) == "own":
        require_sound(read_own(dataset), find_faults(read_own(dataset).name))


def tell(dataset: str) -> str:
    """Say how many problems of one's own there are, and how they are divided."""
    own = read_own(dataset)
    train, test = (len(rows) for rows in own.rows.values())
    return f"{own.path}: {train:,} problems to train, {test:,} to test: {own.divided}"


def describe(own: Own) -> str:
    """Return how train and test are told apart, and a table of what they hold.

    Steps are a solution's lines before the answer's. Medians; the greatest in brackets.
    """
    table = {part: _measure(rows) for part, rows in own.rows.items()}
    text = pd.DataFrame.from_dict(table, orient="index").to_string()
    return f"{own.path}: {own.divided}; digest {own.digest}\n\n{text}\n"


def _measure(rows: list[Row]) -> dict[str, str]:
    problems = [row.problem for row in rows]
    measured = {
        "steps": [problem.solution.count("\n") for problem in problems],
        "words asked": [len(problem.question.split()) for problem in problems],
        "words solved": [len(problem.solution.split()) for problem in problems],
    }
    told = {k: f"{median(n):g} ({max(n)})" if n else "" for k, n in measured.items()}
    return {"problems": f"{len(rows):,}"} | told


@lru_cache(maxsize=8)
def find_faults(name: str) -> tuple[Fault, ...]:
    """Return what is wrong with the solutions of the problems of an `Own.name`."""
    rows = read_own(name).rows
    return tuple(fault for part in rows for row in rows[part] for fault in _faults(row))


def _faults(row: Row) -> Iterator[Fault]:
    solution = row.problem.solution
    last = solution.rpartition("\n")[2]
    if not last.startswith(MARK):
        yield Fault(f"no last line `{MARK}answer`", row.name)
    elif to_number(last.removeprefix(MARK)) is None:
        answer = repr(last.removeprefix(MARK)[:20])
        yield Fault("an answer that is not one number", row.name, answer)
    elif final_number(solution) != final_number(last):
        yield Fault(f"an earlier line `{MARK}answer`", row.name)
    annotations = find_annotations(solution)
    if solution.count("<<") != len(annotations):
        yield Fault("an annotation that is not <<expression=value>>", row.name)
    for annotation in annotations:
        if detail := _miscount(annotation):
            yield Fault("an annotation that does not compute", row.name, detail)


def _miscount(annotation: Annotation) -> str:
    """Say what is wrong with an annotation's value, nothing where it is right."""
    text = f"<<{annotation.expression}={annotation.value}>>"
    value, told = evaluate(annotation.expression), to_number(annotation.value)
    if value is None or told is None:
        return text
    if value == told or _is_rounded(value, told, annotation.value):
        return ""
    return f"{text}, which is {format_value(value)}"


def _is_rounded(value: Fraction, told: Fraction, text: str) -> bool:
    """Whether a text tells a value rounded or, behind a point, cut off: 0.67 or 0.66.

    No way to tell one whose decimals end: GSM8K's annotations are all exact.
    """
    if "/" in text or decimal_places(value) is not None:
        return False
    written = len(text.partition(".")[2])
    unit = Fraction(1, 10**written)
    cut_off = written > 0 and 0 <= abs(value) - abs(told) < unit and told * value >= 0
    return cut_off or abs(value - told) <= unit / 2
