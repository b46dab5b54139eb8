"""The ledger: a row for each claim from exported tables, whatever is missing."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gsmlib import chapters, cli, paper
from gsmlib.chapters import CHAPTERS, export, find_claim, ledger, verification
from gsmlib.chapters import claims as drawn
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.chapters.rules import INCONCLUSIVE, NOT_TESTABLE, WORDS, Verdict, ledger_row
from gsmlib.chapters.shown import in_sentences
from gsmlib.records import Record

ROOT = Path(__file__).parents[1]
REPORTED = sorted(f.parent.name for f in (ROOT / "figures").glob("*/claims.json"))
NUMBER = re.compile(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?")


def gains(value, seeds=3):
    """A table of Fig 5 in which verification is worth `value` at every size."""
    about = [
        {"model": model, "parameters": parameters, "n_train": n_train, "seed": seed}
        for model, parameters in (("small", 1e6), ("large", 1e7))
        for n_train in (250, 1000, 4000)
        for seed in range(seeds)
    ]
    numbers = {"n_problems": 200, "gain": value}
    numbers |= {"gain_low": value - 0.02, "gain_high": value + 0.02}
    numbers |= {"over_random": 0.1, "over_random_low": 0.05, "over_random_high": 0.15}
    rows = [
        row | numbers | {"method": method, "accuracy": 0.3}
        for row in about
        for method in ("finetuning", "verification")
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A figures folder with the table of Fig 5 alone."""
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path))
    (tmp_path / "quick").mkdir()
    gains(0.15).to_csv(tmp_path / "quick" / "fig5_verification.csv", index=False)
    return tmp_path / "quick"


def test_every_claim_is_judged_by_one_chapter_from_a_figure_of_its_own():
    judged = [claim for chapter in CHAPTERS for claim in chapter.claims]
    named = [claim.id for claim in judged]
    assert len(named) == len(set(named))
    assert {row.id for row in paper.CLAIMS} <= set(named)
    for chapter in CHAPTERS:
        for claim in chapter.claims:
            stated = claim.about.figure
            assert chapter.figure(claim.figure).layout is not None
            assert stated in ("text", claim.figure)


def test_an_empty_folder_gives_untestable_rows(tmp_path):
    rows = ledger.read_ledger(CHAPTERS, tmp_path)
    further = ["S1", "S2", "L1", "L2", "L3", "G1", "G2"]
    assert [row["id"] for row in rows] == [*(f"C{i}" for i in range(1, 18)), *further]
    assert {row["verdict"] for row in rows} == {NOT_TESTABLE}
    assert rows[12]["sentence"].startswith("fig8a has not been made at this scale")
    assert rows[12]["notebook"] == "07_dropout"
    assert rows[5]["size_factor"] is None
    for row in rows:
        assert set(row) >= {"id", "verdict", "value", "interval", "seeds", "paper"}


def test_tables_give_the_verdicts_of_their_judges(folder):
    rows = {row["id"]: row for row in ledger.read_ledger(CHAPTERS, folder)}
    table = pd.read_csv(folder / "fig5_verification.csv")
    judged = verification.CHAPTER.judge("fig5", table)
    for verdict in judged:
        expected = ledger_row(verdict) | {"notebook": "03_verification"}
        found = {k: v for k, v in rows[verdict.id].items() if k != "size_factor"}
        assert found == expected
    assert rows["C6"]["value"] == pytest.approx(0.15)
    assert rows["C6"]["seeds"] == 3 and rows["C2"]["seeds"] == 0


def a_chapter(claim, name="11_ours", figure="fig2_finetuning_scaling"):
    """A chapter of one claim on one figure, whose verdict is always the same."""
    return Chapter(name, Record, (Figure(figure, None),), (claim,))


def test_the_size_factor_needs_figs_2_and_5(folder, monkeypatch):
    csv = folder / "fig2_finetuning_scaling.csv"
    pd.DataFrame({"model": ["small"]}).to_csv(csv, index=False)
    c1 = Claim("C1", "fig2", lambda table: Verdict("C1", INCONCLUSIVE, 1, 0, 2, 1, "x"))
    asked = []

    def factor(scaling, verification):
        asked.append((len(scaling), len(verification)))
        return (12.0, 3.0, float("inf"))

    monkeypatch.setattr(ledger, "size_factor", factor)
    rows = ledger.read_ledger((a_chapter(c1), verification.CHAPTER), folder)
    c6 = rows[[row["id"] for row in rows].index("C6")]
    assert c6["size_factor"] == {"value": 12.0, "interval": [3.0, None], "paper": 30}
    assert asked == [(1, 36)]
    worth = "worth a model 12 (3.00 to no limit) times as large; paper 30."
    assert worth in ledger.in_text(c6)


