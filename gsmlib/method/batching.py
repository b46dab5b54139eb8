"""Rows of tokens, which of them meet in a batch, and the tensors of a batch.

A batch is planned in plain tokens, every row in full; what is computed of it is less:
equal rows once, with a weight, and a prefix that many rows share (the question, for its
completions) once for all of them. Rows are computed in a line, end to end
(`attention`); where a model cannot do that, padded on the right.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gsmlib.method.attention import Layout, lay_out, round_up
from gsmlib.method.decoding import encode_prompt
from gsmlib.method.recipe import Level, TrainSettings

IGNORE = -100  # a language target that no loss looks at; for verifier targets it is nan
LINE_STEP = 128  # the line of rows is a multiple of so many tokens long
SLICES = 2  # a batch is this many slices, each of items of similar length
JITTER = 0.1  # lengths count as up to 10 % off when sorted, so that slices change


class Row(NamedTuple):
    """A tokenized problem with one solution.

    `label` is 1.0 or 0.0 for the verifier, nan for a language-model row; `cut` counts
    the tokens lost at the maximum length. `lines` are the places of the tokens that end
    a line of the solution, each with that line's own label, where lines are learnt.
    """

    tokens: Sequence[int]
    prompt_length: int
    label: float = float("nan")
    cut: int = 0
    lines: Sequence[tuple[int, float]] = ()

    @property
    def prefix(self) -> tuple[int, ...]:
        """The question but for its last token: no loss looks at what follows these."""
        return tuple(self.tokens[: self.prompt_length - 1])


class Piece(NamedTuple):
    """Rows computed at once: their indices, and the prefixes that they go on from."""

    rows: np.ndarray
    prefixes: Sequence[Sequence[int]] = ()  # none: the rows are computed whole
    prefix_of: np.ndarray | None = None


class Batch(NamedTuple):
    """Rows in a line (B is 1), or padded to the longest, and their targets.

    `weights` says how many equal rows each token stands for. `ends` are the places of
    the rows' last tokens in the flattened tensors. There is a `layout` in a line alone.
    """

    input_ids: Tensor  # (B, T)
    position_ids: Tensor  # (B, T)
    language_targets: Tensor  # (B, T): at t the token t + 1, or IGNORE
    verifier_targets: Tensor  # (B, T): the row's label, or nan
    weights: Tensor  # (B, T)
    ends: np.ndarray  # (rows,)
    layout: Layout | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        tensors = (tensor.to(device) for tensor in self[:5])
        layout = self.layout and self.layout.to(device)
        return Batch(*tensors, self.ends, layout)


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


class Targets(NamedTuple):
    """What is learnt of rows (see `line_up`)."""

    loss_on_question: bool = False
    level: Level = "token"

    def of(self, row: Row) -> tuple[np.ndarray, np.ndarray]:
        """A row's language and verifier targets, one a token."""
        n, start = len(row.tokens), row.prompt_length
        language, verifier = np.full(n, IGNORE), np.full(n, np.nan, np.float32)
        if np.isnan(row.label):
            first = 1 if self.loss_on_question else start
            language[first - 1 : n - 1] = row.tokens[first:]
        elif self.level == "line":
            for place, label in row.lines:
                verifier[place] = label
        else:
            first = 0 if self.loss_on_question else start
            verifier[first if self.level == "token" else n - 1 :] = row.label
        return language, verifier


ON_SOLUTION = Targets()


def line_up(
    rows: Sequence[Row],
    pad_token: int,
    targets: Targets = ON_SOLUTION,
    weights: Sequence[int] | None = None,
    piece: Piece | None = None,
) -> Batch:
    """Lay rows end to end in one line, with their targets, behind `piece`'s prefixes.

    A language row's targets are the solution's tokens with the end token, and the
    question's from its second on where `loss_on_question`. A labelled row's target is
    its label at every solution token with the end token (`level` "token"), and at the
    question's too where `loss_on_question`, or at the last token only ("solution"); or
    its lines' labels at their ends ("line").
    Rows that go on from prefixes begin at their question's last token, which predicts
    the solution's first.
    """
    prefixes = piece.prefixes if piece else ()
    prefix_of = piece.prefix_of if prefixes else ()
    starts = [row.prompt_length - 1 if prefixes else 0 for row in rows]
    rests = [len(row.tokens) - start for row, start in zip(rows, starts, strict=True)]
    heads = [len(prefix) for prefix in prefixes]
    shape = 1, round_up(sum(heads) + sum(rests), LINE_STEP)
    batch = _empty(shape, pad_token)
    at = 0
    for prefix in prefixes:
        batch.fill(0, at, prefix, 0)
        at += len(prefix)
    counts = [1] * len(rows) if weights is None else weights
    for row, start, count in zip(rows, starts, counts, strict=True):
        batch.fill(0, at, row.tokens[start:], start)
        learnt = (target[start:] for target in targets.of(row))
        batch.learn(0, at, *learnt, count)
        at += len(row.tokens) - start
    ends = sum(heads) + np.cumsum(rests) - 1
    layout = lay_out(heads, rests, prefix_of) if prefixes else lay_out(rests, [], [])
    return batch.done(ends, layout)


