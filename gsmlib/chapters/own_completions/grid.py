"""Tables of anyone's completions: curves over n, paired differences, extraction rules.

Each problem counts with all of its own completions, by the estimators of `metrics`;
curves end where some problem has no more, so that every point is of all problems.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd

from gsmlib import progress
from gsmlib.chapters.own_completions.settings import OwnCompletionsSettings
from gsmlib.chapters.shared import along_axis
from gsmlib.data.gsm8k import SOLUTIONS_FILE, is_here
from gsmlib.data.samples import GSM8K_TEST, Samples, apart, read_samples, released
from gsmlib.environment import project_root
from gsmlib.method import metrics
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.method.labels import EXTRACTION, Block, Labelled, judged, label, rules_of
from gsmlib.records import SettingsError

EXAMPLES = ("table.jsonl", "ovm_verifier.jsonl", "harness_samples.jsonl")
RANDOM, MAJORITY, BEST, WEIGHTED = (
    "random pick",
    "majority vote",
    "best-of-n",
    "weighted vote",
)
UNSCORED: Mapping[str, Callable[[Block, int], np.ndarray]] = {
    "test@n": lambda block, n: metrics.test_at_n(block.correct, n),
    "pass^n": lambda block, n: metrics.all_right_at_n(block.correct, n),
    RANDOM: lambda block, n: block.correct.mean(axis=1),
    MAJORITY: lambda block, n: metrics.vote_at_n(block.answers, block.correct, n, [n])[
        0
    ],
}


def find_samples(settings: OwnCompletionsSettings) -> tuple[list[Samples], str]:
    """Return the completions that a run is about, and a sentence about which they are.

    Those of the settings, else the paper's released solutions where GSM8K's files are
    here, else examples of our own.
    """
    root, gold = project_root(), settings.gold  # the settings' paths are from there
    gold = gold if gold in ("", GSM8K_TEST) else str(root / gold)
    if settings.samples:
        files, said = settings.samples, "Your own completions."
    elif is_here(SOLUTIONS_FILE):
        return [released(gold)], "The paper's released solutions."
    else:
        files = [f"examples/completions/{name}" for name in EXAMPLES]
        said = (
            "GSM8K's files are not at hand: these are small examples of our own, of "
            "MiniGSM. Set GSM8K_DIR for the released solutions, or give -p samples."
        )
    return [read_samples(root / f, settings.scores, gold) for f in files], said


def table(*samples: Samples) -> pd.DataFrame:
    """Return curves over n: a row per file or system, method, score column and n.

    Columns: samples, labels (the rule that says what is right), method, score (the
    column that a choice goes by, else empty), n, n_problems; accuracy with low and
    high, 95 % over problems. SettingsError where two files have one name.
    """
    rows = []
    labelled = [
        (each.name, label(each, rule), place == 0)
        for each in separate(*samples)
        for place, rule in enumerate(rules_of(each))
    ]
    points = [(*of, n) for of in labelled for n in along_axis(of[1].least)]
    with progress.bar(len(points), desc="curves", unit="point") as bar:
        for name, of, scored, n in points:
            about = {"samples": name, "labels": of.rule}
            for (method, score), values in _estimates(of, n, scored).items():
                choice = {"method": method, "score": score, "n": n}
                counts = {"n_problems": len(values)}
                rows.append(about | choice | counts | share("", values))
            bar.update()
    return tabulate(rows, ("samples", "labels", "method", "score", "n"))


def first_rule(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return each file's or system's rows of `table`, those of its first rule alone."""
    parts = found.groupby("samples", sort=False)
    return [
        (name, rows[rows["labels"] == rows["labels"].iloc[0]]) for name, rows in parts
    ]


