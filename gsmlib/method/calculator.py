"""The calculator that completes `<<48/2=` while a solution is sampled (Appendix C).

Own bounded grammar on exact fractions: + - * / ( ) and decimals. No eval and no
signals, so it works in threads; whatever it refuses is None and sampling goes on.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from gsmlib.data import Problem
from gsmlib.method.answers import DIGITS, decimal_places, format_number

MAX_LENGTH = 200  # characters of an expression; GSM8K's longest annotation has 36
MAX_DEPTH = 20  # nested parentheses
MAX_SIZE = 10**24  # of every numerator and denominator on the way
MAX_PLACES = 12  # decimals written out; longer ones are rounded
ROUNDED_PLACES = 3  # the most decimals of any value in GSM8K's annotations

_TOKEN = re.compile(rf"{DIGITS}\.?[0-9]*|\.[0-9]+|//|[-+*/()]")
_EXPRESSION = re.compile(r"[0-9+*/()., -]*[0-9][0-9+*/()., -]*")
_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>]*)>>")


class Annotation(NamedTuple):
    """One `<<expression=value>>`; text[start:end] is the whole of it."""

    expression: str
    value: str
    start: int
    end: int


class Comparison(NamedTuple):
    """A gold annotation beside the calculator's value; `kind` says how they differ.

    kinds: same text · trailing zeros (`60.00`) · no leading zero (`.5`) · fraction
    (`3/4`) · other spelling · different number · no number · refused.
    """

    problem: int
    expression: str
    gold: str
    ours: str | None
    kind: str


class _Refused(ValueError):
    """The expression is outside the grammar or its bounds."""


def evaluate(expression: str) -> Fraction | None:
    """Return the exact value of an arithmetic expression, or None when refused.

    Refused: anything but digits, decimals, thousands commas, + - * / ( ), signs before
    a factor and spaces; division by zero; an expression over MAX_LENGTH, MAX_DEPTH or
    MAX_SIZE. The released calculator drops every comma; `1,00` and `1,2`, which are no
    numbers, are refused here. `//` counts as `/` where the result is whole, as in
    GSM8K's two uses (`**` and the rest of Python are refused). Never raises.
    """
    if len(expression) > MAX_LENGTH or not _EXPRESSION.fullmatch(expression):
        return None
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != expression.replace(" ", ""):
        return None
    tokens.reverse()  # the next token is the last one: reading is list.pop
    try:
        value = _read_sum(tokens, 0)
    except (_Refused, ZeroDivisionError):
        return None
    return None if tokens else value


def _read_sum(tokens: list[str], depth: int) -> Fraction:
    value = _read_product(tokens, depth)
    while tokens and tokens[-1] in ("+", "-"):
        sign = tokens.pop()
        term = _read_product(tokens, depth)
        value = _bounded(value + term if sign == "+" else value - term)
    return value


def _read_product(tokens: list[str], depth: int) -> Fraction:
    value = _read_factor(tokens, depth)
    while tokens and tokens[-1] in ("*", "/", "//"):
        sign = tokens.pop()
        factor = _read_factor(tokens, depth)
        value = _bounded(value * factor if sign == "*" else value / factor)
        if sign == "//" and value.denominator != 1:
            raise _Refused("// does not come out whole")
    return value


def _read_factor(tokens: list[str], depth: int) -> Fraction:
    sign = 1
    while tokens and tokens[-1] in ("+", "-"):
        sign = -sign if tokens.pop() == "-" else sign
    token = tokens.pop() if tokens else ""
    if token == "(" and depth < MAX_DEPTH:
        value = _read_sum(tokens, depth + 1)
        if not tokens or tokens.pop() != ")":
            raise _Refused("parenthesis left open")
        return sign * value
    if not token or token[0] not in "0123456789.":
        raise _Refused("a number is missing")
    whole, _, decimals = token.replace(",", "").partition(".")
    return _bounded(Fraction(sign * int(whole + decimals), 10 ** len(decimals)))


def _bounded(value: Fraction) -> Fraction:
    if abs(value.numerator) > MAX_SIZE or value.denominator > MAX_SIZE:
        raise _Refused("number too large")
    return value


def format_value(value: Fraction) -> str:
    """Write a value as GSM8K does: `24`, never `24.0`, and decimals exactly.

    Decimals that never end, or only after MAX_PLACES, are rounded half to even to
    three places (below 0.1 to three significant digits). No annotation of GSM8K
    has such a value; its prose writes 33.333 and 8.333.
    """
    places = decimal_places(value)
    if places is None or places > MAX_PLACES:
        places = ROUNDED_PLACES
        while abs(value) * 10**places < 100:  # fewer than three significant digits
            places += 1
        value = round(value, places)
    return format_number(value)


def pending_expression(text: str) -> str | None:
    """Return `48/2` when the text ends in a well-formed `<<48/2=`, else None.

    Well-formed: only the characters of arithmetic, and a digit among them. Looks at
    the text's tail only, so it is cheap after every sampled token.
    """
    if not text.endswith("="):
        return None
    _, opened, expression = text[-(MAX_LENGTH + 3) : -1].rpartition("<<")
    if not opened or not _EXPRESSION.fullmatch(expression):
        return None
    return expression


def completion(text: str) -> str | None:
    """Return what must follow the text (`24>>` after `<<48/2=`), or None."""
    expression = pending_expression(text)
    value = None if expression is None else evaluate(expression)
    return None if value is None else format_value(value) + ">>"


def find_annotations(text: str) -> list[Annotation]:
    """List the annotations of a solution in order, whatever they contain.

    The expression ends at the first `=`; the value is all that follows it.
    """
    matches = _ANNOTATION.finditer(text)
    return [Annotation(*match.groups(), *match.span()) for match in matches]


def compare_with_gold(problems: Iterable[Problem]) -> list[Comparison]:
    """Compute every annotation of the problems' solutions anew, one row for each.

    Rows fit `pandas.DataFrame(...)`; count them by `kind` for the report.
    """
    rows = []
    for index, problem in enumerate(problems):
        for annotation in find_annotations(problem.solution):
            expression, gold = annotation[:2]
            value = evaluate(expression)
            ours = None if value is None else format_value(value)
            kind = _kind(gold, value, ours)
            rows.append(Comparison(index, expression, gold, ours, kind))
    return rows


def _kind(gold: str, value: Fraction | None, ours: str | None) -> str:
    if value is None:
        return "refused"
    if gold == ours:
        return "same text"
    gold_value = evaluate(gold)
    if gold_value is None:
        return "no number"
    if gold_value != value:
        return "different number"
    if "/" in gold:
        return "fraction"
    if gold.lstrip("-").startswith("."):
        return "no leading zero"
    return "trailing zeros" if "." in gold else "other spelling"
