"""The settings of 06_test_time_compute."""

from typing import Any, Self

from pydantic import model_validator

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.settings import Counts


class MoreCompletionsSettings(OneModel, VerifierSettings):
    """Accuracy over completions and voters (Fig 7)."""

    counts: Counts
    """numbers of completions that Fig 7b has a curve for"""

    @model_validator(mode="after")
    def _as_many_as_counted(self) -> Self:
        if max(self.counts) > self.test_completions:
            raise ValueError(
                f"counts go up to {max(self.counts)}, but each test problem gets "
                f"{self.test_completions} test_completions"
            )
        return self


SCALES: dict[str, dict[str, Any]] = {
    "smoke": dict(counts=(2, 4)),
    "quick": dict(test_problems=40, test_completions=100, counts=(10, 25, 50, 100)),
    "mini": dict(test_completions=200, counts=(25, 50, 100, 200)),
    "smollm2": dict(counts=(8, 16, 32, 64)),
    "smollm2-full": dict(counts=(10, 25, 50, 100)),
    "gpt2": dict(test_completions=3200, counts=(100, 200, 400, 800, 1600, 3200)),
}
