"""What selection reaches, what it could, what it costs, and what is known before."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    CEILING,
    FINETUNING,
    GREY,
    LOGPROB,
    LOGPROB_SUM,
    SAMPLES,
    VERIFICATION,
    VOTE,
    WEIGHTED_VOTE,
    Line,
)
from gsmlib.method.intervals import column_names

# In the order they are drawn: the two votes often lie on each other.
METHODS = {
    "test@n": ("coverage: test@n", CEILING),
    "majority vote": ("majority vote", VOTE),
    "weighted vote": ("vote weighted by score", WEIGHTED_VOTE),
    "log-probability": ("log-probability", LOGPROB_SUM),
    "log-probability per token": ("log-probability per token", LOGPROB),
    "verification": ("best-scored", VERIFICATION),
    "random pick": ("random pick", SAMPLES),
}
FORESEEN = Line(BLACK, "D", ":", filled=False)
NEAR = 0.1  # the share of wrong completions up to which the ROC is enlarged
NEAREST = 1e-3


@style.styled
def gap(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: coverage and each choice over n; below: what the best one leaves.

    table: the rows of `grid.choices_table`; axes: two, one above the other.
    """
    top, bottom = axes
    table = table[table["method"] != "greedy"]
    for place, (method, (label, line)) in enumerate(METHODS.items()):
        rows = table[table["method"] == method]
        width = 2.0 if method == "majority vote" else 1.0
        look = dict(linewidth=width, zorder=2 + place / 10)
        style.plain(top, rows, "n", line, label, **look)
    best = table[table["best"]]
    left = 100 * best.groupby("n")["gap"].mean()
    bottom.plot(left.index, left, color=GREY, linewidth=0.8, zorder=1)
    for method, (label, line) in METHODS.items():
        rows = best[best["method"] == method]
        if len(rows):
            marks = line._replace(dashes="none")
            style.points(bottom, rows, "n", marks, label, "gap")
    for panel in axes:
        panel.set_ylim(bottom=0)
        style.count_axis(panel, table["n"].max())
    top.set_ylabel(style.SOLVED)
    bottom.set_ylabel("gap (points)")
    style.legend(top, 2)
    style.legend(bottom, 2)
    style.label_below(axes, "completions per problem (n)")
    style.caption(
        bottom,
        table,
        "Below: coverage minus the choice that solves most at each n.",
    )
    return axes


