"""Votes on small tables that can be checked by eye, and their documented ties."""

import numpy as np
import pytest

from gsmlib.method.answers import INVALID
from gsmlib.method.selection import (
    answer_numbers,
    best_of,
    majority,
    ranking,
    vote,
    weighted_vote,
)

ANSWERS = np.array(
    [
        ["7", "8", "8", "9"],
        ["5", INVALID, INVALID, "6"],
        [INVALID, INVALID, INVALID, INVALID],
    ],
    dtype=object,
)
SCORES = np.array([[0.9, 0.3, 0.4, 0.1], [0.1, 0.9, 0.8, 0.3], [0.1, 0.2, 0.3, 0.4]])


def test_best_of_takes_the_highest_and_the_earlier_of_two():
    assert best_of(SCORES).tolist() == [0, 1, 3]
    assert best_of(np.array([[1.0, 2.0, 2.0]])).tolist() == [1]


def test_ranking_is_stable():
    assert ranking(np.array([[1.0, 2.0, 2.0, 3.0]])).tolist() == [[3, 1, 2, 0]]


def test_vote_of_one_is_the_best_of():
    rows = np.arange(3)
    assert vote(ANSWERS, SCORES, 1).tolist() == ANSWERS[rows, best_of(SCORES)].tolist()


def test_vote_grows_from_the_top():
    assert [vote(ANSWERS[:1], SCORES[:1], k)[0] for k in (1, 2, 3, 4)] == [
        "7",
        "7",
        "8",
        "8",
    ]


def test_invalid_loses_to_any_valid_voter_but_stands_alone():
    assert vote(ANSWERS, SCORES, 2)[1] == INVALID
    assert vote(ANSWERS, SCORES, 3)[1] == "6"
    assert vote(ANSWERS, SCORES, 4)[2] == INVALID
    assert majority(ANSWERS).tolist() == ["8", "5", INVALID]


def test_a_tied_vote_goes_to_the_better_scored_answer():
    answers = np.array([["1", "2", "2", "1"]], dtype=object)
    assert vote(answers, np.array([[0.1, 0.9, 0.2, 0.8]]), 4)[0] == "2"
    assert vote(answers, np.array([[0.1, 0.2, 0.3, 0.8]]), 4)[0] == "1"
    assert majority(answers)[0] == "1"


def test_weights_can_outvote_numbers():
    answers = np.array([["1", "2", "2"], ["1", "2", "2"]], dtype=object)
    scores = np.array([[0.9, 0.3, 0.4], [0.9, 0.5, 0.6]])
    assert weighted_vote(answers, scores).tolist() == ["1", "2"]


def test_negative_scores_weigh_nothing():
    answers = np.array([["1", "2", "1"]], dtype=object)
    assert weighted_vote(answers, np.array([[0.5, 0.4, -0.3]]))[0] == "1"
    assert weighted_vote(answers, np.array([[-0.5, -0.4, -0.3]]))[0] == "1"


@pytest.mark.parametrize("top_k", [0, 5])
def test_top_k_out_of_range_is_refused(top_k):
    with pytest.raises(ValueError, match="top_k must lie in 1..4"):
        vote(ANSWERS, SCORES, top_k)


def test_wrong_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match="differ"):
        weighted_vote(ANSWERS, SCORES[:, :2])
    with pytest.raises(ValueError, match="nan"):
        best_of(np.array([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match="problems, samples"):
        best_of(np.array([1.0]))
    with pytest.raises(ValueError, match="problems, samples"):
        majority(np.array(["1"]))


def test_answers_are_numbered_problem_by_problem():
    assert answer_numbers(ANSWERS).tolist() == [
        [0, 1, 1, 2],
        [0, -1, -1, 1],
        [-1, -1, -1, -1],
    ]
    with pytest.raises(ValueError, match="problems, samples"):
        answer_numbers(ANSWERS[0])
