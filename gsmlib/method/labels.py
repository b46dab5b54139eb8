"""Completions that others made, as arrays: answers, which are right, and scores.

Right answers are found by several rules, side by side: the file's own labels, the
paper's `#### answer` (strict), the last number in the text (flexible).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gsmlib.data.completions import GIVEN, Completion
from gsmlib.data.samples import Samples, one_line
from gsmlib.method.answers import (
    INVALID,
    extract_answer,
    final_number,
    last_number,
    spell,
)
from gsmlib.method.selection import answer_numbers
from gsmlib.records import SettingsError

STRICT, FLEXIBLE, OWN = "strict", "flexible", "answer column"
LONGEST = 60  # letters of a right answer that is no number
EXTRACTION: Mapping[str, Callable[[str], str]] = {  # from a text to its answer
    STRICT: lambda text: spell(extract_answer(text)),
    FLEXIBLE: last_number,
}


class Block(NamedTuple):
    """All problems that have m completions, as (P, m) arrays."""

    places: np.ndarray  # (P,) of all problems
    answers: np.ndarray  # numbers of `selection.answer_numbers`
    correct: np.ndarray
    scores: dict[str, np.ndarray]


class Labelled(NamedTuple):
    """Completions labelled by one rule, for the estimates of `metrics`."""

    rule: str
    problems: list[str]  # the question, or where there is none the number or name
    blocks: list[Block]

    @property
    def least(self) -> int:
        """The fewest completions that a problem has."""
        return min(block.correct.shape[1] for block in self.blocks)

    def estimate(self, of_block: Callable[[Block], np.ndarray]) -> np.ndarray:
        """Return (P,): an estimate of each problem from all of its own completions."""
        values = np.full(len(self.problems), np.nan)
        for block in self.blocks:
            values[block.places] = of_block(block)
        return values


def rules_of(samples: Samples) -> list[str]:
    """Return the rules that can label these completions, the one to go by first.

    That is the labels of the file's own table, unless other golds are given, else its
    answers, else the answer lines of its texts, or last numbers where no text has one.
    """
    found = samples.completions
    named = list(dict.fromkeys(name for each in found for name in each.correct))
    rules = []
    if any(each.gold is not None for each in found):
        rules = [OWN] * all(each.answer is not None for each in found)
        if all(each.text is not None for each in found):
            usual = _extraction(samples)
            rules += sorted(EXTRACTION, key=lambda rule: rule != usual)
    # a filter's labels stand behind what it extracted
    labelled = GIVEN in named and not samples.gold
    return [*named, *rules] if labelled else [*rules, *named]


def label(samples: Samples, rule: str) -> Labelled:
    """Return completions labelled by one of `rules_of`; SettingsError names a row."""
    rows = pd.DataFrame(
        {
            "problem": key_of(each),
            "place": number,
            "sample": each.sample,
            "answer": answer,
            "correct": right,
        }
        | {f"score {name}": each.scores[name] for name in samples.scores}
        for number, (each, answer, right) in enumerate(judged(samples, rule))
    )
    order = _order(samples.completions)
    rows["place"] = rows["problem"].map({name: i for i, name in enumerate(order)})
    rows = rows.sort_values(["place", "sample"], kind="stable")
    counts = rows.groupby("place")["sample"].transform("size")
    blocks = [_block(part, int(m), samples.scores) for m, part in rows.groupby(counts)]
    return Labelled(rule, order, blocks)


def judged(samples: Samples, rule: str) -> list[tuple[Completion, str, bool]]:
    """Return every completion, its answer and whether this is right, by a rule.

    An answer that the file calls right here and wrong there, in one problem, is two.
    """
    read = _reader(samples, rule)
    found: list[tuple[Completion, str, bool]] = []
    kinds: dict[tuple[str, str], set[bool]] = {}
    golds: dict[str, Completion] = {}
    for each in samples.completions:
        answer = read(each)
        if rule not in (*EXTRACTION, OWN):
            if rule not in each.correct:
                raise _lacks(samples, each, f"label {rule}")
            right = each.correct[rule]
        elif each.gold is None:
            raise _lacks(samples, each, "right answer")
        else:
            _refuse_solution(samples, each)
            _refuse_other(samples, each, golds.setdefault(key_of(each), each))
            right = answer != INVALID and answer == gold_of(each)
        found.append((each, answer, right))
        kinds.setdefault((key_of(each), answer), set()).add(right)
    return [
        (each, f"{answer} {right}" if two and answer != INVALID else answer, right)
        for each, answer, right in found
        for two in [len(kinds[key_of(each), answer]) > 1]
    ]


def gold_of(each: Completion) -> str:
    """Return the right answer: of a solution that behind `#### `, else all of it."""
    gold = each.gold or ""
    line = extract_answer(gold)
    if line == INVALID and "#### " in gold:
        return final_number(gold)  # such as `#### $18`
    return spell(gold if line == INVALID else line)


def _refuse_solution(samples: Samples, each: Completion) -> None:
    """Raise SettingsError for a gold that no answer equals, as a solution is."""
    right = gold_of(each)
    if right == INVALID or len(right) > LONGEST or "\n" in right:
        raise SettingsError(
            f"{samples.name}, {each.row}: the right answer is no number and no short "
            "text; give it alone, or a solution whose last line is `#### answer`."
        )


def _refuse_other(samples: Samples, each: Completion, first: Completion) -> None:
    """Raise SettingsError where a problem's right answer was another one before."""
    if gold_of(each) != gold_of(first):
        raise SettingsError(
            f"{samples.name}, {each.row}: problem {each.problem} has another right "
            f"answer in {first.row}; mend one of them, or give --gold FILE."
        )


def _reader(samples: Samples, rule: str) -> Callable[[Completion], str]:
    """Return what takes the answer from a completion, the file's own if it has one."""
    if rule not in EXTRACTION:
        if all(each.answer is not None for each in samples.completions):
            return lambda each: spell(each.answer or "")
        rule = _extraction(samples)
    return lambda each: EXTRACTION[rule](each.text or "")


def _extraction(samples: Samples) -> str:
    """Return the rule that finds answers: strict where any text has an answer line."""
    texts = (each.text or "" for each in samples.completions)
    lines = any(extract_answer(text) != INVALID for text in texts)
    return STRICT if lines else FLEXIBLE


def _lacks(samples: Samples, each: Completion, what: str) -> SettingsError:
    return SettingsError(
        f"{samples.name}, {each.row}: no {what}, which other rows have; give it there "
        "too, or leave the row out."
    )


def key_of(each: Completion) -> str:
    """Return what makes a problem the same in two files."""
    return each.problem if each.question is None else one_line(each.question)


def _order(found: Sequence[Completion]) -> list[str]:
    """Return the problems by number where all have one, else as they stand."""
    names = {key_of(each): each.problem for each in found}
    if all(name.isdecimal() for name in names.values()):
        return sorted(names, key=lambda key: int(names[key]))
    return list(names)


def _block(rows: pd.DataFrame, m: int, scores: Sequence[str]) -> Block:
    def matrix(column: str) -> np.ndarray:
        return rows[column].to_numpy().reshape(-1, m)

    return Block(
        matrix("place")[:, 0],
        answer_numbers(matrix("answer")),
        matrix("correct").astype(bool),
        {name: matrix(f"score {name}").astype(float) for name in scores},
    )
