"""MiniGSM's grammar, as data: who has what, how it is told and asked.

A kind of fact is an expression, the function that computes it and the sentences that
state it; so is a kind of question. `{a}` is the person told about, who opens every
sentence; `{b}` and `{c}` are the people referred to, `x` and `y` their values, `k` and
`m` the numbers told, `{t}` the thing. Every sentence has one reading: it fits one
phrasing of one kind, and says how the quantity of `{a}` follows from the others.
"""

from collections.abc import Callable
from typing import NamedTuple

NAMES = (
    "Ada Ben Cara Dan Eva Finn Gina Hugo Iris Jack Kim Leo Mia Noah Olga Paul Quinn "
    "Rosa Sam Tina Uma Vera Will Xena Yara Zoe Amir Bella Carl Dora Emil Flora"
).split()
THINGS = (
    "apples plums candles shells stamps marbles books pencils coins cards stickers "
    "beads buttons cookies muffins pears ribbons stones tickets balloons eggs badges "
    "crayons acorns"
).split()


class Kind(NamedTuple):
    """A way to state a quantity: expression, value, range of its numbers, phrasings.

    For "more", with x = 12 and k = 5: `12+5`, 17, `Ada has 5 more plums than Ben.`
    `value` is None where no whole number results; `people` says how many are referred
    to, `k` and `m` between which numbers those told are drawn.
    """

    expression: str
    value: Callable[[int, int, int, int], int | None]
    people: int
    k: tuple[int, int]
    m: tuple[int, int]
    phrasings: tuple[str, ...]

    def work_out(self, x: int, y: int, k: int, m: int) -> tuple[str, int | None]:
        """The expression with its numbers, and its value."""
        return self.expression.format(x=x, y=y, k=k, m=m), self.value(x, y, k, m)


NONE = (0, 0)
KINDS = {
    "count": Kind(
        "{k}",
        lambda x, y, k, m: k,
        0,
        (4, 80),
        NONE,
        (
            "{a} has {k} {t}.",
            "{a} owns {k} {t}.",
            "{a} counted {k} {t}.",
            "{a} got {k} {t} as a gift.",
        ),
    ),
    "packs": Kind(
        "{k}*{m}",
        lambda x, y, k, m: k * m,
        0,
        (2, 20),
        (2, 9),
        (
            "{a} has {k} packs of {m} {t} each.",
            "{a} bought {k} boxes with {m} {t} in each.",
            "{a} owns {k} bags that hold {m} {t} each.",
            "{a} filled {k} shelves with {m} {t} a shelf.",
        ),
    ),
    "gain": Kind(
        "{k}+{m}",
        lambda x, y, k, m: k + m,
        0,
        (4, 60),
        (2, 40),
        (
            "{a} had {k} {t} and bought {m} more.",
            "{a} had {k} {t} and then found another {m}.",
            "{a} bought {k} {t} on one day and {m} on the next.",
            "{a} had a box of {k} {t} and added {m} to it.",
        ),
    ),
    "loss": Kind(
        "{k}-{m}",
        lambda x, y, k, m: k - m,
        0,
        (4, 80),
        (2, 60),
        (
            "{a} had {k} {t} and lost {m}.",
            "{a} had {k} {t} and gave away {m} of them.",
            "{a} started with {k} {t} but {m} of them broke.",
            "{a} had a box of {k} {t} and sold {m} of them.",
        ),
    ),
    "times": Kind(
        "{x}*{k}",
        lambda x, y, k, m: x * k,
        1,
        (2, 6),
        NONE,
        (
            "{a} has {k} times as many {t} as {b}.",
            "{a} owns {k} times the number of {t} that {b} owns.",
            "{a} has {k} {t} for each one that {b} has.",
            "{a} collects {k} times the {t} of {b}.",
        ),
    ),
    "half": Kind(
        "{x}/2",
        lambda x, y, k, m: None if x % 2 else x // 2,
        1,
        NONE,
        NONE,
        (
            "{a} has half as many {t} as {b}.",
            "{a} owns half the number of {t} that {b} owns.",
            "{a} has only half the {t} that {b} has.",
            "{a} collects half the {t} of {b}.",
        ),
    ),
    "more": Kind(
        "{x}+{k}",
        lambda x, y, k, m: x + k,
        1,
        (2, 40),
        NONE,
        (
            "{a} has {k} more {t} than {b}.",
            "{a} owns {k} {t} more than {b} does.",
            "{a} has as many {t} as {b} and {k} on top.",
            "{a} beats {b} by {k} {t}.",
        ),
    ),
    "fewer": Kind(
        "{x}-{k}",
        lambda x, y, k, m: x - k,
        1,
        (2, 40),
        NONE,
        (
            "{a} has {k} fewer {t} than {b}.",
            "{a} owns {k} {t} less than {b} does.",
            "{a} is {k} {t} short of what {b} has.",
            "{a} would need {k} more {t} to match {b}.",
        ),
    ),
    "sum": Kind(
        "{x}+{y}",
        lambda x, y, k, m: x + y,
        2,
        NONE,
        NONE,
        (
            "{a} has as many {t} as {b} and {c} together.",
            "{a} has the sum of the {t} of {b} and {c}.",
            "{a} owns as many {t} as {b} and {c} own in all.",
            "{a} collects what {b} and {c} have in {t} together.",
        ),
    ),
    "difference": Kind(
        "{x}-{y}",
        lambda x, y, k, m: x - y,
        2,
        NONE,
        NONE,
        (
            "{a} has as many {t} as {b} has more than {c}.",
            "{a} has the difference between the {t} of {b} and {c}.",
            "{a} owns as many {t} as {b} has beyond those of {c}.",
            "{a} collects what {b} has in {t} more than {c}.",
        ),
    ),
}


