"""MiniGSM's grammar, as data: who has what, how it is told, asked and answered.

A kind of fact is an expression, the function that computes it and the sentences that
state it; so is a kind of question. `{a}` is the person told about, `{b}` and `{c}` the
people referred to, `x` and `y` their values, `k` and `m` the numbers told in the
sentence, `{t}` the thing. The phrasings of one kind mean the same, commonest first.
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
    """A way to state a quantity.

    For "more", with x = 12 and k = 5: `12+5`, 17, `Ada has 5 more plums than Ben.`
    `value` is None where no whole number results.
    """

    expression: str
    value: Callable[[int, int, int, int], int | None]
    phrasings: tuple[str, ...]

    def work_out(self, x: int, y: int, k: int, m: int) -> tuple[str, int | None]:
        """The expression with its numbers, and its value."""
        return self.expression.format(x=x, y=y, k=k, m=m), self.value(x, y, k, m)


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
