"""MiniGSM: procedurally generated word problems in GSM8K's row format.

A problem is a small world: people, each with a number of one thing, tied by relations
(`Fact`). Facts are told in shuffled order by long-tailed phrasings, some not needed,
and one of several questions is asked about the result. Every row is a pure function of
(seed, split, index); the text of a question decides its split, so none is shared. The
same worlds, retold as running text without annotations, are the "web" on which the
mini-GPT family is pretrained. Nothing here is GSM8K: report MiniGSM results as such.
"""

import random
import zlib
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Literal, NamedTuple

from gsmlib.data import Problem

Split = Literal["train", "dev", "test"]
# A question belongs to the split in which crc32(question) % 4 lies.
SPLITS: dict[str, tuple[int, ...]] = {"train": (0, 1), "dev": (2,), "test": (3,)}

NAMES = (
    "Ada Ben Cara Dan Eva Finn Gina Hugo Iris Jack Kim Leo Mia Noah Olga Paul Quinn "
    "Rosa Sam Tina Uma Vera Will Xena Yara Zoe Amir Bella Carl Dora Emil Flora"
).split()
THINGS = (
    "apples plums candles shells stamps marbles books pencils coins cards stickers "
    "beads buttons cookies muffins pears ribbons stones tickets balloons eggs badges "
    "crayons acorns"
).split()


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


class Kind(NamedTuple):
    """A way to state a quantity: its expression and its phrasings, commonest first.

    `x` and `y` are the values of the people referred to (`b`, `c`), `k` and `m` the
    numbers told in the phrase; `a` is the person told about and `t` the thing.
    """

    expression: str
    value: Callable[[int, int, int, int], int | None]
    phrasings: tuple[str, ...]


def _exact(numerator: int, denominator: int) -> int | None:
    quotient, rest = divmod(numerator, denominator)
    return None if rest else quotient


