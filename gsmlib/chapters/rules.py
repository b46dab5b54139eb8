"""What a verdict is, and the thresholds, fixed before the study.

A verdict says "reproduced", "contradicted", "inconclusive" or "not testable at this
scale", always with its quantity, a 95 % interval and the number of seeds. Intervals
join the bootstrap over problems (paired between methods) with the spread over seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gsmlib import paper
from gsmlib.method.metrics import Interval

REPRODUCED = "reproduced"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
NOT_TESTABLE = "not testable at this scale"
VERDICTS = (REPRODUCED, INCONCLUSIVE, CONTRADICTED, NOT_TESTABLE)

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
COLLAPSE = 0.5  # an accuracy that collapses is at least halved
MIN_CHECKPOINTS = 3  # for a start, an end and a slope between them
BEYOND = 2  # a curve that goes this many times as far as the paper's peak has passed it
FEW = 0.1  # the top few are at most this share of the completions
MIN_VOTERS = 3  # a vote of two is the better-scored one's answer
MIN_COUNTS = 3  # numbers of completions for a best k that grows with them
Z = 1.959964  # half the width of a 95 % interval, in standard errors
DRAWS = 2000
NOTHING = Interval(np.nan, np.nan, np.nan)  # nothing was measured


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
    """Return the mean of a column over seeds, with limits from problems and seeds.

    rows: one per seed, with columns name, name_low, name_high. The squared distance to
    a limit is the mean over seeds plus Z squared times the squared error of that mean.
    """
    value = rows[name].mean()
    error = rows[name].var() / len(rows) if len(rows) > 1 else 0.0
    down, up = (
        float(
            np.sqrt(((rows[name] - rows[f"{name}_{end}"]) ** 2).mean() + Z**2 * error)
        )
        for end in ("low", "high")
    )
    return Interval(float(value), float(value - down), float(value + up))


def describe(verdict: Verdict) -> str:
    """Write a verdict beside what the paper says, for a notebook's last cell."""
    own = verdict.own
    said = f"{own.id}: {own.statement}" if own else f"Paper, {paper.says(verdict.id)}"
    return f"{said}\nOurs: {verdict.sentence}\nVerdict: {verdict.verdict}."


def better(gain: Interval) -> str:
    """Judge whether one is better: surely above 0, or surely not worth having."""
    if gain.low > 0:
        return REPRODUCED
    return CONTRADICTED if gain.high < NEGLIGIBLE else INCONCLUSIVE


def ledger_row(verdict: Verdict) -> dict:
    """Return the verdict as a row of claims.json.

    Numbers that are unknown or infinite are None, for JSON knows neither; the interval
    is None where nothing was measured.
    """
    value, low, high = finite(verdict[2:5])
    return {
        "id": verdict.id,
        "verdict": verdict.verdict,
        "value": value,
        "interval": None if np.isnan(verdict.low) else [low, high],
        "seeds": verdict.seeds,
        "paper": (verdict.own or paper.claim(verdict.id)).value,
        "sentence": verdict.sentence,
    }


def finite(numbers: Sequence[float]) -> list[float | None]:
    """Return numbers for JSON: what is unknown or infinite is None."""
    return [float(number) if np.isfinite(number) else None for number in numbers]


def untestable(table: pd.DataFrame, best: float) -> str:
    """Return why nothing can be said from this table at all, or an empty text."""
    problems = int(table["n_problems"].max())
    if problems < MIN_PROBLEMS:
        return f"{problems} test problems, fewer than {MIN_PROBLEMS}"
    if best < MIN_ACCURACY:
        return f"no model solves {100 * MIN_ACCURACY:.0f} % of the test problems"
    return ""


def not_testable(
    claim_id: str, table: pd.DataFrame, reason: str, measured: Interval = NOTHING
) -> Verdict:
    """Return the verdict of a claim that this table cannot test, and why.

    measured: the claim's quantity all the same, where there is one.
    """
    sentence = f"{reason}."
    return Verdict(claim_id, NOT_TESTABLE, *measured, count_seeds(table), sentence)


def in_points(interval: Interval) -> str:
    """Write a difference of accuracies in percentage points, with its limits."""
    mean, low, high = (100 * number for number in interval)
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def count_seeds(table: pd.DataFrame) -> int:
    """Return how many seeds a table holds."""
    return int(table["seed"].nunique())


def in_seeds(table: pd.DataFrame) -> str:
    """Write how many seeds a table holds."""
    seeds = count_seeds(table)
    return "one seed" if seeds == 1 else f"{seeds} seeds"
