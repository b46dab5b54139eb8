"""What one would otherwise use: the contenders that `bench` compares ours with.

transformers' `generate` with a calculator as one writes it, the released sampler's
algorithm, and loops over rows padded to their batch's longest.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from gsmlib.method import calculator as arithmetic
from gsmlib.method.batching import IGNORE, Row, Targets, collate
from gsmlib.method.decoding import decode, encode_prompt
from gsmlib.method.losses import language_loss, verifier_loss
from gsmlib.method.models import LanguageModel, Verifier
from gsmlib.method.recipe import TrainSettings

Shape = tuple[int, int]  # rows, length
PADDED_ROWS = 32  # rows a batch of the padded loops
STEPS = 6  # updates of a training contender in a round


@torch.inference_mode()
def generate(
    lm: LanguageModel, questions: list[str], samples: int, new: int, calculator: bool
) -> int:
    """Sample by transformers' `generate`, all rows together; return real tokens."""
    encoded = [encode_prompt(lm.tokenizer, question) for question in questions]
    prompts = [prompt for prompt in encoded for _ in range(samples)]
    longest = max(map(len, prompts))
    pad, end = lm.tokenizer.pad_token_id, lm.tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    output = lm.model.generate(
        ids,
        attention_mask=mask,
        do_sample=True,
        temperature=0.7,
        top_k=0,
        max_new_tokens=new,
        pad_token_id=pad,
        logits_processor=LogitsProcessorList(
            [PlainCalculator(lm, longest)] if calculator else []
        ),
    )[:, longest:]
    ended = (output == end).int().cumsum(1)
    return int(((ended == 0) | ((ended == 1) & (output == end))).sum())


class PlainCalculator(LogitsProcessor):
    """The calculator as one writes it for `generate`: every row's text, every step."""

    def __init__(self, lm: LanguageModel, start: int):
        self.lm, self.start = lm, start
        self.pending: dict[int, list[int]] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave only the value's next token where a row's text asks for it."""
        for i, row in enumerate(input_ids[:, self.start :].tolist()):
            if not self.pending.get(i):
                self.pending[i] = _value_tokens(self.lm, row)
            if self.pending[i]:
                token = self.pending[i].pop(0)
                scores[i] = -torch.inf
                scores[i, token] = 0.0
        return scores


@torch.inference_mode()
def sample_as_released(lm: LanguageModel, question: str, n: int) -> int:
    """Sample as the released code does: one token a call, no cache, one row.

    Greedy there; here at temperature 0.7, which costs the same. A `<<expr=` is computed
    once the text ends in `=`, and its value appended as text. Returns tokens made.
    """
    ids = encode_prompt(lm.tokenizer, question)
    start = len(ids)
    while len(ids) - start < n:
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        chosen = torch.multinomial(torch.softmax(logits.float() / 0.7, -1), 1)
        ids.append(int(chosen))
        ids += _value_tokens(lm, ids[start:])
    return len(ids) - start


def _value_tokens(lm: LanguageModel, tokens: list[int]) -> list[int]:
    """Return what the calculator writes behind a text; nothing where it does not."""
    text = decode(lm.tokenizer, tokens)
    value = arithmetic.completion(text) if text.endswith("=") else None
    return lm.tokenizer.encode(value or "", add_special_tokens=False)


class PaddedLoop:
    """The loop one writes first: shuffled rows, each whole, padded to the longest."""

    def __init__(
        self,
        model: nn.Module,
        rows: Sequence[Row],
        language_rows: Sequence[Row],
        settings: TrainSettings,
        pad_token: int,
    ):
        self.model, self.rows, self.language_rows = model, rows, language_rows
        self.settings, self.pad_token = settings, pad_token
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        self.draw = np.random.default_rng(0)
        mean = np.mean([len(row.tokens) for row in rows])
        share = 2 if language_rows else 1
        self.n = max(1, round(settings.batch_tokens / mean / share))
        model.train()

    def _step(self) -> list[Row]:
        picked = [self.rows[i] for i in self.draw.integers(len(self.rows), size=self.n)]
        if self.language_rows:
            places = self.draw.integers(len(self.language_rows), size=self.n)
            picked += [self.language_rows[i] for i in places]
        for start in range(0, len(picked), PADDED_ROWS):
            self._backward(picked[start : start + PADDED_ROWS])
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return picked

    def _backward(self, rows: list[Row]) -> None:
        verifies = isinstance(self.model, Verifier)
        batch = collate(rows, self.pad_token, Targets(loss_on_question=not verifies))
        mask = _mask(rows, batch.input_ids)
        with _autocast(self.settings.precision):
            output = self.model(batch.input_ids, attention_mask=mask)
            logits = output[1] if verifies else output.logits
            loss = torch.zeros(())
            if (batch.language_targets != IGNORE).any():
                loss = loss + language_loss(logits, batch.language_targets)
            if verifies and not batch.verifier_targets.isnan().all():
                loss = loss + verifier_loss(output[0], batch.verifier_targets)
        loss.backward()

    def tokens(self) -> int:
        """Take steps; return how many real tokens they saw."""
        return sum(len(row.tokens) for _ in range(STEPS) for row in self._step())

    def completions(self) -> int:
        """Take steps; return how many labelled rows they saw."""
        labels = [row.label for _ in range(STEPS) for row in self._step()]
        return int((~np.isnan(labels)).sum())


class OneShape:
    """The same step on random tokens of one fixed shape: no padding, nothing new.

    What a loop over real rows could reach: forward, backward and update alone.
    """

    def __init__(self, model: nn.Module, settings: TrainSettings, shape: Shape):
        self.model, self.settings, self.shape = model, settings, shape
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        self.draw = torch.Generator().manual_seed(0)
        model.train()

    def tokens(self) -> int:
        """Take steps of as many whole batches as settings ask; return their tokens."""
        rows, length = self.shape
        passes = max(1, round(self.settings.batch_tokens / (rows * length)))
        for _ in range(STEPS):
            for _ in range(passes):
                self._backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return STEPS * passes * rows * length

    def _backward(self) -> None:
        vocabulary = self.model.config.vocab_size
        ids = torch.randint(vocabulary, self.shape, generator=self.draw)
        with _autocast(self.settings.precision):
            logits = self.model(
                ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).logits
            loss = language_loss(logits[:, :-1], ids[:, 1:])
        loss.backward()


@torch.inference_mode()
def score_padded(
    verifier: Verifier, texts: list[list[int]], pad_token: int, precision: str
) -> None:
    """Run the verifier over texts in their order, padded batch by batch."""
    for start in range(0, len(texts), PADDED_ROWS):
        rows = [Row(tokens, 1) for tokens in texts[start : start + PADDED_ROWS]]
        ids = collate(rows, pad_token).input_ids
        with _autocast(precision):
            verifier(ids, attention_mask=_mask(rows, ids))


def _autocast(precision: str) -> torch.autocast:
    """Return PyTorch's own mixed precision, which turns the weights at every pass."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _mask(rows: Sequence[Row], ids: Tensor) -> Tensor:
    """Return 1 where padded `ids` (rows, length) hold a row's token, else 0."""
    lengths = torch.tensor([len(row.tokens) for row in rows])
    return (torch.arange(ids.shape[1]) < lengths[:, None]).long()
