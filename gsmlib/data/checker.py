"""A symbolic checker of MiniGSM's solutions, which reads the text alone.

It parses the question into facts and what is asked, follows a solution line by line and
names the first error. It is for tests and tables; no method of the paper uses it.
"""

import re
from functools import cache
from typing import NamedTuple

from gsmlib.data import worlds
from gsmlib.data.kinds import KINDS, LINES, QUESTIONS, THINGS
from gsmlib.data.worlds import Fact, Question

SENTENCE_END = re.compile(r"(?<=\.) ")
SLOTS = {"a": r"[A-Z]\w*", "b": r"[A-Z]\w*", "c": r"[A-Z]\w*", "t": r"[a-z]+"}
NUMBER = r"(?:0|[1-9][0-9]{0,5})"
SLOTS |= {"k": NUMBER, "m": NUMBER, "e": r".+", "v": r".+"}
ANNOTATION = re.compile(r"<<([^<>=]+)=([^<>]*)>>(.*)")
# The checker's names of a first error; those of PLANNING are about what to do next.
ERRORS = (
    "misquote",  # the quote says what the question does not
    "wrong expression",  # what is computed does not follow from the quote
    "not ready",  # the fact refers to somebody not worked out yet
    "not needed",  # the answer does not rest on this line
    "stopped early",  # the last step or the answer, before all that it rests on
    "wrong question step",  # the last step or the answer is not what is asked for
    "unreadable",  # no line of this language, or no answer
)
PLANNING = ("not ready", "not needed", "stopped early", "wrong question step")


class Told(NamedTuple):
    """What a question tells, by person, and what it asks."""

    facts: dict[str, Fact]  # without values and expressions
    thing: str
    asked: Question
    needed: frozenset[str]  # the people that the answer rests on


class Verdict(NamedTuple):
    """The first error of a solution ("" where there is none) and its line, from 0."""

    error: str
    line: int


@cache
def _pattern(phrasing: str) -> re.Pattern:
    """A phrasing as a pattern whose groups are its slots; a slot again is the same."""
    seen: set[str] = set()

    def group(match: re.Match) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{SLOTS[name]})"

    return re.compile(re.sub(r"\\{(\w)\\}", group, re.escape(phrasing)))


@cache
def read_fact(sentence: str) -> Fact | None:
    """The fact that a sentence tells, in whatever phrasing; None where it is none."""
    for name, kind in KINDS.items():
        for phrasing in kind.phrasings:
            if match := _pattern(phrasing).fullmatch(sentence):
                slots = match.groupdict()
                people = (slots.get("b", ""), slots.get("c", ""))
                numbers = (int(slots.get("k", 0)), int(slots.get("m", 0)))
                return Fact(slots["a"], name, *people, *numbers, 0, "")
    return None


@cache
def read_question(question: str) -> Told:
    """Parse a question; ValueError where it is none of MiniGSM's."""
    sentences = re.split(r"(?<=[.?]) ", question)
    facts = []
    while sentences and (fact := read_fact(sentences[0])):
        facts.append(fact)
        sentences.pop(0)
    asked = _read_asked(" ".join(sentences))
    things = _things(question)
    by_person = {fact.a: fact for fact in facts}
    people = {name for fact in facts for name in (fact.b, fact.c) if name}
    people.update(asked.people if asked else ("nobody asked about",))
    if len(things) != 1 or not people <= set(by_person):
        raise ValueError(f"No question of MiniGSM's: {question!r}")
    needed, wanted = set(), list(asked.people)
    while wanted:
        name = wanted.pop()
        if name and name not in needed:
            needed.add(name)
            wanted += [by_person[name].b, by_person[name].c]
    return Told(by_person, *things, asked, frozenset(needed))


def _things(text: str) -> set[str]:
    """All things that a text is about."""
    return set(THINGS).intersection(re.findall("[a-z]+", text))


def _read_asked(text: str) -> Question | None:
    for name, asked in QUESTIONS.items():
        for phrasing in asked.phrasings:
            if match := _pattern(phrasing).fullmatch(text):
                slots = match.groupdict()
                people = (
                    (slots["a"], slots["b"]) if asked.people == 2 else (slots["a"],)
                )
                return Question(name, people, int(slots.get("k", 0)))
    return None


