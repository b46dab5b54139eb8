"""MiniGSM: procedurally generated word problems in GSM8K's row format.

A problem is a small world: people, each with a number of one thing, tied by relations
(`Fact`). Facts are told in shuffled order by long-tailed phrasings (`grammar`), some
not needed, and one of several questions is asked about the result. Every row is a pure
function of (seed, split, index); the text of a question decides its split, so none is
shared. Nothing here is GSM8K: report MiniGSM results as such.
"""

import random
import zlib
from functools import cache
from itertools import accumulate
from typing import Literal, NamedTuple

from gsmlib.data import Problem
from gsmlib.data.grammar import (
    BASE,
    KINDS,
    LINES,
    NAMES,
    ONE,
    PERCENTS,
    QUESTIONS,
    THINGS,
    TWO,
)

Split = Literal["train", "dev", "test"]
# A question belongs to the split in which crc32(question) % 4 lies.
SPLITS: dict[str, tuple[int, ...]] = {"train": (0, 1), "dev": (2,), "test": (3,)}


class Difficulty(NamedTuple):
    """The knobs of the problem distribution; the defaults are frozen (docs/regime.md).

    Attributes:
        steps: relative weight of 2, 3, ... 8 solution steps.
        distractors: relative weight of 0, 1, 2, ... facts that are not needed.
        largest: largest value that may appear anywhere in a problem.
        zipf: exponent of the phrasings' weights, 1 / rank ** zipf.
        spelled_out: share of problems whose lines repeat the expression in prose.
    """

    steps: tuple[float, ...] = (30, 28, 18, 11, 7, 4, 2)
    distractors: tuple[float, ...] = (3, 4, 2, 1)
    largest: int = 900
    zipf: float = 1.0
    spelled_out: float = 0.2


DEFAULT = Difficulty()


class Fact(NamedTuple):
    """One person's quantity: person, kind, people referred to, numbers told, value."""

    a: str
    kind: str
    b: str
    c: str
    k: int
    m: int
    value: int
    expression: str


@cache
def _cumulative(n: int, zipf: float) -> list[float]:
    return list(accumulate(1 / rank**zipf for rank in range(1, n + 1)))


def pick_phrasing(rng: random.Random, phrasings: tuple[str, ...], zipf: float) -> str:
    """Draw one of the phrasings: that of rank r with weight 1 / r ** zipf."""
    weights = _cumulative(len(phrasings), zipf)
    return rng.choices(phrasings, cum_weights=weights)[0]


def _numbers(rng: random.Random, kind: str) -> tuple[int, int]:
    """Draw the numbers (k, m) that a phrase of this kind tells."""
    if kind == "times":
        return rng.randint(3, 6), 0
    if kind.startswith("percent"):
        return rng.choice(PERCENTS), 0
    if kind in ("packs", "rate"):
        return rng.randint(2, 20), rng.randint(2, 9)
    if kind == "share":
        parts = rng.randint(2, 9)
        return parts * rng.randint(2, 20), parts
    if kind in ("gain", "loss"):
        first = rng.randint(4, 60)
        return first, rng.randint(2, 40 if kind == "gain" else first - 2)
    if kind in ("more", "fewer"):
        return rng.randint(2, 40), 0
    return rng.randint(4, 80), 0


def _fact(
    rng: random.Random, a: str, kind: str, b: Fact | None, c: Fact | None, largest: int
) -> Fact | None:
    """A fact of this kind about `a`, or None where no whole positive value results."""
    k, m = _numbers(rng, kind)
    x, y = b.value if b else 0, c.value if c else 0
    expression, value = KINDS[kind].work_out(x, y, k, m)
    if value is None or not 1 < value <= largest:
        return None
    return Fact(a, kind, b.a if b else "", c.a if c else "", k, m, value, expression)


# kinds as often as they are drawn
_RELATIONS = (*ONE, "more", "fewer", "times", "sum", "sum", "difference", "difference")
_QUANTITIES = (*BASE, "count", "count", "count")


