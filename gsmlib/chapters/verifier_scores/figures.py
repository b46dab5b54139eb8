"""Scores of tokens as coloured text (Fig 13), their calibration, Appendix D's pairs.

Tokens are in the verifier's colour, the fuller the higher the score, so that they keep
their order in grey and for the colour-blind.
"""

import html
import re
import textwrap
from itertools import pairwise, zip_longest

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gsmlib.chapters import style, textpage
from gsmlib.chapters.textpage import Lines, Span, break_lines, show_token, write_page
from gsmlib.chapters.verifier_scores.grid import CASES, OUTCOMES
from gsmlib.method.answers import INVALID, final_number

GAP = 3  # characters between two solutions side by side
HALF = (textpage.PAGE_COLUMNS - GAP) // 2
METHODS = ("finetuning", "verification")
QUESTION_LINES = 2  # of a question in Fig 13: its end, as far as these have room


@style.styled
def fig13(table: pd.DataFrame, axes: Axes) -> Axes:
    """Fig 13: five solutions, each token coloured by its score.

    table: the rows of `grid.token_score_table`.
    """
    lines: Lines = []
    for place, (kind, *_) in enumerate(CASES, 1):
        lines += [*_case_lines(kind, table[table["place"] == place]), []]
    return write_page(axes, lines + _key(table["score"]) + _source(table))


def _source(table: pd.DataFrame) -> Lines:
    """Write under a page of examples what they are of: one seed, which a rule read."""
    told = style.measured_on(table).replace(r"\$", "$")  # as text, no mathematics
    told = f"{told}; seed {table['seed'].iloc[0]}."
    return [[], *break_lines([Span(told, "masked")])]


def _key(scores: pd.Series) -> Lines:
    """Write what the colours mean; what lies beyond 0 and 1 has that of the end."""
    edges = np.linspace(0, 1, len(textpage.SCORE_INKS) + 1)
    words = [f"{low:.1f}-{high:.1f}" for low, high in pairwise(edges)]
    words[0], words[-1] = f"below {edges[1]:.1f}", f"{edges[-2]:.1f} and up"
    inks = enumerate(words)
    key = [part for i, w in inks for part in (Span(f" {w} ", f"score {i}"), Span(" "))]
    ends = f"Scores of tokens, here {scores.min():.2f} to {scores.max():.2f}:"
    return break_lines([Span(ends, "head")]) + break_lines(key)


def _case_lines(kind: str, rows: pd.DataFrame) -> Lines:
    if rows.empty:
        return _head(f"{kind.capitalize()}: there is no such completion.")
    first, spans = rows.iloc[0], []
    for token, score in zip(rows["token"], rows["score"], strict=True):
        spans += [Span(piece, f"score {score_bin(score)}") for piece in _boxes(token)]
    head = _head(describe_case(rows), _end_of(first["question"]))
    return head + break_lines(spans)


def _end_of(question: str) -> str:
    """Return the last words of a question, as many as a few lines have room for."""
    words = " ".join(question.split())
    room = QUESTION_LINES * (textpage.PAGE_COLUMNS - 5)  # lines end between words
    kept = textwrap.wrap(words[::-1], room, break_on_hyphens=False)[0][::-1]
    return words if kept == words else f"… {kept}"


def _head(text: str, question: str = "") -> Lines:
    """Write a head in bold and, where there is one, a question in grey."""
    asked = Span(" ".join(question.split()), "masked")
    return break_lines([Span(text, "head")]) + break_lines([asked])


def describe_case(rows: pd.DataFrame) -> str:
    """Say what kind of case a solution of Fig 13 is, and whether its score fits.

    rows: the solution's of `grid.token_score_table`.
    """
    first, found = rows.iloc[0], final_number(_text(rows))
    answer = first["reference"].removeprefix("#### ")
    said = "no answer line" if found == INVALID else f"{found} is wrong"
    said = f"{answer} is right" if first["correct"] else f"{said}, {answer} is right"
    text = f"{first['case'].capitalize()}: {said}; score {first['last']:.2f}"
    return text if first["fits"] else f"{text} (none beyond 0.5: the nearest)"


def _text(rows: pd.DataFrame) -> str:
    """Return a solution's text, without what ends it."""
    return "".join(rows["token"]).removesuffix("[end]")


def score_bin(score: float) -> int:
    """Return which fifth of [0, 1] a score lies in; what is beyond is at the end."""
    bins = len(textpage.SCORE_INKS)
    return int(np.clip(score * bins, 0, bins - 1))


