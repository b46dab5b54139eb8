"""The settings of 15_guided_search."""

from typing import Any, Self

from pydantic import model_validator

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count
from gsmlib.settings import Counts


class SearchSettings(OneModel, VerifierSettings):
    """Search guided by the verifier, beside choices among whole completions."""

    candidates: Counts
    """numbers of lines that are sampled at a time, one search each"""
    branching: Count = 4
    """continuations of each prefix that is kept"""

    @model_validator(mode="after")
    def _whole_widths(self) -> Self:
        for count in self.candidates:
            if count % self.branching:
                raise ValueError(
                    f"candidates {count} are no multiple of branching {self.branching}"
                )
        return self


SCALES: dict[str, dict[str, Any]] = {
    "smoke": dict(candidates=(2, 4), branching=2),
    "quick": dict(candidates=(4, 8)),
    "mini": dict(candidates=(4, 8, 16)),
    "smollm2": dict(candidates=(4,)),
    "smollm2-full": dict(candidates=(4, 16, 64)),
    "gpt2": dict(candidates=(4, 16, 64)),
}
