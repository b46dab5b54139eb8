"""The campaigns by name: what each runs, how much in full, and its share of the time.

A campaign takes a folder of its own, a seed, how much to try and a deadline on
time.monotonic; it returns its figures and a sentence for each failure.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture import corrupt, expressions, inputs, kill, race, texts

Result = tuple[dict[str, Any], list[str]]
FULL = {
    "kill": 50,
    "corrupt": 1_000,
    "race": 8,
    "expressions": 10_000_000,
    "inputs": 0,
}
SHORT = {"kill": 1, "corrupt": 80, "race": 4, "expressions": 40_000, "inputs": 0}
SHARES = {"kill": 25, "corrupt": 10, "race": 5, "expressions": 30, "inputs": 5}


def attack_arithmetic(folder: Path, seed: int, count: int, deadline: float) -> Result:
    """Expressions, then a tenth as many texts, and a thousandth as many scripts."""
    left = deadline - time.monotonic()
    figures, faults = expressions.run_expressions(seed, count, deadline - 0.3 * left)
    more, others = texts.run_texts(seed, count // 10, deadline - 0.1 * left)
    last, rest = texts.run_decoding(seed, max(8, count // 1000), deadline)
    return figures | more | last, faults + others + rest


CAMPAIGNS: dict[str, Callable[[Path, int, int, float], Result]] = {
    "kill": kill.run_kills,
    "corrupt": corrupt.run_corruptions,
    "race": race.run_races,
    "expressions": attack_arithmetic,
    "inputs": inputs.run_inputs,
}
