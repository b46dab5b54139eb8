"""Final answers: take them out of a solution's text and compare them.

The paper compares answers as strings, so that `18.0` is not `18`; readers complained.
Here numbers are compared by default, and the paper's way is a switch. A number is read
whole or not at all: `3/4` is not 3, and of `18 or 19` nothing is taken.
"""

import re
from fractions import Fraction
from typing import Literal

INVALID = "[invalid]"
MAX_DIGITS = 100  # an answer longer than this is noise of a model, not a number

_PAPER_ANSWER = re.compile(r"#### (-?[0-9.,]+)")
_AROUND = r"* \t\r$\u00a2-\u00a5\u20a0-\u20cf"  # stars, spaces, signs of currencies
_MINUS = "-\u2212\u2013"  # a hyphen, a minus, a dash
_BEFORE = rf"[{_AROUND}]*(?P<sign>[{_MINUS}+]?)[{_AROUND}]*"
_ANSWER = re.compile(rf"#### ({_BEFORE}[0-9.,].*)")
# a thousands comma has three digits behind it: `1,00` and `1,2` are no numbers
DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"{_BEFORE}(?:(?P<whole>{DIGITS}) (?=[0-9]+/))?"  # the 3 of `3 1/2`
    rf"(?P<top>{_DECIMAL})(?: ?/ ?(?P<bottom>{_DECIMAL}))?[{_AROUND}.]*"
)
_LAST_NUMBER = re.compile(r"-?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)")


def extract_answer(solution: str) -> str:
    """Return the text of the first answer line, as the paper's code reads it.

    `#### 1,080` gives `1080` (commas dropped); `18.0` and `10.` stay as they are;
    a dollar sign or no answer line gives INVALID.
    """
    match = _PAPER_ANSWER.search(solution)
    return match.group(1).replace(",", "") if match else INVALID


def to_number(answer: str) -> Fraction | None:
    """Read a text that is one number exactly; anything else is None.

    Dropped: stars (Markdown) and currency signs around it, full stops behind it, commas
    between thousands. Beside `18.0`, `.5` and `-5` (also with a Unicode minus) a
    fraction is read as its value, `3/4` and `3 1/2`. None, for example: `18 or 19`,
    `18 dollars`, `18%`, `1,00`, `1e3`, `1/0`, other digits than 0 to 9.
    """
    text = answer.strip()
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_DIGITS else None
    if match is None:
        return None
    parts = (match["whole"] or "0", match["top"], match["bottom"] or "1")
    whole, top, bottom = (Fraction(part.replace(",", "")) for part in parts)
    if bottom == 0:
        return None
    return (whole + top / bottom) * (-1 if match["sign"] in tuple(_MINUS) else 1)


def is_correct(
    solution: str,
    reference: str,
    compare: Literal["number", "string"] = "number",
) -> bool:
    """Whether a solution ends in the reference's answer; only the answers count.

    Both are whole solution texts with a `####` line. "string" is the paper's test,
    "number" takes `18.0` for `18` and reads what `to_number` does, `#### $18` too. A
    solution without an answer is wrong. Raises ValueError when the reference has none.
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

    It is all that stands on the first line whose `#### ` begins a number. Equal answers
    have equal texts (`1/3` where decimals never end): this is the key for voting.
    """
    match = _ANSWER.search(solution)
    value = to_number(match.group(1)) if match else None
    if value is None:
        return INVALID
    return str(value) if decimal_places(value) is None else format_number(value)


def last_number(text: str) -> str:
    """Return the last number of a text in its canonical spelling, or INVALID.

    As lm-evaluation-harness' filter flexible-extract takes it: whatever stands around
    it, `so $1,080 in all.` gives `1080`; of `10-4` it is `-4`, there as here.
    """
    numbers = _LAST_NUMBER.findall(text)
    return spell(re.sub(r"[$,]", "", numbers[-1])) if numbers else INVALID


def spell(answer: str) -> str:
    """Return an answer in the spelling that equal ones share: `18.0` and `$18` as `18`.

    What `to_number` does not read is a text, without the spaces around it: INVALID
    where nothing is left.
    """
    value = to_number(answer)
    if value is None:
        return answer.strip() or INVALID
    return str(value) if decimal_places(value) is None else format_number(value)


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
