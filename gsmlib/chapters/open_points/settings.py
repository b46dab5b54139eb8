"""The settings of 09_open_points."""

from pydantic import Field

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count
from gsmlib.scales import QUICK_SIDE


class OpenPointSettings(OneModel, VerifierSettings):
    """What the paper leaves open, one change at a time."""

    ablation_completions: Count
    """the first of each problem, which verifiers learn from"""
    other_temperature: float = Field(1.0, gt=0)
    """of the completions that the verifiers of point 5 learn from"""


SCALES = {
    "quick": QUICK_SIDE,
}
