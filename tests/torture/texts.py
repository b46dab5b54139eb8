"""Random model text for the answers, and an adversarial model for the decoder."""

import random
import time
from fractions import Fraction

from conftest import make_bpe_tokenizer, make_byte_tokenizer
from test_decoding import ScriptedModel, with_tokens
from transformers import PreTrainedTokenizerBase

from gsmlib.method import answers, calculator
from gsmlib.method.decoding import (
    Completion,
    Rules,
    decode,
    encode_prompt,
    sample_completions,
)
from gsmlib.method.models import LanguageModel
from torture.expressions import SLOW, STRANGE

PIECES = [*"0123456789.,-$# \n", "####", "#### ", "#### -", "#### $", "<<", ">>", "="]
PIECES += ["####\n", "1,000", ".5", "5.", "-.", "..", ",,", "0" * 120, "9" * 99]
PIECES += ["**", "\u20ac", "\u2212", "/", "7/1", "3 1/2", "#### **7**", "7.00."]
TRIGGERS = ["<<", ">>", "=", "<", ">", "<<1=", "<<2*3=", "<<8/0=", "<<<2=", "<<1+(="]
TRIGGERS += ["<<5=5>>", "#### 7\n", "\n", "7", "12", "=<<", "<<(3)=", " ", "== ", "."]
TRIGGERS += ["<<" + "9" * 30 + "=", "<<1/3=", "<<0.1*3=", "<<=", "<< 4 + 4 ="]
TRIGGERS += ["<<2**9=", "é", "٣"]
MERGED = ["<<", "=<<", "2=", "=2", ">>=", "=\n", "<<2", "*3=", "=="]
DIGITS = "0123456789"
SIGNS = "+-\u2212\u2013"  # before a number
AROUND = "* \t\r$\u00a2\u00a3\u00a4\u00a5" + "".join(map(chr, range(0x20A0, 0x20D0)))


# --------------------------------------------------------------------- model's answers


def scan_answer(text: str, around: str, signs: str) -> str | None:
    """Return the first answer line that begins a number, read letter by letter.

    `around` and `signs` may stand before the number.
    """
    place = text.find("#### ")
    while place >= 0:
        rest = text[place + 5 :].partition("\n")[0]
        tail = rest.lstrip(around)
        tail = tail[tail[:1] in tuple(signs) :].lstrip(around)
        if tail[:1] in tuple(DIGITS + ".,"):
            return rest
        place = text.find("#### ", place + 1)
    return None


def scan_paper(text: str) -> str:
    """Return what the paper's code takes for the answer."""
    line = scan_answer(text, "", "-") or ""
    digits = line.removeprefix("-")
    end = len(digits) - len(digits.lstrip(DIGITS + ".,"))
    found = line[: len(line) - len(digits) + end]
    return found.replace(",", "") if line else answers.INVALID


def scan_number(line: str) -> Fraction | None:
    """Return the number that a whole answer line is, or None."""
    text = line.strip()
    if len(text) > answers.MAX_DIGITS:
        return None
    text = text.lstrip(AROUND)
    sign = -1 if text[:1] in tuple("-\u2212\u2013") else 1
    text = text[text[:1] in tuple(SIGNS) :].lstrip(AROUND).rstrip(AROUND + ".")
    top, slash, bottom = text.partition("/")
    whole, space, rest = top.partition(" ")
    mixed = bool(slash and space and rest and not set(rest) - set(DIGITS))
    parts = [
        whole if mixed else "0",
        rest if mixed else top.removesuffix(" " * len(slash)),
    ]
    parts.append(bottom.removeprefix(" ") if slash else "1")
    values = [scan_decimal(part) for part in parts]
    if None in values or not values[2] or (mixed and "." in whole):
        return None
    return sign * (values[0] + values[1] / values[2])


def scan_decimal(text: str) -> Fraction | None:
    """Return the number that digits, thousands commas and a point are, or None."""
    whole, point, decimals = text.partition(".")
    first, *groups = whole.split(",")
    if groups:
        right = 0 < len(first) < 4 and first[0] != "0" and {3} == {*map(len, groups)}
        whole = "".join([first, *groups]) if right else "?"
    digits = whole + decimals
    if not digits or set(digits) - set(DIGITS) or bool(point) != bool(decimals):
        return None
    return Fraction(int(digits), 10 ** len(decimals))


