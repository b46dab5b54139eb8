"""The paper as data: complete, frozen, and equal to the released files' numbers."""

import pytest

from gsmlib import paper


def test_the_ledger_is_complete_and_in_order():
    assert [row.id for row in paper.CLAIMS] == [f"C{i}" for i in range(1, 18)]
    assert all(row.statement.endswith(".") for row in paper.CLAIMS)
    assert all(
        row.figure == "text" or row.figure in paper.FIGURES for row in paper.CLAIMS
    )


def test_only_stated_numbers_are_values():
    stated = {row.id: row.value for row in paper.CLAIMS if row.value is not None}
    assert stated == pytest.approx(
        {"C1": 1e16, "C4": 5.2 / 20.6, "C6": 0.2153, "C11": 400, "C12": 30}
    )


def test_every_claim_has_a_few_words():
    assert all(row.brief for row in paper.CLAIMS)
    assert len({row.brief for row in paper.CLAIMS}) == len(paper.CLAIMS)


def test_released_accuracies_are_whole_numbers_of_problems():
    for share in paper.RELEASED_ACCURACY.values():
        solved = round(share * paper.TEST_PROBLEMS)
        assert round(solved / paper.TEST_PROBLEMS, 4) == share


def test_what_the_paper_says_for_an_id():
    assert "small training sets" in paper.says("C5")
    assert "C2, C3" in paper.says("fig3")
    assert paper.claim("C11").value == paper.BEST_COMPLETIONS
    with pytest.raises(KeyError, match="C1 to C17"):
        paper.says("C18")


def test_the_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        paper.HYPERPARAMETERS["finetuning"]["epochs"] = 3
    with pytest.raises(AttributeError):
        paper.claim("C6").value = 1
