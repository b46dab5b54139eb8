"""Planted errors: what each kind changes, and that all else still holds."""

import os

import pytest

from gsmlib.data import Problem, load_problems
from gsmlib.data.gsm8k import load_gsm8k
from gsmlib.method.answers import final_number
from gsmlib.method.calculator import evaluate, find_annotations
from gsmlib.method.planted import ANSWER, KINDS, with_errors

BAGS = Problem(
    "Ann has 3 bags of 24 apples each and sells 10 apples. How many are left?",
    "She has 3*24=<<3*24=72>>72 apples.\nThen 72 - 10 = <<72-10=62>>62 are left.\n"
    "#### 62",
)


def texts_of(problem, kind, seeds=60):
    """All texts with an error of a kind that so many seeds draw."""
    drawn = (each for seed in range(seeds) for each in with_errors(problem, seed))
    return {each.text for each in drawn if each.kind == kind}


def false_annotations(solution):
    found = find_annotations(solution)
    return [a for a in found if evaluate(a.expression) != evaluate(a.value)]


def problems(n=60):
    """MiniGSM's, and where its files are GSM8K's test problems."""
    made = load_problems("minigsm", "test", n)
    return made + (load_gsm8k("test") if os.environ.get("GSM8K_DIR") else [])


def test_a_wrong_number_is_read_throughout():
    body = "She has {0}*{1}=<<{0}*{1}={2}>>{2} apples.\n"
    body += "Then {2} - {3} = <<{2}-{3}={4}>>{4} are left.\n#### {4}"
    swaps = [(10, 24, 240, 10, 230), (3, 10, 30, 10, 20), (24, 24, 576, 10, 566)]
    swaps += [(3, 3, 9, 10, -1), (3, 24, 72, 3, 69), (3, 24, 72, 24, 48)]
    expected = {body.format(*numbers) for numbers in swaps if numbers[-1] > 0}
    assert texts_of(BAGS, "number") == expected


def test_a_wrong_operation_is_computed_rightly():
    last = "Then {0} - 10 = <<{0}-10={1}>>{1} are left.\n#### {1}"
    first = "She has 3{0}24=<<3{0}24={1}>>{1} apples.\n"
    expected = {first.format("+", 27) + last.format(27, 17)}
    right = BAGS.solution.splitlines()[0] + "\n"
    for sign, value in (("+", 82), ("*", 720)):
        line = f"Then 72 {sign} 10 = <<72{sign}10={value}>>{value} are left.\n"
        expected.add(f"{right}{line}#### {value}")
    assert texts_of(BAGS, "operation") == expected  # no -21, no 0.125, no 7.2


def test_a_wrong_result_goes_on():
    found = texts_of(BAGS, "calculation")
    assert len(found) == 12
    for text in found:
        (wrong,) = false_annotations(text)
        right = evaluate(wrong.expression)
        assert abs(evaluate(wrong.value) - right) in (1, 2, 10)
        assert text.endswith(f"#### {find_annotations(text)[-1].value}")


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_meant_is_wrong(kind):
    """Each line after the error follows from it, and the answer is that of the last."""
    seen = 0
    for number, problem in enumerate(problems()):
        right = with_errors(problem, number)[0]
        assert right == (problem.solution, True, "")
        already = len(false_annotations(problem.solution))
        for each in with_errors(problem, number)[1:]:
            assert not each.correct
            assert final_number(each.text) != final_number(problem.solution)
            if each.kind == kind:
                false = len(false_annotations(each.text)) - already
                assert false == (kind == "calculation")
                seen += 1
            elif each.kind == ANSWER:
                body = problem.solution.rpartition("#### ")[0]
                assert each.text.rpartition("#### ")[0] == body
    assert seen or kind == "operation"  # MiniGSM's words do not name operations


def test_four_different_texts_the_same_for_a_seed():
    for number, problem in enumerate(problems()):
        four = with_errors(problem, number)
        assert len({each.text for each in four}) == 4
        assert four == with_errors(problem, number)
    assert with_errors(BAGS, 0) != with_errors(BAGS, 1)


@pytest.mark.parametrize(
    ("question", "solution"),
    [
        ("Two of 5?", "So 2*5=<<2*5=10>>10.\nHe has 10.\n#### 10"),  # 2 is a word there
        ("What are 5 and 5?", "So 5+5=<<5+5=10>>10.\n#### 10"),
    ],
)
def test_one_number_cannot_be_misread(question, solution):
    kinds = [each.kind for each in with_errors(Problem(question, solution), 0)]
    assert kinds == ["", "calculation", "operation", ANSWER]


def test_a_value_of_two_meanings_is_left_alone():
    """The result 6 is also what the question tells: which 6 would be wrong?"""
    problem = Problem(
        "3 and 3, and 6 more?", "3+3=<<3+3=6>>6\n6+6=<<6+6=12>>12\n#### 12"
    )
    for text in texts_of(problem, "calculation") | texts_of(problem, "operation"):
        assert text.startswith("3+3=<<3+3=6>>6\n")


def test_a_solution_without_calculations_takes_a_wrong_answer():
    for answer in ("-3", "1", "0.5", "1,000"):
        problem = Problem("What is it?", f"It is so.\n#### {answer}")
        four = with_errors(problem, 0)
        assert [each.kind for each in four] == ["", ANSWER, ANSWER, ANSWER]
        assert len({each.text for each in four}) == 4


def test_thousands_keep_their_commas():
    problem = Problem(
        "It costs $1,000, of which he has $400.",
        "He lacks $1,000 - $400 = $<<1000-400=600>>600.\nTwice that is "
        "2*600=$<<2*600=1200>>1,200\n#### 1,200",
    )
    found = texts_of(problem, "calculation")
    assert any(
        "=602>>602.\nTwice that is 2*602=$<<2*602=1204>>1,204" in t for t in found
    )
