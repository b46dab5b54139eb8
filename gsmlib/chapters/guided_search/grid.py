"""Search guided by a verifier beside choices among as many tokens of completions.

The verifier is that of 03_verification, and so are the completions. A search's budget
is all tokens that it samples, of continuations not kept too; a choice among n whole
completions costs n times a completion's mean. What the verifier reads is not counted: a
prefix anew with every line here, each token once where its states are kept.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.guided_search.settings import SearchSettings
from gsmlib.chapters.record import Point
from gsmlib.chapters.shared import Completions
from gsmlib.data import family
from gsmlib.method import metrics
from gsmlib.method.intervals import NOTHING, Measure, difference, share, tabulate
from gsmlib.study.results import sample
from gsmlib.study.specs import ScoreSpec, SearchSpec
from gsmlib.study.store import Store

SEARCH, SHUFFLED = "search", "search, scores shuffled"
BY_LINES, ORACLE = "search, labels of lines", "search, oracle"  # other guides
OTHERS = (SHUFFLED, BY_LINES, ORACLE)
BEST_OF_N = "verification"  # the best of n by the verifier
SURE = 0.5  # who scores a wrong solution from here on is fooled
# Ways to choose among whole completions, of shared.METHODS.
CHOICES = (BEST_OF_N, "majority vote", "log-probability per token", "test@n")


def grid(settings: SearchSettings) -> list[Point]:
    """Return a point per seed: scored completions, and the searches by their name."""
    points = []
    for base in shared.each_seed(settings):
        scores = shared.verified(settings, base)
        specs = {"scores": scores}
        for count in settings.candidates:
            specs[f"{SEARCH} {count}"] = _search(settings, scores, count)
        most = _search(settings, scores, max(settings.candidates))
        specs[SHUFFLED] = most.replace(shuffled=True)
        if family(settings.data) == "minigsm":
            specs |= _other_guides(most)
        points.append(Point(shared.describe(settings, base), specs))
    return points


def _other_guides(search: SearchSpec) -> dict[str, SearchSpec]:
    """Return the same search by a verifier of lines, and by the checker."""
    lines = shared.taught(search.verifier, "line", "process")
    return {
        BY_LINES: search.replace(verifier=lines),
        ORACLE: search.replace(oracle=True),
    }


def _search(settings: SearchSettings, scores: ScoreSpec, count: int) -> SearchSpec:
    """Return the search with so many candidates at a time."""
    drawn = scores.completions
    return SearchSpec(
        verifier=scores.verifier,
        split=drawn.split,
        n_problems=drawn.n_problems,
        width=count // settings.branching,
        branching=settings.branching,
        temperature=drawn.temperature,
        max_length=drawn.max_length,
        precision=drawn.precision,
        seed=drawn.seed,
    )


def table(settings: SearchSettings, store: Store) -> pd.DataFrame:
    """Return a row per (method, n, seed): what is solved, and by how many tokens.

    method: SEARCH, with n candidates at a time; SHUFFLED, the widest with any prefix
    kept; BY_LINES and ORACLE, the widest by a verifier that learnt from labels of lines
    and by the checker, which knows them, where there are any; CHOICES, which choose
    among n whole completions. Columns: dataset, model, n_train, seed, method, n,
    n_problems, tokens (mean of a problem), accuracy. Of searches and the best of n also
    over_random, and fooled, the share of wrong solutions scored SURE or more. Of
    searches over_best_of_n and over_vote, among as many tokens of completions (between
    two numbers n as between their accuracies; nan where too few were drawn);
    over_shuffled, of the widest; new, the share of problems that it solves where as
    many tokens of completions hold no right one. All have _low and _high.
    """
    rows: list[dict[str, Any]] = []
    for about, specs in shared.computed(grid(settings), store):
        drawn = shared.read_completions(specs["scores"], store)
        mean = shared.lengths(sample(specs["scores"].completions, store)).mean()
        about |= {"n_problems": len(drawn.correct)}
        rows += [about | row for row in _choices(drawn, mean)]
        floor = _first(specs[SHUFFLED], store)
        for name, spec in specs.items():
            if isinstance(spec, SearchSpec):
                found = _first(spec, store)
                row = {"method": name if name in OTHERS else SEARCH}
                row |= {"n": spec.width * spec.branching}
                row |= _compared(found, drawn, mean)
                widest = name == f"{SEARCH} {max(settings.candidates)}"
                solved, other = found["correct"], floor["correct"]
                gain = difference("over_shuffled", solved, other) if widest else {}
                rows.append(about | row | gain)
    return tabulate(rows, ("method", "n"))


def _first(spec: SearchSpec, store: Store) -> dict[str, np.ndarray]:
    """Return (P,) each: is the best-scored solution right, its score, all tokens."""
    found = sample(spec, store)
    best = found[found["sample"] == 0].sort_values("problem")
    names = ("correct", "score", "written")
    return {name: best[name].to_numpy(dtype=float) for name in names}


def _choices(drawn: Completions, mean: float) -> Iterator[dict[str, Any]]:
    """Yield what is reached by choosing among n completions of so many tokens."""
    for method in CHOICES:
        for n in shared.along_axis(drawn.correct.shape[1]):
            row = {"method": method, "n": n, "tokens": n * mean}
            row |= share("", shared.METHODS[method](drawn, n))
            if method == BEST_OF_N:
                row |= share("fooled", _fooled(drawn, n))
                best, random = row["accuracy"].values, drawn.correct.mean(axis=1)
                row |= difference("over_random", best, random)
            yield row


def _fooled(drawn: Completions, n: int) -> np.ndarray:
    """Return (P,): how often the best of n is wrong and scored as right."""
    wrong = (drawn.scores >= SURE) & ~drawn.correct.astype(bool)
    return metrics.verified_at_n(drawn.scores, wrong, n)


def _compared(
    found: dict[str, np.ndarray], drawn: Completions, mean: float
) -> dict[str, Any]:
    """Return the columns of a search, compared with as many tokens of completions."""
    solved, cost = found["correct"], found["written"].mean()
    n = cost / mean
    columns = {"tokens": cost, **share("", solved)}
    columns |= difference("over_random", solved, drawn.correct.mean(axis=1))
    wrong = (found["score"] >= SURE) & (solved == 0)
    columns |= share("fooled", wrong)
    if not 1 <= n <= drawn.correct.shape[1]:
        return columns | dict.fromkeys(("over_best_of_n", "over_vote", "new"), NOTHING)
    best, vote, ceiling = (
        between(partial(shared.METHODS[name], drawn), n)
        for name in (BEST_OF_N, "majority vote", "test@n")
    )
    columns |= difference("over_best_of_n", solved, best)
    columns |= difference("over_vote", solved, vote)
    return columns | {"new": Measure(solved * (1 - ceiling), share=True)}


def between(measure: Callable[[int], np.ndarray], n: float) -> np.ndarray:
    """Return a measure at a number of completions that need not be whole."""
    low = int(n)
    if low == n:
        return measure(low)
    return (low + 1 - n) * measure(low) + (n - low) * measure(low + 1)
