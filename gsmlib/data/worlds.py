"""MiniGSM: procedurally generated word problems in GSM8K's row format.

People join a world one by one, each with a number of one thing: told by itself, or by a
relation to people who joined before (`Fact`). The person asked about rests on a tree of
facts; the others are decoys, at least three by default. Facts are told in any order. A
solution quotes each fact it uses, then computes: a line can be checked on its own.
Every problem is a pure function of (seed, split, index) and the knobs; the text of a
question decides its split, so none is shared. Nothing here is GSM8K.
"""

import json
import math
import random
import zlib
from functools import cache
from typing import Any, Literal, NamedTuple

from gsmlib.data import Problem
from gsmlib.data.kinds import KINDS, LINES, NAMES, QUESTIONS, THINGS

Split = Literal["train", "dev", "test"]
# A question belongs to the split in which crc32(question) % 4 lies.
SPLITS: dict[str, tuple[int, ...]] = {"train": (0, 1), "dev": (2,), "test": (3,)}
MOST_PEOPLE = 12
MOST_PHRASINGS = 4  # of a kind
LEAST_LARGEST = 30  # below it hardly any world has several steps
TRIES = 10_000  # after which knobs count as impossible
WORLDS = 150  # that a question is looked for in, before it counts as impossible too


class Knobs(NamedTuple):
    """The knobs of the problem distribution and of the pretraining text.

    Attributes:
        steps: relative weight of 2, 3, ... solution steps (lines that compute).
        decoys: fewest and most facts that the answer does not rest on.
        roots: share of people whose number is told without a relation.
        largest: largest value that may appear anywhere in a problem.
        kinds: the kinds of facts that occur (`kinds.KINDS`).
        questions: the kinds of questions that occur (`kinds.QUESTIONS`).
        phrasings: how many of a kind's phrasings occur, all equally often.
        names, things: how many of `kinds.NAMES` and `kinds.THINGS` occur.
        quoted: whether a solution's line quotes its fact before it computes.
    """

    steps: tuple[float, ...] = (0, 0, 1, 2, 3)
    decoys: tuple[int, int] = (3, 5)
    roots: float = 0.25
    largest: int = 400
    kinds: tuple[str, ...] = tuple(KINDS)
    questions: tuple[str, ...] = tuple(QUESTIONS)
    phrasings: int = 4
    names: int = 32
    things: int = 24
    quoted: bool = True


DEFAULT = Knobs()
PLAIN = "minigsm"  # its name with these knobs


def name_of(knobs: Knobs) -> str:
    """Return what MiniGSM with these knobs is called in settings, specs and tables.

    >>> name_of(Knobs(decoys=(0, 0))), name_of(Knobs())
    ('minigsm {"decoys": [0, 0]}', 'minigsm')
    """
    usual = DEFAULT._asdict()
    other = {n: _whole(v) for n, v in knobs._asdict().items() if v != usual[n]}
    return f"{PLAIN} {json.dumps(other)}" if other else PLAIN


def _whole(value: Any) -> Any:
    """A value, or several, as JSON writes it in one way: 1 and not 1.0."""
    if isinstance(value, tuple):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def knobs_of(name: str) -> Knobs:
    """Return the knobs that `name_of` wrote; ValueError where there can be no such."""
    try:
        given = json.loads(name.removeprefix(PLAIN) or "{}")
        lists = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
        knobs = Knobs(**lists)
        check_knobs(knobs)
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{name!r} names no knobs of MiniGSM's: {error}.") from None
    return knobs


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


class World(NamedTuple):
    """The facts a person's quantity rests on, in an order to work in, and decoys."""

    thing: str
    needed: list[Fact]
    decoys: list[Fact]


# -------------------------------------------------------------------------- the facts


def _draw_fact(rng: random.Random, a: str, known: list[Fact], knobs: Knobs) -> Fact:
    """A fact about `a`: a relation to people known, or (a root) none."""
    root = not known or rng.random() < knobs.roots
    for _ in range(TRIES):
        kind = rng.choice(knobs.kinds)
        people = KINDS[kind].people
        if (people == 0) != root or people > len(known):
            continue
        b, c = _draw_people(rng, known, people)
        k, m = rng.randint(*KINDS[kind].k), rng.randint(*KINDS[kind].m)
        x, y = b.value if b else 0, c.value if c else 0
        expression, value = KINDS[kind].work_out(x, y, k, m)
        if value is not None and value > 1 and max(value, k, m) <= knobs.largest:
            names = (b.a if b else "", c.a if c else "")
            return Fact(a, kind, *names, k, m, value, expression)
    raise ValueError(
        f"No fact was found in {TRIES} tries with these knobs; allow more kinds, or a "
        "larger largest."
    )


