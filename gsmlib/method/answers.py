"""Final answers: take them out of a solution's text and compare them.

The paper compares answers as strings, so that `18.0` is not `18`; readers complained.
Here numbers are compared by default, and the paper's way is a switch.
"""

import re
from fractions import Fraction
from typing import Literal

INVALID = "[invalid]"
MAX_DIGITS = 100  # an answer longer than this is noise of a model, not a number

_PAPER_ANSWER = re.compile(r"#### (-?[0-9.,]+)")
_ANSWER = re.compile(r"#### (-?\$?-?[0-9.,]+)")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


def extract_answer(solution: str) -> str:
    """Return the text of the first answer line, as the paper's code reads it.

    `#### 1,080` gives `1080` (commas dropped); `18.0` and `10.` stay as they are;
    a dollar sign or no answer line gives INVALID.
    """
    match = _PAPER_ANSWER.search(solution)
    return match.group(1).replace(",", "") if match else INVALID


def to_number(answer: str) -> Fraction | None:
    """Read `18.0`, `1,000`, `$29.00`, `10.`, `.5` or `-5` exactly; else None."""
    text = answer.strip().replace(",", "").replace("$", "")
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    whole, _, decimals = text.partition(".")
    return Fraction(int(whole + decimals), 10 ** len(decimals))


def is_correct(
    solution: str,
    reference: str,
    compare: Literal["number", "string"] = "number",
) -> bool:
    """Whether a solution ends in the reference's answer; only the answers count.

    Both are whole solution texts with a `####` line. "string" is the paper's test,
    "number" takes `18.0` for `18` and also reads `#### $18`. A solution without an
    answer is wrong. Raises ValueError when the reference has no answer.
    """
    if compare not in ("number", "string"):
        raise ValueError(f"compare must be 'number' or 'string', not {compare!r}.")
    read = extract_answer if compare == "string" else final_number
    expected = read(reference)
    if expected == INVALID:
        raise ValueError(f"The reference solution has no answer: {reference[-60:]!r}.")
    return read(solution) == expected


def final_number(solution: str) -> str:
    """Return the answer in one canonical spelling (`18.0` -> `18`), or INVALID.

    Equal answers have equal texts, so this is the key for voting.
    """
    match = _ANSWER.search(solution)
    value = to_number(match.group(1)) if match else None
    return INVALID if value is None else format_number(value)


def format_number(value: Fraction) -> str:
    """Write an integer or a terminating decimal exactly: `24`, `0.2`, `-1.75`.

    Raises ValueError for a value whose decimals never end, such as 1/3.
    """
    places = decimal_places(value)
    if places is None:
        raise ValueError(f"{value} has no finite decimal form.")
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator)
    digits = digits.rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def decimal_places(value: Fraction) -> int | None:
    """Count the decimals that write `value` exactly; None when they never end."""
    rest = value.denominator
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    return max(twos, fives) if rest == 1 else None
