"""Millions of expressions and texts for the calculator, the answers and the decoder.

Three kinds of expressions: grown from parts together with their exact values; the same
with a character changed, or pieces of other languages put in; and extremes. The values
of the last two are compared with another algorithm, a shunting yard on fractions.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

from gsmlib.method import answers, calculator

SLOW = 0.010  # seconds that no expression may take
BATCH = 2_000  # expressions between two looks at the clock
POOL = 4_000  # grown expressions that new ones are made of
SAFE_BITS = calculator.MAX_SIZE.bit_length() - 1  # what cannot exceed the bound
STRANGE = [*"٣²½Ⅷ๓９eExX_^%,;:=<>$!&|~@#[]{}'\"\\\0\n\t\r\u200b\u202e·−×÷∞πj"]
STRANGE += ["**", "^^", "1e9", "1e999", "0x1F", "1_000", "__import__('os')", "abs(1)"]
STRANGE += ["lambda:0", "9**9**9", "nan", "inf", "()", "((", "))", "..", "//", "/0"]
PLAIN = [*"0123456789+-*/(). "]


class Grown(NamedTuple):
    """An expression with its value (None: refused for sure) and what bounds it."""

    text: str
    value: Fraction | None
    binding: int  # 0 a sum, 1 a product, 2 an atom
    bits: int  # no number on the way can have more
    depth: int


def grow_pool(rng: random.Random, size: int = POOL) -> list[Grown]:
    """Return expressions of mixed depth; the first are plain numbers."""
    pool = [number(rng) for _ in range(size // 4)]
    while len(pool) < size:
        pool.append(joined(rng, rng.choice(pool), rng.choice(pool)))
    return pool


def number(rng: random.Random) -> Grown:
    """Return a number in one of the spellings that GSM8K and models use."""
    whole = str(rng.randrange(10 ** rng.choice((1, 2, 2, 3, 3, 6, 12))))
    whole = "0" * rng.choice((0, 0, 0, 1, 3)) + whole
    places = rng.choice((0, 0, 0, 1, 2, 5))
    decimals = "".join(rng.choice("0123456789") for _ in range(places))
    text = f"{whole}.{decimals}" if places or rng.random() < 0.05 else whole
    text = f".{decimals}" if places and rng.random() < 0.1 else text
    # not Fraction(text): the value is known without reading any text at all
    value = Fraction(int("0" + text.replace(".", "")), 10**places)
    bits = (10**places).bit_length() + max(1, value.numerator).bit_length() + 1
    return Grown(text, value, 2, bits, 0)


def joined(rng: random.Random, left: Grown, right: Grown) -> Grown:
    """Return `left op right`, in parentheses where the operator asks for them.

    A sign before it binds its first factor only, so a bare sum gets none.
    """
    draw = rng.random()
    sign = "+" if draw < 0.3 else "-" if draw < 0.55 else "*" if draw < 0.8 else "/"
    sign = "//" if sign == "/" and draw > 0.98 else sign
    binding = 0 if sign in "+-" else 1
    a, deep_left = wrapped(left, left.binding < binding)
    b, deep_right = wrapped(right, right.binding < 2)
    if draw * 1000 % 1 < 0.1 and (left.binding or left.binding < binding):
        value = None if left.value is None else -left.value
        a, left = f"-{a}", left._replace(value=value)
    if draw * 100 % 1 < 0.15:
        sign = f" {sign} "
    depth = max(deep_left, deep_right)
    value = apply(sign.strip(), left.value, right.value)
    if depth > calculator.MAX_DEPTH or len(a) + len(b) + 4 > 3 * calculator.MAX_LENGTH:
        return number(rng)
    return Grown(a + sign + b, value, binding, left.bits + right.bits + 2, depth)


def wrapped(part: Grown, needed: bool) -> tuple[str, int]:
    """Return a part's text and depth, in parentheses where needed."""
    return (f"({part.text})", part.depth + 1) if needed else (part.text, part.depth)