def test_a_chapters_own_claim_brings_all_it_needs(folder, monkeypatch):
    own = paper.Claim("X1", "ours", "fig2", "a new one", "It holds.", "a difference")
    sure = Verdict("X1", INCONCLUSIVE, 0.1, -0.1, 0.3, 2, "It may hold.")
    chapter = a_chapter(Claim("X1", "fig2", lambda table: sure, own))
    monkeypatch.setattr(chapters, "CHAPTERS", (chapter, verification.CHAPTER))
    rows = ledger.read_ledger(chapters.CHAPTERS, folder)
    assert [row["id"] for row in rows] == ["C5", "C6", "C7", "X1"]
    assert rows[-1]["sentence"] == "fig2 has not been made at this scale (11_ours)."
    csv = folder / "fig2_finetuning_scaling.csv"
    pd.DataFrame({"model": ["small"]}).to_csv(csv, index=False)
    row = ledger.read_ledger((chapter,), folder)[0]
    assert row["interval"] == [-0.1, 0.3] and row["paper"] is None
    assert ledger.in_numbers(row) == "+10.0 points (-10.0 to +30.0), 2 seeds"
    assert ledger.in_text(row) == "X1 inconclusive: a new one\n  It may hold."
    assert ledger.ledger_table([row])["brief"].tolist() == ["a new one"]
    assert "| X1 | a new one |" in ledger.in_markdown([row])
    (verdict,) = chapter.judge("fig2", pd.read_csv(csv))
    assert "The claim: It holds. This run: It may hold." in in_sentences(verdict)


def test_claims_json_is_the_ledger(folder):
    rows = ledger.read_ledger(CHAPTERS, folder)
    path = ledger.write_ledger(rows, folder)
    assert path.name == "claims.json" and json.loads(path.read_text()) == rows


def test_no_limit_is_no_number_in_json():
    endless = Verdict("C1", INCONCLUSIVE, 1e9, 1e8, float("inf"), 3, "x.")
    row = ledger_row(endless)
    assert row["interval"] == [1e8, None] and row["value"] == 1e9
    numbers = "1e9 parameters (1e8 to no limit), 3 seeds; paper 1e16 parameters"
    assert ledger.in_numbers(row) == numbers


@pytest.mark.parametrize(
    ("unit", "value", "limits", "text"),
    [
        ("points", -0.1467, [-0.2097, -0.0836], "-14.7 points (-21.0 to -8.4)"),
        ("completions", 1600.0, [50.0, 1600.0], "1,600 completions (50 to 1,600)"),
        ("completions", 1.0, [1.0, 6.0], "1 completion (1 to 6)"),
        ("parameters", 4.2e13, [1.6e10, 1.63e32], "4e13 parameters (2e10 to 2e32)"),
        ("parameters", None, [1e8, None], "no limit (1e8 to no limit)"),
        ("ratio", 0.0914, [0.0137, 0.177], "0.09 (0.01 to 0.18)"),
        ("ratio", 1250.0, None, "1,250"),
        ("points", None, None, "not measured"),
    ],
)
def test_numbers_are_written_in_the_claims_unit(unit, value, limits, text):
    assert ledger.in_unit(unit, value, limits) == text


@pytest.mark.parametrize("scale", REPORTED)
def test_a_sentence_has_its_claims_effect(scale):
    """So that the page and the command need not say it twice."""
    for row in ledger.read_ledger(CHAPTERS, ROOT / "figures" / scale):
        unit = find_claim(row["id"]).about.unit
        effect = NUMBER.findall(ledger.in_unit(unit, row["value"], row["interval"]))
        said = {number.lstrip("+") for number in NUMBER.findall(row["sentence"])}
        assert {number.lstrip("+") for number in effect} <= said, row


def test_every_claim_has_a_unit():
    counted = {c.id: c.unit for c in paper.CLAIMS if c.unit not in ("points", "ratio")}
    assert counted == {"C1": "parameters", "C11": "completions", "C12": "voters"}
    assert [c.id for c in paper.CLAIMS if c.unit == "ratio"] == ["C4", "C7"]


def test_the_table_keeps_what_the_rows_say(folder):
    rows = ledger.read_ledger(CHAPTERS, folder)
    table = ledger.ledger_table(rows).set_index("id")
    assert table.loc["C6", "value"] == pytest.approx(0.15)
    assert table.loc["C6", "low"] < 0.15 < table.loc["C6", "high"]
    assert pd.isna(table.loc["C13", "value"]) and table.loc["C1", "paper"] == 1e16
    text = ledger.in_markdown(rows)
    assert len(text.splitlines()) == 2 + len(rows)
    assert all(line.count("|") == 8 for line in text.splitlines())
    assert "[07_dropout](07_dropout.ipynb)" in text