def _draw_fact(
    rng: random.Random, a: str, known: list[Fact], largest: int, relate: bool
) -> Fact:
    """A fact about `a`: related to the newest known person, or told by itself."""
    while True:
        b = c = None
        if relate and known:
            b, kind = known[-1], rng.choice(_RELATIONS)
            if kind in TWO:
                if len(known) < 2:
                    continue
                c = rng.choice(known[:-1])
                b, c = (b, c) if b.value > c.value else (c, b)
        else:
            kind = rng.choice(_QUANTITIES)
        fact = _fact(rng, a, kind, b, c, largest)
        if fact:
            return fact


class World(NamedTuple):
    """The facts that lead to a person's quantity, and those that do not."""

    thing: str
    chain: list[Fact]
    spare: list[Fact]


def _needed(facts: list[Fact], people: tuple[str, ...]) -> list[Fact]:
    """The facts that the quantities of `people` rest on, in order."""
    wanted, needed = set(people), []
    for fact in reversed(facts):
        if fact.a in wanted:
            wanted |= {fact.b, fact.c}
            needed.append(fact)
    return needed[::-1]


def _steps(facts: list[Fact]) -> int:
    return sum(fact.kind != "count" for fact in facts)


def build_world(rng: random.Random, steps: int, knobs: Difficulty) -> World:
    """A world whose last person's quantity takes exactly `steps` steps.

    People join one by one, most of them related to the one before; what the last one's
    quantity does not rest on becomes a spare fact.
    """
    names = rng.sample(NAMES, 16)
    chain: list[Fact] = []
    while True:
        a, relate = names[len(chain)], len(chain) > 0
        if relate and rng.random() < 0.15 and len(chain) < 10:
            relate = False  # a second root, for sums and differences to join
        chain.append(_draw_fact(rng, a, chain, knobs.largest, relate))
        done = _steps(_needed(chain, (chain[-1].a,)))
        if done == steps:
            break
        if done > steps or len(chain) > 12:
            chain = []
    needed = _needed(chain, (chain[-1].a,))
    spare = [fact for fact in chain if fact not in needed]
    people = names[len(chain) :]
    count = rng.choices(range(len(knobs.distractors)), knobs.distractors)[0]
    for a in people[: max(0, count - len(spare))]:
        known = [rng.choice(needed)]
        relate = rng.random() < 0.6
        spare.append(_draw_fact(rng, a, known, knobs.largest, relate))
    return World(rng.choice(THINGS), needed, spare[:3])


def _ask(
    rng: random.Random, kind: str, world: World, largest: int
) -> tuple[tuple[str, ...], int, int] | None:
    """People and numbers (k, m) for a question of this kind, or None if unfit."""
    target = world.chain[-1]
    x = target.value
    if QUESTIONS[kind].people == 2:
        others = [f for f in world.chain[:-1] if kind == "total" or f.value < x]
        if not others:
            return None
        other = rng.choice(others)
        fits = kind == "gap" or x + other.value <= largest
        return ((target.a, other.a), 0, 0) if fits else None
    k, m = rng.randint(2, 12), 0
    if kind in ("money", "profit"):
        m = rng.randint(2, 40) if kind == "profit" else 0
        fits = m < x * k <= largest
    elif kind == "keep percent":
        k = rng.choice(PERCENTS)
        fits = x * k % 100 == 0
    else:
        fits = (k < x) if kind == "give" else (x % k == 0 and k < x)
    return ((target.a,), k, m) if fits else None


def _annotate(expression: str, value: int, spelled_out: bool) -> str:
    spelled = expression + "=" if spelled_out else ""
    return f"{spelled}<<{expression}={value}>>{value}"


def _question_lines(kind: str, values: dict, spelled_out: bool) -> tuple[list, int]:
    """The solution lines of the question's own steps, and the last value."""
    lines, value = [], values["x"]
    for expression, sentence in QUESTIONS[kind].steps:
        text = expression.format(**values)
        value = int(_arithmetic(text))
        v = _annotate(text, value, spelled_out)
        lines.append(sentence.format(v=v, **values))
        values = values | {"v1": value}
    return lines, value


