"""Verifiers: their training rows, the scores of completions, and one score from many.

A verifier scores every token of a solution, the score at a token judging the text up to
it. The paper leaves open how these become the solution's one score (asked by many
readers); Lightman et al. 2023 (appendix E) say that the last token's is used.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from gsmlib import progress as bars
from gsmlib.method import attention, losses
from gsmlib.method.batching import Piece, Row, collate, make_row
from gsmlib.method.decoding import decode, encode_prompt
from gsmlib.method.models import LanguageModel, Verifier, find_reserved_token
from gsmlib.records import Precision

CENTRED_ROWS = 64  # how many rows the head's first bias is taken from


def make_rows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    completions: Sequence[Sequence[Sequence[int]]],
    labels: Sequence[Sequence[bool]],
    max_length: int,
) -> list[Row]:
    """Training rows, one per completion, problem by problem.

    `completions[i][j]` are the tokens sampled after question i, the end token included
    where there was one; `labels[i][j]` says whether their final answer is correct.
    """
    rows = []
    for question, solutions, marks in zip(questions, completions, labels, strict=True):
        prompt = encode_prompt(tokenizer, question)
        for tokens, mark in zip(solutions, marks, strict=True):
            rows.append(make_row(prompt, tokens, max_length, float(mark)))
    return rows


def with_lines(
    tokenizer: PreTrainedTokenizerBase, row: Row, labels: Sequence[bool] | None = None
) -> Row:
    """The same row, its lines labelled: each by its own of `labels`, or by the row's.

    Raises ValueError where there are not as many labels as lines; those of lines that
    were cut off are left out.
    """
    ends = line_ends(tokenizer, row.tokens[row.prompt_length :])
    if labels is None:
        labels = [row.label] * len(ends)
    if len(ends) != len(labels) and not row.cut:
        raise ValueError(f"{len(ends)} lines have {len(labels)} labels")
    places = [row.prompt_length + end for end in ends]
    return row._replace(lines=tuple(zip(places, map(float, labels), strict=False)))


def line_ends(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[int]:
    """The places of the tokens that end a solution's lines; the last ends the last."""
    breaks = [_line_breaks(tokenizer, token) for token in tokens]
    ends = [place for place, count in enumerate(breaks) for _ in range(count)]
    return [*ends, len(breaks) - 1]


@lru_cache(maxsize=100_000)
def _line_breaks(tokenizer: PreTrainedTokenizerBase, token: int) -> int:
    return decode(tokenizer, [token]).count("\n")


def new_verifier(
    lm: LanguageModel,
    rows: Sequence[Row],
    loss: Literal["mse", "bce"] = "mse",
    head: Literal["logit", "linear"] = "logit",
) -> Verifier:
    """A verifier on `lm` whose untrained head gives scores of mean P = 0.5 and SD 1.

    Over the solution tokens of the first rows. The paper does not say how its gain and
    bias began: a logit that was never trained is far from 0 and varies by 3 to 8, and
    with gain 1 and bias 0 the first updates would only undo that, at the language
    model's expense (docs/regime.md). The head trains the language model it is given:
    pass a model of its own.
    """
    verifier = Verifier(lm.model, find_reserved_token(lm.tokenizer), head=head).eval()
    batch = collate(rows[:CENTRED_ROWS], lm.tokenizer.pad_token_id)
    ids, middle = batch.input_ids.to(lm.model.device), 0.5 if loss == "mse" else 0.0
    with torch.no_grad():
        scores = verifier(ids, torch.ones_like(ids), with_logits=False)[0].cpu()
        scores = scores[~batch.verifier_targets.isnan()]
        spread = scores.std() if len(scores) > 1 else torch.ones(())
        verifier.gain /= spread.clamp(min=1e-3)
        verifier.bias += middle - scores.mean() * verifier.gain.cpu()
    return verifier


def score_completions(
    verifier: Verifier,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    batch_tokens: int,
    precision: Precision = "fp32",
    loss: Literal["mse", "bce"] = "mse",
    progress: bool = True,
) -> list[list[np.ndarray]]:
    """Scores (solution tokens,) float32 of every completion, nested as `completions`.

    Scores estimate P(correct). `loss` is what the verifier was trained with: with "mse"
    a score is the head's output itself, which may leave [0, 1]; with "bce" its sigmoid.
    A question is computed once for its completions, identical ones of which are scored
    once. `batch_tokens` bounds the tokens computed at once.
    """
    rows, index = _distinct_rows(tokenizer, questions, completions)
    losses.check_lengths(verifier, rows)
    training, verifier = verifier.training, losses.in_precision(verifier, precision)
    pieces = losses.make_pieces(verifier, rows, batch_tokens)
    scores: dict[int, np.ndarray] = {}
    pad_token = tokenizer.pad_token_id
    verifier.eval()
    with bars.bar(len(rows), unit="completion", disable=not progress) as bar:
        # the longest first: too little memory shows now
        for piece in reversed(pieces):
            scores |= _score_piece(verifier, rows, piece, pad_token, loss)
            bar.update(len(piece.rows))
    verifier.train(training)
    return [[scores[i] for i in problem] for problem in index]


def _distinct_rows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    completions: Sequence[Sequence[Sequence[int]]],
) -> tuple[list[Row], list[list[int]]]:
    """Rows without repetition, and for each problem its completions' rows."""
    rows: list[Row] = []
    index = []
    for question, solutions in zip(questions, completions, strict=True):
        prompt = encode_prompt(tokenizer, question)
        known: dict[tuple[int, ...], int] = {}
        for tokens in map(tuple, solutions):
            if tokens not in known:
                known[tokens] = len(rows)
                length = len(prompt) + len(tokens)
                rows.append(make_row(prompt, tokens, length, float("nan")))
        index.append([known[tuple(tokens)] for tokens in solutions])
    return rows, index


@torch.inference_mode()
def _score_piece(
    verifier: Verifier,
    rows: Sequence[Row],
    piece: Piece,
    pad_token: int,
    loss: str,
) -> dict[int, np.ndarray]:
    """The scores at the solution's tokens, by each row's index."""
    device, lm = verifier.bias.device, verifier.language_model
    batch = losses.make_batch(verifier, rows, piece, pad_token).to(device)
    with attention.flat(lm):
        inputs = losses.model_inputs(verifier, batch)
        outputs, _ = verifier(**inputs, with_logits=False)
    line = outputs.float().cpu().flatten()
    score = torch.sigmoid if loss == "bce" else torch.clone  # the line is let go
    lengths = {int(i): len(rows[i].tokens) - rows[i].prompt_length for i in piece.rows}
    made = zip(lengths.items(), batch.ends + 1, strict=True)
    return {i: score(line[end - length : end]).numpy() for (i, length), end in made}
