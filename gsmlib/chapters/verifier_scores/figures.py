"""Scores of tokens as coloured text (Fig 13), their calibration, Appendix D's pairs.

Colours run from red to green and grow lighter with the score, so that they keep their
order in grey and for the colour-blind.
"""

import html
import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise, zip_longest

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters.style import (
    GREY,
    VERIFICATION,
    caption,
    limit_names,
    points,
    styled,
)
from gsmlib.chapters.textpage import (
    INK,
    PAGE_COLUMNS,
    SCORE_INKS,
    Span,
    break_lines,
    show_token,
    write_page,
)
from gsmlib.chapters.verifier_scores.grid import CASES, OUTCOMES

GAP = 3  # characters between two solutions side by side
HALF = (PAGE_COLUMNS - GAP) // 2

Lines = list[list[tuple[int, Span]]]


# ---------------------------------------------------------------- Fig 13: token scores


@styled
def fig13(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 13: five solutions, each token coloured by its score.

    table: the rows of `grid.token_score_table`.
    """
    lines: Lines = []
    for place, (kind, *_) in enumerate(CASES, 1):
        lines += [*_case_lines(kind, table[table["place"] == place]), []]
    return write_page(axes, [*lines, *_key()])


def _case_lines(kind: str, rows: pd.DataFrame) -> Lines:
    if rows.empty:
        text = f"{kind.capitalize()}: there is no such completion."
        return break_lines([Span(text, "head")])
    first = rows.iloc[0]
    lines = break_lines([Span(describe_case(first), "head")])
    question = " ".join(first["question"].split())
    lines += break_lines([Span(question, "masked")])
    spans = [
        Span(piece, f"score {score_bin(score)}")
        for token, score in zip(rows["token"], rows["score"], strict=True)
        for piece in _boxes(token)
    ]
    return lines + break_lines(spans)


def describe_case(row: pd.Series) -> str:
    """Say what kind of case a row of Fig 13's table is, and whether its score fits."""
    answer = row["reference"].removeprefix("#### ")
    right = f"{answer} is right" if row["correct"] else f"wrong, {answer} is right"
    text = f"{row['case'].capitalize()}: {right}, score {row['last']:.2f}"
    return text if row["fits"] else f"{text} (none beyond 0.5: the nearest)"


def score_bin(score: float) -> int:
    """Return which fifth of [0, 1] a score lies in; what is beyond is at the end."""
    return int(np.clip(score * len(SCORE_INKS), 0, len(SCORE_INKS) - 1))


def _boxes(token: str) -> list[str]:
    """Cut a token behind its line ends, which are shown, and where it is too long."""
    pieces = re.findall(rf"[^\n]{{1,{HALF}}}\n?|\n", token)
    return [
        show_token(piece) + ("\n" if piece.endswith("\n") else "") for piece in pieces
    ]


def _key() -> Lines:
    spans = [Span("score: ")]
    for number, name in enumerate(_bin_names()):
        spans += [Span(f" {name} ", f"score {number}"), Span(" ")]
    return break_lines(spans)


def _bin_names() -> list[str]:
    edges = np.linspace(0, 1, len(SCORE_INKS) + 1)
    return [f"{low:.1f}-{high:.1f}" for low, high in pairwise(edges)]


def token_score_html(table: pd.DataFrame) -> str:
    """Return Fig 13's solutions as HTML: colour behind each token, its score above.

    table: as `fig13` takes it. All text is escaped: a model may write anything.
    """
    parts = []
    for _, rows in table.groupby("place", sort=True):
        first = rows.iloc[0]
        tokens = zip(rows["token"], rows["score"], strict=True)
        parts.append(
            f"<p><b>{html.escape(describe_case(first))}</b><br>"
            f"{html.escape(first['question'])}</p>\n"
            '<p style="line-height: 2.2">'
            + "".join(_ruby(token, score) for token, score in tokens)
            + "</p>"
        )
    return "\n".join(parts)


def _ruby(token: str, score: float) -> str:
    """A token with its score in small print above it, so that colour is not needed."""
    ink = INK[f"score {score_bin(score)}"]
    style = f"background: {ink.face}; color: {ink.color}; white-space: pre"
    end = "<br>" if token.endswith("\n") else ""
    text = html.escape(show_token(token))
    return f'<ruby style="{style}">{text}<rt>{score:.2f}</rt></ruby>{end}'


# --------------------------------------------------------------------- calibration


@styled
def calibration(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Share of right completions over their scores; below, how many have such scores.

    table: the rows of `grid.calibration_table`; axes: two, one above the other.
    """
    top, bottom = axes
    mean = table.groupby("bin")["score"].transform("mean")
    names = limit_names("right")
    points(top, table.assign(x=mean), "x", names, VERIFICATION, "last token's score")
    top.plot([0, 1], [0, 100], color=GREY, linewidth=0.8, label="calibrated")
    top.set_ylim(-3, 103)
    top.set_ylabel("right completions (%)")
    top.legend(loc="upper left")
    top.set_title(_measures(table), fontsize=7, loc="left")
    width = 1 / max(10, int(table["bin"].max()) + 1)
    counts = table.groupby("bin")["count"].mean()
    bottom.bar((counts.index + 0.5) * width, counts, 0.9 * width, color="#9A9A9A")
    bottom.set_yscale("log")
    bottom.set_ylim(0.7, 2 * counts.max())
    bottom.set_ylabel("completions")
    bottom.set_xlabel("verifier score")
    for panel in axes:
        panel.set_xlim(-0.02, 1.02)
    top.get_gridspec().set_height_ratios([2, 1])
    caption(top, table)
    return axes


def _measures(table: pd.DataFrame) -> str:
    """Write Brier score and AUCs, the mean over seeds."""
    names = ["brier", "base_brier", "within_auc", "pooled_auc"]
    brier, base, within, pooled = table.drop_duplicates("seed")[names].mean()
    auc = [f"{x:.3f}" if np.isfinite(x) else "undefined" for x in (within, pooled)]
    return (
        f"Brier score {brier:.3f} (base rate alone {base:.3f})\n"
        f"AUC within problems {auc[0]}, pooled {auc[1]}"
    )


# --------------------------------------------------- Appendix D: solutions side by side


@styled
def sidebyside(table: pd.DataFrame, axes: Axes) -> Axes:
    """Appendix D: a problem's greedy solution beside the verifier's choice.

    table: the rows of `grid.side_by_side_table`.
    """
    lines: Lines = []
    for outcome in OUTCOMES:
        rows = table[table["outcome"] == outcome]
        lines += [*(_pair_lines(rows.iloc[0]) if len(rows) else _none(outcome)), []]
    return write_page(axes, lines[:-1])


def _none(outcome: str) -> Lines:
    return break_lines([Span(f"{outcome.capitalize()}: in no problem.", "head")])


def _pair_lines(row: pd.Series) -> Lines:
    answer = row["reference"].removeprefix("#### ")
    head = (
        f"{row['outcome'].capitalize()} ({row['problems']} of {row['n_problems']} "
        f"problems); answer {answer}"
    )
    lines = break_lines([Span(head, "head")])
    lines += break_lines([Span(" ".join(row["question"].split()), "masked")])
    words = {True: "right", False: "wrong"}
    left = f"finetuning, greedy: {words[bool(row['finetuning_right'])]}"
    right = f"verifier: {words[bool(row['verification_right'])]}, {row['score']:.2f}"
    lines.append([(0, Span(left, "head")), (HALF + GAP, Span(right, "head"))])
    columns = (wrap(row[name], HALF) for name in ("finetuning", "verification"))
    for pair in zip_longest(*columns, fillvalue=""):
        lines.append(_beside(pair))
    return lines


def _beside(pair: Sequence[str]) -> list[tuple[int, Span]]:
    places = (0, HALF + GAP)
    return [(at, Span(text)) for at, text in zip(places, pair, strict=True) if text]


def wrap(text: str, width: int) -> list[str]:
    """Break a text's lines at `width` characters; continued lines are indented."""
    look = dict(subsequent_indent="  ", break_on_hyphens=False)
    return [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, width, **look)
    ]