def test_the_command_prints_the_ledger_and_writes_nothing(folder, capsys):
    before = set(folder.rglob("*"))
    cli.claims("quick")
    printed = capsys.readouterr().out
    assert all(f"{row.id} " in printed for row in paper.CLAIMS)
    assert "C6 reproduced" in printed and printed.count("+15.0 points") == 4
    assert set(folder.rglob("*")) == before
    used = {row["verdict"] for row in ledger.read_ledger(CHAPTERS, folder)}
    assert used == {"reproduced", "inconclusive", "not reproduced", "not testable"}
    for word, meaning in WORDS.items():
        assert (f"\n{word}: {meaning}\n" in printed) == (word in used)


def test_the_command_can_write_the_ledger_anew(folder, capsys):
    (folder / "claims.json").write_text("[]")
    cli.claims("quick", write=True)
    written = {path.name for path in folder.iterdir()} - {"fig5_verification.csv"}
    kinds = ("csv", "json", "pdf", "png", "svg")
    assert written == {"claims.json", *(f"ledger_of_claims.{kind}" for kind in kinds)}
    printed = capsys.readouterr().out
    assert all(name in printed for name in ["Written:", *written])
    rows = ledger.read_ledger(CHAPTERS, folder)
    assert json.loads((folder / "claims.json").read_text()) == rows
    table = pd.read_csv(folder / "ledger_of_claims.csv")
    assert list(table["verdict"]) == [row["verdict"] for row in rows]


def test_a_scale_without_tables_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path))
    with pytest.raises(ValueError, match="run the report"):
        ledger.print_ledger(CHAPTERS, "quick", write=True)
    assert not list(tmp_path.rglob("*.*"))


def changed(what, folder):
    """The table of Fig 5, broken."""
    table = folder / "fig5_verification.csv"
    rows = pd.read_csv(table)
    if what == "column":
        rows = rows.drop(columns="gain")
    elif what == "text":
        rows["accuracy"] = "high"
    elif what == "nothing":
        rows["gain"] = np.nan
    elif what == "infinite":
        rows["gain"] = np.inf
    elif what == "percent":
        rows["accuracy"] *= 100
    elif what == "no rows":
        rows = rows[:0]
    rows.to_csv(table, index=False, sep=";" if what == "semicolons" else ",")
    if what == "empty":
        table.write_text("")
    return table


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("column", "lacks 'gain'"),
        ("semicolons", "fig5"),
        ("text", "accuracy is not within 0 to 1"),
        ("nothing", "gain is missing or infinite"),
        ("infinite", "gain is missing or infinite"),
        ("percent", "accuracy is not within 0 to 1"),
        ("no rows", "it has no rows"),
        ("empty", "No columns"),
    ],
)
def test_a_wrong_table_is_no_ground_for_a_verdict(what, words, folder):
    table = changed(what, folder)
    with pytest.raises(ValueError, match="fig5") as refused:
        ledger.read_ledger(CHAPTERS, folder)
    assert words in str(refused.value)
    if what != "column":  # no figure draws it
        with pytest.raises(ValueError, match="is no table of fig5"):
            export.redraw(verification.CHAPTER.figure("fig5"), table)


def test_the_chart_has_a_mark_per_claim(folder):
    table = ledger.ledger_table(ledger.read_ledger(CHAPTERS, folder))
    (axes,) = drawn.CHAPTER.draw("ledger", table).axes
    marks = [
        (int(y), int(x))
        for line in axes.lines
        for x, y in zip(*line.get_data(), strict=True)
    ]
    places = {name: place for place, name in enumerate(WORDS)}
    assert dict(marks) == dict(enumerate(table["verdict"].map(places)))
    assert len(marks) == len(table)
    assert len({line.get_marker() for line in axes.lines}) == len(WORDS)


@pytest.mark.parametrize("scale", REPORTED)
def test_the_committed_ledger_is_that_of_the_committed_tables(scale):
    folder = ROOT / "figures" / scale
    rows = json.loads((folder / ledger.LEDGER).read_text(encoding="utf-8"))
    assert rows == ledger.read_ledger(CHAPTERS, folder)
    table = pd.read_csv(folder / "ledger_of_claims.csv")
    assert list(table["verdict"]) == [row["verdict"] for row in rows]
