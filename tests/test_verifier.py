"""The verifier's rows and scores, batched against single, and one score from many."""

import math

import numpy as np
import pytest
import torch

from gsmlib.method import losses
from gsmlib.method.batching import collate, encode
from gsmlib.method.models import LanguageModel, new_mini_gpt
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.selection import AGGREGATIONS, aggregate
from gsmlib.method.training import train
from gsmlib.method.verifier import make_rows, new_verifier, score_completions

QUESTIONS = ["1+1?", "What is 20 and 3?"]
SOLUTIONS = [["#### 2", "1+1=3\n#### 3", "#### 2"], ["20+3=<<20+3=23>>23\n#### 23"]]
LABELS = [[True, False, True], [True]]


@pytest.fixture
def tokens(byte_tokenizer) -> list[list[list[int]]]:
    end = byte_tokenizer.eos_token_id
    return [[[*byte_tokenizer.encode(s), end] for s in some] for some in SOLUTIONS]


@pytest.fixture
def lm(byte_tokenizer) -> LanguageModel:
    return new_mini_gpt("tiny", byte_tokenizer)


@pytest.fixture
def rows(byte_tokenizer, tokens):
    return make_rows(byte_tokenizer, QUESTIONS, tokens, LABELS, 100)


@pytest.fixture
def verifier(lm, rows):
    return new_verifier(lm, rows)


def test_rows_are_those_of_training_with_labels(byte_tokenizer, rows):
    assert [row.label for row in rows] == [1.0, 0.0, 1.0, 1.0]
    row = encode(byte_tokenizer, QUESTIONS[1], SOLUTIONS[1][0], 100, label=1.0)
    assert rows[3] == row


def test_rows_are_cut_at_the_maximum_length(byte_tokenizer, tokens):
    rows = make_rows(byte_tokenizer, QUESTIONS, tokens, LABELS, 24)
    assert max(len(row.tokens) for row in rows) == 24
    assert [row.cut > 0 for row in rows] == [False, False, False, True]


def test_rows_need_a_label_each(byte_tokenizer, tokens):
    with pytest.raises(ValueError, match="shorter"):
        make_rows(byte_tokenizer, QUESTIONS, tokens, [[True], [True]], 100)


@pytest.mark.parametrize("loss, middle", [("mse", 0.5), ("bce", 0.0)])
def test_new_verifier_starts_undecided(lm, rows, loss, middle):
    verifier = new_verifier(lm, rows, loss)
    batch = collate(rows, 0)
    scores, _ = verifier(batch.input_ids, torch.ones_like(batch.input_ids))
    mean = scores[~batch.verifier_targets.isnan()].mean().item()
    assert mean == pytest.approx(middle, abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_scores_equal_one_completion_at_a_time(
    byte_tokenizer, tokens, verifier, batch_tokens
):
    scores = score(verifier, byte_tokenizer, tokens, batch_tokens=batch_tokens)
    assert [len(problem) for problem in scores] == [3, 1]
    for question, solutions, found in zip(QUESTIONS, tokens, scores, strict=True):
        prompt = byte_tokenizer.encode(question + "\n")
        for solution, values in zip(solutions, found, strict=True):
            whole = verifier(torch.tensor([prompt + solution]))[0][0].detach()
            assert values.shape == (len(solution),)
            np.testing.assert_allclose(values, whole[len(prompt) :], atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [30, 300, 8192])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_behind_a_shared_question_are_the_same(
    byte_tokenizer, verifier, monkeypatch, batch_tokens, attention
):
    verifier.language_model.set_attn_implementation(attention)
    tokens = [
        [byte_tokenizer.encode("20+3" * (1 + j % 5) + str(j)) for j in range(20)]
        for _ in QUESTIONS
    ]
    shared = score(verifier, byte_tokenizer, tokens, batch_tokens=batch_tokens)
    seen = []
    monkeypatch.setattr(
        losses.attention, "can_flatten", lambda _: seen.append(0) or False
    )
    whole = score(verifier, byte_tokenizer, tokens, batch_tokens=batch_tokens)
    assert seen
    for first, second in zip(shared, whole, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_score_judges_the_text_up_to_its_token(byte_tokenizer, tokens, verifier):
    """The last token's score sees it; earlier scores do not."""
    changed = [*tokens[1][0][:-1], byte_tokenizer.encode("x")[0]]
    scores = score(verifier, byte_tokenizer, [tokens[0], [tokens[1][0], changed]])[1]
    np.testing.assert_allclose(scores[0][:-1], scores[1][:-1], atol=1e-5)
    assert abs(scores[0][-1] - scores[1][-1]) > 1e-4


def test_identical_completions_are_scored_once(
    byte_tokenizer, tokens, verifier, monkeypatch
):
    counts = []
    forward = verifier.forward

    def count(input_ids, *rest, **options):
        counts.append(input_ids.numel())
        return forward(input_ids, *rest, **options)

    monkeypatch.setattr(verifier, "forward", count)
    scores = score(verifier, byte_tokenizer, tokens)
    three = score(verifier, byte_tokenizer, [tokens[0][:2], tokens[1]])
    half = len(counts) // 2
    assert counts[:half] == counts[half:]
    np.testing.assert_array_equal(three[1][0], scores[1][0])
    np.testing.assert_array_equal(scores[0][0], scores[0][2])


def test_the_same_completion_of_two_problems_is_not_the_same(
    byte_tokenizer, tokens, verifier
):
    both = score(verifier, byte_tokenizer, [tokens[0][:1], tokens[0][:1]])
    assert not np.array_equal(both[0][0], both[1][0])


def test_scores_after_cross_entropy_are_its_sigmoid(byte_tokenizer, tokens, verifier):
    plain = score(verifier, byte_tokenizer, tokens)[0][0]
    sigmoid = score(verifier, byte_tokenizer, tokens, loss="bce")[0][0]
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-plain)), atol=1e-6)


