"""The settings of 09_open_points."""

from typing import Any, Self

from pydantic import Field, model_validator

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count
from gsmlib.scales import QUICK_SIDE
from gsmlib.settings import Counts

POINTS = range(1, 9)  # what the paper leaves open, see the notebook


class OpenPointSettings(OneModel, VerifierSettings):
    """What the paper leaves open, one change at a time."""

    points: Counts = tuple(POINTS)
    """which of the open points 1 to 8 of the notebook are tried"""
    ablation_completions: Count
    """the first of each problem, which verifiers learn from"""
    other_temperature: float = Field(1.0, gt=0)
    """of the completions that the verifiers of point 5 learn from"""

    @model_validator(mode="after")
    def _known_points(self) -> Self:
        if strange := set(self.points) - set(POINTS):
            raise ValueError(
                f"points {max(strange)} is none: give some of 1 to {POINTS[-1]}, such "
                "as 1,3"
            )
        return self


SCALES: dict[str, dict[str, Any]] = {
    "quick": QUICK_SIDE,
    # each of the others is a verifier of hours
    "smollm2": dict(points=(1, 3), ablation_completions=8),
}
