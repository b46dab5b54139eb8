"""Verifiers that learn whether lines are right, beside those of final answers.

An outcome label says of a completion whether its final answer is right; a process label
says of a line whether it and all before it are (Uesato et al. 2022; Lightman et al.
2023). MiniGSM's lines have exact ones, by the checker that reads the text alone. All
verifiers learn from the same completions in the same steps, of as many operations.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.process_labels.settings import ProcessSettings
from gsmlib.chapters.record import Point
from gsmlib.data import checker, family
from gsmlib.method import metrics, selection
from gsmlib.method.intervals import Measure, difference, tabulate
from gsmlib.study import stages
from gsmlib.study.specs import ScoreSpec
from gsmlib.study.store import Store

ARMS = {  # what a verifier looks at, and whose labels; the first is the paper's
    "token, outcome": ("token", "outcome"),
    "solution, outcome": ("solution", "outcome"),
    "line, outcome": ("line", "outcome"),
    "line, process": ("line", "process"),
}
PAPERS, OUTCOME, PROCESS = "token, outcome", "line, outcome", "line, process"
ACCEPTED = 0.5  # a score from here on says "right"
THRESHOLDS = 99  # quantiles of the scores that are tried as a threshold
OFFSETS = (-2, -1, 0, 1, 2)  # lines, from that of the first error


class Lines(NamedTuple):
    """The lines of (P, n) completions, at most L of each."""

    scores: np.ndarray  # (P, n, L) a verifier's at each line's end; nan: no such line
    counts: np.ndarray  # (P, n) lines
    right: np.ndarray  # (P, n) lines before the first wrong one


# --------------------------------------------------------------------------- the specs


def grid(settings: ProcessSettings) -> list[Point]:
    """Return a point per seed: test completions scored by every arm's verifier.

    [] of problems other than MiniGSM's, whose lines have no labels.
    """
    if family(settings.data) != "minigsm":
        return []
    return [
        Point(shared.describe(settings, base), _arms(shared.verified(settings, base)))
        for base in shared.each_seed(settings)
    ]


def _arms(usual: ScoreSpec) -> dict[str, ScoreSpec]:
    """Return the scores by verifiers that differ in level and labels alone."""
    return {
        arm: usual.replace(verifier=shared.taught(usual.verifier, level, labels))
        for arm, (level, labels) in ARMS.items()
    }


def read_lines(spec: ScoreSpec, store: Store) -> Lines:
    """Return a verifier's scores at the lines' ends, and the lines' labels."""
    from gsmlib.method.models import load_tokenizer_of  # here: both import torch
    from gsmlib.method.verifier import line_ends

    rows = shared.scored_completions(spec, store)
    problems = stages.sampled_problems(spec.completions)
    tokenizer = load_tokenizer_of(spec.completions.generator.model)
    scores, labels = [], []
    for row in rows.itertuples():
        question = problems[row.problem].question
        labels.append(checker.line_labels(question, row.text))
        scores.append(np.asarray(row.token_scores)[line_ends(tokenizer, row.tokens)])
    counts = np.array([len(lines) for lines in labels])
    padded = np.full((len(rows), counts.max()), np.nan)
    padded[np.arange(counts.max()) < counts[:, None]] = np.concatenate(scores)
    rows = rows.assign(lines=counts, right=[sum(lines) for lines in labels])
    counts, right = (shared.matrix(rows, name) for name in ("lines", "right"))
    order = rows.reset_index(drop=True).sort_values(["problem", "sample"]).index
    return Lines(padded[order].reshape(*counts.shape, -1), counts, right)


# ------------------------------------------------------------ the choice, and the place


def table(settings: ProcessSettings, store: Store) -> pd.DataFrame:
    """Return a row per (arm, seed), and per choice of selection.NO_VERIFIER and seed.

    Columns: dataset, model, n_train, seed, arm, n, n_problems; accuracy of the best of
    n; sound, the share of problems whose choice has no wrong line; over_random, and
    over_paper and sound_over_paper, over the paper's arm, and on PROCESS's rows
    over_outcome, over the same lines with the answers' labels, paired by problem;
    within_auc; n_mixed, problems with completions with and without a wrong line;
    precision, recall and f1 of where the first wrong line is put, and f1_over_paper;
    accepted, the share of right answers reached wrongly that are scored as right. All
    but counts have _low and _high. Empty where there are no labels.
    """
    rows: list[dict[str, Any]] = []
    for about, specs in shared.computed(grid(settings), store):
        papers: dict[str, np.ndarray] = {}
        seen: dict[str, np.ndarray] = {}
        for arm, spec in specs.items():
            best, columns = shared.verified_best(spec, store)
            lines = read_lines(spec, store)
            solved = {"accuracy": best} | _of_lines(lines, spec, store)
            papers = papers or solved
            columns |= _columns(solved, papers) | {"n_mixed": count_mixed(lines)}
            if arm == PROCESS:  # looks where this one does
                columns |= difference("over_outcome", best, seen[OUTCOME])
            seen[arm] = best
            unverified = {name: columns.pop(name) for name in selection.NO_VERIFIER}
            rows.append(about | {"arm": arm} | columns)
        sizes = {name: columns[name] for name in ("n", "n_problems")}
        for name, words in selection.NO_VERIFIER.items():
            rows.append(about | sizes | {"arm": words, "accuracy": unverified[name]})
    return tabulate(rows, ("arm",))