def _draw_people(
    rng: random.Random, known: list[Fact], people: int
) -> tuple[Fact | None, Fact | None]:
    """Whom a fact refers to: of two the one with more comes first."""
    if people == 0:
        return None, None
    if people == 1:
        return rng.choice(known), None
    b, c = rng.sample(known, 2)
    return (b, c) if b.value > c.value else (c, b)


def draw_facts(rng: random.Random, n: int, knobs: Knobs) -> list[Fact]:
    """Facts about `n` people, in the order in which they joined."""
    facts: list[Fact] = []
    for a in rng.sample(NAMES[: knobs.names], n):
        facts.append(_draw_fact(rng, a, facts, knobs))
    return facts


def find_needed(facts: list[Fact], people: tuple[str, ...]) -> list[Fact]:
    """The facts that the quantities of `people` rest on, in the order of `facts`."""
    wanted, needed = set(people), []
    for fact in reversed(facts):
        if fact.a in wanted:
            wanted |= {fact.b, fact.c}
            needed.append(fact)
    return needed[::-1]


def count_steps(facts: list[Fact]) -> int:
    """How many of the facts take a line that computes."""
    return sum(fact.kind != "count" for fact in facts)


def build_world(rng: random.Random, steps: int, knobs: Knobs) -> World:
    """A world with a person whose quantity takes exactly `steps` steps.

    People join until there is such a person and enough others; decoys that nobody
    refers to leave again until as many are left as drawn.
    """
    decoys = rng.randint(*knobs.decoys)
    for _ in range(TRIES):
        facts = draw_facts(rng, min(knobs.names, MOST_PEOPLE), knobs)
        for target in facts:
            needed = find_needed(facts, (target.a,))
            if count_steps(needed) == steps and len(facts) - len(needed) >= decoys:
                others = [fact for fact in facts if fact not in needed]
                _thin_out(rng, others, decoys)
                return World(rng.choice(THINGS[: knobs.things]), needed, others)
    raise ValueError(
        f"No world with {steps} steps and {decoys} decoys was found in {TRIES} tries "
        "with these knobs; ask for fewer steps, decoys or roots, or allow more kinds."
    )


def _thin_out(rng: random.Random, facts: list[Fact], n: int) -> None:
    """Let facts that no other refers to leave, until `n` are left."""
    while len(facts) > n:
        used = {name for fact in facts for name in (fact.b, fact.c)}
        facts.remove(rng.choice([fact for fact in facts if fact.a not in used]))


def shuffle_to_work(rng: random.Random, facts: list[Fact]) -> list[Fact]:
    """The facts in a random order in which each follows those it refers to."""
    left, done, order = facts[:], {""}, []
    while left:
        ready = [fact for fact in left if fact.b in done and fact.c in done]
        fact = rng.choice(ready)
        left.remove(fact)
        done.add(fact.a)
        order.append(fact)
    return order


# -------------------------------------------------------------------------- the words


def tell_fact(rng: random.Random, fact: Fact, thing: str, knobs: Knobs) -> str:
    """The fact as a sentence, in one of the kind's phrasings."""
    phrasing = rng.choice(KINDS[fact.kind].phrasings[: knobs.phrasings])
    return phrasing.format(t=thing, **fact._asdict())


def work_line(rng: random.Random, a: str, thing: str, worked: str, knobs: Knobs) -> str:
    """The line that states a person's quantity: `So Ada has 12+5=17 plums.`"""
    line = rng.choice(LINES[: knobs.phrasings])
    return line.format(a=a, t=thing, e=worked)


def annotate(expression: str, value: int) -> str:
    """An expression and its value as GSM8K's calculator has them: `<<2+3=5>>5`."""
    return f"<<{expression}={value}>>{value}"


class Question(NamedTuple):
    """What is asked: the kind, the one or two people, the number told."""

    kind: str
    people: tuple[str, ...]
    k: int


def _draw_question(
    rng: random.Random, kind: str, world: World, knobs: Knobs
) -> Question | None:
    """A question of this kind about the world's last needed person, None if unfit."""
    asked, target = QUESTIONS[kind], world.needed[-1]
    people, k = (target.a,), rng.randint(*asked.k)
    other = 0
    if asked.people == 2:
        fits = [
            f for f in world.needed[:-1] if kind == "total" or f.value < target.value
        ]
        if not fits:
            return None
        second = rng.choice(fits)
        people, other = (target.a, second.a), second.value
    question = Question(kind, people, k)
    value = answer(question, target.value, other)[1]
    return question if value is not None and 1 < value <= knobs.largest else None


def answer(question: Question, x: int, y: int) -> tuple[str, int | None]:
    """The expression of the question's own step and its value; none for "own".

    `x` and `y` are the quantities of the people asked about. The value is None where no
    whole number results.
    """
    k = question.k
    if question.kind == "share":
        return f"{x}/{k}", None if x % k else x // k
    values = {"own": x, "total": x + y, "gap": x - y, "money": x * k, "give": x - k}
    steps = QUESTIONS[question.kind].steps
    expression = steps[0][0].format(x=x, y=y, k=k) if steps else ""
    return expression, values[question.kind]


