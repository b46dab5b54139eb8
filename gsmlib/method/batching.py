"""Rows of tokens, which of them meet in a batch, and the tensors of a batch.

Right padding throughout. A batch is planned in plain tokens, every row in full; what is
computed of it is less: equal rows once, with a weight, and a prefix that many rows
share (the question, for its completions) once for all of them.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gsmlib.method.decoding import encode_prompt
from gsmlib.method.recipe import TrainSettings

IGNORE = -100  # a language target that no loss looks at; for verifier targets it is nan
SLICES = 2  # a batch is this many slices, each of items of similar length
JITTER = 0.1  # lengths count as up to 10 % off when sorted, so that slices change
WORTH_SHARING = 0.1  # the share of tokens to be saved that pays for a second pass


class Row(NamedTuple):
    """A tokenized problem with one solution.

    `label` is 1.0 or 0.0 for the verifier, nan for a language-model row; `cut` counts
    the tokens lost at the maximum length.
    """

    tokens: Sequence[int]
    prompt_length: int
    label: float = float("nan")
    cut: int = 0

    @property
    def prefix(self) -> tuple[int, ...]:
        """The question but for its last token: no loss looks at what follows these."""
        return tuple(self.tokens[: self.prompt_length - 1])


class Group(NamedTuple):
    """Rows computed at once: their indices and, of each, the number of its prefix."""

    rows: np.ndarray
    prefix_of: np.ndarray | None = None  # None: the rows are computed whole


class Piece(NamedTuple):
    """Groups computed one after the other, from behind prefixes that they share."""

    prefixes: Sequence[Sequence[int]]  # none: the rows are computed whole
    groups: list[Group]


class Batch(NamedTuple):
    """Rows, or what follows their prefixes, padded to the longest, and their targets.

    `weights` says how many equal rows each stands for.
    """

    input_ids: Tensor  # (B, T)
    position_ids: Tensor  # (B, T)
    language_targets: Tensor  # (B, T): at t the token t + 1, or IGNORE
    verifier_targets: Tensor  # (B, T): the row's label, or nan
    weights: Tensor  # (B,)
    prefix_of: Tensor  # (B,): numbers of prefixes, which only rests have

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


# ------------------------------------------------------------------------------- rows


def encode(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    solution: str,
    max_length: int,
    label: float = float("nan"),
) -> Row:
    """A row of question, solution and end token, cut at `max_length` tokens.

    Raises ValueError when the question leaves no room for a solution.
    """
    prompt = encode_prompt(tokenizer, question)
    tokens = tokenizer.encode(solution, add_special_tokens=False)
    return make_row(prompt, [*tokens, tokenizer.eos_token_id], max_length, label)


def make_row(
    prompt: list[int], solution: Sequence[int], max_length: int, label: float
) -> Row:
    """A row of prompt and solution tokens, cut at `max_length` (see `encode`)."""
    if len(prompt) >= max_length:
        raise ValueError(
            f"A question of {len(prompt)} tokens leaves no room for a solution within "
            f"{max_length} tokens."
        )
    assert len(solution), "a row needs at least one solution token"
    tokens = [*prompt, *solution]
    cut = max(0, len(tokens) - max_length)
    return Row(tokens[:max_length], len(prompt), label, cut)


def merge_equal(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """The distinct rows, and how many rows each stands for.

    Equal are rows of the same tokens, prompt and label.
    """
    distinct: dict[tuple, Row] = {}
    counts: dict[tuple, int] = {}
    for row in rows:
        key = tuple(row.tokens), row.prompt_length, str(row.label)  # nan != nan
        distinct.setdefault(key, row)
        counts[key] = counts.get(key, 0) + 1
    return list(distinct.values()), list(counts.values())


def collate(
    rows: Sequence[Row],
    pad_token: int,
    *,
    loss_on_question: bool = False,
    level: Literal["token", "solution"] = "token",
    weights: Sequence[int] | None = None,
    prefix_of: Sequence[int] | None = None,
) -> Batch:
    """Pad rows on the right and lay out their targets.

    A language row's targets are the solution's tokens with the end token, and the
    question's from its second on where `loss_on_question`. A labelled row's target is
    its label at every solution token with the end token (`level` "token"), and at the
    question's too where `loss_on_question`, or at the last token only ("solution").
    Rows that go on from prefixes of the given numbers begin at their question's last
    token, which predicts the solution's first.
    """
    starts = [row.prompt_length - 1 if prefix_of is not None else 0 for row in rows]
    ends = [len(row.tokens) for row in rows]
    shape = len(rows), max(np.subtract(ends, starts))
    ids = np.full(shape, pad_token, np.int64)
    language = np.full(shape, IGNORE, np.int64)
    verifier = np.full(shape, np.nan, np.float32)
    for i, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True)):
        ids[i, : end - start] = row.tokens[start:]
        if np.isnan(row.label):
            first = 1 if loss_on_question else row.prompt_length
            language[i, first - 1 - start : end - 1 - start] = row.tokens[first:]
        else:
            first = start if loss_on_question else row.prompt_length
            first = first if level == "token" else end - 1
            verifier[i, first - start : end - start] = row.label
    # padding stays within the row's positions: a model has no more than it needs
    positions = np.add.outer(starts, np.arange(shape[1]))
    positions = np.minimum(positions, np.subtract(ends, 1)[:, None])
    counts = np.ones(len(rows)) if weights is None else np.array(weights)
    numbers = np.zeros(len(rows)) if prefix_of is None else np.array(prefix_of)
    arrays = counts.astype(np.float32), numbers.astype(np.int64)
    arrays = ids, positions, language, verifier, *arrays
    return Batch(*map(torch.from_numpy, arrays))


def pad_prefixes(
    prefixes: Sequence[Sequence[int]], pad_token: int
) -> tuple[Tensor, Tensor]:
    """Prefixes (P, L) padded on the right, and their lengths (P,)."""
    lengths = np.array([len(prefix) for prefix in prefixes])
    ids = np.full((len(prefixes), lengths.max()), pad_token, np.int64)
    for line, prefix in zip(ids, prefixes, strict=True):
        line[: len(prefix)] = prefix
    return torch.from_numpy(ids), torch.from_numpy(lengths)


# ------------------------------------------------------------- what is computed at once


def split_by_length(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Indices in groups of similar length, at most `max_tokens` each with padding.

    A group ends before padding exceeds a 16th of `max_tokens`: more than that costs
    more time than the fixed costs of another forward pass.
    """
    groups, start, total = [], 0, 0
    order = np.argsort(lengths, kind="stable")
    for i, length in enumerate(lengths[order].tolist()):
        padded = length * (i - start + 1)
        too_big = padded > max_tokens or padded - total - length > max_tokens // 16
        if i > start and too_big:
            groups.append(order[start:i])
            start, total = i, 0
        total += length
    return [*groups, order[start:]]