def _boxes(token: str) -> list[str]:
    """Cut a token behind its line ends, which are shown, and where it is too long."""
    pieces = re.findall(rf"[^\n]{{1,{HALF}}}\n?|\n", token)
    return [show_token(piece) + "\n" * piece.endswith("\n") for piece in pieces]


def token_score_html(table: pd.DataFrame) -> str:
    """Return Fig 13's solutions as HTML: colour behind each token, its score above.

    table: as `fig13` takes it. All text is escaped: a model may write anything.
    """
    parts = []
    for _, rows in table.groupby("place", sort=True):
        first = rows.iloc[0]
        tokens = map(_ruby, rows["token"], rows["score"])
        parts.append(
            f"<p><b>{html.escape(describe_case(rows))}</b><br>"
            f"{html.escape(first['question'])}</p>\n"
            f'<p style="line-height: 2.2">{"".join(tokens)}</p>'
        )
    return "\n".join(parts)


def _ruby(token: str, score: float) -> str:
    """A token with its score in small print above it, so that colour is not needed."""
    ink = textpage.INK[f"score {score_bin(score)}"]
    look = f"background: {ink.face}; color: {ink.color}; white-space: pre"
    end = "<br>" if token.endswith("\n") else ""
    text = html.escape(show_token(token))
    return f'<ruby style="{look}">{text}<rt>{score:.2f}</rt></ruby>{end}'


@style.styled
def calibration(table: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Share of right completions over their scores; below, how many have such scores.

    table: the rows of `grid.calibration_table`; axes: two, one above the other.
    """
    top, bottom = axes
    mean = table.groupby("bin")["score"].transform("mean")
    label = "measured"
    style.points(top, table.assign(x=mean), "x", style.VERIFICATION, label, "right")
    top.plot([0, 1], [0, 100], color=style.GREY, linewidth=0.8, label="calibrated")
    top.set(ylim=(-3, 103), ylabel="right completions (%)")
    top.legend(loc="upper left")
    top.set_title(_measures(table), fontsize=7, loc="left")
    width = 1 / max(10, int(table["bin"].max()) + 1)
    counts = table.groupby("bin")["count"].mean()
    bottom.bar((counts.index + 0.5) * width, counts, 0.9 * width, color="#9A9A9A")
    bottom.set(yscale="log", ylim=(0.7, 2 * counts.max()))
    bottom.set(ylabel="completions")
    style.label_below(axes, "score of the verifier")
    for panel in axes:
        panel.set_xlim(-0.02, 1.02)
    if top.get_gridspec().nrows == len(axes):
        top.get_gridspec().set_height_ratios([2, 1])
    style.caption(top, table)
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


@style.styled
def sidebyside(table: pd.DataFrame, axes: Axes) -> Axes:
    """Appendix D: a problem's greedy solution beside the verifier's choice.

    table: the rows of `grid.side_by_side_table`.
    """
    lines: Lines = []
    for outcome in OUTCOMES:
        rows = table[table["outcome"] == outcome]
        none = _head(f"{outcome.capitalize()}: in no problem.")
        lines += [*(_pair_lines(rows.iloc[0]) if len(rows) else none), []]
    return write_page(axes, lines[:-1] + _source(table))


def _pair_lines(row: pd.Series) -> Lines:
    head = (
        f"{row['outcome'].capitalize()} ({row['problems']} of {row['n_problems']} "
        f"problems); answer {row['reference'].removeprefix('#### ')}"
    )
    greedy, chosen = (
        "right" if row[f"{method}_right"] else "wrong" for method in METHODS
    )
    heads = (
        f"finetuning, greedy: {greedy}",
        f"chosen: {chosen}, score {row['score']:.2f}",
    )
    pairs = zip_longest(*(wrap(row[method], HALF) for method in METHODS), fillvalue="")
    lines = [_beside(heads, "head"), *(_beside(pair, "plain") for pair in pairs)]
    return _head(head, row["question"]) + lines


def _beside(pair: tuple[str, str], ink: str) -> list[tuple[int, Span]]:
    places = zip((0, HALF + GAP), pair, strict=True)
    return [(at, Span(text, ink)) for at, text in places if text]


def wrap(text: str, width: int) -> list[str]:
    """Break a text's lines at `width` characters; continued lines are indented."""
    look = dict(subsequent_indent="  ", break_on_hyphens=False)
    lines = text.splitlines()
    return [part for line in lines for part in textwrap.wrap(line, width, **look)]