# Relations to people told about elsewhere.
ONE = {
    "times": Kind(
        "{x}*{k}",
        lambda x, y, k, m: x * k,
        (
            "{a} has {k} times as many {t} as {b}.",
            "{a} owns {k} times the number of {t} that {b} owns.",
            "For every one of the {t} of {b}, {a} has {k}.",
            "The {t} of {a} are {k} times those of {b}.",
            "Take the {t} of {b} {k} times and you have those of {a}.",
            "Divide the {t} of {a} by {k} and you have those of {b}.",
            "{b} would need {k} times as many {t} to match {a}.",
        ),
    ),
    "twice": Kind(
        "{x}*2",
        lambda x, y, k, m: x * 2,
        (
            "{a} has twice as many {t} as {b}.",
            "{a} has double the {t} of {b}.",
            "{b} has half as many {t} as {a}.",
            "The {t} of {a} are double those of {b}.",
            "{b} has only half the {t} that {a} has.",
            "If {b} had twice the {t}, it would be as many as {a} has.",
        ),
    ),
    "more": Kind(
        "{x}+{k}",
        lambda x, y, k, m: x + k,
        (
            "{a} has {k} more {t} than {b}.",
            "{b} has {k} fewer {t} than {a}.",
            "{a} owns {k} {t} more than {b} does.",
            "{b} is {k} {t} short of what {a} has.",
            "{a} has as many {t} as {b} and {k} on top.",
            "{a} beats {b} by {k} {t}.",
            "With {k} more, {b} would have as many {t} as {a}.",
        ),
    ),
    "fewer": Kind(
        "{x}-{k}",
        lambda x, y, k, m: x - k,
        (
            "{a} has {k} fewer {t} than {b}.",
            "{b} has {k} more {t} than {a}.",
            "{a} owns {k} {t} less than {b} does.",
            "{a} is {k} {t} short of what {b} has.",
            "{b} has as many {t} as {a} and {k} on top.",
            "{b} beats {a} by {k} {t}.",
            "With {k} more, {a} would have as many {t} as {b}.",
        ),
    ),
    "half": Kind(
        "{x}/2",
        lambda x, y, k, m: _exact(x, 2),
        (
            "{a} has half as many {t} as {b}.",
            "{b} has twice as many {t} as {a}.",
            "{a} owns half the number of {t} that {b} owns.",
            "{b} has double the {t} of {a}.",
            "{a} has only half the {t} that {b} has.",
            "Half of the {t} of {b} would be those of {a}.",
        ),
    ),
    "third": Kind(
        "{x}/3",
        lambda x, y, k, m: _exact(x, 3),
        (
            "{a} has a third as many {t} as {b}.",
            "{b} has triple the {t} of {a}.",
            "{a} owns one third of the number of {t} that {b} owns.",
            "{a} has only a third of the number of {t} of {b}.",
            "A third of the {t} of {b} would be those of {a}.",
            "{b} has three times as many {t} as {a}.",
        ),
    ),
    "quarter": Kind(
        "{x}/4",
        lambda x, y, k, m: _exact(x, 4),
        (
            "{a} has a quarter as many {t} as {b}.",
            "{a} owns one quarter of the number of {t} that {b} owns.",
            "{a} has only a quarter of the number of {t} of {b}.",
            "{b} has four times the {t} of {a}.",
            "A quarter of the {t} of {b} would be those of {a}.",
            "It takes four like {a} to match the {t} of {b}.",
        ),
    ),
    "percent": Kind(
        "{x}*{k}/100",
        lambda x, y, k, m: _exact(x * k, 100),
        (
            "{a} has {k}% as many {t} as {b}.",
            "{a} owns {k}% of the number of {t} that {b} owns.",
            "{k}% of the {t} of {b} would be those of {a}.",
            "The {t} of {a} are {k}% of those of {b}.",
            "Take {k}% of the {t} of {b} and you have those of {a}.",
            "{a} has only {k}% of the number of {t} of {b}.",
        ),
    ),
    "percent more": Kind(
        "{x}+{x}*{k}/100",
        lambda x, y, k, m: x + q if (q := _exact(x * k, 100)) else None,
        (
            "{a} has {k}% more {t} than {b}.",
            "{a} owns {k}% more {t} than {b} does.",
            "The number of {t} of {a} is {k}% above that of {b}.",
            "The {t} of {a} are {k}% more than those of {b}.",
            "{a} has as many {t} as {b} and {k}% on top.",
            "With {k}% more, {b} would have as many {t} as {a}.",
        ),
    ),
}
TWO = {
    "sum": Kind(
        "{x}+{y}",
        lambda x, y, k, m: x + y,
        (
            "{a} has as many {t} as {b} and {c} together.",
            "{b} and {c} together have as many {t} as {a}.",
            "{a} has the sum of the {t} of {b} and {c}.",
            "Put the {t} of {b} and {c} together and you have those of {a}.",
            "{a} owns as many {t} as {b} and {c} own in all.",
            "The {t} of {b} and {c} add up to those of {a}.",
        ),
    ),
    "difference": Kind(
        "{x}-{y}",
        lambda x, y, k, m: x - y,
        (
            "{a} has as many {t} as {b} has more than {c}.",
            "{a} has the difference between the {t} of {b} and {c}.",
            "{a} and {c} together have as many {t} as {b}.",
            "Take the {t} of {c} from those of {b} and you have those of {a}.",
            "{a} owns as many {t} as {b} has beyond those of {c}.",
            "The {t} of {a} and {c} add up to those of {b}.",
        ),
    ),
}
# Quantities told without reference to anybody else.
BASE = {
    "count": Kind(
        "{k}",
        lambda x, y, k, m: k,
        (
            "{a} has {k} {t}.",
            "{a} owns {k} {t}.",
            "There are {k} {t} in the box of {a}.",
            "{a} counted {k} {t}.",
            "The {t} of {a} are {k}.",
            "{k} {t} belong to {a}.",
            "If you count the {t} of {a}, you get to {k}.",
        ),
    ),
    "packs": Kind(
        "{k}*{m}",
        lambda x, y, k, m: k * m,
        (
            "{a} has {k} packs of {m} {t} each.",
            "{a} bought {k} boxes with {m} {t} in each.",
            "{a} owns {k} bags that hold {m} {t} each.",
            "{a} filled {k} shelves with {m} {t} a shelf.",
            "On each of the {k} shelves of {a} there are {m} {t}.",
            "There are {m} {t} in each of the {k} boxes of {a}.",
        ),
    ),
    "rate": Kind(
        "{k}*{m}",
        lambda x, y, k, m: k * m,
        (
            "{a} gets {k} {t} a day for {m} days.",
            "{a} collects {k} {t} every day for {m} days.",
            "For {m} days, {a} finds {k} {t} each day.",
            "In each of {m} weeks {a} makes {k} {t}.",
            "{a} makes {k} {t} an hour and works {m} hours.",
            "At {k} {t} a day, {a} collects for {m} days.",
        ),
    ),
    "gain": Kind(
        "{k}+{m}",
        lambda x, y, k, m: k + m,
        (
            "{a} had {k} {t} and bought {m} more.",
            "{a} had {k} {t} and then found another {m}.",
            "{a} got {m} {t} as a gift on top of an old {k}.",
            "After starting with {k} {t}, {a} made {m} more.",
            "{a} bought {k} {t} on one day and {m} on the next.",
            "{a} had a box of {k} {t} and added {m} to it.",
        ),
    ),
    "loss": Kind(
        "{k}-{m}",
        lambda x, y, k, m: k - m,
        (
            "{a} had {k} {t} and lost {m}.",
            "{a} had {k} {t} and gave away {m} of them.",
            "{a} started with {k} {t} but {m} of them broke.",
            "Of the {k} {t} of {a}, {m} are gone.",
            "{a} sold {m} of {k} {t} and kept the rest.",
            "After giving away {m} {t} of {k}, {a} kept the others.",
        ),
    ),
    "share": Kind(
        "{k}/{m}",
        lambda x, y, k, m: _exact(k, m),
        (
            "{k} {t} were shared equally among {m} people, one of them {a}.",
            "{a} got an equal share when {m} people split {k} {t}.",
            "{a} and the others, {m} in all, split {k} {t} equally.",
            "A box of {k} {t} was split into {m} equal parts, one for {a}.",
            "{m} people, {a} among them, took equal shares of {k} {t}.",
            "{k} {t} were split into {m} equal parts and {a} got one of them.",
        ),
    ),
}
KINDS = ONE | TWO | BASE
PERCENTS = (10, 20, 25, 30, 40, 50, 60, 75, 80)


