"""C5, C6 and C7: finetuning against verification over training problems (Fig 5)."""

import numpy as np
import pandas as pd

from gsmlib.chapters.rules import (
    CONTRADICTED,
    DRAWS,
    INCONCLUSIVE,
    MIN_SIZES,
    NEGLIGIBLE,
    REPRODUCED,
    STRONG,
    Verdict,
    Z,
    count_seeds,
    in_points,
    in_seeds,
    not_testable,
    over_seeds,
    untestable,
)
from gsmlib.method.metrics import Interval


def c5(table: pd.DataFrame) -> Verdict:
    """C5: on the smallest training set verification does not help.

    Reproduced: its gain is surely below NEGLIGIBLE for every model. Contradicted: it is
    surely above 0 for any.
    """
    reason = _untestable_sizes(table, 2)
    if reason:
        return not_testable("C5", table, reason)
    size = int(table["n_train"].min())
    gains = _gains_at(table, size)
    words = [
        REPRODUCED
        if gain.high < NEGLIGIBLE
        else CONTRADICTED
        if gain.low > 0
        else INCONCLUSIVE
        for gain in gains.values()
    ]
    return _gain_verdict("C5", table, size, gains, words)


def c6(table: pd.DataFrame) -> Verdict:
    """C6: on the largest training set verification is a strong boost.

    Reproduced: its gain is surely above 0 and at least STRONG for every model.
    Contradicted: it is surely below STRONG for any.
    """
    reason = _untestable_sizes(table, 2)
    if reason:
        return not_testable("C6", table, reason)
    size = int(table["n_train"].max())
    gains = _gains_at(table, size)
    words = [
        CONTRADICTED
        if gain.high < STRONG
        else REPRODUCED
        if gain.low > 0 and gain.mean >= STRONG
        else INCONCLUSIVE
        for gain in gains.values()
    ]
    return _gain_verdict("C6", table, size, gains, words)


def c7(table: pd.DataFrame) -> Verdict:
    """C7: the larger model's verifier overtakes finetuning at fewer problems.

    The value is the smaller model's crossing divided by the larger one's; its interval
    comes from normal draws of every gain. Reproduced: surely above 1. Contradicted:
    surely below 1.
    """
    models = _models(table)
    reason = _untestable_sizes(table, MIN_SIZES)
    if not reason and len(models) < 2:
        reason = "one model size only"
    if reason:
        return not_testable("C7", table, reason)
    sizes = np.array(sorted(table["n_train"].unique()))
    means, errors = _gain_grid(table, [models[0], models[-1]], sizes)
    crossings = [take_off(sizes, gains) for gains in means]
    if not np.isfinite(crossings).any():
        gains = _gains_at(table, int(sizes[-1]))
        text = (
            f"verification overtakes finetuning for neither model (at {sizes[-1]:,} "
            f"problems {_in_models(gains)})"
        )
        return not_testable("C7", table, text)
    ratio = _crossing_ratio(sizes, means)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((DRAWS, *means.shape))
    ratios = [_crossing_ratio(sizes, means + errors * draw) for draw in noise]
    low, high = np.quantile(ratios, [0.025, 0.975])
    word = REPRODUCED if low > 1 else CONTRADICTED if high < 1 else INCONCLUSIVE
    places = ", ".join(
        f"{model} {_place(sizes, crossing)}"
        for model, crossing in zip((models[0], models[-1]), crossings, strict=True)
    )
    sentence = (
        f"verification overtakes finetuning at these numbers of training problems: "
        f"{places}; ratio {ratio:.2f} ({low:.2f} to {high:.2f}); {in_seeds(table)}."
    )
    return Verdict("C7", word, ratio, low, high, count_seeds(table), sentence)


def take_off(sizes: np.ndarray, gains: np.ndarray) -> float:
    """Return the number of problems from which all gains are positive.

    Interpolated on a log axis; the smallest size if all are, inf if the last is not.
    """
    negative = np.flatnonzero(gains <= 0)
    if negative.size == 0:
        return float(sizes[0])
    i = negative[-1]
    if i == len(sizes) - 1:
        return np.inf
    share = -gains[i] / (gains[i + 1] - gains[i])
    return float(sizes[i] * (sizes[i + 1] / sizes[i]) ** share)


def _crossing_ratio(sizes: np.ndarray, gains: np.ndarray) -> float:
    """Smaller model's crossing over the larger's; none is twice the last size."""
    small, large = (min(take_off(sizes, row), 2 * sizes[-1]) for row in gains)
    return small / large


def _place(sizes: np.ndarray, crossing: float) -> str:
    if not np.isfinite(crossing):
        return f"beyond {sizes[-1]:,}"
    return f"by {sizes[0]:,}" if crossing == sizes[0] else f"{crossing:,.0f}"


def _gain_grid(
    table: pd.DataFrame, models: list[str], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (models, sizes) arrays: mean gain over seeds, and its standard error."""
    gains = [[_gains_at(table, size)[model] for size in sizes] for model in models]
    means = np.array([[gain.mean for gain in row] for row in gains])
    widths = np.array([[gain.high - gain.low for gain in row] for row in gains])
    return means, widths / (2 * Z)


def _gains_at(table: pd.DataFrame, size: int) -> dict[str, Interval]:
    """Return verification minus finetuning per model, smallest first, at one size."""
    rows = table[(table["method"] == "verification") & (table["n_train"] == size)]
    return {
        model: over_seeds(rows[rows["model"] == model], "gain")
        for model in _models(table)
    }


def _models(table: pd.DataFrame) -> list[str]:
    return list(table.sort_values("parameters")["model"].unique())


def _gain_verdict(
    claim_id: str,
    table: pd.DataFrame,
    size: int,
    gains: dict[str, Interval],
    words: list[str],
) -> Verdict:
    """Join the models' verdicts; the value is the largest model's gain."""
    word = words[0] if len(set(words)) == 1 else INCONCLUSIVE
    if CONTRADICTED in words:
        word = CONTRADICTED
    sentence = (
        f"verification minus finetuning at {size:,} training problems: "
        f"{_in_models(gains)}; {in_seeds(table)}."
    )
    largest = list(gains.values())[-1]
    return Verdict(claim_id, word, *largest, count_seeds(table), sentence)


def _in_models(gains: dict[str, Interval]) -> str:
    return ", ".join(f"{model} {in_points(gain)}" for model, gain in gains.items())


def _untestable_sizes(table: pd.DataFrame, least: int) -> str:
    found = table["n_train"].nunique()
    if found < least:
        return f"{found} training-set sizes, fewer than {least}"
    finetuned = table[table["method"] == "finetuning"]
    return untestable(
        table, finetuned.groupby(["model", "n_train"])["accuracy"].mean().max()
    )