def _arithmetic(text: str) -> float:
    """Value of a question step's expression: a*b/c, a+b, a-b or a/b, left to right."""
    for sign in "+-":
        if sign in text:
            left, right = text.split(sign)
            return int(left) + int(sign + right)
    if "*" in text:
        left, right = text.split("*")
        factor, _, divisor = right.partition("/")
        return int(left) * int(factor) / int(divisor or 1)
    left, right = text.split("/")
    return int(left) / int(right)


def tell_fact(rng: random.Random, fact: Fact, thing: str, zipf: float) -> str:
    """The fact as a sentence."""
    phrase = pick_phrasing(rng, KINDS[fact.kind].phrasings, zipf)
    return phrase.format(t=thing, **fact._asdict())


def _distract(rng: random.Random, world: World, zipf: float) -> str:
    """A sentence about another thing, which no question asks for."""
    thing = rng.choice([t for t in THINGS if t != world.thing])
    owner, number = rng.choice(world.chain).a, rng.randint(4, 80)
    fact = Fact(owner, "count", "", "", number, 0, number, str(number))
    return tell_fact(rng, fact, thing, zipf)


def _draw_problem(rng: random.Random, knobs: Difficulty) -> Problem:
    steps = rng.choices(range(2, 9), knobs.steps)[0]
    while True:
        kind = rng.choice(tuple(QUESTIONS))
        own = len(QUESTIONS[kind].steps)
        if steps - own < 1:
            continue
        world = build_world(rng, steps - own, knobs)
        asked = _ask(rng, kind, world, knobs.largest)
        if asked:
            break
    return _write_problem(rng, world, kind, asked, knobs)


def _write_problem(
    rng: random.Random, world: World, kind: str, asked: tuple, knobs: Difficulty
) -> Problem:
    """Put a world and a question about it into words: question and solution."""
    people, k, m = asked
    thing, zipf = world.thing, knobs.zipf
    told = [tell_fact(rng, f, thing, zipf) for f in world.chain + world.spare]
    if rng.random() < 0.25:
        told.append(_distract(rng, world, zipf))
    rng.shuffle(told)
    known = {fact.a: fact.value for fact in world.chain}
    values = {"a": people[0], "b": people[-1], "t": thing, "k": k, "m": m}
    values |= {"x": known[people[0]], "y": known[people[-1]]}
    question = pick_phrasing(rng, QUESTIONS[kind].phrasings, zipf).format(**values)
    spelled = rng.random() < knobs.spelled_out
    lines = [
        pick_phrasing(rng, LINES, zipf).format(
            a=f.a, t=thing, e=_annotate(f.expression, f.value, spelled)
        )
        for f in world.chain
        if f.kind != "count"
    ]
    last, answer = _question_lines(kind, values, spelled)
    solution = "\n".join([*lines, *last, f"#### {answer}"])
    return Problem(" ".join([*told, question]), solution)


def make_problem(
    split: Split, index: int, seed: int = 0, knobs: Difficulty = DEFAULT
) -> Problem:
    """Problem number `index` of a split: a pure function of its arguments."""
    attempt = 0
    while True:
        rng = random.Random(f"{seed}/{split}/{index}/{attempt}")
        problem = _draw_problem(rng, knobs)
        if zlib.crc32(problem.question.encode()) % 4 in SPLITS[split]:
            return problem
        attempt += 1


def make_problems(
    split: Split, n: int, seed: int = 0, knobs: Difficulty = DEFAULT
) -> list[Problem]:
    """The first `n` problems of a split; a longer list begins with a shorter one.

    Raises:
        ValueError: unknown split or negative n.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}.")
    if n < 0:
        raise ValueError(f"n is {n}; ask for 0 or more problems.")
    return [make_problem(split, index, seed, knobs) for index in range(n)]