def _write_problem(
    rng: random.Random, world: World, question: Question, knobs: Knobs
) -> Problem:
    """Put a world and a question about it into words: question and solution."""
    thing, asked = world.thing, QUESTIONS[question.kind]
    sentences = {
        fact.a: tell_fact(rng, fact, thing, knobs)
        for fact in world.needed + world.decoys
    }
    told = list(sentences.values())
    rng.shuffle(told)
    words = {"a": question.people[0], "b": question.people[-1], "t": thing}
    words["k"] = question.k
    told.append(rng.choice(asked.phrasings[: knobs.phrasings]).format(**words))
    lines = []
    for fact in shuffle_to_work(rng, world.needed):
        worked = annotate(fact.expression, fact.value)
        line = [sentences[fact.a]] if knobs.quoted or fact.kind == "count" else []
        if fact.kind != "count":
            line.append(work_line(rng, fact.a, thing, worked, knobs))
        lines.append(" ".join(line))
    known = {fact.a: fact.value for fact in world.needed}
    x, y = known[question.people[0]], known[question.people[-1]]
    expression, value = answer(question, x, y)
    for _, sentence in asked.steps:
        lines.append(sentence.format(v=annotate(expression, value), **words))
    return Problem(" ".join(told), "\n".join([*lines, f"#### {value}"]))


def _draw_problem(rng: random.Random, knobs: Knobs) -> Problem:
    steps = rng.choices(range(2, 2 + len(knobs.steps)), knobs.steps)[0]
    for _ in range(WORLDS):
        kind = rng.choice(knobs.questions)
        own = len(QUESTIONS[kind].steps)
        world = build_world(rng, steps - own, knobs)
        question = _draw_question(rng, kind, world, knobs)
        if question:
            return _write_problem(rng, world, question, knobs)
    raise ValueError(
        f"No question of {', '.join(knobs.questions)} was found in {WORLDS} worlds "
        "with these knobs; allow more questions or kinds, or a larger largest."
    )


@cache
def _kinds_about(people: int) -> str:
    return ", ".join(kind for kind in KINDS if KINDS[kind].people == people)


MUST_BE = {  # what a knob has to be, for who is refused
    "steps": "finite weights of 0 or more, not all of them 0",
    "roots": "from 0 to less than 1",
    "largest": f"{LEAST_LARGEST} or more",
    "kinds": f"of {', '.join(KINDS)}, and of these one at least of {_kinds_about(0)} "
    f"and one of {_kinds_about(1)}",
    "questions": f"of {', '.join(QUESTIONS)}",
    "phrasings": f"1 to {MOST_PHRASINGS}",
    "names": f"a number from 2 to {len(NAMES)}",
    "things": f"1 to {len(THINGS)}",
    "decoys": "the fewest and the most, or one number",
}


def check_knobs(knobs: Knobs) -> None:
    """Raise ValueError, in one sentence, for knobs that no problem can have."""
    fewest, most = knobs.decoys
    referred = {KINDS[kind].people for kind in knobs.kinds if kind in KINDS}
    right = {
        "steps": 0 < sum(knobs.steps) < math.inf and min(knobs.steps) >= 0,
        "roots": 0 <= knobs.roots < 1,
        "largest": knobs.largest >= LEAST_LARGEST,
        "kinds": set(knobs.kinds) <= set(KINDS) and {0, 1} <= referred,
        "questions": knobs.questions and set(knobs.questions) <= set(QUESTIONS),
        "phrasings": 1 <= knobs.phrasings <= MOST_PHRASINGS,
        "names": 2 <= knobs.names <= len(NAMES),
        "things": 1 <= knobs.things <= len(THINGS),
        "decoys": 0 <= fewest <= most,
    }
    for name, fits in right.items():
        if not fits:
            value = getattr(knobs, name)
            raise ValueError(f"{name} is {value!r}, and must be {MUST_BE[name]}.")
    steps, people = 1 + len(knobs.steps), min(knobs.names, MOST_PEOPLE)
    if steps + most > people:
        raise ValueError(
            f"decoys up to {most} beside steps up to {steps} need as many people, and "
            f"problems have at most {people} (names, or {MOST_PEOPLE})."
        )


def make_problem(
    split: Split, index: int, seed: int = 0, knobs: Knobs = DEFAULT
) -> Problem:
    """Problem number `index` of a split: a pure function of its arguments."""
    check_knobs(knobs)
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}.")
    attempt = 0
    while True:
        rng = random.Random(f"worlds/{seed}/{split}/{index}/{attempt}")
        problem = _draw_problem(rng, knobs)
        if zlib.crc32(problem.question.encode()) % 4 in SPLITS[split]:
            return problem
        attempt += 1
