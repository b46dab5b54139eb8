"""What a verdict is, and the thresholds, fixed before the study.

A verdict is one of WORDS, always with its quantity, a 95 % interval and the number of
seeds. Intervals join problems (paired between methods) and seeds, see
`method/intervals.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from gsmlib import paper
from gsmlib.method.intervals import NOTHING, Interval, column_names

NEGLIGIBLE = 0.02  # differences in accuracy below two points count as none
STRONG = 0.05  # a strong boost is at least five points
MIN_ACCURACY = 0.02  # a model that solves less has learned nothing to compare
MIN_PROBLEMS = 20
MIN_EPOCHS = 4
MIN_SIZES = 3  # training-set sizes for a place where curves cross
EARLY = 0.5  # "the first few epochs" lie in the first half of the run
MONOTONE = 0.5  # Kendall's tau of a curve that rises about monotonically
LINEAR = 0.9  # R squared of points that lie about on a line
MIN_MODELS = 3  # model sizes for a line whose straightness can be seen
OVERFITS = 0.05  # a test loss that overfits has risen by this share of its least
COLLAPSE = 0.5  # an accuracy that collapses is at least halved
MIN_CHECKPOINTS = 3  # for a start, an end and a slope between them
BEYOND = 2  # a curve that goes this many times as far as the paper's peak has passed it
FEW = 0.1  # the top few are at most this share of the completions
MIN_VOTERS = 3  # a vote of two is the better-scored one's answer
MIN_COUNTS = 3  # numbers of completions for a best k that grows with them
MIN_SPAN = 50  # the most completions over the fewest, for a power law to show a bend
Z_POWER = 0.841621  # of a power of 80 %, beyond Z standard errors
Z = 1.959964  # half the width of a 95 % interval, in standard errors
DRAWS = 2000

REPRODUCED = "reproduced"
INCONCLUSIVE = "inconclusive"
NOT_REPRODUCED = "not reproduced"
REVERSED = "reversed"
NOT_TESTABLE = "not testable"
LEAST_ACCURACY = f"{100 * MIN_ACCURACY:.0f} %"
AT_LEAST = f"{100 * NEGLIGIBLE:.0f} points or more"
WORDS = MappingProxyType(  # each word, and what it says of a claim
    {
        REPRODUCED: "the whole 95 % interval agrees with the claim, and in the mean so "
        "does what else it says.",
        INCONCLUSIVE: "the data decide neither for the claim nor against it.",
        NOT_REPRODUCED: "the interval excludes what the verdict's sentence names, such "
        f"as a gain of {AT_LEAST}, but may hold no effect at all.",
        REVERSED: "the effect is surely of the other sign than the claim says.",
        NOT_TESTABLE: "there is too little to look at: too few problems, sizes or "
        "epochs, a model that learned nothing, or no sign of what the claim builds on.",
    }
)


class Verdict(NamedTuple):
    """A claim's verdict; value, low and high are nan where nothing was measured.

    `own` is the claim, where it is none of the paper's.
    """

    id: str
    verdict: str
    value: float
    low: float
    high: float
    seeds: int
    sentence: str
    own: paper.Claim | None = None


def over_seeds(rows: pd.DataFrame, name: str) -> Interval:
    """Return a column's mean over seeds, with the limits that stand on all its rows.

    rows: one per seed of one measurement (`intervals.tabulate`); ValueError if several.
    """
    limits = rows[list(column_names(name)[1:])].drop_duplicates()
    if len(limits) != 1:
        raise ValueError(f"these rows hold {len(limits)} measurements of {name}, not 1")
    return Interval(float(rows[name].mean()), *map(float, limits.iloc[0]))


def on_all_rows(rows: pd.DataFrame, name: str) -> Interval:
    """Return a value and its limits that are the same on all rows."""
    return Interval(*rows[list(column_names(name))].iloc[0])


def ledger_row(verdict: Verdict) -> dict:
    """Return the verdict as a row of claims.json.

    Numbers that are unknown or infinite are None, for JSON knows neither; the interval
    is None where nothing was measured. could_see: the `smallest_effect` in accuracy.
    """
    value, low, high = finite(verdict[2:5])
    about = verdict.own or paper.claim(verdict.id)
    interval = None if np.isnan(verdict.low) else [low, high]
    return {
        "id": verdict.id,
        "verdict": verdict.verdict,
        "value": value,
        "interval": interval,
        "could_see": smallest_effect(interval) if about.unit == "points" else None,
        "seeds": verdict.seeds,
        "paper": about.value,
        "sentence": verdict.sentence,
    }


def smallest_effect(interval: Sequence[float | None] | None) -> float | None:
    """Return the smallest effect that is seen four times in five by such an interval.

    That is (1.96 + 0.84) standard errors; None without an interval, or one that is
    endless or has no width, as of answers that are the same ones.
    """
    low, high = interval or (None, None)
    if low is None or high is None or low == high:
        return None
    return (Z + Z_POWER) * (high - low) / (2 * Z)


def finite(numbers: Sequence[float]) -> list[float | None]:
    """Return numbers for JSON: what is unknown or infinite is None."""
    return [float(number) if np.isfinite(number) else None for number in numbers]


class NotTestable(Exception):
    """Why a table cannot test a claim; `measured`: its quantity all the same."""

    def __init__(self, reason: str, measured: Interval = NOTHING) -> None:
        super().__init__(reason)
        self.measured = measured


class Finding(NamedTuple):
    """What a rule finds: a word of WORDS, the quantity, a sentence.

    `excluded` is what the interval leaves out where the claim is not reproduced.
    """

    word: str
    measured: Interval
    sentence: str
    excluded: str = f"a gain of {AT_LEAST}"


def judge(
    rule: Callable[[pd.DataFrame], Finding],
) -> Callable[[pd.DataFrame], Verdict]:
    """Make the rule of a claim, c5 of C5, a function from its table to its verdict.

    A rule returns a Finding, or raises NotTestable; the claim's id and the number of
    seeds are added here.
    """

    @wraps(rule)
    def judged(table: pd.DataFrame) -> Verdict:
        seeds = int(table["seed"].nunique())
        try:
            word, measured, said, excluded = Finding(*rule(table))
            said += f"; {excluded} is excluded" if word == NOT_REPRODUCED else ""
            said += "; one seed" if seeds == 1 else f"; {seeds} seeds"
        except NotTestable as reason:
            word, measured, said = NOT_TESTABLE, reason.measured, str(reason)
        return Verdict(rule.__name__.upper(), word, *measured, seeds, f"{said}.")

    return judged


def decide(reproduced: bool, excluded: bool, opposite: bool = False) -> str:
    """Return the verdict in a word; where several hold, the first of these.

    opposite: the effect is surely of the other sign; excluded: it is surely not there.
    """
    if reproduced:
        return REPRODUCED
    if opposite:
        return REVERSED
    return NOT_REPRODUCED if excluded else INCONCLUSIVE


def better(gain: Interval) -> str:
    """Judge whether one is better: surely above 0, worse, or not worth having.

    A gain that is surely below NEGLIGIBLE counts as none, be it surely above 0 or not.
    """
    useless = gain.high < NEGLIGIBLE
    return decide(gain.low > 0 and not useless, useless, gain.high < 0)


def require(found: int, least: int, what: str) -> None:
    """Raise NotTestable where there are too few of something, such as "epochs"."""
    if found < least:
        counted = re.sub(r"s\b", "", what, count=1) if found == 1 else what
        raise NotTestable(f"{found} {counted}, fewer than {least}")


def require_learning(table: pd.DataFrame, best: float) -> None:
    """Raise NotTestable where problems are few, or the `best` model solves too few."""
    require(int(table["n_problems"].max()), MIN_PROBLEMS, "test problems")
    if best < MIN_ACCURACY:
        said = f"the answers compared are right in less than {LEAST_ACCURACY}"
        raise NotTestable(said)


def require_checking(rows: pd.DataFrame, by: str) -> None:
    """Raise NotTestable unless a verifier that is compared surely beats a random pick.

    rows: of these alone, at what is compared, an arm for each value of the column `by`.
    Verifiers that cannot check say nothing of how to train one, nor of how to use it.
    """
    gains = [over_seeds(arm, "over_random") for _, arm in rows.groupby(by)]
    if not any(gain.low > 0 for gain in gains):
        best = in_points(max(gains, key=lambda gain: gain.mean))
        few = " at most" if len(gains) > 1 else ""
        raise NotTestable(
            f"no verifier here checks: best-scored minus random completion is "
            f"{best}{few}"
        )


def require_overfitting(rows: pd.DataFrame, measured: Interval) -> None:
    """Raise NotTestable unless the test loss surely rose by OVERFITS of its least.

    The least was picked as such, so that a loss that only wavers rises too: 0 would be
    too easy. measured: the claim's quantity, which is told all the same.
    """
    rise = over_seeds(rows.drop_duplicates("seed"), "loss_rise")
    if not rise.low > OVERFITS:
        share, low, high = (round(100 * number, 1) + 0.0 for number in rise)
        raise NotTestable(
            f"from its least epoch to the last the test loss rose by {share:.1f} % "
            f"({low:.1f} to {high:.1f}), not surely by {100 * OVERFITS:.0f}: nothing "
            f"overfits here, so {in_points(measured)} tell nothing",
            measured,
        )


def who_agrees(agree: Mapping[str, bool]) -> str:
    """Write for which of several models or sizes something holds; empty for a single.

    Such as "it holds surely for mini-2m, not surely for mini-0.5m".
    """
    if len(agree) < 2:
        return ""
    parts = [", ".join(n for n, holds in agree.items() if holds == so) for so in (1, 0)]
    if not all(parts):
        return f"; it holds surely for {'all' if parts[0] else 'none'}"
    return f"; it holds surely for {parts[0]}, not surely for {parts[1]}"


def in_points(interval: Interval, sign: str = "+") -> str:
    """Write a difference of accuracies in percentage points, with its limits.

    sign: "-" where the words say the direction, so that only negative numbers have one.
    """
    mean, low, high = (round(100 * number, 1) + 0.0 for number in interval)  # no -0.0
    return f"{mean:{sign}.1f} points ({low:{sign}.1f} to {high:{sign}.1f})"