def _of_lines(lines: Lines, spec: ScoreSpec, store: Store) -> dict[str, np.ndarray]:
    """Return (P,) values, by column, of what the labels of lines say of a verifier."""
    scores, correct = shared.scores_and_labels(spec, store)
    all_right = lines.right == lines.counts
    lucky = correct.astype(bool) & ~all_right
    accepted = (scores >= ACCEPTED) & lucky
    return {
        "sound": metrics.verified_at_n(scores, all_right, scores.shape[1]),
        "accepted": metrics.ratio_by_problem(accepted.sum(axis=1), lucky.sum(axis=1)),
        **found_errors(lines),
    }


def count_mixed(lines: Lines) -> int:
    """Return how many problems have completions with and without a wrong line."""
    wrong = (lines.right < lines.counts).mean(axis=1)
    return int(((wrong > 0) & (wrong < 1)).sum())


def _columns(solved: dict[str, np.ndarray], papers: dict[str, np.ndarray]) -> dict:
    """Return the measures of an arm, and its gains over the paper's arm."""
    columns: dict[str, Any] = {}
    for name, values in solved.items():
        if name != "accuracy":
            columns[name] = Measure(values, share=True)
    if papers is not solved:
        gains = {"accuracy": "over_paper", "sound": "sound_over_paper"}
        gains["f1"] = "f1_over_paper"
        for name, gain in gains.items():
            columns |= difference(gain, solved[name], papers[name])
    return columns


def found_errors(lines: Lines) -> dict[str, np.ndarray]:
    """Return precision, recall and f1 of the first wrong lines, (P,) values of each.

    The first line that is scored below a threshold counts as the first error. Each half
    of the problems gets the threshold with the highest F1 on the other half: verifiers
    of outcomes have no threshold of their own for lines.
    """
    even = np.arange(len(lines.counts)) % 2 == 0
    hits, said, wrong = np.zeros((3, len(even)))
    for here in (even, ~even):
        if here.all() or not here.any():
            continue
        threshold = best_threshold(Lines(*(part[~here] for part in lines)))
        counts = count_found(Lines(*(part[here] for part in lines)), threshold)
        hits[here], said[here], wrong[here] = counts
    return {
        "precision": metrics.ratio_by_problem(hits, said),
        "recall": metrics.ratio_by_problem(hits, wrong),
        "f1": metrics.ratio_by_problem(2 * hits, said + wrong),
    }


def best_threshold(lines: Lines) -> float:
    """Return the quantile of the scores with the highest F1 as a threshold."""
    known = lines.scores[~np.isnan(lines.scores)]
    tried = np.unique(np.quantile(known, np.linspace(0, 1, THRESHOLDS + 2)[1:-1]))
    counts = [[part.sum() for part in count_found(lines, t)] for t in tried]
    f1 = [2 * hits / max(said + wrong, 1) for hits, said, wrong in counts]
    return float(tried[int(np.argmax(f1))])


def count_found(
    lines: Lines, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (P,) each: errors put at their line, errors said, errors there are."""
    below = lines.scores < threshold  # (P, n, L); nan is not
    said = below.any(axis=2)
    wrong = lines.right < lines.counts
    hits = said & wrong & (below.argmax(axis=2) == lines.right)
    return hits.sum(axis=1), said.sum(axis=1), wrong.sum(axis=1)


# ------------------------------------------------------------- around the first error


def falls_table(settings: ProcessSettings, store: Store) -> pd.DataFrame:
    """Return a row per (arm, seed, kind, offset): the mean score around first errors.

    kind: "wrong", completions with a wrong line; "right", those of the same problems
    without, at the same lines. offset: lines from the first wrong one. Columns:
    dataset, model, n_train, seed, arm, kind, offset, n_problems, n_mixed (that have
    both kinds), score; and on the rows "wrong", 0 fall: by how much more the score
    falls from the line before than it does in right ones. Both with _low and _high,
    over problems.
    """
    rows: list[dict[str, Any]] = []
    for about, specs in shared.computed(grid(settings), store):
        for arm, spec in specs.items():
            lines = read_lines(spec, store)
            counts = {"n_problems": len(lines.counts), "n_mixed": count_mixed(lines)}
            for row in _around(lines):
                rows.append(about | {"arm": arm} | counts | row)
    return tabulate(rows, ("arm", "kind", "offset"))


def _around(lines: Lines) -> Iterator[dict[str, Any]]:
    for offset in OFFSETS:
        wrong, right = scores_at(lines, lines.scores, offset)
        for kind, values in (("wrong", wrong), ("right", right)):
            row = {"kind": kind, "offset": offset, "score": Measure(values, False)}
            if kind == "wrong" and offset == 0:
                row |= difference("fall", *falls(lines))
            yield row


def falls(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) twice: how far scores fall at the first error, and in right ones."""
    falls = np.full(lines.scores.shape, np.nan)
    falls[..., 1:] = lines.scores[..., :-1] - lines.scores[..., 1:]
    return scores_at(lines, falls, 0)


def scores_at(
    lines: Lines, values: np.ndarray, offset: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) twice: mean values (P, n, L) at first errors, and in right ones.

    The second is of completions without an error, at the lines of the others; both are
    nan where a problem has not both kinds, or no line there.
    """
    wrong = lines.right < lines.counts
    usual = mean_known(np.where(wrong[..., None], np.nan, values), axis=1)  # (P, L)
    length = values.shape[2]
    place = lines.right + offset
    exists = wrong & (place >= 0) & (place < length)
    place = np.clip(place, 0, length - 1)
    own = np.take_along_axis(values, place[..., None], axis=2)[..., 0]
    beside = np.take_along_axis(usual, place, axis=1)
    exists &= ~np.isnan(own) & ~np.isnan(beside)
    return tuple(mean_known(np.where(exists, x, np.nan), axis=1) for x in (own, beside))


def mean_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is not nan along an axis; nan where nothing is."""
    counts = (~np.isnan(values)).sum(axis=axis)
    sums = np.nansum(values, axis=axis)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
