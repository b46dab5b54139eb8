"""What a notebook shows: tables without nan, conclusions in sentences."""

import re

import numpy as np
import pandas as pd
import pytest

from gsmlib import paper
from gsmlib.chapters import resolve
from gsmlib.chapters.rules import INCONCLUSIVE, REPRODUCED, WORDS, Verdict
from gsmlib.chapters.shown import conclude, count, explain, show, tally

SURE = Verdict("C5", REPRODUCED, -0.02, -0.05, 0.0, 3, "it changes nothing; 3 seeds.")


def texts(table):
    """The texts of a shown table's cells and heads."""
    return re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", show(table).to_html())


def test_a_table_says_none_where_there_is_no_number():
    table = pd.DataFrame({"n_train": [1500, 250], "gain": [0.12345, np.nan]}, [7, 3])
    numbers = ["1,500", "0.123", "250", "none"]
    assert texts(table) == ["n train", "gain", *numbers]  # and no row numbers


def test_texts_are_one_line_and_not_read_as_marks():
    long = "Ann has <<3*4=12>>12.\n" * 9
    html = show(
        pd.DataFrame({"text": [long, None], "correct": [True, False]})
    ).to_html()
    assert "&lt;&lt;3*4=12&gt;&gt;12. Ann" in html and "…" in html
    assert "none" in html and "True" in html


def test_an_index_with_a_name_stays():
    table = pd.DataFrame({250: [1.0], 4000: [2.0]}, pd.Index(["mini-2m"], name="model"))
    html = show(table, digits=1).to_html()
    assert "mini-2m" in html and "4,000" in html and "2.0" in html


def test_one_seed_is_no_seeds():
    assert count(1, "seed") == "1 seed" and count(3, "seed") == "3 seeds"
    assert "(scale smoke, MiniGSM, 1 seed)" in conclude(settings(seeds=[4]), []).data


def settings(**given):
    return resolve("03_verification", scale="smoke", **given)


def test_a_conclusion_says_claim_verdict_finding_and_meaning():
    text = conclude(settings(), ["A sentence of its own.", SURE]).data
    claim = paper.claim("C5")
    assert "- A sentence of its own.\n" in text
    assert f"**C5, {claim.brief}: reproduced.** The paper, {claim.section}" in text
    assert claim.statement in text and SURE.sentence in text
    assert text.endswith(explain([REPRODUCED])) and WORDS[INCONCLUSIVE] not in text


def test_a_claim_of_ones_own_is_not_put_into_the_papers_mouth():
    own = paper.Claim("X1", "ours", "fig2", "all end", "All end.", "a share")
    text = conclude(settings(), [SURE._replace(id="X1", own=own)]).data
    assert "The claim: All end." in text and "The paper" not in text


def test_a_tally_counts_each_verdict_in_the_order_of_the_words():
    rows = [{"id": f"C{i}", "verdict": word} for i, word in enumerate([*WORDS] * 2)]
    said = tally(rows)
    assert said.startswith(f"2 {[*WORDS][0]} (C0, C{len(WORDS)}), 2 ")
    with pytest.raises(KeyError):
        tally([{"id": "C1", "verdict": "splendid"}])
