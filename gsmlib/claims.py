"""Each claim's test on our tables, with thresholds fixed before the study.

A verdict says "reproduced", "contradicted", "inconclusive" or "not testable at this
scale", always with its quantity, a 95 % interval and the number of seeds. Intervals
join the bootstrap over problems (paired between methods) with the spread over seeds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from gsmlib import paper
from gsmlib.metrics import Interval

REPRODUCED = "reproduced"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
NOT_TESTABLE = "not testable at this scale"

NEGLIGIBLE = 0.02  # differences in accuracy below two points count as none
STRONG = 0.05  # a strong boost is at least five points
MIN_ACCURACY = 0.02  # a model that solves less has learned nothing to compare
MIN_PROBLEMS = 20
MIN_EPOCHS = 4
MIN_SIZES = 3  # training-set sizes for a place where curves cross
EARLY = 0.5  # "the first few epochs" lie in the first half of the run
MONOTONE = 0.5  # Kendall's tau of a curve that rises about monotonically
Z = 1.959964  # half the width of a 95 % interval, in standard errors
DRAWS = 2000


class Verdict(NamedTuple):
    """A claim's verdict; value, low and high are nan where nothing was measured."""

    id: str
    verdict: str
    value: float
    low: float
    high: float
    seeds: int
    sentence: str


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


def judge_test_at_n(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts on C2 and C3 from the table of Fig 3."""
    return [c2(table), c3(table)]


def judge_verification(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts on C5, C6 and C7 from the table of Fig 5."""
    return [c5(table), c6(table), c7(table)]


def describe(verdict: Verdict) -> str:
    """Write a verdict beside what the paper says, for a notebook's last cell."""
    said = f"Paper, {paper.says(verdict.id)}"
    return f"{said}\nOurs: {verdict.sentence}\nVerdict: {verdict.verdict}."


def print_verdicts(folder: Path) -> None:
    """Print the verdicts that the exported tables of one scale allow.

    Raises ValueError when the folder holds none of them.
    """
    judges = {"fig3": judge_test_at_n, "fig5": judge_verification}
    tables = [
        (judge, csv)
        for figure, judge in judges.items()
        for csv in sorted(folder.glob(f"{figure}_*.csv"))
    ]
    if not tables:
        raise ValueError(f"{folder} holds no tables of Fig 3 or Fig 5: run the report.")
    for judge, csv in tables:
        for verdict in judge(pd.read_csv(csv)):
            print(describe(verdict), end="\n\n")


def ledger_row(verdict: Verdict) -> dict:
    """Return the verdict as a row of claims.json; unknown numbers are None."""
    value, low, high = (
        None if np.isnan(number) else float(number) for number in verdict[2:5]
    )
    return {
        "id": verdict.id,
        "verdict": verdict.verdict,
        "value": value,
        "interval": None if low is None or high is None else [low, high],
        "seeds": verdict.seeds,
        "paper": paper.claim(verdict.id).value,
        "sentence": verdict.sentence,
    }


# ------------------------------------------------------------ over epochs (Fig 3)


def c2(table: pd.DataFrame) -> Verdict:
    """C2: test@1 still rises after the epoch of the least test loss.

    Reproduced: the rise from there to the last epoch is surely above 0 and the whole
    curve about monotone. Contradicted: it is surely below NEGLIGIBLE.
    """
    reason = _untestable_epochs(table, "test_at_1")
    best = _least_loss_epochs(table)
    last = int(table["epoch"].max())
    if not reason and np.median(best) > last - 2:
        reason = f"the test loss still falls at epoch {last}: no overfitting to look at"
    if reason:
        return _not_testable("C2", table, reason)
    rise = over_seeds(table[table["epoch"] == last], "rise")
    curve = table.groupby("epoch")["test_at_1"].mean()
    trend = float(kendalltau(curve.index, curve).statistic)
    word = INCONCLUSIVE
    if rise.low > 0 and trend >= MONOTONE:
        word = REPRODUCED
    elif rise.high < NEGLIGIBLE:
        word = CONTRADICTED
    sentence = (
        f"the test loss is least at epoch {np.median(best):.0f} of {last}; from there "
        f"test@1 changes by {_points(rise)}; its trend over epochs is {trend:.2f} "
        f"(Kendall's tau); {_seeds(table)}."
    )
    return Verdict("C2", word, *rise, _count_seeds(table), sentence)


def c3(table: pd.DataFrame) -> Verdict:
    """C3: test@n peaks early and falls, more than test@1.

    Reproduced: the peak lies in the first half, the fall from it to the last epoch is
    surely above NEGLIGIBLE (the peak was picked as the highest, so 0 is too easy) and
    larger than that of test@1. Contradicted: the fall is surely below NEGLIGIBLE.
    """
    reason = _untestable_epochs(table, "test_at_n")
    if reason:
        return _not_testable("C3", table, reason)
    last = int(table["epoch"].max())
    curves = table.groupby("epoch")[["test_at_n", "test_at_1"]].mean()
    peak = int(curves["test_at_n"].idxmax())
    greedy_fall = float(curves["test_at_1"].max() - curves["test_at_1"].iloc[-1])
    fall = over_seeds(table[table["epoch"] == last], "fall")
    word = INCONCLUSIVE
    if fall.high < NEGLIGIBLE:
        word = CONTRADICTED
    elif peak <= EARLY * last and fall.low > NEGLIGIBLE and fall.mean > greedy_fall:
        word = REPRODUCED
    sentence = (
        f"test@{int(table['n'].max())} peaks at epoch {peak} of {last} and then falls "
        f"by {_points(fall)}; test@1 falls by {100 * greedy_fall:.1f} from its own "
        f"peak; {_seeds(table)}."
    )
    return Verdict("C3", word, *fall, _count_seeds(table), sentence)


def _least_loss_epochs(table: pd.DataFrame) -> np.ndarray:
    """Return, for each seed, the epoch of the least test loss."""
    losses = table.pivot(index="epoch", columns="seed", values="test_loss")
    return losses.idxmin().to_numpy()


def _untestable_epochs(table: pd.DataFrame, column: str) -> str:
    if table["epoch"].nunique() < MIN_EPOCHS:
        return f"{table['epoch'].nunique()} epochs, fewer than {MIN_EPOCHS}"
    return _untestable(table, table.groupby("epoch")[column].mean().max())


# --------------------------------------------------- over training problems (Fig 5)


def c5(table: pd.DataFrame) -> Verdict:
    """C5: on the smallest training set verification does not help.

    Reproduced: its gain is surely below NEGLIGIBLE for every model. Contradicted: it is
    surely above 0 for any.
    """
    reason = _untestable_sizes(table, 2)
    if reason:
        return _not_testable("C5", table, reason)
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
        return _not_testable("C6", table, reason)
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
        return _not_testable("C7", table, reason)
    sizes = np.array(sorted(table["n_train"].unique()))
    means, errors = _gain_grid(table, [models[0], models[-1]], sizes)
    crossings = [take_off(sizes, gains) for gains in means]
    if not np.isfinite(crossings).any():
        text = "verification overtakes finetuning for neither model"
        return _not_testable("C7", table, text)
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
        f"{places}; ratio {ratio:.2f} ({low:.2f} to {high:.2f}); {_seeds(table)}."
    )
    return Verdict("C7", word, ratio, low, high, _count_seeds(table), sentence)


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
    texts = ", ".join(f"{model} {_points(gain)}" for model, gain in gains.items())
    sentence = (
        f"verification minus finetuning at {size:,} training problems: {texts}; "
        f"{_seeds(table)}."
    )
    largest = list(gains.values())[-1]
    return Verdict(claim_id, word, *largest, _count_seeds(table), sentence)


