"""Sampling completions: batched, cached, with the calculator (paper, appendix C).

Finished samples leave the batch and waiting ones take their places, so that memory is
bounded by the batch. Samples are addressed: each random number is a hash of (seed,
problem, sample, position), so that neither batch size nor order nor a restart changes
a completion, but for ties within rounding errors. The model's side is `engine`'s.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gsmlib.method import calculator as arithmetic
from gsmlib.method.engine import new_engine
from gsmlib.method.models import POSITIONS, LanguageModel

ANSWER_LINE = re.compile(r"####[^\n]*\S[^\n]*\n")
TAIL = 256  # tokens decoded to look for an expression or an answer line
COMPACT_BELOW = 0.75  # stopped samples leave once more than a quarter have stopped
REFILL_BELOW = 0.5  # waiting samples enter once half of the batch is free
MAX_ROWS, GPU_ROWS = 512, 4096  # more gain nothing on a CPU, which is full by then
BATCH_BYTES = 5 * 2**30  # of caches and logits, on a CPU
CHOSEN_TOGETHER = 2**19  # logits of which a CPU chooses tokens together
CHUNK = 64  # tokens whose probabilities are added up before one of them is looked for


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
    """How every completion is made: how to draw, when to force and when to stop.

    `max_length` counts the prompt's tokens too. With `stop_at_line` a completion ends
    with the line that it begins in, and goes on elsewhere (`search`).
    """

    temperature: float
    seed: int
    max_length: int = POSITIONS
    calculator: bool = True
    stop_after_answer: bool = False
    stop_at_line: bool = False


Done = tuple[int, int, Completion]  # places of question and sample, the completion


class Sample(NamedTuple):
    """A completion that is to be made: its places in the result, and its prompt."""

    problem: int
    number: int
    address: np.uint64  # hash of (seed, problem id, number)
    prompt: list[int]


def greedy(
    lm: LanguageModel,
    questions: Sequence[str],
    *,
    max_length: int = POSITIONS,
    calculator: bool = True,
) -> list[Completion]:
    """One completion of each question at temperature 0 (see `stream_completions`)."""
    rules = Rules(0.0, 0, max_length, calculator)
    return [drawn[0] for drawn in sample_completions(lm, questions, 1, rules)]


def sample_completions(
    lm: LanguageModel,
    questions: Sequence[str],
    n: int,
    rules: Rules,
    *,
    batch_size: int = 0,
    problem_ids: Sequence[int] | None = None,
) -> list[list[Completion]]:
    """`n` completions of each question, in order (see `stream_completions`)."""
    stream = stream_completions(
        lm, questions, n, rules, batch_size=batch_size, problem_ids=problem_ids
    )
    done = {(i, j): completion for i, j, completion in stream}
    return [[done[i, j] for j in range(n)] for i in range(len(questions))]


def stream_completions(
    lm: LanguageModel,
    questions: Sequence[str],
    n: int,
    rules: Rules,
    *,
    batch_size: int = 0,
    problem_ids: Sequence[int] | None = None,
    skip: Collection[tuple[int, int]] = (),
) -> Iterator[Done]:
    """Yield (place of the question, number of the sample, completion) as each is done.

    A completion depends on its problem's id (default 0, 1, ...), its number and the
    seed, not on what else is drawn. `batch_size` many are computed together; 0 chooses
    (`choose_batch_size`). `skip` holds (place, number) of those not to make; a set, if
    many. Problems come by the length of their prompts. Raises ValueError for rules that
    the model cannot serve.
    """
    _check(lm.model, rules, n)
    problem_ids = range(len(questions)) if problem_ids is None else problem_ids
    assert len(problem_ids) == len(questions), "one problem id per question"
    prompts = [encode_prompt(lm.tokenizer, question) for question in questions]
    samples = (
        sample
        for sample in _list_samples(prompts, n, rules.seed, problem_ids)
        if (sample.problem, sample.number) not in skip
    )
    size = batch_size or choose_batch_size(lm.model, rules.max_length)
    return complete(SampleBatch(lm, rules), samples, size)


def _list_samples(
    prompts: list[list[int]], n: int, seed: int, problem_ids: Sequence[int]
) -> Iterator[Sample]:
    """All samples; prompts of similar length follow each other, to be padded little."""
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        addresses = hash_address(seed, problem_ids[i], np.arange(n))
        for j, address in enumerate(addresses):
            yield Sample(i, j, address, prompts[i])


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
    """A 64-bit hash of broadcast integers: splitmix64, fed one part after another.

    The address of sample 2 of problem 7 under seed 0, alone and among others:

    >>> int(hash_address(0, 7, 2))
    9622327627178505737
    >>> int(hash_address(0, 7, np.arange(4))[2])
    9622327627178505737
    """
    state = np.zeros((), np.uint64)
    for part in parts:
        if isinstance(part, int):
            part %= 2**64
        state = _mix(state ^ np.asarray(part).astype(np.uint64))
    return state


def uniform(addresses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One float64 in [0, 1) per address (uint64) and position, 53 bits each.

    What decides the first tokens of sample 2 of problem 7, at positions 0, 1 and 2:

    >>> uniform(hash_address(0, 7, 2), np.arange(3)).round(3)
    array([0.349, 0.205, 0.206])
    """
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

    Inverse CDF: the first token whose cumulated probability exceeds the uniform. Of
    tokens with probabilities 0.2, 0.5 and 0.3, a uniform of 0.61 takes the second: sums
    are 0.2, 0.7 and 1.
    """
    targets = torch.from_numpy(uniforms).to(logits.device)[:, None]
    # a few rows at a time, whose probabilities stay in a processor's cache
    on_cpu = logits.device.type == "cpu"
    size = max(1, CHOSEN_TOGETHER // logits.shape[1]) if on_cpu else len(logits)
    pieces = zip(logits.split(size), targets.split(size), strict=True)
    chosen = [_choose(piece.float(), temperature, target) for piece, target in pieces]
    return tuple(torch.cat(part) for part in zip(*chosen, strict=True))


def _choose(
    logits: Tensor, temperature: float, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """`choose_tokens` of a few rows, their uniforms as `targets` (B, 1)."""
    if temperature == 0:
        tokens = logits.argmax(dim=-1)
    else:
        tokens = _invert(torch.softmax(logits / temperature, dim=-1), targets)
    return tokens, logits.log_softmax(dim=-1).gather(-1, tokens[:, None]).squeeze(-1)


def _invert(probabilities: Tensor, targets: Tensor) -> Tensor:
    """First tokens (B,) whose cumulated probability, of (B, V), exceeds targets (B, 1).

    Whole chunks of tokens first, then the tokens of one chunk: sums in float64, which
    cost less than half of what cumulating every probability does.
    """
    size = probabilities.shape[1]
    chunks = F.pad(probabilities, (0, -size % CHUNK)).unflatten(1, (-1, CHUNK))
    sums = chunks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)  # (B, V / CHUNK)
    targets = targets * sums[:, -1:]
    chunk = torch.searchsorted(sums, targets, right=True).clamp(max=sums.shape[1] - 1)
    before = F.pad(sums, (1, 0)).gather(1, chunk)
    rows = torch.arange(len(chunk), device=chunk.device)
    inside = chunks[rows, chunk[:, 0]].cumsum(dim=-1, dtype=torch.float64) + before
    place = torch.searchsorted(inside, targets, right=True).clamp(max=CHUNK - 1)
    return (chunk * CHUNK + place).squeeze(1).clamp(max=size - 1)


# ------------------------------------------------------------------------- the batches


def choose_batch_size(model: PreTrainedModel, max_length: int) -> int:
    """The largest power of two of rows that fit the memory: at most 512, GPU 4,096.

    That is 5 GiB, or half of what a GPU has free, for keys and values of `max_length`
    tokens (no prompt shared) and the logits: 512 for the mini-GPTs, 256 for SmolLM2.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    item = 4 if model.device.type == "cpu" else model.dtype.itemsize  # as `Engine`
    row = 2 * config.num_hidden_layers * heads * width * item * max_length
    row += 32 * config.vocab_size
    room, most = BATCH_BYTES, MAX_ROWS
    if model.device.type == "cuda":
        room, most = torch.cuda.mem_get_info(model.device)[0] // 2, GPU_ROWS
    return 2 ** (max(1, min(most, room // row)).bit_length() - 1)


def complete(
    batch: "SampleBatch", samples: Iterator[Sample], size: int
) -> Iterator[Done]:
    """Complete all samples, at most `size` of them together; yield each once it is.

    Of 20 samples at size 8, say, the first 8 enter. Once fewer than 3/4 of them go on
    (5 of 8), the 3 that have stopped leave the caches. Once at most half of `size` go
    on (4), the next 4 enter; and so forth until none waits. The batch ends as empty as
    it was.
    """
    model = batch.lm.model
    was_training = model.training
    model.eval()
    try:
        waiting = True
        while waiting or len(batch):
            if waiting and len(batch) <= REFILL_BELOW * size:
                entering = list(islice(samples, size - len(batch)))
                waiting = bool(entering)
                yield from batch.enter(entering)
            if len(batch):
                yield from batch.step()
    finally:
        model.train(was_training)


class SampleBatch:
    """Samples that take their steps together; each verb returns those it completed.

    Each is a row of `state`, its record, and of `logits` (R, V), what the model says of
    its next token. One that has stopped stays until enough have, for leaving copies
    all caches.
    """

    def __init__(self, lm: LanguageModel, rules: Rules):
        self.lm, self.rules, self.engine = lm, rules, new_engine(lm.model)
        self.samples: list[Sample] = []
        self.pending: list[list[int]] = []  # the calculator's next tokens
        self.logits = torch.empty(0)
        record = [
            ("address", np.uint64),
            ("prompt", np.int64),  # its length
            ("steps", np.int64),  # tokens so far
            ("tokens", np.int32, rules.max_length),
            ("forced", bool, rules.max_length),
            ("logprob", float),
            ("pending", bool),
            ("alive", bool),
            ("finished", bool),
        ]
        self.state = np.zeros(0, record)

    def __len__(self) -> int:
        """The number of samples that have not stopped."""
        return int(self.state["alive"].sum())

    @torch.inference_mode()
    def enter(self, samples: list[Sample]) -> list[Done]:
        """Compute the prompts of `samples` and append these to the batch."""
        room = self.rules.max_length
        full = [sample for sample in samples if len(sample.prompt) >= room]
        samples = [sample for sample in samples if len(sample.prompt) < room]
        if samples:
            self._leave()
            problems = [list(same) for _, same in groupby(samples, lambda s: s.problem)]
            prompts = [same[0].prompt for same in problems]
            logits = self.engine.add(prompts, [len(same) for same in problems])
            self.logits = torch.cat((self.logits, logits)) if self.samples else logits
            self.samples += samples
            self.pending += [[] for _ in samples]
            state = np.zeros(len(samples), self.state.dtype)
            state["address"] = [sample.address for sample in samples]
            state["prompt"] = [len(sample.prompt) for sample in samples]
            state["alive"] = True
            self.state = np.concatenate((self.state, state))
        # no room for a solution
        return [(*sample[:2], Completion("", [], [], 0.0, False)) for sample in full]

    @torch.inference_mode()
    def step(self) -> list[Done]:
        """Give every sample its next token, and compute what may follow it."""
        state, alive = self.state, self.state["alive"]
        uniforms = uniform(state["address"], state["steps"])
        chosen, logprobs = choose_tokens(self.logits, self.rules.temperature, uniforms)
        tokens, logprobs = chosen.cpu().numpy(), logprobs.cpu().numpy()
        forced = self._force(tokens)
        sampled = alive & ~forced
        if not np.isfinite(logprobs[sampled]).all():
            raise ValueError("The language model's logits are not finite.")
        state["logprob"][sampled] += logprobs[sampled]
        places = np.flatnonzero(alive)
        state["tokens"][places, state["steps"][places]] = tokens[places]
        state["forced"][places, state["steps"][places]] = forced[places]
        state["steps"][places] += 1
        stopped = self._stop(tokens)
        if self.rules.calculator:
            self._calculate(tokens, forced)
        done = [self._complete(place) for place in np.flatnonzero(stopped)]
        if len(self) < COMPACT_BELOW * len(self.samples):
            tokens = tokens[alive]
            self._leave()
        if self.samples:
            self.logits = self.engine.step(chosen.new_tensor(tokens))
        return done

    def _leave(self) -> None:
        """Samples that have stopped leave."""
        alive = self.state["alive"].copy()
        if alive.all():
            return
        kept = torch.from_numpy(alive).to(self.logits.device)
        self.engine.keep(kept)
        self.logits = self.logits[kept]
        self.samples = [self.samples[place] for place in np.flatnonzero(alive)]
        self.pending = [self.pending[place] for place in np.flatnonzero(alive)]
        self.state = self.state[alive]

    def _complete(self, place: int) -> Done:
        """The sample as a result."""
        sample, state = self.samples[place], self.state[place]
        tokens = state["tokens"][: state["steps"]].tolist()
        completion = Completion(
            decode(self.lm.tokenizer, tokens),
            tokens,
            state["forced"][: state["steps"]].tolist(),
            float(state["logprob"]),
            bool(state["finished"]),
        )
        return sample.problem, sample.number, completion

    def _force(self, tokens: np.ndarray) -> np.ndarray:
        """Overwrite drawn tokens by the calculator's; return which (R,)."""
        forced = self.state["pending"].copy()
        for place in np.flatnonzero(forced):
            tokens[place] = self.pending[place].pop(0)
            self.state["pending"][place] = bool(self.pending[place])
        return forced

    def _stop(self, tokens: np.ndarray) -> np.ndarray:
        """Mark the samples that end with these tokens; return which (R,)."""
        state, alive = self.state, self.state["alive"]
        ended = alive & (tokens == self.lm.tokenizer.eos_token_id)
        if self.rules.stop_after_answer:
            _, breaks = mark_tokens(self.lm.tokenizer, self.logits.shape[-1])
            for place in np.flatnonzero(alive & breaks[tokens]):
                ended[place] |= bool(ANSWER_LINE.search(self._text(place)))
        stopped = ended | (alive & self._at_an_end(tokens))
        state["finished"] |= ended
        state["alive"] &= ~stopped
        return stopped

    def _at_an_end(self, tokens: np.ndarray) -> np.ndarray:
        """Which samples (R,) are at the length limit, or where lines count at one's."""
        full = self.state["prompt"] + self.state["steps"] >= self.rules.max_length
        if not self.rules.stop_at_line:
            return full
        return full | mark_tokens(self.lm.tokenizer, self.logits.shape[-1])[1][tokens]

    def _calculate(self, tokens: np.ndarray, forced: np.ndarray) -> None:
        """Where the text now ends in a well-formed `<<expr=`, force its value and `>>`.

        The text decides, not token ids, so `=`, ` =` and `$=` all count. A token that
        goes on behind the `=` (such as `=2`) has already begun the value: the model's
        own value stands. What the calculator refuses is left to the model too.
        """
        equals, _ = mark_tokens(self.lm.tokenizer, self.logits.shape[-1])
        for place in np.flatnonzero(self.state["alive"] & ~forced & equals[tokens]):
            value = arithmetic.completion(self._text(place))
            if value is not None:
                tail = self._tail(place)
                self.pending[place] = encode_after(self.lm.tokenizer, tail, value)
                self.state["pending"][place] = bool(self.pending[place])

    def _tail(self, place: int) -> list[int]:
        end = self.state["steps"][place]
        return self.state["tokens"][place, max(0, end - TAIL) : end].tolist()

    def _text(self, place: int) -> str:
        return decode(self.lm.tokenizer, self._tail(place))


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