def test_bfloat16_scores_are_near(byte_tokenizer, tokens, verifier):
    plain = score(verifier, byte_tokenizer, tokens)[0][0]
    low = score(verifier, byte_tokenizer, tokens, precision="bf16")[0][0]
    assert low.dtype == np.float32 and not np.array_equal(plain, low)
    np.testing.assert_allclose(plain, low, atol=0.05)


def test_too_long_completions_are_refused(byte_tokenizer, tokens, verifier):
    tokens = [tokens[0], [[5] * 400]]
    with pytest.raises(ValueError, match="positions for 400"):
        score(verifier, byte_tokenizer, tokens)


def score(verifier, tokenizer, tokens, batch_tokens=4096, **options):
    return score_completions(
        verifier,
        tokenizer,
        QUESTIONS,
        tokens,
        batch_tokens=batch_tokens,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("level", ["token", "solution"])
def test_training_to_scores(byte_tokenizer, tokens, verifier, rows, loss, level):
    """Overfit on four labelled completions: the last score tells right from wrong."""
    originals = [encode(byte_tokenizer, q, "#### 2", 100) for q in QUESTIONS]
    settings = TrainSettings(
        epochs=25,
        learning_rate=3e-3,
        batch_tokens=1000,
        loss=loss,
        level=level,
        language_weight=0.1,
    )
    train(
        verifier,
        rows,
        settings,
        language_rows=originals,
        pad_token=byte_tokenizer.pad_token_id,
        progress=False,
    )
    scores = score(verifier, byte_tokenizer, tokens, loss=loss)
    right = [[aggregate(s) > 0.5 for s in problem] for problem in scores]
    assert right == LABELS


def test_aggregations_by_hand():
    scores = np.array([0.5, -0.2, 1.2, 0.4], np.float32)
    expected = dict(last=0.4, mean=0.475, min=-0.2, max=1.2, product=0.0)
    assert set(expected) == set(AGGREGATIONS)
    for how, value in expected.items():
        assert aggregate(scores, how) == pytest.approx(value, abs=1e-6)
    clipped = aggregate(np.array([0.5, 1.2, 0.4]), "product")
    assert clipped == pytest.approx(0.2)
    assert math.isclose(aggregate(scores), aggregate(scores, "last"))


def test_wrong_aggregations_are_refused():
    with pytest.raises(ValueError, match="no aggregation 'median'"):
        aggregate(np.array([0.5]), "median")
    with pytest.raises(AssertionError, match="at least one token"):
        aggregate(np.array([]), "last")
