"""The running text that the mini-GPT family is pretrained on: its "web".

MiniGSM's worlds, told as in its problems, with what follows from the facts worked out
in plain lines: no annotations, no question, no answer line. Some passages are homework
that somebody has marked, slips included.
"""

import random
from typing import NamedTuple

from gsmlib.data.grammar import BASE, KINDS, LINES, ONE, TWO
from gsmlib.data.minigsm import (
    DEFAULT,
    Difficulty,
    Fact,
    build_world,
    pick_phrasing,
    tell_fact,
)


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
    family = next(kinds for kinds in (ONE, TWO, BASE) if fact.kind in kinds)
    pool = [value for name, value in known.items() if name]
    x, y, k, m = known.get(fact.b, 0), known.get(fact.c, 0), fact.k, fact.m
    kind, what = fact.kind, rng.random()
    if what < 0.45 and len(pool) > 1 and family is not BASE:
        x, y = rng.choice(pool), rng.choice(pool)
    elif what < 0.6 and k:
        k = rng.choice([*pool, rng.randint(2, 40)])
    else:
        kind = rng.choice([name for name in family if name != "count"])
        k, m = k or rng.randint(2, 6), m or rng.randint(2, 9)
    return _work(kind, x, y, k, m)


def _work(kind: str, x: int, y: int, k: int, m: int) -> tuple[str, int] | None:
    expression, value = KINDS[kind].work_out(x, y, k, m)
    return None if value is None or not 0 < value < 1000 else (expression, value)


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
            line = pick_phrasing(rng, LINES, 1.0)
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
    world = build_world(rng, rng.choice((1, 2, 2, 3, 3, 4, 5)), knobs)
    known = {"", *(fact.a for fact in world.chain)}
    facts = world.chain + [f for f in world.spare if f.b and {f.b, f.c} <= known]
    marks = rng.choices(MARKS, MARK_WEIGHTS)[0]
    thing = world.thing
    order = rng.choices(ORDERS, ORDER_WEIGHTS)[0]
    told = [tell_fact(rng, fact, thing, knobs.zipf) for fact in facts]
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
            line = pick_phrasing(rng, LINES, 1.0)
            e = f"{fact.expression}={fact.value}"
            sentences.append(line.format(a=fact.a, t=thing, e=e))
    return " ".join(sentences)
