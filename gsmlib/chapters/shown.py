"""What a notebook shows beside its figures: tables, and its conclusion in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from IPython.display import Markdown
from pandas.api.types import is_numeric_dtype
from pandas.io.formats.style import Styler

from gsmlib import paper
from gsmlib.chapters.rules import WORDS, Verdict
from gsmlib.data import call
from gsmlib.records import Record

LONGEST = 60  # letters of a text in a table's cell


def show(table: pd.DataFrame, digits: int = 3) -> Styler:
    """Return a table to look at: rounded, and `none` where there is no number.

    Texts are cut to a line; row numbers are left out, an index with a name is not.
    """
    names = {name: _in_words(name) for name in table.columns}
    texts = [names[name] for name in table if not is_numeric_dtype(table[name])]
    styler = table.rename(columns=names).style.format(
        precision=digits, thousands=",", na_rep="none"
    )
    styler = styler.format(_one_line, subset=texts, na_rep="none")
    return styler if table.index.names[0] else styler.hide(axis="index")


def _in_words(name: Any) -> str:
    return f"{name:,}" if isinstance(name, int) else str(name).replace("_", " ")


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return escape(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def count(number: int, thing: str) -> str:
    """Write a number of things: "1 seed", "1,600 completions".

    >>> count(1, "seed"), count(1600, "completion")
    ('1 seed', '1,600 completions')
    """
    return f"{number:,} {thing}" + "s" * (number != 1)


def conclude(settings: Record, found: Sequence[str | Verdict]) -> Markdown:
    """Return what a run found, in sentences and verdicts, and what their words mean."""
    sentences = [
        in_sentences(each) if isinstance(each, Verdict) else each for each in found
    ]
    words = {each.verdict for each in found if isinstance(each, Verdict)}
    head = f"**What this run shows** ({_about(settings)})"
    listed = [f"- {sentence}" for sentence in sentences]
    return Markdown("\n".join([head, "", *listed, "", explain(words)]).strip())


def in_sentences(verdict: Verdict) -> str:
    """Write a verdict as Markdown: the claim, who makes it, and what was found."""
    claim = verdict.own or paper.claim(verdict.id)
    source = "The claim" if verdict.own else f"The paper, {claim.section}"
    return (
        f"**{claim.id}, {claim.brief}: {verdict.verdict}.** "
        f"{source}: {claim.statement} This run: {verdict.sentence}"
    )


def tally(rows: Iterable[Mapping[str, Any]]) -> str:
    """Count a ledger's rows by verdict: "1 reproduced (C5), 1 inconclusive (C2)"."""
    kinds = {word: [] for word in WORDS}
    for row in rows:
        kinds[row["verdict"]].append(row["id"])
    counts = [
        f"{len(ids)} {word} ({', '.join(ids)})" for word, ids in kinds.items() if ids
    ]
    return ", ".join(counts)


def explain(words: Iterable[str]) -> str:
    """Say what verdicts' words mean, in the order of WORDS; empty without a word."""
    used = set(words)
    return " ".join(
        f"*{word[0].upper()}{word[1:]}*: {meaning.rstrip('.')}."
        for word, meaning in WORDS.items()
        if word in used
    )


def _about(settings: Record) -> str:
    """The scale, and of settings that have them the data set and the seeds."""
    parts = [f"scale {settings.scale}"]
    if dataset := getattr(settings, "dataset", None):
        parts.append(call(dataset))
    if seeds := getattr(settings, "seeds", ()):
        parts.append(count(len(seeds), "seed"))
    return ", ".join(parts)
