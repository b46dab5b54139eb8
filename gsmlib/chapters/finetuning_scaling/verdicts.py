"""C1 and C4: finetuned test@1 by data and parameters (Fig 2), and without steps.

The line accuracy = level + slope * (log10(parameters) - centre) at one training-set
size also says what verification is worth in model size (the "30x" of C6).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import in_points
from gsmlib.method.intervals import Interval

GOAL = 0.8  # the accuracy that the paper extrapolates to


class LogLinear(NamedTuple):
    """The line of accuracy in log10(parameters); the slope is per tenfold."""

    centre: float  # mean log10(parameters) of the models
    level: Interval  # accuracy there
    slope: Interval
    explained: float  # R squared over the models' mean accuracies

    def at(self, parameters: np.ndarray) -> np.ndarray:
        """Return the line's accuracy at these numbers of parameters."""
        return self.level.mean + self.slope.mean * (np.log10(parameters) - self.centre)


@rules.judge
def c1(table: pd.DataFrame) -> rules.Finding:
    """C1: data and parameters both raise test@1, about log-linearly in parameters.

    Slopes are those of the largest model over data, and of the largest training set
    over parameters. Reproduced: both are surely above 0, and the line explains at least
    LINEAR of the variance. Not reproduced: either is surely below NEGLIGIBLE.
    Reversed: either is surely below 0. The value is the number of parameters at which
    the line reaches 80 %, inf where none does.
    """
    rules.require(table["n_train"].nunique(), 2, "training-set sizes")
    models = table["parameters"].nunique()
    rules.require(models, rules.MIN_MODELS, "model sizes")
    means = table.groupby(["model", "n_train"])["accuracy"].mean()
    rules.require_learning(table, means.max())
    largest = table[table["parameters"] == table["parameters"].max()]
    data = rules.over_seeds(largest[largest["data_slope"].notna()], "data_slope")
    n_train = table["n_train"].max()
    line = fit_line(table, n_train)
    needed = parameters_for(line, GOAL)
    most = min(data.high, line.slope.high)
    flat = most < rules.NEGLIGIBLE
    rises = min(data.low, line.slope.low) > 0 and line.explained >= rules.LINEAR
    sentence = (
        f"ten times the problems change test@1 of {largest['model'].iloc[0]} by "
        f"{in_points(data)}, ten times the parameters at {n_train:,} problems by "
        f"{in_points(line.slope)}; the line over {table['model'].nunique()} "
        f"models explains {100 * line.explained:.0f} % of their variance and reaches "
        f"{100 * GOAL:.0f} % at {in_parameters(needed)} parameters"
    )
    word = rules.decide(rises and not flat, flat, most < 0)
    excluded = f"a rise of {rules.AT_LEAST} by ten times as much of either"
    return rules.Finding(word, needed, sentence, excluded)


@rules.judge
def c4(table: pd.DataFrame) -> rules.Finding:
    """C4: without steps accuracy collapses.

    The value is the ratio of accuracies, direct over with steps. Reproduced: surely
    below COLLAPSE. Not reproduced: surely above it. Reversed: surely above 1.
    """
    rows = dict(list(table.groupby("answers")))
    direct, steps = (
        rules.over_seeds(rows[answers], "accuracy")
        for answers in ("direct", "with steps")
    )
    rules.require_learning(table, steps.mean)
    kept = ratio(direct, steps)
    gap = rules.over_seeds(rows["direct"], "gap")
    sentence = (
        f"{table['model'].iloc[0]} finetuned on {table['n_train'].iloc[0]:,} problems "
        f"solves {100 * steps.mean:.1f} % with steps and {100 * direct.mean:.1f} % "
        f"without, {in_points(gap)}; ratio {kept.mean:.2f} ({kept.low:.2f} to "
        f"{kept.high:.2f})"
    )
    lost = kept.high < rules.COLLAPSE
    word = rules.decide(lost, kept.low > rules.COLLAPSE, kept.low > 1)
    excluded = f"a ratio below {rules.COLLAPSE}"
    return rules.Finding(word, kept, sentence, excluded)


