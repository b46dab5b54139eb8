"""How often a choice among the four released solutions is right, and how it ranks."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.released_solutions.grid import ANY, ERRORS, NOTHING
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    FINETUNING,
    GREY,
    LOGPROB,
    LOGPROB_SUM,
    SAMPLES,
    VERIFICATION,
    VERMILLION,
    Line,
)
from gsmlib.method.intervals import column_names

LOOKS = {
    "system": FINETUNING,
    "choice": SAMPLES,
    "verifier": VERIFICATION,
    "variant": VERIFICATION,
    "ceiling": CEILING,
}
LABELS = {
    "system": "one system alone",
    "choice": "a choice that needs no verifier",
    "verifier": "a verifier's choice",
    "ceiling": "were every choice right",
}
BEST = "175B verification"
TAUGHT = "Verifiers learn from the other half's solutions; alone: these alone."
JUDGES = "Alone: without the language objective. Likeliest: by the finetuned model."
LABEL_SIZE = 6.0  # points, of a row's label where the rows have room for it
ROW = 0.8  # of a kind of error's row is for the marks of all judges
PANELS = 0.55  # of the figure's height is for all rows of panels together, about
SHORTER = {  # what the labels of rows leave out
    "verification only": "alone",
    "log-probability per token": "likeliest per token",
    "log-probability": "likeliest",
    "majority, ties to the better system": "majority, then system",
}


@style.styled
def among_released(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: problems solved by each choice; below: how well rankings tell them apart.

    table: the rows of `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    _dots(top, table, "accuracy", 100, LABELS)
    best = table[table["choice"] == BEST]["accuracy"].mean()
    top.axvline(100 * best, color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    top.set_xlabel(style.SOLVED)
    ranked = table[table["within_auc"].notna()]
    places = _dots(bottom, ranked, "within_auc", 1, {})
    _beyond(bottom, ranked, places)
    bottom.axvline(0.5, color=BLACK, linewidth=0.8, zorder=0)
    bottom.set_xlabel("AUC within problems")
    style.legend(top, 1)
    style.legend(bottom, 1)
    style.caption(bottom, table, TAUGHT)
    return axes


def _dots(
    axes: Axes, table: pd.DataFrame, name: str, factor: float, labels: dict[str, str]
) -> dict[str, int]:
    """Draw a row per choice: the mean over seeds with the limits of all; return rows.

    What a verifier's scores do beside choosing, its variants, stands below it.
    """
    columns = list(column_names(name))
    order = table["kind"].replace("variant", "verifier").map(list(LOOKS).index)
    choices = table.iloc[order.argsort(kind="stable")]["choice"].unique()
    seen = set(LOOKS) - set(labels)
    for y, choice in enumerate(choices):
        rows = table[table["choice"] == choice]
        kind = rows["kind"].iloc[0]
        value, low, high = factor * rows[columns].mean()
        label = None if kind in seen else labels[kind]
        seen.add(kind)
        bars = np.maximum([[value - low], [high - value]], 0)
        axes.errorbar([value], [y], xerr=bars, **LOOKS[kind].marks, label=label)
    rows = axes.get_subplotspec().get_gridspec().nrows
    pitch = 72 * axes.figure.get_figheight() * PANELS / rows / len(choices)
    size = min(LABEL_SIZE, 0.85 * pitch)
    axes.set_yticks(range(len(choices)), map(_shorter, choices), fontsize=size)
    axes.set_ylim(len(choices) - 0.5, -0.5)
    return {choice: y for y, choice in enumerate(choices)}


def _shorter(choice: str) -> str:
    """Return a choice's label: a verifier's variant stands below it, by itself."""
    verifier, of, variant = choice.partition(": ")
    for words, fewer in SHORTER.items():
        verifier = verifier.replace(words, fewer)
    return f"its {variant}" if of else verifier


def _beyond(axes: Axes, ranked: pd.DataFrame, places: dict[str, int]) -> None:
    """Add what each ranking knows beyond who wrote a solution."""
    columns = list(column_names("adjusted_auc"))
    means = ranked.groupby("choice", sort=False)[columns].mean()
    x = means["adjusted_auc"]
    bars = np.maximum([x - means[columns[1]], means[columns[2]] - x], 0)
    y = np.array([places[choice] for choice in means.index]) + 0.3
    axes.errorbar(
        x,
        y,
        xerr=bars,
        fmt="d",
        color=BLACK,
        markersize=3,
        label="adjusted for system",
    )


@style.styled
def planted_errors(table: pd.DataFrame, axes: Axes) -> Axes:
    """How often a right solution outscores the wrong one, by kind of error and judge.

    table: the rows of `grid.planted_table`.
    """
    errors = [error for error in (*ERRORS, ANY) if error in set(table["error"])]
    looks = _judges(table)
    for place, ((judge, learnt), line) in enumerate(looks.items()):
        of_judge = table[(table["judge"] == judge) & (table["learnt"] == learnt)]
        for y, error in enumerate(errors):
            rows = of_judge[of_judge["error"] == error]
            at = y + ROW * ((place + 0.5) / len(looks) - 0.5)
            label = None if y else _words(judge, learnt)
            style.dot(axes, at, rows, line, "auc", label=label, half_band=0.05)
    axes.axvline(50, color=BLACK, linewidth=0.8, zorder=0)
    counts = table.groupby("error")["n_problems"].max()
    labels = [f"{error} ({counts[error]:,})" for error in errors]
    axes.set_yticks(range(len(errors)), labels)
    axes.set_ylim(len(errors) - 0.5, -0.5)
    axes.set_xlabel("pairs in the right order (%)")
    axes.figure.legend(loc="outside upper center")
    style.caption(axes, table, JUDGES)
    return axes


def _judges(table: pd.DataFrame) -> dict[tuple[str, str], Line]:
    """Return each judge's look, first of the one that learnt planted errors."""
    judges = list(table.groupby(["judge", "learnt"], sort=False).groups)
    others = sum(of == "released" for _, of in judges)
    by_learnt = {
        "planted": [VERIFICATION],
        "released": style.shades(VERMILLION, others, "^v<>"),
        NOTHING: [LOGPROB_SUM, LOGPROB],
    }
    looks = {}
    for of, lines in by_learnt.items():
        those = [judge for judge in judges if judge[1] == of]
        looks |= dict(zip(those, lines, strict=True))
    return looks


def _words(judge: str, learnt: str) -> str:
    for words, fewer in SHORTER.items():
        judge = judge.replace(words, fewer)
    taught = {"planted": "planted errors", "released": "released solutions"}
    return f"{judge}, on {taught[learnt]}" if learnt in taught else judge
