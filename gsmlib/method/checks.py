"""What a model must be able to do, tried before anything is computed.

Its tokenizer spells the paper's format and reads the problems; the model computes with
a cache, and in training, what it computes of a text by itself. What fails here would
otherwise fail after hours, or give invalid answers without a word.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from gsmlib.data import Problem
from gsmlib.method import attention
from gsmlib.method.answers import final_number
from gsmlib.method.batching import Row
from gsmlib.method.calculator import completion, find_annotations
from gsmlib.method.decoding import decode, encode_after
from gsmlib.method.engine import new_engine
from gsmlib.method.losses import batch_losses, language_loss, make_batch, make_pieces
from gsmlib.method.models import LanguageModel, Verifier, find_reserved_token
from gsmlib.records import SettingsError

# A solution with all that the format is made of, and its parts as they are named.
FORMAT = (
    "He pays 48/2=$<<48/2=24>>24 and 5*(7-1)*0.5=<<5*(7-1)*0.5=15>>15.\n"
    "That is 24+15=<<24+15=39>>39, of 1368 in 1907.\n#### 39"
)
PARTS = ("<<", ">>", "=", "####", *"0123456789", *"+-*/.()", "\n")
# What the calculator must be able to complete: every value up to 999, behind all digits
FORCED = [f"<<{value - value % 7}+{value % 7}=" for value in range(1000)]
MANY = 1000  # annotations of the problems that are tried too
TEXTS = [3, 1, 4, 1, 5], [9, 2, 6]  # tokens, to compute with
CLOSE = 1e-3  # of a logit's spread: rounding errors stay far below
OTHERS = "such as gpt2 or smollm2-135m"


# ------------------------------------------------------------------------ a tokenizer


def check_format(tokenizer: PreTrainedTokenizerBase, model: str) -> None:
    """Raise SettingsError where solutions cannot be spelled, read and calculated.

    The annotations, `####`, digits and line ends of a solution must survive its way to
    tokens and back, and there must be a place behind each `=` of an annotation where
    the calculator can write the value (appendix C).
    """
    told = decode(tokenizer, tokenizer.encode(FORMAT, add_special_tokens=False))
    if find_annotations(told) != find_annotations(FORMAT) or (
        final_number(told) != final_number(FORMAT) or "\n####" not in told
    ):
        lost = [part for part in PARTS if told.count(part) != FORMAT.count(part)]
        raise SettingsError(
            f"The tokenizer of {model} cannot spell the paper's solutions: of "
            f"{FORMAT.splitlines()[-1]!r} and <<48/2=24>> it loses "
            f"{', '.join(map(repr, lost)) or 'the order'}; take a model whose "
            f"tokenizer keeps every character, {OTHERS}."
        )
    _check_forcing(tokenizer, model, FORCED)


def _check_forcing(
    tokenizer: PreTrainedTokenizerBase, model: str, texts: Iterable[str]
) -> None:
    """Refuse a tokenizer that leaves the calculator no place in `<<24*1=`."""
    for begun in texts:
        value = completion(begun)
        if value and value[0].isdigit() and not _can_force(tokenizer, begun, value):
            raise SettingsError(
                f"The tokenizer of {model} joins the = of {begun}{value} to what "
                "follows it, so that the calculator could never write a value; take a "
                f"model whose tokenizer keeps = apart, {OTHERS}."
            )


def _can_force(tokenizer: PreTrainedTokenizerBase, begun: str, rest: str) -> bool:
    """Whether a token of `begun + rest` ends with `begun`, and `rest` may follow it."""
    whole = tokenizer.encode(begun + rest, add_special_tokens=False)
    likely = len(tokenizer.encode(begun, add_special_tokens=False))
    for end in [likely, *range(1, len(whole))]:
        tokens = whole[:end]
        if decode(tokenizer, tokens).strip() == begun:
            return bool(encode_after(tokenizer, tokens, rest))
    return False


def check_problems(
    tokenizer: PreTrainedTokenizerBase,
    model: str,
    dataset: str,
    problems: Sequence[Problem],
    max_length: int | None,
    setting: str = "max_length",
) -> None:
    """Raise SettingsError where a tokenizer cannot read problems.

    That is where it does not know a character or drops it, a text spells one of its
    special tokens, a question leaves no room for a solution within `max_length` tokens
    (if given, by `setting`), or an annotation leaves the calculator no place.
    """
    questions = _encode(tokenizer, [problem.question + "\n" for problem in problems])
    solutions = _encode(tokenizer, [problem.solution for problem in problems])
    special = _special_tokens(tokenizer)
    texts = zip(problems, questions, solutions, strict=True)
    unread = [
        problem
        for problem, question, solution in texts
        if not special.isdisjoint(chain(question, solution))
        or _dropped(tokenizer, problem.question, question)
        or _dropped(tokenizer, problem.solution, solution)
    ]
    if unread:
        sign = _first_unread(tokenizer, "\n".join(unread[0]), special)
        what = "reads as its own mark" if len(sign) > 1 else "has no token for"
        raise SettingsError(
            f"{model} cannot read {dataset}: its tokenizer {what} {sign!r} "
            f"in the problem {_begin(unread[0])}, and cannot read {len(unread)} of "
            f"{len(problems)}; take a model that reads any character, {OTHERS}, or "
            "other problems (dataset)."
        )
    if max_length:
        lengths = [len(ids) for ids in questions]
        _check_room(model, dataset, problems, lengths, max_length, setting)
    notes = (note for p in problems for note in find_annotations(p.solution))
    begun = dict.fromkeys(f"<<{note.expression}=" for note in notes)
    _check_forcing(tokenizer, model, islice(begun, MANY))


def _check_room(
    model: str,
    dataset: str,
    problems: Sequence[Problem],
    lengths: Sequence[int],
    max_length: int,
    setting: str,
) -> None:
    """Refuse questions of as many tokens as a whole text may have."""
    long = [i for i, n in enumerate(lengths) if n >= max_length]
    if long:
        raise SettingsError(
            f"{model} cannot read {dataset} within {setting} {max_length}: the "
            f"question {_begin(problems[long[0]])} alone is {lengths[long[0]]} of its "
            f"tokens, and {len(long)} of {len(problems)} leave no room for a solution; "
            f"raise {setting}, take a model that needs fewer tokens, {OTHERS}, or "
            "other problems (dataset)."
        )


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that no text should be made of: ends, paddings, the unknown."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    unknown = getattr(getattr(backend, "model", None), "unk_token", None)
    known = tokenizer.get_vocab()
    return {*tokenizer.all_special_ids, *(known[t] for t in [unknown] if t in known)}


def _first_unread(
    tokenizer: PreTrainedTokenizerBase, text: str, special: Iterable[int]
) -> str:
    """The first character unknown or dropped, else the special token spelled."""
    special = set(special)
    for sign in dict.fromkeys(text):
        ids = tokenizer.encode(sign, add_special_tokens=False)
        if not special.isdisjoint(ids) or _dropped(tokenizer, sign, ids):
            return sign
    named = [t for t in tokenizer.all_special_tokens if t in text]
    return named[0] if named else text.split()[0]


def _dropped(
    tokenizer: PreTrainedTokenizerBase, text: str, tokens: Sequence[int]
) -> bool:
    """Whether a text's tokens spell less than the text; spaces do not count."""
    told = Counter(decode(tokenizer, tokens))
    return any(n > told[sign] for sign, n in Counter(text).items() if sign.strip())


