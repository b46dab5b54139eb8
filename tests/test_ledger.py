"""The ledger: a row for each claim from exported tables, whatever is missing."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from gsmlib import claims, cli, config, figures, paper
from gsmlib.claims.rules import INCONCLUSIVE, NOT_TESTABLE, Verdict, ledger_row

ROOT = Path(__file__).parents[1]
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


def test_every_claim_has_a_notebook_that_exists_in_the_settings():
    named = [claim for ids in claims.NOTEBOOKS.values() for claim in ids]
    assert sorted(named) == sorted(row.id for row in paper.CLAIMS)
    assert set(claims.NOTEBOOKS) <= set(config.SETTINGS)


def test_an_empty_folder_gives_seventeen_untestable_rows(tmp_path):
    rows = claims.ledger(tmp_path)
    assert [row["id"] for row in rows] == [f"C{i}" for i in range(1, 18)]
    assert {row["verdict"] for row in rows} == {NOT_TESTABLE}
    assert rows[12]["sentence"].startswith("fig8a has not been made at this scale")
    assert rows[12]["notebook"] == "07_dropout"
    assert rows[5]["size_factor"] is None
    for row in rows:
        assert set(row) >= {"id", "verdict", "value", "interval", "seeds", "paper"}


def test_tables_give_the_verdicts_of_their_judges(folder):
    rows = {row["id"]: row for row in claims.ledger(folder)}
    table = pd.read_csv(folder / "fig5_verification.csv")
    judged = claims.judge_verification(table)
    for verdict in judged:
        expected = ledger_row(verdict) | {"notebook": "03_verification"}
        found = {k: v for k, v in rows[verdict.id].items() if k != "size_factor"}
        assert found == expected
    assert rows["C6"]["value"] == pytest.approx(0.15)
    assert rows["C6"]["seeds"] == 3 and rows["C2"]["seeds"] == 0


def test_the_size_factor_needs_figs_2_and_5(folder, monkeypatch):
    pd.DataFrame({"model": ["small"]}).to_csv(folder / "fig2_scaling.csv", index=False)
    monkeypatch.setattr(claims, "JUDGES", {"fig5": claims.judge_verification})
    asked = []

    def factor(scaling, verification):
        asked.append((len(scaling), len(verification)))
        return (12.0, 3.0, float("inf"))

    monkeypatch.setattr(claims, "size_factor", factor)
    c6 = claims.ledger(folder)[5]
    assert c6["size_factor"] == {"value": 12.0, "interval": [3.0, None], "paper": 30}
    assert asked == [(1, 36)]
    assert "12 (3 to -); paper 30" in claims.in_text(c6)


def test_claims_json_is_the_ledger(folder):
    rows = claims.ledger(folder)
    path = claims.write_ledger(rows, folder)
    assert path.name == "claims.json" and json.loads(path.read_text()) == rows


def test_no_limit_is_no_number_in_json():
    endless = Verdict("C1", INCONCLUSIVE, 1e9, 1e8, float("inf"), 3, "x.")
    row = ledger_row(endless)
    assert row["interval"] == [1e8, None] and row["value"] == 1e9
    assert claims.in_numbers(row) == "1e+09 (1e+08 to -), 3 seeds; paper 1e+16"


def test_the_table_keeps_what_the_rows_say(folder):
    rows = claims.ledger(folder)
    table = claims.ledger_table(rows).set_index("id")
    assert table.loc["C6", "value"] == pytest.approx(0.15)
    assert table.loc["C6", "low"] < 0.15 < table.loc["C6", "high"]
    assert pd.isna(table.loc["C13", "value"]) and table.loc["C1", "paper"] == 1e16
    text = claims.in_markdown(rows)
    assert len(text.splitlines()) == 19
    assert all(line.count("|") == 7 for line in text.splitlines())
    assert "[07_dropout](07_dropout.ipynb)" in text


def test_the_command_prints_the_ledger_and_writes_nothing(folder, capsys):
    before = set(folder.rglob("*"))
    cli.claims("quick")
    printed = capsys.readouterr().out
    assert all(f"{row.id} " in printed for row in paper.CLAIMS)
    assert "C6 reproduced" in printed and "+15.0 points" in printed
    assert set(folder.rglob("*")) == before


def test_a_scale_without_tables_is_refused(tmp_path):
    with pytest.raises(ValueError, match="run the report"):
        claims.print_ledger(tmp_path)


def test_the_chart_has_a_mark_per_claim(folder):
    table = claims.ledger_table(claims.ledger(folder))
    _, axes = figures.new_figure("ledger")
    figures.ledger(table, axes)
    marks = [
        (int(y), int(x))
        for line in axes.lines
        for x, y in zip(*line.get_data(), strict=True)
    ]
    places = {name: place for place, name in enumerate(claims.VERDICTS)}
    assert dict(marks) == dict(enumerate(table["verdict"].map(places)))
    assert len(marks) == 17
    assert len({line.get_marker() for line in axes.lines}) == 4


def test_the_readme_has_the_verdicts_of_mini():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = {
        cells[1]: cells[2:5]
        for cells in (
            [cell.strip(" *") for cell in line.split("|")]
            for line in text.splitlines()
            if re.match(r"\| C\d+ \|", line)
        )
    }
    folder = ROOT / "figures" / "mini"
    rows = json.loads((folder / claims.LEDGER).read_text(encoding="utf-8"))
    sentences = [row["sentence"] for row in claims.ledger(folder)]
    assert [row["sentence"] for row in rows] == sentences
    assert list(table) == [row["id"] for row in rows]
    for row in rows:
        brief, verdict, ours = table[row["id"]]
        assert brief == paper.IN_BRIEF[row["id"]]
        assert verdict == row["verdict"].removesuffix(" at this scale")
        assert set(NUMBER.findall(ours)) <= set(NUMBER.findall(row["sentence"])), row
