"""Accuracies over a model's pretraining, and below them what explains them."""

import numpy as np
import pandas as pd

from gsmlib.chapters import style
from gsmlib.chapters.style import (
    BLACK,
    FINETUNING,
    GREY,
    LOGPROB,
    UNVERIFIED,
    VERIFICATION,
    Line,
)
from gsmlib.method.selection import NO_VERIFIER

# the pretrained model's own
STEPS = Line(BLACK, "D", "-", filled=False)
QUOTES = Line(GREY, "o", ":")
CHANCE = 50  # percent: the AUC of a score that knows nothing


@style.styled
def course(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Above what is solved; below what the pretrained model can do, and AUCs.

    table: the rows of `grid.table`; axes: two, one above the other.
    """
    top, bottom = axes
    for name, line in UNVERIFIED.items():
        rows = table.assign(accuracy=table[name])
        style.plain(top, rows, "texts", line, NO_VERIFIER[name], zorder=1.5)
    style.points(top, table, "texts", VERIFICATION, "best-scored", factor=1.04)
    style.points(top, table, "texts", FINETUNING, "finetuning", "greedy", factor=0.96)
    for name, line, words in (
        ("quotes", QUOTES, "quotes copied"),  # of MiniGSM alone, as the steps
        ("steps", STEPS, "single steps right"),
        ("within_auc", VERIFICATION, "AUC of the verifier"),
        ("logprob_auc", LOGPROB, "AUC of the log-probability"),
    ):
        if name in table:
            style.points(bottom, table, "texts", line, words, name)
    bottom.axhline(CHANCE, color=GREY, linewidth=0.6, zorder=0)
    for panel, words in ((top, style.SOLVED), (bottom, "share, AUC (%)")):
        style.size_axis(panel, table["texts"])
        panel.set(xlabel="", ylabel=words, ylim=(0, None))
        style.legend(panel, 2)
    style.label_below(axes, "texts of the pretraining")
    style.caption(top, table)
    return axes
