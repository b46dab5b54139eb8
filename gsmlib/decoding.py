"""Sampling completions: batched, cached, with the calculator (paper, appendix C).

A problem's prompt is computed once and its cache copied to all its samples. Rows that
finish leave the batch. Samples are addressed: each draw is a hash of (seed, problem,
sample, position), so that neither batch size nor order nor shard changes a completion,
but for ties within rounding errors.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from gsmlib import calculator as arithmetic
from gsmlib.models import LanguageModel

ANSWER_LINE = re.compile(r"####[^\n]*\S[^\n]*\n")
TAIL = 256  # tokens decoded to look for an expression or an answer line
COMPACT_BELOW = 0.7  # finished rows leave once 30 % have finished (measured 2-4x)
SET_ASIDE_BELOW = 0.1  # a batch's slowest tenth joins the other batches' slowest
MAX_ROWS = 512
BATCH_BYTES = 2**31  # of caches and logits, on a CPU


class Completion(NamedTuple):
    """One sampled solution.

    `tokens` follow the prompt, with the end token where it was sampled; `text` is what
    they spell without it. `forced` marks the calculator's tokens. `logprob` sums ln p
    at temperature 1 over the sampled, not forced, tokens. `finished` is False where the
    length limit cut the solution off.
    """

    text: str
    tokens: list[int]
    forced: list[bool]
    logprob: float
    finished: bool


class Rules(NamedTuple):
    """What holds for every row: `n` samples a problem, and when to force and stop."""

    temperature: float
    max_length: int
    calculator: bool
    stop_after_answer: bool


@dataclass
class Row:
    """One completion in the making."""

    problem: int  # places in the result
    sample: int
    address: np.uint64  # hash of (seed, problem id, sample id)
    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # the calculator's next tokens
    logprob: float = 0.0
    finished: bool = False
    done: bool = False

    @property
    def context(self) -> list[int]:
        """Prompt and solution so far."""
        return self.prompt + self.tokens

    def complete(self, tokenizer: PreTrainedTokenizerBase) -> Completion:
        """The row as a result."""
        text = decode(tokenizer, self.tokens)
        return Completion(text, self.tokens, self.forced, self.logprob, self.finished)


def greedy(
    lm: LanguageModel,
    questions: Sequence[str],
    *,
    max_length: int = 400,
    calculator: bool = True,
    stop_after_answer: bool = False,
    batch_size: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """`sample_completions` at temperature 0: one completion per question."""
    drawn = sample_completions(
        lm,
        questions,
        1,
        temperature=0.0,
        seed=0,
        max_length=max_length,
        calculator=calculator,
        stop_after_answer=stop_after_answer,
        batch_size=batch_size,
        progress=progress,
    )
    return [completions[0] for completions in drawn]


def sample_completions(
    lm: LanguageModel,
    questions: Sequence[str],
    n: int,
    *,
    temperature: float,
    seed: int,
    max_length: int = 400,
    calculator: bool = True,
    stop_after_answer: bool = False,
    batch_size: int = 0,
    problem_ids: Sequence[int] | None = None,
    sample_ids: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """`n` completions of each question, in the questions' order.

    temperature: 0 takes the likeliest token (the paper's test@1); the paper's other is
    0.7. max_length: tokens of prompt and solution together. stop_after_answer: stop
    behind the line `#### ...`, not only at the end token. batch_size: rows computed
    together; 0 chooses (`choose_batch_size`). problem_ids, sample_ids (default 0, 1,
    ...): a completion depends on its two ids and `seed`, not on what else is drawn.
    progress is called with the number of completions just finished. Raises ValueError
    for settings that the model cannot serve.
    """
    rules = Rules(temperature, max_length, calculator, stop_after_answer)
    _check(lm.model, rules, n)
    problem_ids = range(len(questions)) if problem_ids is None else problem_ids
    sample_ids = range(n) if sample_ids is None else sample_ids
    rows = _make_rows(lm.tokenizer, questions, n, seed, problem_ids, sample_ids)
    batch_size = batch_size or choose_batch_size(lm.model, max_length)
    _sample_rows(lm, rows, rules, batch_size, progress)
    done = [row.complete(lm.tokenizer) for row in rows]
    return [done[i * n : (i + 1) * n] for i in range(len(questions))]


def _make_rows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    n: int,
    seed: int,
    problem_ids: Sequence[int],
    sample_ids: Sequence[int],
) -> list[Row]:
    assert len(problem_ids) == len(questions), "one problem id per question"
    assert len(sample_ids) == n, "one sample id per completion"
    problems, samples = np.asarray(problem_ids)[:, None], np.asarray(sample_ids)
    addresses = hash_address(seed, problems, samples)  # (problems, n)
    prompts = [encode_prompt(tokenizer, question) for question in questions]
    return [
        Row(i, j, addresses[i, j], prompts[i])
        for i in range(len(questions))
        for j in range(n)
    ]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """The tokens of question + newline, as in training."""
    return tokenizer.encode(question + "\n", add_special_tokens=False)


def _check(model: PreTrainedModel, rules: Rules, n: int) -> None:
    if n < 1:
        raise ValueError(f"The number of completions must be at least 1, not {n}.")
    if not 0 <= rules.temperature < float("inf"):
        raise ValueError(f"Temperature must be 0 or more, not {rules.temperature}.")
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and rules.max_length > positions:
        raise ValueError(
            f"max_length {rules.max_length} exceeds the model's {positions} positions."
        )


# ---------------------------------------------------------------- addressed randomness


def hash_address(*parts: int | np.ndarray) -> np.ndarray:
    """A 64-bit hash of broadcast integers: splitmix64, fed one part after another."""
    state = np.zeros((), np.uint64)
    for part in parts:
        if isinstance(part, int):
            part %= 2**64
        state = _mix(state ^ np.asarray(part).astype(np.uint64))
    return state


def uniform(addresses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One float64 in [0, 1) per address (uint64) and position, 53 bits each."""
    bits = _mix(addresses ^ positions.astype(np.uint64)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea and Flood 2014): its increment and its output mixer."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2**64
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def choose_tokens(
    logits: Tensor, temperature: float, uniforms: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Next tokens (B,) and their ln p (B,) at temperature 1, from logits (B, V).

    Inverse CDF: the first token whose cumulated probability exceeds the uniform.
    """
    logits = logits.float()
    if temperature == 0:
        tokens = logits.argmax(dim=-1)
    else:
        probabilities = torch.softmax(logits / temperature, dim=-1)
        cumulated = probabilities.cumsum(dim=-1, dtype=torch.float64)  # (B, V)
        targets = torch.from_numpy(uniforms).to(logits.device)[:, None]
        targets = targets * cumulated[:, -1:]
        tokens = torch.searchsorted(cumulated, targets, right=True).squeeze(-1)
        tokens = tokens.clamp(max=logits.shape[-1] - 1)
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1)
    return tokens, chosen - logits.logsumexp(dim=-1)


# ------------------------------------------------------------------------- the batches


def choose_batch_size(model: PreTrainedModel, max_length: int) -> int:
    """The largest power of two, at most 512, of rows that fit the memory.

    That is 2 GiB, or half of what a GPU has free, for keys and values of `max_length`
    tokens and the logits: 512 for the mini-GPTs, 64 for SmolLM2.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    item = model.dtype.itemsize
    row = 2 * config.num_hidden_layers * heads * width * item * max_length
    row += 32 * config.vocab_size
    room = BATCH_BYTES
    if model.device.type == "cuda":
        room = torch.cuda.mem_get_info(model.device)[0] // 2
    return 2 ** (max(1, min(MAX_ROWS, room // row)).bit_length() - 1)


@torch.inference_mode()
def _sample_rows(
    lm: LanguageModel,
    rows: list[Row],
    rules: Rules,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Complete all rows, in batches of similar length.

    The slowest rows of every batch are set aside and go on together later, their tokens
    so far computed anew as prompts: a few rows at a time waste the processor.
    """
    was_training = lm.model.training
    lm.model.eval()
    waiting = [row for row in rows if len(row.prompt) < rules.max_length]
    if progress is not None and len(waiting) < len(rows):
        progress(len(rows) - len(waiting))  # no room for a solution
    while waiting:
        waiting.sort(key=lambda row: (len(row.context), row.problem, row.sample))
        chunks = [
            waiting[start : start + batch_size]
            for start in range(0, len(waiting), batch_size)
        ]
        for chunk in chunks:
            batch = Batch(lm, chunk, rules)
            least = SET_ASIDE_BELOW * len(chunk) if len(chunks) > 1 else 0
            while batch.alive.sum() > least:
                finished = batch.step()
                if progress is not None and finished:
                    progress(finished)
            batch.keep(np.zeros(len(batch.rows), bool))
        waiting = [row for row in waiting if not row.done]
    lm.model.train(was_training)


ROW_ARRAYS = [
    "addresses",
    "done_before",
    "lengths",
    "tokens",
    "forced",
    "ends",
    "logprob",
    "alive",
    "finished",
    "pending",
]


class Batch:
    """Rows that take their steps together, padded on the left to one length.

    R rows, `steps` taken so far; arrays have one entry per row in the batch.
    """

    def __init__(self, lm: LanguageModel, rows: list[Row], rules: Rules):
        self.lm, self.rows, self.rules, self.steps = lm, rows, rules, 0
        self.addresses = np.array([row.address for row in rows])
        self.done_before = np.array([len(row.tokens) for row in rows])
        self.lengths = np.array([len(row.context) for row in rows])
        self.width = int(self.lengths.max())
        room = rules.max_length - int(self.lengths.min())
        self.tokens = np.zeros((len(rows), room), np.int64)
        self.forced = np.zeros((len(rows), room), bool)
        self.ends = np.zeros(len(rows), np.int64)  # steps a stopped row took
        self.logprob = np.zeros(len(rows))
        self.alive = np.ones(len(rows), bool)
        self.finished = np.zeros(len(rows), bool)
        self.pending = np.array([bool(row.pending) for row in rows])
        self.mask = torch.ones(
            (len(rows), self.width + room), dtype=torch.long, device=lm.model.device
        )
        self._compute_prompts()

    def step(self) -> int:
        """Give every row its next token; return how many rows stopped with it."""
        uniforms = uniform(self.addresses, self.done_before + self.steps)
        chosen, logprobs = choose_tokens(self.logits, self.rules.temperature, uniforms)
        tokens, logprobs = chosen.cpu().numpy(), logprobs.cpu().numpy()
        forced = self._force(tokens)
        sampled = self.alive & ~forced
        if not np.isfinite(logprobs[sampled]).all():
            raise ValueError("The language model's logits are not finite.")
        self.logprob[sampled] += logprobs[sampled]
        self.tokens[:, self.steps], self.forced[:, self.steps] = tokens, forced
        self.steps += 1
        self.lengths += 1
        stopped = self._stop(tokens)
        if self.rules.calculator:
            self._calculate(tokens, forced)
        if self.alive.mean() < COMPACT_BELOW:
            self.keep(self.alive)
        if self.alive.any():
            self._compute_next(self.tokens[:, self.steps - 1])
        return stopped

    def keep(self, kept: np.ndarray) -> None:
        """Keep the rows where `kept` (R,) is true; write the others' results."""
        for place in np.flatnonzero(~kept):
            row = self.rows[place]
            end = self.steps if self.alive[place] else self.ends[place]
            row.tokens += self.tokens[place, :end].tolist()
            row.forced += self.forced[place, :end].tolist()
            row.logprob += float(self.logprob[place])
            row.finished = bool(self.finished[place])
            row.done = not self.alive[place]
        self.rows = [self.rows[place] for place in np.flatnonzero(kept)]
        for name in ROW_ARRAYS:
            setattr(self, name, getattr(self, name)[kept])
        if self.rows:
            places = torch.from_numpy(np.flatnonzero(kept)).to(self.mask.device)
            self.mask = self.mask[places]
            self.cache.batch_select_indices(places)

    def _force(self, tokens: np.ndarray) -> np.ndarray:
        """Overwrite sampled tokens by the calculator's; return which (R,)."""
        forced = self.pending.copy()
        for place in np.flatnonzero(forced):
            row = self.rows[place]
            tokens[place] = row.pending.pop(0)
            self.pending[place] = bool(row.pending)
        return forced

    def _stop(self, tokens: np.ndarray) -> int:
        ended = self.alive & (tokens == self.lm.tokenizer.eos_token_id)
        if self.rules.stop_after_answer:
            _, breaks = mark_tokens(self.lm.tokenizer, self.logits.shape[-1])
            for place in np.flatnonzero(self.alive & breaks[tokens]):
                ended[place] |= bool(ANSWER_LINE.search(self._text(place)))
        stopped = ended | (self.alive & (self.lengths >= self.rules.max_length))
        self.finished |= ended
        self.ends[stopped] = self.steps
        self.alive &= ~stopped
        return int(stopped.sum())

    def _calculate(self, tokens: np.ndarray, forced: np.ndarray) -> None:
        """Where the text now ends in a well-formed `<<expr=`, force its value and `>>`.

        The text decides, not token ids, so `=`, ` =` and `$=` all count. A token that
        goes on behind the `=` (such as `=2`) has already begun the value: the model's
        own value stands. What the calculator refuses is left to the model too.
        """
        equals, _ = mark_tokens(self.lm.tokenizer, self.logits.shape[-1])
        for place in np.flatnonzero(self.alive & ~forced & equals[tokens]):
            value = arithmetic.completion(self._text(place))
            if value is not None:
                tail = self._tail(place)
                self.rows[place].pending = encode_after(self.lm.tokenizer, tail, value)
                self.pending[place] = bool(self.rows[place].pending)

    def _tail(self, place: int) -> list[int]:
        tokens = self.tokens[place, : self.steps].tolist()
        return (self.rows[place].tokens + tokens)[-TAIL:]

    def _text(self, place: int) -> str:
        return decode(self.lm.tokenizer, self._tail(place))

    def _compute_prompts(self) -> None:
        """Compute every different context once, then give each row its copy."""
        places: dict[tuple[int, ...], int] = {}
        which = [
            places.setdefault(tuple(row.context), len(places)) for row in self.rows
        ]
        ids = np.full((len(places), self.width), self.lm.tokenizer.pad_token_id)
        mask = np.zeros((len(places), self.width), np.int64)
        for place, context in enumerate(places):
            ids[place, -len(context) :] = context
            mask[place, -len(context) :] = 1
        positions = (mask.cumsum(axis=1) - 1).clip(min=0)
        # Its copying at every step costs less than bmm does on a cache with spare room:
        # CPU kernels copy what is not contiguous (measured 7 against 8 ms a layer).
        self.cache = DynamicCache(config=self.lm.model.config)
        logits = self._forward(ids, torch.from_numpy(mask), positions)
        index = torch.tensor(which, device=self.mask.device)
        self.mask[:, : self.width] = torch.from_numpy(mask).to(index.device)[index]
        self.cache.batch_select_indices(index)
        self.logits = logits[index]

    def _compute_next(self, tokens: np.ndarray) -> None:
        mask = self.mask[:, : self.width + self.steps]
        # stopped rows that are still here must not run out of positions
        positions = (self.lengths - 1).clip(max=self.rules.max_length - 1)
        self.logits = self._forward(tokens[:, None], mask, positions[:, None])

    def _forward(self, ids: np.ndarray, mask: Tensor, positions: np.ndarray) -> Tensor:
        """The logits (R, V) behind the last column of `ids` (R, T)."""
        model = self.lm.model
        arguments = {"logits_to_keep": 1} if _can_keep_last(type(model)) else {}
        output = model(
            input_ids=torch.from_numpy(ids).to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=torch.from_numpy(positions).to(model.device),
            past_key_values=self.cache,
            use_cache=True,
            **arguments,
        )
        return output.logits[:, -1]


@lru_cache
def _can_keep_last(kind: type[PreTrainedModel]) -> bool:
    """Most models can compute the last position's logits alone; a prompt's are many."""
    return "logits_to_keep" in inspect.signature(kind.forward).parameters


# ------------------------------------------------------------------------ the tokens


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """The text of tokens, special tokens left out, spaces as they are."""
    return tokenizer.decode(
        tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def encode_after(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], text: str
) -> list[int]:
    """Tokens that spell `text` when they follow `tokens` (whose text ends in `=`).

    Some tokenizers put a space before a text's first word: those are encoded with the
    `=` in front. Empty where neither way spells it.
    """
    wanted = decode(tokenizer, tokens) + text
    plain = tokenizer.encode(text, add_special_tokens=False)
    if decode(tokenizer, tokens + plain) == wanted:
        return plain
    sign = tokenizer.encode("=", add_special_tokens=False)
    joint = tokenizer.encode("=" + text, add_special_tokens=False)[len(sign) :]
    return joint if decode(tokenizer, tokens + joint) == wanted else []


@lru_cache(maxsize=4)
def mark_tokens(
    tokenizer: PreTrainedTokenizerBase, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which of `size` tokens spell a text that ends in `=`, and which a line's end."""
    texts = [decode(tokenizer, [token]) for token in range(min(size, len(tokenizer)))]
    texts += [""] * (size - len(texts))  # rows of the embedding that mean nothing
    equals = np.array([text.endswith("=") for text in texts])
    breaks = np.array(["\n" in text for text in texts])
    return equals, breaks