def differences(*samples: Samples) -> pd.DataFrame:
    """Return paired differences between each two files or systems, problem by problem.

    Columns: a, b, method, score (columns that both have), n (as far as both have
    completions), n_problems (that both have), a_accuracy, b_accuracy and difference, a
    minus b, with _low and _high. Empty for a file alone. SettingsError where two have
    no problem in common.
    """
    found = [(each.name, label(each, rules_of(each)[0])) for each in separate(*samples)]
    estimates = cache(lambda place, n: _estimates(found[place][1], n, True))
    rows = []
    for i, j in combinations(range(len(found)), 2):
        (a, first), (b, second) = found[i], found[j]
        here, there = _in_common(a, first, b, second)
        for n in along_axis(min(first.least, second.least)):
            of_a, of_b = estimates(i, n), estimates(j, n)
            for method, score in [name for name in of_a if name in of_b]:
                about = {"a": a, "b": b, "method": method, "score": score, "n": n}
                pair = of_a[method, score][here], of_b[method, score][there]
                means = (share("a_accuracy", pair[0]), share("b_accuracy", pair[1]))
                row = about | {"n_problems": len(here)} | means[0] | means[1]
                rows.append(row | difference("difference", *pair))
    about = ("a", "b", "method", "score", "n")
    return tabulate(rows, about) if rows else pd.DataFrame(columns=about)


def extraction(*samples: Samples) -> pd.DataFrame:
    """Return what each rule takes for right: a row per file or system, and rule.

    Columns: samples, rule, n (completions a problem, of those that have fewest),
    n_problems, unanswered (share of completions in which the rule finds no answer);
    mean_accuracy, majority_vote, test_at_n and over_first, mean_accuracy minus that of
    the file's first rule, each with _low and _high.
    """
    rows = []
    for each in separate(*samples):
        first = None
        for rule in rules_of(each):
            labelled = label(each, rule)
            n, means = labelled.least, labelled.estimate(lambda b: b.correct.mean(1))
            first = means if first is None else first
            row = {"samples": each.name, "rule": rule, "n": n, "n_problems": len(means)}
            row["unanswered"] = _unanswered(labelled)
            row |= share("mean_accuracy", means) | difference(
                "over_first", means, first
            )
            for name, method in {
                "majority_vote": MAJORITY,
                "test_at_n": "test@n",
            }.items():
                row |= share(name, _estimate(labelled, n, UNSCORED[method]))
            rows.append(row)
    return tabulate(rows, ("samples", "rule"))


def rows_that_differ(*samples: Samples) -> pd.DataFrame:
    """Return the completions that one rule takes for right and another does not.

    Columns: samples, row (of the file), problem, sample, gold, an answer per rule of
    extraction, whether it is right by each rule (right: ...), and the text's end.
    """
    rows = []
    for each in separate(*samples):
        rules = rules_of(each)
        by_rule = [judged(each, rule) for rule in rules]
        for found in zip(*by_rule, strict=True):
            if len({right for _, _, right in found}) == 1:
                continue
            one = found[0][0]
            row = {"samples": each.name, "row": one.row, "problem": one.problem}
            row |= {"sample": one.sample, "gold": one.gold}
            answers = zip(rules, found, strict=True)
            row |= {r: answer for r, (_, answer, _) in answers if r in EXTRACTION}
            rights = zip(rules, found, strict=True)
            row |= {f"right: {rule}": right for rule, (_, _, right) in rights}
            rows.append(row | {"end": (one.text or "")[-60:]})
    none = ["samples", "row", "problem", "sample", "gold", "end"]
    return pd.DataFrame(rows, columns=None if rows else none)


def describe(*samples: Samples) -> list[str]:
    """Say of each file or system what it holds and what was done with it."""
    lines = []
    for each in separate(*samples):
        first, *others = _describe(each)
        lines += [first, *(f"  {other}" for other in others)]
    return lines


def separate(*samples: Samples) -> list[Samples]:
    """Return each system's completions by themselves; SettingsError for equal names."""
    files = [each.name for each in samples]
    for name in files:
        if files.count(name) > 1:
            raise SettingsError(f"Two files are called {name}; rename one of them.")
    found = [(each.name, one) for each in samples for one in apart(each)]
    names = [one.name for _, one in found]
    return [
        one._replace(name=f"{file} {one.name}") if names.count(one.name) > 1 else one
        for file, one in found
    ]