def fit_line(table: pd.DataFrame, n_train: int) -> LogLinear:
    """Return the log-linear fit at one training-set size, from the table of Fig 2.

    nan where there are fewer than two models.
    """
    rows = table[table["n_train"] == n_train]
    means = rows.groupby("parameters")["accuracy"].mean()
    fitted = rows[rows["parameters"] == rows["parameters"].max()]
    if len(means) < 2 or fitted["size_slope"].isna().all():
        return LogLinear(np.nan, rules.NOTHING, rules.NOTHING, np.nan)
    x = np.log10(means.index.to_numpy(dtype=float))
    spread = means.std() > 0
    explained = np.corrcoef(x, means)[0, 1] ** 2 if spread else 0.0
    level, slope = (rules.over_seeds(fitted, name) for name in ("level", "size_slope"))
    return LogLinear(float(x.mean()), level, slope, float(explained))


def parameters_for(line: LogLinear, accuracy: float) -> Interval:
    """Return where the line reaches an accuracy; inf where it does not rise.

    The interval comes from independent normal draws of level and slope.
    """
    rise = Interval(*(accuracy - line.level[i] for i in (0, 2, 1)))
    return _growth(rise, line.slope, line.centre)


def size_factor(scaling: pd.DataFrame, verification: pd.DataFrame) -> Interval:
    """Return the factor in model size that verification is worth, 10^(gain / slope).

    The gain is that of the largest model that both tables have, at the largest training
    set of verification; the slope that of Fig 2's line there. The interval comes from
    normal draws of both; inf: no larger model would do, as the line does not rise. nan
    where Fig 2 lacks that set, no model is shared or there are fewer than two.
    """
    verified = verification[verification["method"] == "verification"]
    n_train = verified["n_train"].max()
    verified = verified[verified["n_train"] == n_train]
    verified = verified[verified["model"].isin(scaling["model"])]
    if verified.empty or n_train not in set(scaling["n_train"]):
        return rules.NOTHING
    largest = verified["parameters"] == verified["parameters"].max()
    gain = rules.over_seeds(verified[largest], "gain")
    return _growth(gain, fit_line(scaling, n_train).slope)


def ratio(a: Interval, b: Interval) -> Interval:
    """Return a / b of two accuracies, with an interval from normal draws of both."""
    rng = np.random.default_rng(0)
    top, bottom = (np.maximum(_draws(interval, rng), 0) for interval in (a, b))
    shares = np.divide(top, bottom, out=np.full(rules.DRAWS, np.inf), where=bottom > 0)
    low, high = _limits(shares)
    return Interval(a.mean / b.mean, low, high)


def in_parameters(interval: Interval) -> str:
    """Write such as "3e8 (1e8 to 9e9)"; what has no limit is "no number of"."""
    if np.isinf(interval.mean):
        return "no number of"
    mean, low, high = (f"{n:.0e}".replace("e+0", "e") for n in interval)
    upward = f"to {high}" if np.isfinite(interval.high) else "or more, without limit"
    return f"{mean} ({low} {upward})".replace("e+", "e")


def _growth(rise: Interval, slope: Interval, start: float = 0.0) -> Interval:
    """10^(start + rise / slope): parameters for so much more accuracy, with limits."""
    rng = np.random.default_rng(0)
    decades = _steps(_draws(rise, rng), _draws(slope, rng))
    mean = _steps(np.array([rise.mean]), np.array([slope.mean]))[0]
    with np.errstate(over="ignore"):
        powers = (np.float64(10) ** (start + d) for d in (mean, *_limits(decades)))
        return Interval(*map(float, powers))


def _steps(rise: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """rise / slope; without end where the line does not rise."""
    endless = np.select([rise > 0, rise < 0], [np.inf, -np.inf], 0.0)
    steps = np.divide(rise, slope, out=endless, where=slope > 0)
    return np.where(np.isnan(rise + slope), np.nan, steps)


def _draws(interval: Interval, rng: np.random.Generator) -> np.ndarray:
    """Draw from two halves of normals, whose middle 95 % are the interval.

    Limits of a share near 0 lie above it: a normal of their width would end too low.
    """
    mean, low, high = interval
    z = rng.standard_normal(rules.DRAWS)
    return mean + z * np.where(z > 0, high - mean, mean - low) / rules.Z


def _limits(draws: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 %; never between a number and infinity."""
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)