class Asked(NamedTuple):
    """A kind of question: how many people it is about, its steps and its words.

    A step is (expression, sentence with {v} for the annotated value); `{v1}` in a later
    expression is the value of the step before.
    """

    people: int
    steps: tuple[tuple[str, str], ...]
    phrasings: tuple[str, ...]


QUESTIONS = {
    "own": Asked(
        1,
        (),
        (
            "How many {t} does {a} have?",
            "How many {t} does {a} own?",
            "What number of {t} belong to {a}?",
            "Find how many {t} are those of {a}.",
            "If you count the {t} of {a}, how many do you get?",
            "Tell how many {t} {a} has.",
        ),
    ),
    "total": Asked(
        2,
        (("{x}+{y}", "{a} and {b} have {v} {t} together."),),
        (
            "How many {t} do {a} and {b} have together?",
            "How many {t} do {a} and {b} have in all?",
            "What is the sum of the {t} of {a} and {b}?",
            "{a} and {b} put their {t} in one box. How many are in it?",
            "If {a} gave all {t} to {b}, how many would {b} have?",
            "Find how many {t} belong to {a} and {b} together.",
        ),
    ),
    "gap": Asked(
        2,
        (("{x}-{y}", "{a} has {v} more {t} than {b}."),),
        (
            "How many more {t} does {a} have than {b}?",
            "How many fewer {t} does {b} have than {a}?",
            "By how many {t} does {a} beat {b}?",
            "How many {t} is {b} short of what {a} has?",
            "What is the difference between the {t} of {a} and {b}?",
            "How many more {t} would {b} need to match {a}?",
        ),
    ),
    "money": Asked(
        1,
        (("{x}*{k}", "{a} gets ${v}."),),
        (
            "{a} sells all of the {t} for ${k} each. How many dollars does {a} get?",
            "At a price of ${k} each, how many dollars are the {t} of {a} worth?",
            "Each of the {t} is worth ${k}. What are those of {a} worth in dollars?",
            "How many dollars does {a} get by selling all {t} at ${k} each?",
            "If one sells for ${k}, how many dollars do the {t} of {a} bring?",
            "The price is ${k} each. How many dollars do the {t} of {a} cost?",
        ),
    ),
    "profit": Asked(
        1,
        (("{x}*{k}", "{a} gets ${v}."), ("{v1}-{m}", "After that {a} keeps ${v}.")),
        (
            "{a} sells all of the {t} for ${k} each and spends ${m}. "
            "How many dollars are left?",
            "{a} gets ${k} for each of the {t} and pays ${m} for the stand. "
            "How many dollars does {a} keep?",
            "After selling all {t} for ${k} each, {a} gives away ${m}. "
            "How many dollars are left?",
            "The price is ${k} each. {a} sells all the {t} and loses ${m}. "
            "How many dollars does {a} have?",
            "How many dollars does {a} keep if the {t} of {a} sell for ${k} each "
            "and ${m} are spent?",
            "At ${k} each, {a} sells the {t}, then pays ${m}. What is left in dollars?",
        ),
    ),
    "share": Asked(
        1,
        (("{x}/{k}", "Each one gets {v} {t}."),),
        (
            "{a} shares the {t} equally among {k} friends. How many does each get?",
            "If {k} friends split the {t} of {a} equally, how many does each get?",
            "{a} splits the {t} into {k} equal parts. How many are in each?",
            "How many {t} does each of {k} friends get if {a} shares them equally?",
            "{k} people share out all the {t} of {a} equally. How many does each get?",
            "The {t} of {a} are shared equally by {k} people. How many for each?",
        ),
    ),
    "give": Asked(
        1,
        (("{x}-{k}", "{a} has {v} {t} left."),),
        (
            "{a} gives away {k} {t}. How many are left?",
            "How many {t} are left if {a} gives away {k} of them?",
            "Then {a} loses {k} of the {t}. How many does {a} still have?",
            "After {k} of the {t} of {a} break, how many are left?",
            "{a} sells {k} of the {t}. How many does {a} keep?",
            "If {a} is asked for {k} {t} and gives them, how many are left?",
        ),
    ),
    "bags": Asked(
        1,
        (("{x}/{k}", "{a} needs {v} bags."),),
        (
            "{a} puts the {t} into bags of {k}. How many bags does {a} need?",
            "How many bags of {k} can {a} fill with the {t}?",
            "A bag holds {k} {t}. How many bags does {a} need?",
            "{a} packs the {t}, {k} to a bag. How many bags is that?",
            "If {k} {t} go in a bag, how many bags can {a} fill?",
            "How many bags hold all the {t} of {a} at {k} a bag?",
        ),
    ),
    "days": Asked(
        1,
        (("{x}/{k}", "The {t} last {v} days."),),
        (
            "{a} uses {k} {t} a day. How many days do they last?",
            "For how many days can {a} use {k} {t} a day?",
            "If {a} gives away {k} {t} every day, after how many days are none left?",
            "{k} of the {t} of {a} are used each day. How many days do they last?",
            "At {k} a day, how many days do the {t} of {a} last?",
            "How many days can {a} go on with {k} {t} a day?",
        ),
    ),
    "keep percent": Asked(
        1,
        (("{x}*{k}/100", "{v} {t} are gone."), ("{x}-{v1}", "{a} has {v} {t} left.")),
        (
            "{a} gives away {k}% of the {t}. How many are left?",
            "How many {t} are left if {a} sells {k}% of them?",
            "{k}% of the {t} of {a} break. How many does {a} still have?",
            "After losing {k}% of the {t}, how many does {a} have?",
            "Then {a} loses {k}% of the {t}. How many does {a} keep?",
            "If {k}% of the {t} of {a} are gone, how many are left?",
        ),
    ),
}
# Lines of a solution: {e} is the annotated expression with its value.
LINES = (
    "{a} has {e} {t}.",
    "So {a} has {e} {t}.",
    "{a} owns {e} {t}.",
    "With that {a} has {e} {t}.",
    "The {t} of {a} are {e}.",
    "For {a} it is {e} {t}.",
)


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