@style.styled
def law(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: -log coverage over n with the fitted law; below: rates of success.

    table: the rows of `grid.law_table`; axes: two, one above the other.
    """
    top, bottom = axes
    rows = table[table["part"] == "coverage"]
    by_n = rows.groupby("n")[list(column_names(""))].mean()
    by_n = by_n[(by_n["accuracy"] > 0) & (by_n["accuracy"] < 1)]
    fitted = table["slope"].notna().all()
    if len(by_n):
        ns = by_n.index.to_numpy(float)
        value, high, low = -np.log(np.clip(by_n.to_numpy().T, 1e-9, 1 - 1e-9))
        bars = np.maximum([value - low, high - value], 0)
        look = CEILING.look | dict(linestyle="none", elinewidth=0.7)
        top.errorbar(ns, value, bars, label="measured", **look)
        top.set(xscale="log", yscale="log")
    if fitted:
        first = table.iloc[0]
        words = f"power law: slope {first['slope']:.2f}"
        words += f" ({first['slope_low']:.2f} to {first['slope_high']:.2f})"
        line = np.exp(first["level"]) * ns ** first["slope"]
        top.plot(ns, line, color=GREY, linewidth=1.0, zorder=1, label=words)
    if len(by_n):
        style.count_axis(top, rows["n"].max())
        style.plain_ticks(top.yaxis)
        style.legend(top, 2)
    top.set(xlabel="completions per problem (n)", ylabel="-log coverage")
    _rates(bottom, table[table["part"] == "histogram"])
    style.caption(bottom, table)
    return axes


def _rates(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw how many problems are solved how often; those never solved stand apart."""
    by_rate = 100 * rows.groupby("rate")[list(column_names("problems"))].mean()
    value, low, high = by_rate.to_numpy().T
    rates = by_rate.index.to_numpy()
    step = 1 / (len(rates) - 1)
    at = np.where(rates > 0, rates - step / 2, -step)
    colors = [style.shade(GREY, 0.4) if rate else BLACK for rate in rates]
    bars = np.maximum([value - low, high - value], 0)
    axes.bar(at, value, 0.9 * step, color=colors)
    look = dict(color=GREY, linestyle="none", elinewidth=0.7)
    axes.errorbar(at, value, bars, **look)
    ticks = {-step: "never", **{rate: f"{100 * rate:.0f}" for rate in rates[2::2]}}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set(xlabel="right completions (%)", ylabel="problems (%)")
    axes.grid(axis="x", visible=False)


@style.styled
def foresight(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: the ROC within problems, enlarged near 0; below: foreseen and measured.

    table: the rows of `grid.foresight_table`; axes: two, one above the other.
    """
    top, bottom = axes
    rows = table[table["part"] == "roc"]
    inset = top.inset_axes((0.5, 0.16, 0.47, 0.5))
    for panel in (top, inset):
        _roc(panel, rows)
    top.set(xlim=(-1, 101), ylim=(0, 101), ylabel="right ones kept (%)")
    top.set_xlabel("wrong completions kept (%)")
    near = rows[rows["place"].between(NEAREST, NEAR)]
    most = np.nanmax([100 * near["right_high"].max(), 100 * NEAR])
    inset.set(xscale="log", xlim=(100 * NEAREST, 100 * NEAR), ylim=(0, 1.2 * most))
    inset.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    inset.tick_params(labelsize=6)
    look = dict(transform=inset.transAxes, va="top", fontsize=6)
    inset.text(0.04, 0.96, "near the origin", **look)
    curve = table[table["part"] == "curve"]
    style.points(bottom, curve, "n", VERIFICATION, "best-scored, measured")
    style.points(bottom, curve, "n", FORESEEN, "foreseen", "foreseen", factor=1.04)
    one = 100 * curve.groupby("n")["one_roc"].mean()
    words = "foreseen, were problems alike"
    bottom.plot(one.index, one, color=GREY, linewidth=0.9, linestyle="-.", label=words)
    style.count_axis(bottom, curve["n"].max())
    few = curve["few"].max()
    bottom.axvspan(0.85, few, color="#EEEEEE", linewidth=0, zorder=0)
    bottom.set(xlabel="completions per problem (n)", ylabel=style.SOLVED)
    style.legend(bottom, 2)
    seen = (
        "Band of the ROC: 95 % interval. Grey: up to the "
        f"{few:.0f} completions of a problem whose labels the forecast has seen."
    )
    style.caption(bottom, table, seen)
    return axes


def _roc(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the ROC's mean over seeds with its limits, and what chance reaches."""
    by_place = 100 * rows.groupby("place")[list(column_names("right"))].mean()
    value, low, high = by_place.to_numpy().T
    at = 100 * by_place.index.to_numpy()
    look = dict(color=VERIFICATION.color, linewidth=1.2)
    axes.plot(at, value, linestyle=VERIFICATION.dashes, **look)
    axes.fill_between(at, low, high, color=VERIFICATION.color, alpha=0.15, linewidth=0)
    axes.plot(at, at, color=GREY, linewidth=0.8, linestyle=":")


@style.styled
def budget(table: pd.DataFrame, axes: Axes) -> Axes:
    """Accuracy over operations a problem; ringed: nothing as cheap is better.

    table: the rows of `grid.choices_table`.
    """
    looks = {"greedy": ("greedy", FINETUNING), **METHODS}
    for method, (label, line) in looks.items():
        rows = table[table["method"] == method]
        if method not in ("test@n", "random pick") and len(rows):
            means = rows.groupby("n")[["flops", "accuracy"]].mean()
            look = line.look | dict(markersize=3.5, linewidth=1)
            axes.plot(means["flops"], 100 * means["accuracy"], label=label, **look)
    front = table[table["frontier"]].groupby(["method", "n"])
    means = front[["flops", "accuracy", "low", "high"]].mean().sort_values("flops")
    value, low, high = (100 * means[name] for name in ("accuracy", "low", "high"))
    bars = np.maximum([value - low, high - value], 0)
    look = dict(marker="o", markersize=7.5, markerfacecolor="none", color=BLACK)
    look |= dict(markeredgewidth=0.7, elinewidth=0.5, linestyle="none", zorder=1)
    axes.errorbar(means["flops"], value, bars, label="best for its cost", **look)
    axes.set_xscale("log")
    axes.set(xlabel="operations per problem (FLOPs)", ylabel=style.SOLVED)
    axes.margins(x=0.08)
    axes.set_ylim(bottom=0)
    style.legend(axes, 2)
    style.caption(axes, table)
    return axes


@style.styled
def doubt(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above: risk over the share that is answered; below: AUC over the share read.

    table: the rows of `grid.doubt_table`; axes: two, one above the other.
    """
    top, bottom = axes
    looks = {
        "random": ("abstaining at random", SAMPLES),
        "score": ("by the best score", VERIFICATION),
        "oracle": ("oracle", CEILING),
    }
    for by, (label, line) in looks.items():
        rows = table[table["by"] == by]
        rows = rows.assign(answered=100 * rows["share"])
        words = f"{label}: area {rows['area'].mean():.2f}"
        if by == "score":
            limits = rows[["area_low", "area_high"]].iloc[0]
            words += " ({:.2f} to {:.2f})".format(*limits)
            style.points(top, rows, "answered", line, words, "risk")
        else:
            risk = 100 * rows.groupby("answered")["risk"].mean()
            look = line.look | dict(markersize=2.8, linewidth=1, clip_on=False)
            top.plot(risk.index, risk, label=words, **look)
    top.set(
        xlabel="problems answered, the surest first (%)", ylabel="of these wrong (%)"
    )
    top.set_ylim(bottom=0)
    read = table[table["part"] == "reading"]
    read = read.assign(read=100 * read["share"])
    style.points(bottom, read, "read", VERIFICATION, "score so far", "auc")
    bottom.axhline(50, color=BLACK, linewidth=0.8, zorder=0, label="chance")
    bottom.set(
        xlabel="of a solution's tokens read (%)", ylabel="AUC within problems (%)"
    )
    style.legend(top, 1)
    style.legend(bottom, 2)
    style.caption(bottom, table)
    return axes
