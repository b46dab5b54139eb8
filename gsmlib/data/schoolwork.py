"""The running text that the mini-GPTs are pretrained on.

Facts of a branching world in any order, then the work: what follows from them, line by
line, each quoting its fact before it computes. No questions, no annotations, no answer
lines. Some passages are marked homework: `Right.` or `Wrong.` after every line, a
corrected line after a wrong one, or one mark at the end. Slips are of the kinds that
`checker` names, and the passage keeps which line slipped and why.
"""

import random
from typing import NamedTuple

from gsmlib.data import worlds
from gsmlib.data.kinds import KINDS, THINGS
from gsmlib.data.worlds import Fact, Knobs


class TextKnobs(NamedTuple):
    """The knobs of the running text, beside those of the worlds.

    Attributes:
        people: fewest and most people of a passage.
        lines: most facts that are worked out; the others are read only.
        in_turn: share of passages that tell each consequence right after its fact.
        quoted: share of the others whose lines quote their fact.
        marks: shares of passages marked not at all, at each line, at the end.
        slips: share of lines that slip under each of these markings.
        kinds: relative weights of the slips, by the checker's names.
    """

    people: tuple[int, int] = (2, 10)
    lines: int = 6
    in_turn: float = 0.1
    quoted: float = 0.9
    marks: tuple[float, float, float] = (0.25, 0.4, 0.35)
    slips: tuple[float, float, float] = (0.0, 0.35, 0.15)
    kinds: tuple[tuple[str, float], ...] = (
        ("misquote", 0.6),
        ("wrong expression", 0.25),
        ("not ready", 0.15),
    )


MARKS = ("none", "each line", "at the end")
DEFAULT = TextKnobs()


class Line(NamedTuple):
    """One line of work, and what is wrong with it ("" where nothing is)."""

    text: str
    error: str


class Passage(NamedTuple):
    """A passage: the facts told, the lines of work and how they are marked."""

    told: str
    lines: list[Line]
    marks: str

    @property
    def text(self) -> str:
        """The passage as it is read."""
        work = [line.text for line in self.lines]
        if self.marks == "each line":
            words = ["Wrong." if line.error else "Right." for line in self.lines]
            work = [" ".join(pair) for pair in zip(work, words, strict=True)]
        if self.marks == "at the end":
            slipped = any(line.error for line in self.lines)
            work.append("Not right." if slipped else "All right.")
        return "\n".join([self.told, *work])