def cut_pieces(
    rows: Sequence[Row], max_tokens: int, *, share: bool = True
) -> list[Piece]:
    """Cut rows into pieces in which at most `max_tokens`, with padding, meet at once.

    Prefixes are computed once for all their rows where that saves enough: by the rows
    alone, so that a batch without repetition is computed whole. A quarter of the tokens
    is for a piece's prefixes, the rest for a group (the copies of keys and values that
    a group reads are not counted: they are small beside all else that a token takes).

    Two completions, 9 and 8 8, of the question 1 2 3 4: its first three tokens are
    computed once, and each row goes on from the fourth, which predicts the solution's
    first. So 3 + 2 + 3 tokens are computed instead of 5 + 6.

    >>> rows = [Row([1, 2, 3, 4, 9], 4), Row([1, 2, 3, 4, 8, 8], 4)]
    >>> [(prefixes, [group])] = cut_pieces(rows, max_tokens=100)
    >>> prefixes, group.rows.tolist(), group.prefix_of.tolist()
    ([(1, 2, 3)], [0, 1], [0, 0])
    >>> collate(rows, 0, prefix_of=group.prefix_of).input_ids.tolist()
    [[4, 9, 0], [4, 8, 8]]
    """
    lengths = np.array([len(row.tokens) for row in rows])
    number: dict[tuple[int, ...], int] = {}
    prefix_of = np.array([number.setdefault(row.prefix, len(number)) for row in rows])
    prefixes = list(number)
    sizes = np.array([len(prefix) for prefix in prefixes])
    saved = sizes[prefix_of].sum() - sizes.sum()
    if not share or saved < WORTH_SHARING * lengths.sum():
        groups = split_by_length(lengths, max_tokens)
        return [Piece((), [Group(members) for members in groups])]
    pieces, rests = [], lengths - sizes[prefix_of]
    for some in split_by_length(sizes, max_tokens // 4):
        place = np.full(len(prefixes), -1)
        place[some] = np.arange(len(some))
        place = place[prefix_of]  # (rows,): in this piece, or -1
        members = np.flatnonzero(place >= 0)
        groups = split_by_length(rests[members], max_tokens - max_tokens // 4)
        if sizes[some].any():
            groups = [Group(members[g], place[members[g]]) for g in groups]
            pieces.append(Piece([prefixes[i] for i in some], groups))
        else:  # prompts of one token leave nothing to go on from
            pieces.append(Piece((), [Group(members[g]) for g in groups]))
    return pieces


# ----------------------------------------------------------------------- what is learnt


def plan_epoch(
    lengths: np.ndarray,
    batch_tokens: int,
    seed: Sequence[int],
    counts: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Cut an epoch into ceil(tokens / batch_tokens) batches of nearly equal tokens.

    `lengths` are real tokens, question included, padding not; an item of count c is c
    rows of that mean length. Items are sorted by length, cut into slices, and each
    batch is SLICES slices chosen at random (fewer where a batch holds fewer items):
    little padding, without batches of short or of long solutions only. An item is never
    cut: one larger than a batch is a batch of its own.
    """
    generator = np.random.default_rng(seed)
    jitter = generator.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(lengths * jitter)
    sizes = (lengths if counts is None else lengths * counts)[order]
    total = round(float(sizes.sum()))
    n_batches = -(-total // batch_tokens)
    per_batch = max(1, min(SLICES, len(lengths) // n_batches))
    middles = np.cumsum(sizes) - sizes / 2
    slices = (middles * (n_batches * per_batch) / total).astype(int)
    batch_of = generator.permutation(n_batches * per_batch)[slices] // per_batch
    by_batch = order[np.argsort(batch_of, kind="stable")]
    ends = np.cumsum(np.bincount(batch_of, minlength=n_batches))
    return [batch for batch in np.split(by_batch, ends[:-1]) if len(batch)]


def pair_rows(
    lengths: np.ndarray, language_lengths: np.ndarray, seed: Sequence[int]
) -> np.ndarray:
    """A language row for every verifier row or group of rows, near in length.

    The language rows are gone through in shuffled order as often as it takes.
    """
    generator = np.random.default_rng(seed)
    rounds = -(-len(lengths) // len(language_lengths))
    shuffled = [generator.permutation(len(language_lengths)) for _ in range(rounds)]
    drawn = np.concatenate(shuffled)[: len(lengths)]
    partners = np.empty(len(lengths), np.int64)
    by_length = drawn[np.argsort(language_lengths[drawn], kind="stable")]
    partners[np.argsort(lengths, kind="stable")] = by_length
    return partners


def group_rows(
    rows: Sequence[Row], group_size: int, seed: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """All rows' indices, a group's side by side, and the sizes of the groups.

    A problem's rows, which follow each other and have their prompt in common, are split
    at random into groups of at most `group_size`, which differ by 1 at most.
    """
    prompts = (tuple(row.tokens[: row.prompt_length]) for row in rows)
    problem = np.cumsum([0, *(a != b for a, b in pairwise(prompts))])
    shuffled = np.random.default_rng(seed).random(len(rows))
    counts = np.bincount(problem)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_groups = -(-counts // group_size)
    first = np.cumsum(n_groups) - n_groups
    group = first[problem] + rank * n_groups[problem] // counts[problem]
    return np.lexsort((shuffled, problem)), np.bincount(group)


def plan_training(
    rows: Sequence[Row], language_rows: Sequence[Row], settings: TrainSettings
) -> list[tuple[int, np.ndarray]]:
    """Every step's epoch (from 1) and row indices, from (rows, seed, epoch) alone.

    An epoch is every row once. Language rows are indexed from len(rows) on; one is in
    a batch as often as its group has rows, which is section 4.2's equal mix.
    """
    lengths = np.array([len(row.tokens) for row in rows])
    extra = np.array([len(row.tokens) for row in language_rows])
    plan = []
    for epoch in range(1, settings.epochs + 1):
        seed = [settings.seed, epoch]
        order, sizes = group_rows(rows, settings.group_size, [*seed, 2])
        ends = np.cumsum(sizes)
        groups = np.split(order, ends[:-1])
        means = np.add.reduceat(lengths[order], ends - sizes) / sizes
        if len(extra):
            partners = pair_rows(means, extra, [*seed, 1])
            means = means + extra[partners]
            copies = np.repeat(partners + len(rows), sizes)
            pairs = zip(groups, np.split(copies, ends[:-1]), strict=True)
            groups = [np.concatenate(pair) for pair in pairs]
        for batch in plan_epoch(means, settings.batch_tokens, seed, sizes):
            plan.append((epoch, np.concatenate([groups[i] for i in batch])))
    return plan