def apply(sign: str, a: Fraction | None, b: Fraction | None) -> Fraction | None:
    """Return a sign b; None where one is, or where it is divided by zero."""
    if a is None or b is None:
        return None
    if sign in ("/", "//"):
        if b == 0:
            return None
        value = a / b
        return None if sign == "//" and value.denominator != 1 else value
    return a + b if sign == "+" else a - b if sign == "-" else a * b


# ------------------------------------------------------------------ the other algorithm

PIECE = re.compile(r"\d+\.?\d*|\.\d+|//|[-+*/()]", re.ASCII)
RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "neg": 3, "pos": 3}


def shunting_yard(text: str) -> Fraction | None:
    """Return the value by Dijkstra's two stacks; None where it is divided by zero."""
    values: list[Fraction | None] = []
    signs: list[str] = []
    unary_place = True
    for piece in PIECE.findall(text):
        if piece[0] in "0123456789.":
            whole, _, decimals = piece.partition(".")
            values.append(Fraction(int(whole or 0)) + _decimals(decimals))
            unary_place = False
        elif piece == "(":
            signs.append(piece)
            unary_place = True
        elif piece == ")":
            while signs[-1] != "(":
                _reduce(values, signs)
            signs.pop()
            unary_place = False
        elif unary_place:
            signs.append("neg" if piece == "-" else "pos")
        else:
            while signs and signs[-1] != "(" and RANK[signs[-1]] >= RANK[piece]:
                _reduce(values, signs)
            signs.append(piece)
            unary_place = True
    while signs:
        _reduce(values, signs)
    return values[0]


def _agrees(text: str, value: Fraction) -> bool:
    try:
        return shunting_yard(text) == value
    except (IndexError, KeyError, ValueError):  # it is no expression at all
        return False


def _decimals(digits: str) -> Fraction:
    return Fraction(int(digits), 10 ** len(digits)) if digits else Fraction(0)


def _reduce(values: list[Fraction | None], signs: list[str]) -> None:
    sign, right = signs.pop(), values.pop()
    if sign in ("neg", "pos"):
        values.append(-right if sign == "neg" and right is not None else right)
    else:
        values.append(apply(sign, values.pop(), right))


# -------------------------------------------------------------------- what is attacked


