"""Verifiers over their training, and small and large models crossed (Fig 6)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gsmlib.chapters import style
from gsmlib.chapters.style import FINETUNING, FOURTH, GREY, THIRD, VERIFICATION, Line

ACCURACY = ("accuracy", "low", "high")
LEGEND_LETTERS = 20  # longer names take a line each
SAMPLES = Line(GREY, "", (0, (1, 2)))


@style.styled
def fig6a(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6a: token-level and solution-level verifiers over their training.

    table: rows of `grid.training_curve`; those of the joint objective
    are drawn.
    """
    labels = {"token": "token-level", "solution": "solution-level"}
    return _over_training(table[table["objective"] == "joint"], axes, "level", labels)


@style.styled
def fig6b(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6b: the joint objective and verification only over a verifier's training.

    table: rows of `grid.training_curve`; those of token-level verifiers
    are drawn.
    """
    labels = {"joint": "joint objective", "verification only": "verification only"}
    return _over_training(table[table["level"] == "token"], axes, "objective", labels)


def _over_training(
    table: pd.DataFrame, axes: Axes, column: str, labels: dict[str, str]
) -> Axes:
    shift = 0.008 * table["epochs"].max()  # bars side by side
    looks = ((VERIFICATION, -shift), (FINETUNING, shift))
    for (name, label), (line, nudge) in zip(labels.items(), looks, strict=True):
        style.points(
            axes, table[table[column] == name], "epochs", ACCURACY, line, label, nudge
        )
    samples, end = 100 * table["mean_accuracy"].mean(), table["epochs"].max()
    look = dict(color=SAMPLES.color, linestyle=SAMPLES.dashes, zorder=1)
    axes.errorbar([0, end], [samples, samples], label="single samples", **look)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("epochs of verifier training")
    axes.set_ylabel(f"solved by the best\nof {table['n'].max():.0f} (%)")
    _room_around(axes)
    style.legend(axes, 2)
    style.caption(axes, table)
    return axes


@style.styled
def fig6c(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 6c: small and large generators with small and large verifiers.

    table: the rows of `grid.model_pairs`.
    """
    sizes = ["generator_parameters", "verifier_parameters"]
    pairs = table.sort_values(sizes, ascending=False)
    pairs = pairs[["generator", "verifier"]].drop_duplicates().to_numpy().tolist()
    looks = (VERIFICATION, FINETUNING, THIRD, FOURTH)
    for place, ((generator, verifier), line) in enumerate(
        zip(pairs, looks, strict=False)
    ):
        chosen = (table["generator"] == generator) & (table["verifier"] == verifier)
        rows = table[chosen]
        rows = rows.assign(n_train=rows["n_train"] * (1 + 0.03 * (place - 1.5)))
        style.points(axes, rows, "n_train", ACCURACY, line, f"{generator}, {verifier}")
    style.size_axis(axes, sorted(table["n_train"].unique()))
    axes.set_ylabel(f"solved by the best\nof {table['n'].max():.0f} (%)")
    axes.set_ylim(bottom=0)
    longest = max(len(f"{generator}, {verifier}") for generator, verifier in pairs)
    style.legend(axes, 2 if longest <= LEGEND_LETTERS else 1)
    axes.get_legend().set_title("generator, verifier", prop={"size": 7})
    style.caption(axes, table)
    return axes


def _room_around(axes: Axes) -> None:
    """Start the y axis at 0 where the curves are near it; never below."""
    low, high = axes.get_ylim()
    axes.set_ylim(0 if low < 0.3 * high else low, high)