def _begin(problem: Problem) -> str:
    return repr(problem.question[:40] + "...")


# --------------------------------------------------------------------------- a model


def check_decoding(lm: LanguageModel, name: str) -> None:
    """Raise SettingsError where a model cannot be sampled from, or trained, as it is.

    Token by token with a cache, rows that come and go, it must compute what it computes
    of the whole text; so must training, whose rows lie end to end.
    """
    kind = lm.model.config.model_type
    try:
        apart = max(_cache_error(lm), _training_error(lm))
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise SettingsError(
            f"{name} (of type {kind}) cannot be sampled from: it has no cache of keys "
            f"and values that grows with the text ({cause}); take a model of another "
            f"type, {OTHERS}."
        ) from error
    if not apart <= CLOSE:
        raise SettingsError(
            f"{name} (of type {kind}) computes something else of a text token by token "
            f"than at once; take a model of another type, {OTHERS}."
        )


@torch.inference_mode()
def _cache_error(lm: LanguageModel) -> float:
    """How far logits are from those without a cache, in their spread."""
    size = lm.model.get_input_embeddings().num_embeddings
    prompts = [[token % size for token in text] for text in TEXTS]
    texts = [prompts[0], prompts[1], prompts[1]]
    engine, errors = new_engine(lm.model), []
    logits = engine.add(prompts, [1, 2])
    for step in range(3):
        plain = torch.stack([_logits(lm, text)[-1] for text in texts])
        errors.append(_apart(logits, plain))
        if step == 1:  # a row has ended
            engine.keep(torch.tensor([False, True, True]))
            texts = texts[1:]
        tokens = [(5 * step + row) % size for row in range(len(texts))]
        texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
        logits = engine.step(torch.tensor(tokens))
    return max(errors)


@torch.inference_mode()
def _training_error(lm: LanguageModel) -> float:
    """How far the loss of rows in a batch is from that of each by itself."""
    size = lm.model.get_input_embeddings().num_embeddings
    texts = [[token % size for token in text] for text in TEXTS]
    rows = [Row(text, prompt_length=1) for text in texts]
    (piece,) = make_pieces(lm.model, rows, sum(map(len, texts)))
    batch = make_batch(lm.model, rows, piece, lm.tokenizer.pad_token_id)
    targets = torch.tensor([token for text in texts for token in text[1:]])
    with attention.flat(lm.model):
        together = batch_losses(lm.model, batch, tokens=(None, len(targets)))[1]
    logits = torch.cat([_logits(lm, text)[:-1] for text in texts])
    return _apart(together, language_loss(logits, targets))


def check_scoring(lm: LanguageModel, name: str) -> None:
    """Raise SettingsError where no verifier can be made of a model (section 4.2)."""
    try:
        token = find_reserved_token(lm.tokenizer)
        verifier = Verifier(lm.model, token)
        ids = torch.tensor([TEXTS[0]]) % lm.model.get_input_embeddings().num_embeddings
        with torch.inference_mode():
            scores = verifier(ids, torch.ones_like(ids), with_logits=False)[0][0]
        apart = _apart(scores, _logits(lm, ids[0].tolist())[:, token])
    except Exception as error:
        raise SettingsError(f"{name} cannot be a verifier: {error}") from error
    if not apart <= CLOSE:
        raise SettingsError(
            f"{name} cannot be a verifier: its logits are not its output embedding's, "
            f"which the head scales; take a model of another type, {OTHERS}."
        )


@torch.inference_mode()
def _logits(lm: LanguageModel, text: list[int]) -> Tensor:
    """Logits (T, V) of a text by itself."""
    ids = torch.tensor([text])
    output = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return output.logits[0].float()


def _apart(one: Tensor, other: Tensor) -> float:
    spread = other.std() if other.numel() > 1 else other.abs()
    return float((one - other).abs().max() / spread.clamp(min=1e-6))