def mutated(rng: random.Random, text: str) -> str:
    """Return the text with one to three places changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(text) + 1)
        piece = rng.choice(STRANGE if rng.random() < 0.5 else PLAIN)
        cut = rng.choice((0, 0, 1, 1, 5))
        text = text[:place] + piece + text[place + cut :]
    return text


def extreme(rng: random.Random) -> str:
    """Return something long, deep, huge or tiny."""
    n = rng.choice((1, 5, 19, 20, 21, 60, 150, 199, 200, 201, 1000, 5000))
    digit = str(rng.randrange(1, 10))
    forms: tuple[Callable[[], str], ...] = (
        lambda: "(" * n + digit + ")" * n,
        lambda: "-" * n + digit,
        lambda: "+-" * (n // 2) + digit,
        lambda: digit * n,
        lambda: "0." + "0" * n + digit,
        lambda: f"1/0.{'0' * n}{digit}",
        lambda: "*".join([digit * 3] * (n // 4 + 1)),
        lambda: "/".join([digit * 2] * (n // 3 + 1)),
        lambda: "**".join([digit] * (n // 3 + 2)),
        lambda: f"{digit}/({digit}-{digit})",
        lambda: "0" * n + digit,
        lambda: " " * n + digit,
        lambda: f"{digit}e{n}",
        lambda: "(" * n,
        lambda: "1+(" * (n // 3) + "1" + ")" * (n // 3),
        lambda: f"{digit * (n % 26)}.{digit * (n % 26)}/{digit * (n % 23 + 1)}",
    )
    return rng.choice(forms)()


def run_expressions(
    seed: int, count: int, deadline: float
) -> tuple[dict[str, int | float], list[str]]:
    """Try `count` expressions or until the deadline (time.monotonic); never slower."""
    rng = random.Random(seed)
    figures: dict[str, int | float] = dict(expressions=0, evaluated=0, refused=0)
    figures |= dict(checked_otherwise=0, written=0, slowest_ms=0.0)
    faults: list[str] = []
    while figures["expressions"] < count and time.monotonic() < deadline:
        pool = grow_pool(rng)
        for _ in range(10):
            if len(faults) < 20:
                _try_batch(rng, pool, figures, faults)
        if len(faults) >= 20:
            break
    return figures, faults


def _try_batch(
    rng: random.Random, pool: list[Grown], figures: dict, faults: list[str]
) -> None:
    """Try BATCH expressions; add to the figures and the faults."""
    evaluate, clock = calculator.evaluate, time.perf_counter
    evaluated = otherwise = 0
    slowest = figures["slowest_ms"] / 1000
    for _ in range(BATCH):
        kind = rng.random()
        grown, text = _draw(rng, pool, kind)
        start = clock()
        try:
            value = evaluate(text)
        except BaseException as error:  # whatever escapes is what is looked for
            faults.append(f"{text[:60]!r} raises {type(error).__name__}.")
            continue
        took = clock() - start
        if took > slowest:
            took = confirmed(text, took)
            slowest = max(slowest, took)
            if took > SLOW:
                faults.append(f"{text[:60]!r} takes {1000 * took:.1f} ms.")
        evaluated += value is not None
        otherwise += grown is None and value is not None
        if not _is_agreed(grown, text, value):
            faults.append(f"{text[:60]!r} gives {value}.")
        if kind < 0.1:
            figures["written"] += 1
            faults += _check_writing(text, value)
    figures["expressions"] += BATCH
    figures["evaluated"] += evaluated
    figures["refused"] += BATCH - evaluated
    figures["checked_otherwise"] += otherwise
    figures["slowest_ms"] = round(1000 * slowest, 3)


def _draw(
    rng: random.Random, pool: list[Grown], kind: float
) -> tuple[Grown | None, str]:
    """Return an expression: 70 % grown, of known value, 20 % changed, 10 % extreme."""
    if kind < 0.7:
        grown = joined(rng, rng.choice(pool), rng.choice(pool))
        return grown, grown.text
    if kind < 0.9:
        return None, mutated(rng, rng.choice(pool).text)
    return None, extreme(rng)


def _is_agreed(grown: Grown | None, text: str, value: Fraction | None) -> bool:
    """Whether a value is the known one, else what another parser gives."""
    if grown is not None:
        return is_right(grown, value)
    if value is None:
        return True
    plain = text.replace(",", "")  # they go, as in the released calculator
    return set(plain) <= set(PLAIN) and _agrees(plain, value)


def is_right(grown: Grown, value: Fraction | None) -> bool:
    """Whether the value is the known one, or refused for a reason."""
    if value is not None:
        return value == grown.value
    fits = grown.bits < SAFE_BITS and len(grown.text) <= calculator.MAX_LENGTH
    return grown.value is None or not fits


def confirmed(text: str, took: float) -> float:
    """Return the least of several times: the machine may have been elsewhere."""
    for _ in range(5):
        start = time.perf_counter()
        calculator.evaluate(text)
        took = min(took, time.perf_counter() - start)
    return took


def _check_writing(text: str, value: Fraction | None) -> Iterator[str]:
    """What is forced behind `<<text=` says the value, or nothing is forced."""
    forced = calculator.completion(f"He has <<{text}=")
    if "<<" in text or "=" in text:
        return
    if (forced is None) != (value is None):
        yield f"{text[:60]!r} is {value}, but {forced!r} is written."
    if forced is None or value is None:
        return
    written = answers.to_number(forced.removesuffix(">>"))
    error = abs(written - value) if written is not None else 1
    if not forced.endswith(">>") or error > max(abs(value) / 200, Fraction(0)):
        yield f"{text[:60]!r} is {value}, but {forced!r} is written."
