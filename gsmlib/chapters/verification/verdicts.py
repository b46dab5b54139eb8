"""C5, C6 and C7: finetuning against verification over training problems (Fig 5)."""

import numpy as np
import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.rules import NEGLIGIBLE, STRONG, in_points
from gsmlib.method.intervals import Interval


@rules.judge
def c5(table: pd.DataFrame) -> rules.Finding:
    """C5: on the smallest training set verification does not help.

    It is asked of the models that solve MIN_ACCURACY there, by either method, and that
    verification helps on the smallest or the largest set: what it never helps is no
    matter of size. To help is to gain surely above 0, and not surely below NEGLIGIBLE.
    Reproduced: the gain is surely below NEGLIGIBLE for every such model. Not
    reproduced: verification helps any of them. Not testable: there is none.
    """
    table, left_out = _learned(table, 2)
    small, most = table["n_train"].min(), table["n_train"].max()
    best = _best_accuracies(table[table["n_train"] == small])
    gains, at_most = _gains_at(table, small), _gains_at(table, most)
    helped = {model: rules.better(g) == rules.REPRODUCED for model, g in gains.items()}
    asked = {
        model: gain
        for model, gain in gains.items()
        if best[model] >= rules.MIN_ACCURACY
        and (helped[model] or rules.better(at_most[model]) == rules.REPRODUCED)
    }
    none = {model: gain.high < NEGLIGIBLE for model, gain in asked.items()}
    gain, sentence = _largest_gain(asked or gains, small)
    if not asked:
        why = (
            f"no model solves {rules.LEAST_ACCURACY} there and surely gains by "
            f"verification there or at {most:,}, so this says nothing of small sets"
        )
        raise rules.NotTestable(f"{sentence}; {why}{left_out}", gain)
    if len(asked) < len(gains):
        others = ", ".join(model for model in gains if model not in asked)
        sentence += f"; {others} not asked, too weak there or never helped"
    sentence += rules.who_agrees(none) + left_out
    word = rules.decide(all(none.values()), any(helped[model] for model in asked))
    return rules.Finding(word, gain, sentence, "that it helps no model")


@rules.judge
def c6(table: pd.DataFrame) -> rules.Finding:
    """C6: on the largest training set verification is a strong boost.

    Reproduced: its gain is surely STRONG or more for every model. Not reproduced: it is
    surely below STRONG for any. Reversed: surely below 0 for all.
    """
    table, left_out = _learned(table, 2)
    size = table["n_train"].max()
    gains = _gains_at(table, size)
    strong = {model: gain.low >= STRONG for model, gain in gains.items()}
    weak = any(gain.high < STRONG for gain in gains.values())
    worse = all(gain.high < 0 for gain in gains.values())
    word = rules.decide(all(strong.values()), weak, worse)
    gain, sentence = _largest_gain(gains, size)
    if "completed" in table and (most := table["completed"].max()) < size:
        sentence += f" (the verifier learnt from completions of {most:,.0f} of them)"
    sentence += rules.who_agrees(strong) + left_out
    excluded = f"a gain of {100 * STRONG:.0f} points or more for every model"
    return rules.Finding(word, gain, sentence, excluded)


@rules.judge
def c7(table: pd.DataFrame) -> rules.Finding:
    """C7: the larger model's verifier overtakes finetuning at fewer problems.

    The value is the smaller model's crossing divided by the larger one's; its interval
    comes from normal draws of every gain. Reproduced: surely above 1. Reversed:
    surely below 1.
    """
    table, left_out = _learned(table, rules.MIN_SIZES)
    sizes = np.array(sorted(table["n_train"].unique()))
    gains_at = [_gains_at(table, size) for size in sizes]
    models = list(gains_at[-1])
    if len(models) < 2:
        raise rules.NotTestable(f"one model size only{left_out}")
    ends = models[0], models[-1]
    # (models, sizes, 3): mean, low and high of each gain
    gains = np.array([[at[model] for at in gains_at] for model in ends])
    means, errors = gains[..., 0], (gains[..., 2] - gains[..., 1]) / (2 * rules.Z)
    crossings = [take_off(sizes, row) for row in means]
    if not np.isfinite(crossings).any():
        raise rules.NotTestable(
            f"verification overtakes finetuning for neither model (at {sizes[-1]:,} "
            f"problems {_in_models(gains_at[-1])}){left_out}"
        )
    ratio = _crossing_ratio(sizes, means)
    noise = np.random.default_rng(0).standard_normal((rules.DRAWS, *means.shape))
    ratios = [_crossing_ratio(sizes, means + errors * draw) for draw in noise]
    low, high = np.quantile(ratios, [0.025, 0.975])
    places = ", ".join(
        f"{model} {_place(sizes, crossing)}"
        for model, crossing in zip(ends, crossings, strict=True)
    )
    sentence = (
        f"verification overtakes finetuning at these numbers of training problems: "
        f"{places}; ratio {ratio:.2f} ({low:.2f} to {high:.2f}){left_out}"
    )
    word = rules.decide(low > 1, excluded=False, opposite=high < 1)
    return rules.Finding(word, Interval(ratio, low, high), sentence)


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


def _gains_at(table: pd.DataFrame, size: int) -> dict[str, Interval]:
    """Return verification minus finetuning per model, smallest first, at one size."""
    rows = table[(table["method"] == "verification") & (table["n_train"] == size)]
    models = table.sort_values("parameters")["model"].unique()
    return {m: rules.over_seeds(rows[rows["model"] == m], "gain") for m in models}


def _largest_gain(gains: dict[str, Interval], size: int) -> tuple[Interval, str]:
    """Return the largest model's gain, and a sentence that tells every model's."""
    at = f"at {size:,} training problems"
    sentence = f"verification minus finetuning {at}: {_in_models(gains)}"
    return list(gains.values())[-1], sentence


def _in_models(gains: dict[str, Interval]) -> str:
    return ", ".join(f"{model} {in_points(gain)}" for model, gain in gains.items())


def _learned(table: pd.DataFrame, least: int) -> tuple[pd.DataFrame, str]:
    """Return the rows of models that learned, and words on those that did not.

    One verifier at least must check on the largest set: generator and finetuned model
    differ in epochs, so a gain may come without one.

    A model that neither method brings to MIN_ACCURACY has no gain to speak of, at any
    size: its difference of 0 would be precise and mean nothing.
    """
    rules.require(table["n_train"].nunique(), least, "training-set sizes")
    best = _best_accuracies(table)
    rules.require_learning(table, best.max())
    left = list(best[best < rules.MIN_ACCURACY].index)
    table = table[~table["model"].isin(left)]
    verified = table[table["method"] == "verification"]
    largest = verified["n_train"] == verified["n_train"].max()
    rules.require_checking(verified[largest], "model")
    words = f"; {', '.join(left)} left out, solving less than {rules.LEAST_ACCURACY}"
    return table, words if left else ""


def _best_accuracies(table: pd.DataFrame) -> pd.Series:
    """Return by model the best mean accuracy of either method at any size."""
    methods = table[table["method"].isin(("finetuning", "verification"))]
    means = methods.groupby(["model", "n_train", "method"], sort=False)["accuracy"]
    return means.mean().groupby("model", sort=False).max()