def _untestable_sizes(table: pd.DataFrame, least: int) -> str:
    found = table["n_train"].nunique()
    if found < least:
        return f"{found} training-set sizes, fewer than {least}"
    finetuned = table[table["method"] == "finetuning"]
    return _untestable(
        table, finetuned.groupby(["model", "n_train"])["accuracy"].mean().max()
    )


# ------------------------------------------------------------------------- wording


def _untestable(table: pd.DataFrame, best: float) -> str:
    """Return why nothing can be said from this table at all, or an empty text."""
    problems = int(table["n_problems"].max())
    if problems < MIN_PROBLEMS:
        return f"{problems} test problems, fewer than {MIN_PROBLEMS}"
    if best < MIN_ACCURACY:
        return f"no model solves {100 * MIN_ACCURACY:.0f} % of the test problems"
    return ""


def _not_testable(claim_id: str, table: pd.DataFrame, reason: str) -> Verdict:
    nothing = (np.nan, np.nan, np.nan)
    sentence = f"{reason}."
    return Verdict(claim_id, NOT_TESTABLE, *nothing, _count_seeds(table), sentence)


def _points(interval: Interval) -> str:
    mean, low, high = (100 * number for number in interval)
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def _count_seeds(table: pd.DataFrame) -> int:
    return int(table["seed"].nunique())


def _seeds(table: pd.DataFrame) -> str:
    seeds = _count_seeds(table)
    return "one seed" if seeds == 1 else f"{seeds} seeds"