class Homework:
    """The work on one passage as it is written: what is told, known and still left."""

    def __init__(self, rng: random.Random, facts: list[Fact], knobs: Knobs):
        self.rng, self.knobs = rng, knobs
        self.thing = rng.choice(THINGS[: knobs.things])
        self.sentences = {fact.a: self.tell(fact) for fact in facts}
        self.numbers = [n for fact in facts for n in (fact.k, fact.m) if n]
        self.known = {"": 0}
        self.left = worlds.shuffle_to_work(rng, facts)

    def tell(self, fact: Fact) -> str:
        """A fact as a sentence."""
        return worlds.tell_fact(self.rng, fact, self.thing, self.knobs)

    def value(self, fact: Fact) -> tuple[str, int] | None:
        """A fact's expression and value by what is known; None if it has none."""
        x, y = self.known.get(fact.b), self.known.get(fact.c)
        if x is None or y is None:
            return None
        expression, value = KINDS[fact.kind].work_out(x, y, fact.k, fact.m)
        return (expression, value) if value is not None and 0 < value < 1000 else None

    def line(self, fact: Fact, told: str, worked: tuple[str, int], quoted: bool) -> str:
        """A line of work: the quote, then the computation (a count needs none)."""
        parts = [told] if quoted else []
        if fact.kind != "count":
            expression = "=".join(map(str, worked))
            a, knobs = fact.a, self.knobs
            parts.append(worlds.work_line(self.rng, a, self.thing, expression, knobs))
        return " ".join(parts)

    def slip(self, fact: Fact, kind: str, quoted: bool) -> tuple[str, int] | None:
        """A line with a slip of this kind and its value; None if none fits."""
        right = self.value(fact)
        if kind == "misquote" and quoted:
            wrong = self._misquoted(fact)
            worked = self.value(wrong)
            told = self.tell(wrong)
        elif kind == "wrong expression" and fact.kind != "count":
            wrong, told = fact, self.sentences[fact.a]
            worked = self._miscomputed(fact)
        elif kind == "not ready" and quoted:
            later = [f for f in self.left if f.b and self.value(f) is None]
            if not later or len(self.known) < 2:
                return None
            wrong = self.rng.choice(later)
            told, right = self.sentences[wrong.a], None
            worked = self._miscomputed(wrong)
        else:
            return None
        if worked is None or (right and worked[1] == right[1]):
            return None
        return self.line(wrong, told, worked, quoted), worked[1]

    def _misquoted(self, fact: Fact) -> Fact:
        """Another person, number or relation in a fact's place."""
        rng, people = self.rng, [n for n in self.known if n and n != fact.a]
        n_people, what = KINDS[fact.kind].people, rng.random()
        if n_people and what < 0.5 and len(people) > n_people:
            b, c = (*rng.sample(people, n_people), "")[:2]
            return fact._replace(b=b, c=c)
        if fact.k and what < 0.8:
            number = rng.choice([*self.numbers, rng.randint(2, 40)])
            if fact.m and rng.random() < 0.5:
                return fact._replace(m=number)
            return fact._replace(k=number)
        kinds = [k for k in self.knobs.kinds if KINDS[k].people == n_people]
        other = KINDS[kind := rng.choice(kinds)]
        k = fact.k or rng.randint(*other.k)
        m = fact.m or rng.randint(*other.m)
        return fact._replace(
            kind=kind, k=k if other.k[1] else 0, m=m if other.m[1] else 0
        )

    def _miscomputed(self, fact: Fact) -> tuple[str, int] | None:
        """A fact's expression with another operand, number or operation in it."""
        rng, values = self.rng, list(self.known.values())[1:]
        x, y, k, m = self.known.get(fact.b), self.known.get(fact.c), fact.k, fact.m
        kinds = [
            k for k in self.knobs.kinds if KINDS[k].people == KINDS[fact.kind].people
        ]
        kind, what = fact.kind, rng.random()
        if values and (what < 0.5 or x is None or y is None):
            x = rng.choice(values) if fact.b else 0
            y = rng.choice(values) if fact.c else 0
        elif what < 0.75 and k:
            k = rng.choice([*self.numbers, *values])
        else:
            kind = rng.choice(kinds)
            k, m = k or rng.randint(2, 6), m or rng.randint(2, 9)
        expression, value = KINDS[kind].work_out(x or 0, y or 0, k, m)
        return (expression, value) if value is not None and 0 < value < 1000 else None

    def write(self, marks: str, rate: float, quoted: bool, kinds: tuple) -> list[Line]:
        """All lines of work: `rate` of them slip, by the weights of `kinds`.

        Where each line is marked, the right one follows a wrong one; elsewhere a slip
        is carried on.
        """
        names, weights = zip(*kinds, strict=True)
        lines: list[Line] = []
        while self.left:
            fact = self.left.pop(0)
            right = self.value(fact)
            if right is None:  # after a slip nothing whole may follow
                break
            kind = self.rng.choices(names, weights)[0]
            slip = self.rng.random() < rate and self.slip(fact, kind, quoted)
            if slip:
                lines.append(Line(slip[0], kind))
            if not slip or marks == "each line" or kind == "not ready":
                text = self.line(fact, self.sentences[fact.a], right, quoted)
                lines += [Line(text, "")] if text else []
                self.known[fact.a] = right[1]
            else:
                self.known[fact.a] = slip[1]
        return lines


def make_passage(
    seed: int,
    index: int,
    knobs: Knobs = worlds.DEFAULT,
    text: TextKnobs = DEFAULT,
) -> Passage:
    """Passage number `index` of the running text: a pure function of its arguments."""
    worlds.check_knobs(knobs)
    fewest, most = text.people
    if not 1 <= fewest <= most <= knobs.names:
        raise ValueError(f"people is {text.people!r}, of {knobs.names} names.")
    rng = random.Random(f"schoolwork/{seed}/{index}")
    facts = worlds.draw_facts(rng, rng.randint(*text.people), knobs)
    homework = Homework(rng, facts, knobs)
    if rng.random() < text.in_turn:
        return _tell_in_turn(homework)
    del homework.left[rng.randint(min(2, text.lines), text.lines) :]
    told = list(homework.sentences.values())
    rng.shuffle(told)
    which = rng.choices(range(3), text.marks)[0]
    quoted = rng.random() < text.quoted
    lines = homework.write(MARKS[which], text.slips[which], quoted, text.kinds)
    return Passage(" ".join(told), lines, MARKS[which])


def _tell_in_turn(homework: Homework) -> Passage:
    """Each fact followed by its consequence, on one line."""
    parts = []
    for fact in homework.left[:8]:
        worked = homework.value(fact)
        homework.known[fact.a] = worked[1]
        parts.append(homework.line(fact, homework.sentences[fact.a], worked, True))
    return Passage(" ".join(parts), [], "none")