def _pick(rng: random.Random, phrasings: tuple[str, ...], zipf: float) -> str:
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
    value = KINDS[kind].value(x, y, k, m)
    if value is None or not 1 < value <= largest:
        return None
    expression = KINDS[kind].expression.format(x=x, y=y, k=k, m=m)
    names = (b.a if b else "", c.a if c else "")
    return Fact(a, kind, *names, k, m, value, expression)


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


_RELATIONS = (*ONE, "more", "fewer", "times", "sum", "sum", "difference", "difference")
_QUANTITIES = (*BASE, "count", "count", "count")


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


def _build_world(rng: random.Random, steps: int, knobs: Difficulty) -> World:
    """A world whose last person's quantity takes exactly `steps` steps."""
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


def _tell(rng: random.Random, fact: Fact, thing: str, zipf: float) -> str:
    phrase = _pick(rng, KINDS[fact.kind].phrasings, zipf)
    return phrase.format(t=thing, **fact._asdict())


def _distract(rng: random.Random, world: World, zipf: float) -> str:
    """A sentence about another thing, which no question asks for."""
    thing = rng.choice([t for t in THINGS if t != world.thing])
    owner, number = rng.choice(world.chain).a, rng.randint(4, 80)
    fact = Fact(owner, "count", "", "", number, 0, number, str(number))
    return _tell(rng, fact, thing, zipf)


