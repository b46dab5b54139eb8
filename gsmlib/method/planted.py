"""Errors planted in right solutions: one of a known kind, carried on to the answer.

A control for verifiers: one that cannot learn to tell a solution from the same one with
an error planted in it could not have shown that it checks the errors of others.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from gsmlib.data import Problem
from gsmlib.method.answers import DIGITS, final_number, to_number
from gsmlib.method.calculator import (
    Annotation,
    evaluate,
    find_annotations,
    format_value,
)

SHIFTS = (-10, -2, -1, 1, 2, 10)  # by which a wrong result is off
ANSWER = "answer"  # the kind of error that every solution takes
CALCULATION = "calculation"
Others = dict[Fraction, Fraction]  # wrong values, by the right ones in their places

_NUMBER = rf"(?:{DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
_PIECE = re.compile(rf"<<([^<>=]*)=(?P<value>[^<>]*)>>|{_NUMBER}")
_TWO = re.compile(rf"({_NUMBER})[-+*/]({_NUMBER})")
_APART = r"[^0-9<>=+*/×-]*"  # what may stand between a number and an operator
_SAID = re.compile(  # an operation in words before its annotation: `3 boxes x $5 = $`
    rf"(?P<left>{_NUMBER}){_APART}?(?P<sign>[-+*/×]|(?<= )x(?= )){_APART}"
    rf"(?P<right>{_NUMBER})[^0-9<>=+*×-]*= ?\$?$"
)
_WORDS = re.compile(rf"({_NUMBER}) ?([-+*/]) ?({_NUMBER}) ?= ?\$?(-?{_NUMBER})")


class Solution(NamedTuple):
    """A solution, whether it is right, and the kind of an error planted in it."""

    text: str
    correct: bool
    kind: str = ""


class _Edit(NamedTuple):
    """What replaces text[start:end], and the wrong values from there on."""

    start: int
    end: int
    text: str
    others: Others


def with_errors(problem: Problem, seed: int) -> list[Solution]:
    """Return a problem's own solution, and with an error of each of KINDS.

    What leads from the error to the answer follows from it: later calculations take
    the wrong value, come out with another, and so on. Kinds: "calculation", a result is
    off by 1, 2 or 10; "operation", one of two numbers is another (`48+2`, computed
    rightly, for `48/2`); "number", a number of the question is read as another one
    there. An error is left out that would make values negative or 0, or fractions of
    whole ones, or whose value also stands for something else. Where a kind has none,
    "answer" is in its place: the last line alone is off.

    >>> solution = "2 bags of 24 are 2*24=<<2*24=48>>48\\n#### 48"
    >>> for each in with_errors(Problem("2 bags of 24. How many?", solution), 0):
    ...     print(each.kind or "right", each.text.splitlines())
    right ['2 bags of 24 are 2*24=<<2*24=48>>48', '#### 48']
    calculation ['2 bags of 24 are 2*24=<<2*24=49>>49', '#### 49']
    operation ['2 bags of 24 are 2+24=<<2+24=26>>26', '#### 26']
    number ['24 bags of 24 are 24*24=<<24*24=576>>576', '#### 576']
    """
    told = _values(problem.question)
    solutions = [Solution(problem.solution, correct=True)]
    for place, kind in enumerate(KINDS):
        random = np.random.default_rng([seed, place])
        text = _with_error(problem.solution, told, kind, random)
        if text is None:
            kind, taken = ANSWER, {each.text for each in solutions}
            text = _with_answer(problem.solution, random, taken)
        solutions.append(Solution(text, correct=False, kind=kind))
    return solutions


def _with_error(
    solution: str, told: set[Fraction], kind: str, random: np.random.Generator
) -> str | None:
    """Return a solution with an error of a kind drawn at random, None if none fits."""
    edits = list(KINDS[kind](solution, told))
    for i in random.permutation(len(edits)):
        wrong = _carry(solution, edits[i], told)
        if wrong is not None and _is_clean(wrong, solution, kind):
            return wrong
    return None


def _is_clean(wrong: str, right: str, kind: str) -> bool:
    """Whether the answer is another, and no calculation false that was not meant."""
    false = _count_false(wrong) - _count_false(right)
    return final_number(wrong) != final_number(right) and false <= (kind == CALCULATION)


def _count_false(solution: str) -> int:
    """Count the calculations of two numbers in words that do not come out."""
    words = _PIECE.sub(lambda piece: "" if piece["value"] else piece[0], solution)
    said = ((f"{a}{sign}{b}", value) for a, sign, b, value in _WORDS.findall(words))
    return sum(evaluate(two) != evaluate(value) for two, value in said)


def _with_answer(solution: str, random: np.random.Generator, taken: set[str]) -> str:
    """Return a solution whose last line alone is off, other than those `taken`."""
    body, _, answer = solution.rpartition("#### ")
    value = to_number(answer)
    assert value is not None, f"no number behind the last #### in {solution!r}"
    for shift in random.permutation(SHIFTS):
        text = f"{body}#### {format_value(value + int(shift))}"
        if (value + int(shift) > 0 or value <= 0) and text not in taken:
            break
    return text


# ------------------------------------------------------------------------------- kinds


def _calculations(solution: str, told: set[Fraction]) -> Iterator[_Edit]:
    for found, value in _computed(solution):
        for shift in SHIFTS:
            if value + shift > 0:
                yield _edit(found, found.expression, value, value + shift)


def _operations(solution: str, told: set[Fraction]) -> Iterator[_Edit]:
    for found, value in _computed(solution):
        two = _TWO.fullmatch(found.expression.replace(" ", ""))
        said = _SAID.search(solution, 0, found.start)
        if not two or not said or two.groups() != said.group("left", "right"):
            continue
        for sign in "+-*/":
            expression = f"{two[1]}{sign}{two[2]}"
            other = evaluate(expression)
            if other is not None and other != value and _likewise(value, other):
                inner = _edit(found, expression, value, other)
                text = sign + solution[said.end("sign") : found.start] + inner.text
                yield inner._replace(start=said.start("sign"), text=text)


def _numbers(solution: str, told: set[Fraction]) -> Iterator[_Edit]:
    for value in sorted(told):
        for other in sorted(told - {value}):
            yield _Edit(0, 0, "", {value: other})


KINDS: dict[str, Callable[[str, set[Fraction]], Iterator[_Edit]]] = {
    CALCULATION: _calculations,
    "operation": _operations,
    "number": _numbers,
}


def _computed(solution: str) -> Iterator[tuple[Annotation, Fraction]]:
    """Yield the annotations that compute what they say, and their values."""
    for found in find_annotations(solution):
        value = evaluate(found.value)
        if value is not None and value == evaluate(found.expression):
            yield found, value


def _edit(
    found: Annotation, expression: str, value: Fraction, other: Fraction
) -> _Edit:
    """Return the edit that gives an annotation an expression and another value."""
    text = f"<<{expression}={format_value(other)}>>"
    return _Edit(found.start, found.end, text, {value: other})


# ----------------------------------------------------------------------- what follows


def _carry(solution: str, edit: _Edit, told: set[Fraction]) -> str | None:
    """Return a solution edited, with all that follows; None where that is unclear."""
    others, known = dict(edit.others), told | _values(solution[: edit.start])
    if edit.end and known & others.keys():
        return None
    made, at = [solution[: edit.start], edit.text], edit.end
    for piece in _PIECE.finditer(solution, edit.end):
        if piece["value"] is None:
            text = _reread(piece[0], others)
        else:
            text = _recomputed(piece, others, known)
        if text is None:
            return None
        made += [solution[at : piece.start()], text]
        at = piece.end()
        known |= _values(piece[0]) - others.keys()
    return "".join([*made, solution[at:]])


def _recomputed(piece: re.Match, others: Others, known: set[Fraction]) -> str | None:
    """Return an annotation of wrong values, and note its own; None where unclear."""
    expression = _reread(piece[1], others)
    if expression == piece[1]:
        return piece[0]
    old, new = evaluate(piece["value"]), evaluate(expression)
    if old is None or new is None or not _likewise(old, new):
        return None
    if old in known or others.setdefault(old, new) != new:
        return None
    return f"<<{expression}={format_value(new)}>>"


def _likewise(old: Fraction, new: Fraction) -> bool:
    """Whether a value is as plausible as another: positive, and whole if that is."""
    return new > 0 and new.denominator <= old.denominator


def _values(text: str) -> set[Fraction]:
    return {v for v in map(to_number, re.findall(_NUMBER, text)) if v is not None}


def _reread(text: str, others: Others) -> str:
    """Return a text with the wrong values, with thousands commas where it has some."""

    def other(match: re.Match) -> str:
        value = others.get(to_number(match[0]))
        if value is None:
            return match[0]
        whole = value.denominator == 1 and "," in match[0]
        return f"{value.numerator:,}" if whole else format_value(value)

    return re.sub(_NUMBER, other, text)
