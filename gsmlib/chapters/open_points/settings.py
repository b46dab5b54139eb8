"""The settings of 09_open_points."""

from pydantic import Field

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count
from gsmlib.scales import QUICK_TEST


class OpenPointSettings(OneModel, VerifierSettings):
    """What the paper leaves open, one change at a time.

    Verifiers learn from the first `ablation_completions` of each problem; those of
    point 5 from completions at `other_temperature`.
    """

    ablation_completions: Count
    other_temperature: float = Field(1.0, gt=0)


SCALES = {
    "quick": dict(QUICK_TEST, model="mini-0.3m", ablation_completions=8),
    "mini": dict(model="mini-1m"),
}