def collate(
    rows: Sequence[Row],
    pad_token: int,
    targets: Targets = ON_SOLUTION,
    weights: Sequence[int] | None = None,
) -> Batch:
    """Pad rows on the right to the longest, with the targets of `line_up`."""
    lengths = np.array([len(row.tokens) for row in rows])
    batch = _empty((len(rows), int(lengths.max())), pad_token)
    for i, row in enumerate(rows):
        batch.fill(i, 0, row.tokens, 0)
        batch.learn(i, 0, *targets.of(row), 1 if weights is None else weights[i])
    return batch.done(np.arange(len(rows)) * lengths.max() + lengths - 1)


class _Arrays(NamedTuple):
    """A batch in the making (see `Batch`)."""

    ids: np.ndarray
    positions: np.ndarray
    language: np.ndarray
    verifier: np.ndarray
    weights: np.ndarray

    def fill(self, line: int, at: int, tokens: Sequence[int], first: int) -> None:
        """Put tokens at `at`, the first of which is its row's number `first`."""
        end = at + len(tokens)
        self.ids[line, at:end] = tokens
        self.positions[line, at:end] = np.arange(first, first + len(tokens))

    def learn(
        self, line: int, at: int, language: np.ndarray, verifier: np.ndarray, count: int
    ) -> None:
        """Put targets at `at`, for as many equal rows as `count` says."""
        end = at + len(language)
        self.language[line, at:end], self.verifier[line, at:end] = language, verifier
        self.weights[line, at:end] = count

    def done(self, ends: np.ndarray, layout: Layout | None = None) -> Batch:
        """The batch."""
        return Batch(*map(torch.from_numpy, self), ends, layout)


def _empty(shape: tuple[int, int], pad_token: int) -> _Arrays:
    """Padding alone; its positions are 0, for a model has no more than rows need."""
    return _Arrays(
        np.full(shape, pad_token, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, IGNORE, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.float32),
    )


# ------------------------------------------------------------- what is computed at once


def cut_pieces(
    rows: Sequence[Row], max_tokens: int, *, share: bool = True
) -> list[Piece]:
    """Cut rows into pieces of about equal work, of `max_tokens` tokens and a row's.

    Neighbours in length meet. What several rows have for prefix is computed once for
    those in a piece. Two completions, 9 and 8 8, of the question 1 2 3 4: its first
    three tokens are computed once, and each row goes on from the fourth, which predicts
    the solution's first. So 3 + 2 + 3 tokens are computed instead of 5 + 6.

    >>> rows = [Row([1, 2, 3, 4, 9], 4), Row([1, 2, 3, 4, 8, 8], 4)]
    >>> [piece] = cut_pieces(rows, max_tokens=100)
    >>> piece.prefixes, piece.rows.tolist(), piece.prefix_of.tolist()
    ([(1, 2, 3)], [0, 1], [0, 0])
    >>> line_up(rows, 0, piece=piece).input_ids[0, :9].tolist()
    [1, 2, 3, 4, 9, 4, 8, 8, 0]
    """
    lengths = np.array([len(row.tokens) for row in rows])
    number: dict[tuple[int, ...], int] = {}
    prefix_of = np.array([number.setdefault(row.prefix, len(number)) for row in rows])
    prefixes, sizes = list(number), np.array([len(prefix) for prefix in number])
    shared = (np.bincount(prefix_of) > 1) & (sizes > 0) & share
    goes_on = shared[prefix_of]
    whole = np.flatnonzero(~goes_on)
    whole = whole[np.argsort(lengths[whole], kind="stable")]
    pieces = [Piece(some) for some in _split(whole, lengths[whole], max_tokens)]
    rests = lengths - sizes[prefix_of]
    longest = np.zeros(len(prefixes), np.int64)
    np.maximum.at(longest, prefix_of, rests)
    order = np.lexsort((rests, prefix_of, longest[prefix_of]))
    order = order[goes_on[order]]
    first = np.diff(prefix_of[order], prepend=-1) != 0  # it brings its prefix along
    work = rests[order] + first * sizes[prefix_of[order]]
    for some in _split(order, work, max_tokens):
        needed, numbers = np.unique(prefix_of[some], return_inverse=True)
        pieces.append(Piece(some, [prefixes[i] for i in needed], numbers))
    return pieces


def _split(rows: np.ndarray, work: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Neighbouring rows in as few parts as their work asks for, about equal."""
    if not len(rows):
        return []
    n = -(-int(work.sum()) // max_tokens)
    part = ((np.cumsum(work) - work / 2) * n / work.sum()).astype(int)
    return np.split(rows, np.flatnonzero(np.diff(part)) + 1)


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
    """A language row for every verifier row, near in length.

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

    An epoch is every row once. Language rows are indexed from len(rows) on. Beside each
    row stands one of them, and all come equally often and evenly spread: section 4.2's
    equal mix. With `shared_language` the same one stands beside all rows of a group:
    as many, but an epoch of few groups sees few different ones.
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
            if settings.shared_language:
                partners = np.repeat(pair_rows(means, extra, [*seed, 1]), sizes)
            else:
                partners = pair_rows(np.repeat(means, sizes), extra, [*seed, 1])
            means = means + np.add.reduceat(extra[partners], ends - sizes) / sizes
            beside = np.split(partners + len(rows), ends[:-1])
            groups = [np.concatenate(pair) for pair in zip(groups, beside, strict=True)]
        for batch in plan_epoch(means, settings.batch_tokens, seed, sizes):
            plan.append((epoch, np.concatenate([groups[i] for i in batch])))
    return plan