def check_solution(question: str, solution: str) -> Verdict:
    """The first error of a solution, or of a completion, to a question."""
    told, known = read_question(question), {}
    lines = solution.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("#### ") or _is_question_step(told, line):
            return _check_ending(told, known, lines, number)
        error = _check_line(told, known, line)
        if error:
            return Verdict(error, number)
    return Verdict("unreadable", len(lines) - 1)


def line_labels(question: str, solution: str) -> list[bool]:
    """Whether each line of a solution is right, as are all before it.

    These are process labels (Uesato et al. 2022). A line that the answer does not rest
    on is right where it is true: "not needed" is no error here.
    """
    told, known = read_question(question), {}
    lines = solution.split("\n")
    right = len(lines) - 1
    for number, line in enumerate(lines):
        if line.startswith("#### ") or _is_question_step(told, line):
            error, place = _check_ending(told, known, lines, number)
            right = place if error else len(lines)
            break
        if _check_line(told, known, line) not in ("", "not needed"):
            right = number
            break
    return [number < right for number in range(len(lines))]


def right_so_far(question: str, text: str) -> bool:
    """Whether the last line of an unfinished solution is right, as all before it are.

    A text that ends in a line's end goes on; another one is whole.
    """
    labels = line_labels(question, text)  # behind a line's end stands an empty line
    return labels[-2] if text.endswith("\n") else labels[-1]


def _check_line(told: Told, known: dict[str, int], line: str) -> str:
    """What is wrong with a line about a person, whose value joins `known`."""
    quote, *rest = SENTENCE_END.split(line, maxsplit=1)
    fact = read_fact(quote)
    if fact is None:
        person = _read_worked(line)
        if person is None:
            return "misquote" if rest else "unreadable"
        fact, rest = told.facts.get(person[0]), [line]
        if fact is None:
            return "unreadable"
    elif fact != told.facts.get(fact.a) or _things(quote) - {told.thing}:
        return "misquote"
    if not {fact.b, fact.c} <= {"", *known}:
        return "not ready"
    expression, value = KINDS[fact.kind].work_out(
        known.get(fact.b, 0), known.get(fact.c, 0), fact.k, fact.m
    )
    expected = [] if fact.kind == "count" else [(fact.a, expression, str(value))]
    right = [_read_worked(text) for text in rest] == expected
    if not right or _things(line) - {told.thing}:
        return "wrong expression"
    needed = fact.a in told.needed and fact.a not in known
    known[fact.a] = value
    return "" if needed else "not needed"


def _read_worked(line: str) -> tuple[str, str, str] | None:
    """Person, expression and value of a line that computes; None where it is none."""
    for phrasing in LINES:
        match = _pattern(phrasing).fullmatch(line)
        worked = match and ANNOTATION.fullmatch(match["e"])
        if worked and worked[2] == worked[3]:
            return match["a"], worked[1], worked[2]
    return None


def _is_question_step(told: Told, line: str) -> bool:
    """Whether a line has the form of some question's last step."""
    for asked in QUESTIONS.values():
        for _, sentence in asked.steps:
            match = _pattern(sentence).fullmatch(line)
            if match and ANNOTATION.fullmatch(match["v"]):
                return _read_worked(line) is None
    return False


def _check_ending(
    told: Told, known: dict[str, int], lines: list[str], number: int
) -> Verdict:
    """The question's own step, if it has one, and the answer."""
    if not told.needed <= set(known):
        return Verdict("stopped early", number)
    people, steps = told.asked.people, QUESTIONS[told.asked.kind].steps
    expression, value = worlds.answer(told.asked, known[people[0]], known[people[-1]])
    for _, sentence in steps:
        match = _pattern(sentence).fullmatch(lines[number])
        worked = match and ANNOTATION.fullmatch(match["v"])
        said = match and match.groupdict().get("a", people[0])
        right = (expression, str(value), str(value))
        other = _things(lines[number]) - {told.thing}
        if not worked or worked.groups() != right or said != people[0] or other:
            return Verdict("wrong question step", number)
        number += 1
    if lines[number:] != [f"#### {value}"]:
        return Verdict("wrong question step", min(number, len(lines) - 1))
    return Verdict("", number)
