"""Search guided by a verifier: line by line, of several continuations the best go on.

A token-level verifier's score is a value of unfinished solutions. OVM (Yu et al. 2023)
and others search by it: of every kept prefix several continuations are sampled up to
the line's end, all are scored, and the best are kept; those that are whole stay among
them. It ends when all that is kept is whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gsmlib.method.decoding import (
    Completion,
    Rules,
    Sample,
    SampleBatch,
    choose_batch_size,
    complete,
    decode,
    encode_prompt,
    hash_address,
    uniform,
)
from gsmlib.method.models import LanguageModel

# Questions and, of each, solutions' tokens -> their scores, nested alike.
Scorer = Callable[[list[str], list[list[list[int]]]], list[list[float]]]


class Beams(NamedTuple):
    """How wide a search is: prefixes kept, continuations of each.

    The question itself gets as many as all prefixes together. With `shuffled` scores
    prefixes are kept at random: what is then found, guidance did not find.
    """

    width: int
    branching: int
    shuffled: bool = False


class Path(NamedTuple):
    """A solution so far; `ended` by its end token or by the length limit."""

    tokens: tuple[int, ...] = ()
    forced: tuple[bool, ...] = ()
    logprob: float = 0.0
    finished: bool = False
    ended: bool = False
    score: float = float("nan")


class Searched(NamedTuple):
    """What a search ends with: solutions, the best-scored first, and their scores.

    `written` counts the tokens of all continuations, of those not kept too.
    """

    completions: list[Completion]
    scores: list[float]
    written: int


@dataclass
class _Problem:
    """A problem that is searched, and how far that is."""

    number: int
    question: str
    prompt: list[int]
    kept: list[Path]
    found: list[Path] = field(default_factory=list)  # that have no score yet
    written: int = 0

    @property
    def going_on(self) -> list[Path]:
        """The kept prefixes that are not whole."""
        return [path for path in self.kept if not path.ended]


def search(
    lm: LanguageModel,
    score: Scorer,
    questions: Sequence[str],
    beams: Beams,
    rules: Rules,
    problem_ids: Sequence[int],
) -> list[Searched]:
    """Search solutions of every question; `score` judges what it is given so far.

    A continuation depends on the seed, its problem's id, the number of its line and its
    place among that line's continuations, not on what else is searched.
    """
    rules = rules._replace(stop_at_line=True)
    problems = [
        _Problem(number, question, encode_prompt(lm.tokenizer, question), [Path()])
        for number, question in zip(problem_ids, questions, strict=True)
    ]
    batch, line = SampleBatch(lm, rules), 0
    while open_ones := [problem for problem in problems if problem.going_on]:
        _continue(batch, open_ones, beams, line)
        asked = [[list(path.tokens) for path in p.found] for p in open_ones]
        scores = score([problem.question for problem in open_ones], asked)
        for problem, values in zip(open_ones, scores, strict=True):
            scored = zip(problem.found, values, strict=True)
            found = [path._replace(score=float(value)) for path, value in scored]
            whole = [path for path in problem.kept if path.ended]
            address = hash_address(rules.seed, problem.number, line)
            problem.kept = _keep(whole + found, beams, address)
        line += 1
    return [_result(lm, problem) for problem in problems]


def _continue(
    batch: SampleBatch, problems: list[_Problem], beams: Beams, line: int
) -> None:
    """Find what the problems' prefixes go on to by one line, each once."""
    rules, each = batch.rules, beams.branching * (1 if line else beams.width)
    samples: list[Sample] = []
    starts: list[tuple[_Problem, Path]] = []
    for problem in problems:
        problem.found, paths = [], problem.going_on
        slots = np.arange(each * len(paths)).reshape(-1, each)
        addresses = hash_address(rules.seed, problem.number, line, slots)
        for path, own in zip(paths, addresses, strict=True):
            prompt, place = [*problem.prompt, *path.tokens], len(starts)
            samples += [Sample(place, j, own[j], prompt) for j in range(each)]
            starts.append((problem, path))
    samples.sort(key=lambda sample: len(sample.prompt))  # to be padded little
    size = choose_batch_size(batch.lm.model, rules.max_length)
    done = sorted(complete(batch, iter(samples), size), key=lambda one: one[:2])
    for place, _, more in done:
        problem, path = starts[place]
        problem.written += len(more.tokens)
        longer = _lengthen(path, more, rules.max_length - len(problem.prompt))
        if all(longer.tokens != other.tokens for other in problem.found):
            problem.found.append(longer)


def _lengthen(path: Path, more: Completion, room: int) -> Path:
    tokens = (*path.tokens, *more.tokens)
    ended = more.finished or len(tokens) >= room
    forced, logprob = (*path.forced, *more.forced), path.logprob + more.logprob
    return Path(tokens, forced, logprob, more.finished, ended)


def _keep(paths: list[Path], beams: Beams, address: np.ndarray) -> list[Path]:
    """Return the best-scored; of equal ones any, lest all go on from one prefix."""
    chance = uniform(address, np.arange(len(paths)))
    scores = np.array([0 if beams.shuffled else path.score for path in paths])
    return [paths[i] for i in np.lexsort((chance, -scores))[: beams.width]]


def _result(lm: LanguageModel, problem: _Problem) -> Searched:
    """The solutions by their own scores, also where shuffled ones kept them."""
    best = sorted(problem.kept, key=lambda path: -path.score)
    completions = [
        Completion(
            decode(lm.tokenizer, path.tokens),
            list(path.tokens),
            list(path.forced),
            path.logprob,
            path.finished,
        )
        for path in best
    ]
    return Searched(completions, [path.score for path in best], problem.written)