def _draw_problem(rng: random.Random, knobs: Difficulty) -> Problem:
    steps = rng.choices(range(2, 9), knobs.steps)[0]
    while True:
        kind = rng.choice(tuple(QUESTIONS))
        own = len(QUESTIONS[kind].steps)
        if steps - own < 1:
            continue
        world = _build_world(rng, steps - own, knobs)
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
    told = [_tell(rng, f, thing, zipf) for f in world.chain + world.spare]
    if rng.random() < 0.25:
        told.append(_distract(rng, world, zipf))
    rng.shuffle(told)
    known = {fact.a: fact.value for fact in world.chain}
    values = {"a": people[0], "b": people[-1], "t": thing, "k": k, "m": m}
    values |= {"x": known[people[0]], "y": known[people[-1]]}
    question = _pick(rng, QUESTIONS[kind].phrasings, zipf).format(**values)
    spelled = rng.random() < knobs.spelled_out
    lines = [
        _pick(rng, LINES, zipf).format(
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


class Step(NamedTuple):
    """One worked line of running text, and whether it is what the facts say."""

    text: str
    right: bool


# How a passage of the "web" is told: consequence after each fact, or all facts first;
# and who marked it: nobody, a mark after each line, or one mark at the end.
ORDERS, ORDER_WEIGHTS = ("told in turn", "facts first"), (0.3, 0.7)
MARKS, MARK_WEIGHTS = ("none", "each line", "at the end"), (0.4, 0.3, 0.3)
SLIP_RATE = {"none": 0.0, "each line": 0.35, "at the end": 0.2}


def _slip(rng: random.Random, fact: Fact, known: dict[str, int]) -> tuple | None:
    """A wrong expression for a fact: a wrong operand, number or operation."""
    group = next(g for g in (ONE, TWO, BASE) if fact.kind in g)
    pool = [value for name, value in known.items() if name]
    x, y, k, m = known.get(fact.b, 0), known.get(fact.c, 0), fact.k, fact.m
    kind, what = fact.kind, rng.random()
    if what < 0.45 and len(pool) > 1 and group is not BASE:
        x, y = rng.choice(pool), rng.choice(pool)
    elif what < 0.6 and k:
        k = rng.choice([*pool, rng.randint(2, 40)])
    else:
        kind = rng.choice([name for name in group if name != "count"])
        k, m = k or rng.randint(2, 6), m or rng.randint(2, 9)
    return _work(kind, x, y, k, m)


def _work(kind: str, x: int, y: int, k: int, m: int) -> tuple[str, int] | None:
    value = KINDS[kind].value(x, y, k, m)
    if value is None or not 0 < value < 1000:
        return None
    return KINDS[kind].expression.format(x=x, y=y, k=k, m=m), value


def _work_through(
    rng: random.Random, facts: list[Fact], thing: str, marks: str
) -> list[Step]:
    """The consequences of `facts`, with slips at the rate of this kind of marking.

    After a line marked wrong the right one follows; an unnoticed slip is carried on.
    """
    known, steps = {"": 0}, []
    for fact in facts:
        right = _work(
            fact.kind, known.get(fact.b, 0), known.get(fact.c, 0), fact.k, fact.m
        )
        if right is None:
            break
        slip = rng.random() < SLIP_RATE[marks] and _slip(rng, fact, known)
        tries = [right]
        if fact.kind != "count" and slip and slip[1] != right[1]:
            tries = [slip, right] if marks == "each line" else [slip]
        for expression, value in tries:
            line = _pick(rng, LINES, 1.0)
            text = line.format(a=fact.a, t=thing, e=f"{expression}={value}")
            if fact.kind != "count":
                steps.append(Step(text, value == right[1]))
        known[fact.a] = tries[-1][1]
    return steps


def _mark(steps: list[Step], marks: str) -> str:
    if marks == "each line":
        words = [f"{s.text} {'Right.' if s.right else 'Wrong.'}" for s in steps]
        return "\n".join(words)
    lines = [s.text for s in steps]
    if marks == "at the end":
        lines.append("All right." if all(s.right for s in steps) else "Not right.")
    return "\n".join(lines)


def make_web_text(seed: int, index: int, knobs: Difficulty = DEFAULT) -> str:
    """Passage number `index` of the pretraining text: facts and what follows from them.

    Facts are told as in the problems; what follows is worked out in plain lines such as
    `Cara has 49+34=83 candles.` without annotations, question or answer line. Some
    passages are marked homework, with slips.
    """
    rng = random.Random(f"{seed}/web/{index}")
    world = _build_world(rng, rng.choice((1, 2, 2, 3, 3, 4, 5)), knobs)
    known = {"", *(fact.a for fact in world.chain)}
    facts = world.chain + [f for f in world.spare if f.b and {f.b, f.c} <= known]
    marks = rng.choices(MARKS, MARK_WEIGHTS)[0]
    thing = world.thing
    order = rng.choices(ORDERS, ORDER_WEIGHTS)[0]
    told = [_tell(rng, fact, thing, knobs.zipf) for fact in facts]
    if order == "told in turn":
        return _tell_in_turn(rng, told, facts, thing)
    rng.shuffle(told)
    worked = _mark(_work_through(rng, facts, thing, marks), marks)
    return " ".join(told) + "\n" + worked


def _tell_in_turn(
    rng: random.Random, told: list[str], facts: list[Fact], thing: str
) -> str:
    """Each fact followed by its consequence, on one line."""
    sentences = []
    for sentence, fact in zip(told, facts, strict=True):
        sentences.append(sentence)
        if fact.kind != "count":
            line = _pick(rng, LINES, 1.0)
            e = f"{fact.expression}={fact.value}"
            sentences.append(line.format(a=fact.a, t=thing, e=e))
    return " ".join(sentences)