# ---------------------------------------------------------------------------- estimates


def _estimates(
    labelled: Labelled, n: int, scored: bool
) -> dict[tuple[str, str], np.ndarray]:
    """Return (P,) for each method and score column, at n completions."""
    found = {
        (name, ""): _estimate(labelled, n, method) for name, method in UNSCORED.items()
    }
    names = labelled.blocks[0].scores if scored else ()
    for score in names:
        found[BEST, score] = labelled.estimate(
            lambda block, s=score: metrics.verified_at_n(
                block.scores[s], block.correct, n
            )
        )
        if weighs(labelled, score):
            found[WEIGHTED, score] = labelled.estimate(
                lambda block, s=score: _weighted_vote(block, s, n)
            )
    return found


def _estimate(
    labelled: Labelled, n: int, method: Callable[[Block, int], np.ndarray]
) -> np.ndarray:
    return labelled.estimate(lambda block: method(block, n))


def weighs(labelled: Labelled, score: str) -> bool:
    """Whether a column can weigh votes: a log-probability, or above 0 somewhere."""
    return _is_log(score) or any((b.scores[score] > 0).any() for b in labelled.blocks)


def _is_log(score: str) -> bool:
    return "logprob" in score.lower()


def _weighted_vote(block: Block, score: str, n: int) -> np.ndarray:
    """Return (P,): the accuracy of a vote weighted by score, or by probability.

    Negative scores weigh 0, as in `selection.weighted_vote`. Probabilities are divided
    by the problem's largest: the same vote, without underflow.
    """
    weights = block.scores[score]
    if _is_log(score):
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    voters = block.answers, block.correct, n, [n], weights
    return metrics.vote_at_n(*voters, weighted=True)[0]


def _unanswered(labelled: Labelled) -> float:
    missing = [block.answers.ravel() < 0 for block in labelled.blocks]
    return float(np.concatenate(missing).mean())


def _in_common(
    a: str, first: Labelled, b: str, second: Labelled
) -> tuple[list[int], list[int]]:
    """Return where the problems that two sets share stand in each."""
    places = {name: place for place, name in enumerate(second.problems)}
    both = [(i, places[p]) for i, p in enumerate(first.problems) if p in places]
    if not both:
        raise SettingsError(
            f"{a} and {b} have no problem in common, so they cannot be compared; give "
            "both the same questions, or the same numbers of problems and no questions."
        )
    here, there = zip(*both, strict=True)
    return list(here), list(there)


# -------------------------------------------------------------------------------- words


def _describe(samples: Samples) -> Iterator[str]:
    rules = rules_of(samples)
    labelled = label(samples, rules[0])
    sizes = {m: len(b.places) for b in labelled.blocks for m in [b.correct.shape[1]]}
    problems, most = len(labelled.problems), max(sizes)
    counts = f"{labelled.least:,} to " * (most > labelled.least) + f"{most:,}"
    yield (
        f"{samples.name} ({samples.form}): {problems:,} "
        f"problem{'s' * (problems > 1)}, {counts} completion{'s' * (most > 1)} "
        f"each; right by: {rules[0]}"
    )
    yield from samples.notes
    if most > labelled.least:
        yield (
            f"each problem counts with all its completions; curves end at n = "
            f"{labelled.least}, all that {sizes[labelled.least]:,} problems have"
        )
    left = [s for s in samples.scores if not weighs(labelled, s)]
    if left:
        yield f"no vote weighted by {', '.join(left)}: no score is above 0"
    if samples.scores:
        negative = "negative ones weigh 0 in votes, log-probabilities their exponential"
        yield f"scores: {', '.join(samples.scores)}; {negative}"
    share = _unanswered(labelled)
    if share:
        yield f"no answer is found in {100 * share:.1f} % of the completions"