class Asked(NamedTuple):
    """A kind of question: how many people it is about, its steps and its words.

    A step is (expression, sentence with {v} for the annotated value).
    """

    people: int
    steps: tuple[tuple[str, str], ...]
    k: tuple[int, int]
    phrasings: tuple[str, ...]


QUESTIONS = {
    "own": Asked(
        1,
        (),
        NONE,
        (
            "How many {t} does {a} have?",
            "How many {t} does {a} own?",
            "What number of {t} belong to {a}?",
            "Find how many {t} {a} has.",
        ),
    ),
    "total": Asked(
        2,
        (("{x}+{y}", "{a} and {b} have {v} {t} together."),),
        NONE,
        (
            "How many {t} do {a} and {b} have together?",
            "How many {t} do {a} and {b} have in all?",
            "What is the sum of the {t} of {a} and {b}?",
            "Find how many {t} belong to {a} and {b} together.",
        ),
    ),
    "gap": Asked(
        2,
        (("{x}-{y}", "{a} has {v} more {t} than {b}."),),
        NONE,
        (
            "How many more {t} does {a} have than {b}?",
            "How many fewer {t} does {b} have than {a}?",
            "By how many {t} does {a} beat {b}?",
            "How many more {t} would {b} need to match {a}?",
        ),
    ),
    "money": Asked(
        1,
        (("{x}*{k}", "{a} gets ${v}."),),
        (2, 12),
        (
            "{a} sells all of the {t} for ${k} each. How many dollars does {a} get?",
            "At a price of ${k} each, how many dollars are the {t} of {a} worth?",
            "How many dollars does {a} get by selling all {t} at ${k} each?",
            "The price is ${k} each. How many dollars do the {t} of {a} cost?",
        ),
    ),
    "give": Asked(
        1,
        (("{x}-{k}", "{a} has {v} {t} left."),),
        (2, 40),
        (
            "{a} gives away {k} {t}. How many are left?",
            "How many {t} are left if {a} gives away {k} of them?",
            "{a} sells {k} of the {t}. How many does {a} keep?",
            "After {k} of the {t} of {a} break, how many are left?",
        ),
    ),
    "share": Asked(
        1,
        (("{x}/{k}", "Each one gets {v} {t}."),),
        (2, 12),
        (
            "{a} shares the {t} equally among {k} friends. How many does each get?",
            "If {k} friends split the {t} of {a} equally, how many does each get?",
            "{k} people share out all the {t} of {a} equally. How many does each get?",
            "The {t} of {a} are shared equally by {k} people. How many for each?",
        ),
    ),
}
# Lines of a solution: {e} is the annotated expression with its value.
LINES = (
    "{a} has {e} {t}.",
    "So {a} has {e} {t}.",
    "{a} owns {e} {t}.",
    "With that {a} has {e} {t}.",
)
