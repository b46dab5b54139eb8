"""The settings of 02_test_at_n."""

from gsmlib.chapters.study_settings import OneModel, SampledSettings


class EpochSettings(OneModel, SampledSettings):
    """One model over the epochs of finetuning (Fig 3)."""


SCALES = {
    "quick": dict(test_problems=50, test_completions=16),
    "mini": dict(test_problems=100, test_completions=20),
}
