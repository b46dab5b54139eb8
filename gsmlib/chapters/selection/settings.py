"""The settings of 13_selection."""

from typing import Any

from gsmlib import scales
from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count


class SelectionSettings(OneModel, VerifierSettings):
    """What choosing among completions can and cannot do."""

    greedy_problems: Count
    """test problems with a greedy solution, of which the first are compared"""


# The completions are those of 06_test_time_compute, the greedy solutions those of
# 03_verification: nothing is computed for this chapter alone.
COMPLETIONS: dict[str, dict[str, Any]] = {
    "quick": dict(test_problems=40, test_completions=100),
    "mini": dict(test_completions=200),
    "gpt2": dict(test_completions=3200),
}
SCALES: dict[str, dict[str, Any]] = {
    name: dict(greedy_problems=values["test_problems"]) | COMPLETIONS.get(name, {})
    for name, values in scales.SCALES.items()
}