def run_texts(seed: int, count: int, deadline: float) -> tuple[dict, list[str]]:
    """Extract answers from `count` random texts, or until the deadline."""
    rng, faults, tried, slowest = random.Random(seed), [], 0, 0.0
    while tried < count and time.monotonic() < deadline and len(faults) < 20:
        tried += 1
        length = rng.choice((1, 3, 8, 20, 60))
        pool = PIECES if rng.random() < 0.8 else PIECES + STRANGE
        text = "".join(rng.choices(pool, k=length))
        took, fault = _check_text(text)
        if took > slowest:
            took = min(took, *(_check_text(text)[0] for _ in range(5)))
        slowest = max(slowest, took)
        if fault or took > SLOW:
            faults.append(fault or f"{text[:60]!r} takes {1000 * took:.1f} ms.")
    return {"texts": tried, "slowest_text_ms": round(1000 * slowest, 3)}, faults


def _check_text(text: str) -> tuple[float, str | None]:
    start = time.perf_counter()
    try:
        ours = answers.extract_answer(text), answers.final_number(text)
        right = answers.is_correct(text, "#### 7")
        calculator.find_annotations(text)
        calculator.completion(text)
    except BaseException as error:  # whatever escapes is what is looked for
        return 0.0, f"{text[:60]!r} raises {type(error).__name__}."
    took = time.perf_counter() - start
    line = scan_answer(text, AROUND, SIGNS)
    number = None if line is None else scan_number(line)
    same = ours[0] == scan_paper(text) and right == (number == 7)
    read = None if ours[1] == answers.INVALID else Fraction(ours[1])
    return took, None if same and read == number else f"{text[:60]!r} gives {ours}."


# ---------------------------------------------------------------- an adversarial model


def run_decoding(seed: int, count: int, deadline: float) -> tuple[dict, list[str]]:
    """Complete `count` adversarial scripts, or until the deadline."""
    rng, faults, done = random.Random(seed), [], 0
    byte, merged = make_byte_tokenizer(), make_bpe_tokenizer()
    tokenizers = [
        byte,
        with_tokens(byte, *MERGED),
        merged,
        with_tokens(merged, *MERGED),
    ]
    while done < count and time.monotonic() < deadline and len(faults) < 20:
        tokenizer = rng.choice(tokenizers)
        limit = rng.choice((8, 20, 60, 90))
        lm = LanguageModel(_script(rng, tokenizer, limit), tokenizer)
        try:
            stop = rng.random() < 0.3
            rules = Rules(0.7, seed=0, max_length=limit, stop_after_answer=stop)
            drawn = sample_completions(lm, list(DIGITS[:8]), 1, rules)
        except Exception as error:
            faults.append(f"A script raises {type(error).__name__}: {error}.")
            continue
        done += len(drawn)
        faults += [
            fault
            for (completion,) in drawn
            for fault in check_completion(tokenizer, completion, limit)
        ]
    return {"scripts": done}, faults


def _script(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, limit: int
) -> ScriptedModel:
    """A model that says what sets the calculator off, in tokens cut at random."""
    scripts = {}
    for question in DIGITS[:8]:
        tokens: list[int] = []
        while len(tokens) < limit:
            text = "".join(rng.choices(TRIGGERS, k=rng.choice((1, 2, 5))))
            for piece in list(text) if rng.random() < 0.4 else [text]:
                tokens += tokenizer.encode(piece, add_special_tokens=False)
            if rng.random() < 0.1:  # any token at all, the reserved one too
                tokens.append(rng.randrange(1, len(tokenizer)))
        scripts[tokenizer.encode(question)[0]] = tokens
    prompt = encode_prompt(tokenizer, "0")
    return ScriptedModel(tokenizer, len(prompt), scripts)


def check_completion(
    tokenizer: PreTrainedTokenizerBase, completion: Completion, limit: int
) -> list[str]:
    """What must hold of any completion, whatever the model says."""
    tokens, forced = completion.tokens, completion.forced
    faults = []
    if len(tokens) != len(forced) or len(tokens) > limit:
        faults.append("A completion is longer than its limit or its record.")
    place = 0
    while place < len(tokens):
        before = decode(tokenizer, tokens[:place])
        wanted = calculator.completion(before) if place else None
        mine = place > 0 and decode(tokenizer, [tokens[place - 1]]).endswith("=")
        end = place
        while end < len(tokens) and forced[end]:
            end += 1
        said = decode(tokenizer, tokens[:end])[len(before) :]
        cut = end == len(tokens) and not completion.finished
        if end > place and (wanted is None or not _fits(said, wanted, cut)):
            faults.append(f"{before[-40:]!r} forces {said!r}, not {wanted!r}.")
        if end == place and mine and wanted is not None:
            faults.append(f"{before[-40:]!r} forces nothing, not {wanted!r}.")
        place = max(end, place + 1)
    return faults


def _fits(said: str, wanted: str, cut: bool) -> bool:
    return said == wanted or (cut and wanted.startswith(said))
