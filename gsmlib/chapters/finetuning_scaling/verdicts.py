"""C1 and C4: finetuned test@1 by data and parameters (Fig 2), and without steps.

The line accuracy = level + slope * (log10(parameters) - centre) at one training-set
size also says what verification is worth in model size (the "30x" of C6).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import rules
from gsmlib.method.metrics import Interval

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


def c1(table: pd.DataFrame) -> rules.Verdict:
    """C1: data and parameters both raise test@1, about log-linearly in parameters.

    Slopes are those of the largest model over data, and of the largest training set
    over parameters. Reproduced: both are surely above 0, and the line explains at least
    LINEAR of the variance. Contradicted: either is surely below NEGLIGIBLE. The value
    is the number of parameters at which the line reaches 80 %, inf where none does.
    """
    reason = _untestable_grid(table)
    if reason:
        return rules.not_testable("C1", table, reason)
    largest = table[table["parameters"] == table["parameters"].max()]
    data = rules.over_seeds(largest[largest["data_slope"].notna()], "data_slope")
    n_train = int(table["n_train"].max())
    line = fit_line(table, n_train)
    needed = parameters_for(line, GOAL)
    word = rules.INCONCLUSIVE
    if min(data.high, line.slope.high) < rules.NEGLIGIBLE:
        word = rules.CONTRADICTED
    elif min(data.low, line.slope.low) > 0 and line.explained >= rules.LINEAR:
        word = rules.REPRODUCED
    sentence = (
        f"ten times the problems change test@1 of {largest['model'].iloc[0]} by "
        f"{rules.in_points(data)}, ten times the parameters at {n_train:,} problems by "
        f"{rules.in_points(line.slope)}; the line over {table['model'].nunique()} "
        f"models explains {100 * line.explained:.0f} % of their variance and reaches "
        f"{100 * GOAL:.0f} % at {in_parameters(needed)} parameters; "
        f"{rules.in_seeds(table)}."
    )
    return rules.Verdict("C1", word, *needed, rules.count_seeds(table), sentence)


def c4(table: pd.DataFrame) -> rules.Verdict:
    """C4: without steps accuracy collapses.

    The value is the ratio of accuracies, direct over with steps. Reproduced: surely
    below COLLAPSE. Contradicted: surely above it.
    """
    direct, steps = (
        table[table["answers"] == answers] for answers in ("direct", "with steps")
    )
    reason = rules.untestable(table, steps["accuracy"].mean())
    if reason:
        return rules.not_testable("C4", table, reason)
    kept = ratio(_accuracy(direct), _accuracy(steps))
    word = rules.INCONCLUSIVE
    if kept.high < rules.COLLAPSE:
        word = rules.REPRODUCED
    elif kept.low > rules.COLLAPSE:
        word = rules.CONTRADICTED
    sentence = (
        f"{table['model'].iloc[0]} finetuned on {table['n_train'].iloc[0]:,} problems "
        f"solves {100 * steps['accuracy'].mean():.1f} % with steps and "
        f"{100 * direct['accuracy'].mean():.1f} % without, "
        f"{rules.in_points(rules.over_seeds(direct, 'gap'))}; ratio {kept.mean:.2f} "
        f"({kept.low:.2f} to {kept.high:.2f}); {rules.in_seeds(table)}."
    )
    return rules.Verdict("C4", word, *kept, rules.count_seeds(table), sentence)


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
    return _power(_decades(rise, line.slope), line.centre)


def size_factor(scaling: pd.DataFrame, verification: pd.DataFrame) -> Interval:
    """Return the factor in model size that verification is worth, 10^(gain / slope).

    The gain is that of the largest model that both tables have, at the largest training
    set they share; the slope that of Fig 2's line there. The interval comes from normal
    draws of both; inf: no larger model would do, as the line does not rise. nan where
    nothing is shared or there are fewer than two models.
    """
    verified = verification[verification["method"] == "verification"]
    verified = verified[verified["model"].isin(scaling["model"])]
    verified = verified[verified["n_train"].isin(scaling["n_train"])]
    if verified.empty:
        return rules.NOTHING
    model = verified.sort_values("parameters")["model"].iloc[-1]
    verified = verified[verified["model"] == model]
    n_train = int(verified["n_train"].max())
    gain = rules.over_seeds(verified[verified["n_train"] == n_train], "gain")
    return _power(_decades(gain, fit_line(scaling, n_train).slope), 0.0)


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


def _decades(rise: Interval, slope: Interval) -> Interval:
    """By how many factors of ten a model must grow to rise so much, with limits."""
    rng = np.random.default_rng(0)
    steps = _steps(_draws(rise, rng), _draws(slope, rng))
    mean = float(_steps(np.array([rise.mean]), np.array([slope.mean]))[0])
    return Interval(mean, *_limits(steps))


def _steps(rise: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """rise / slope; without end where the line does not rise."""
    endless = np.select([rise > 0, rise < 0], [np.inf, -np.inf], 0.0)
    steps = np.divide(rise, slope, out=endless, where=slope > 0)
    return np.where(np.isnan(rise + slope), np.nan, steps)


def _draws(interval: Interval, rng: np.random.Generator) -> np.ndarray:
    error = (interval.high - interval.low) / (2 * rules.Z)
    return interval.mean + error * rng.standard_normal(rules.DRAWS)


def _limits(draws: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 %; never between a number and infinity."""
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def _power(decades: Interval, offset: float) -> Interval:
    with np.errstate(over="ignore"):
        return Interval(*(float(np.float64(10) ** (offset + d)) for d in decades))


def _accuracy(rows: pd.DataFrame) -> Interval:
    names = {"low": "accuracy_low", "high": "accuracy_high"}
    return rules.over_seeds(rows.rename(columns=names), "accuracy")


def _untestable_grid(table: pd.DataFrame) -> str:
    sizes, models = table["n_train"].nunique(), table["parameters"].nunique()
    if sizes < 2:
        return f"{sizes} training-set size, fewer than 2"
    if models < rules.MIN_MODELS:
        return f"{models} model sizes, fewer than {rules.MIN_MODELS}"
    means = table.groupby(["model", "n_train"])["accuracy"].mean()
    return rules.untestable(table, means.max())
