"""The settings of 02_test_at_n."""

from gsmlib.chapters.study_settings import OneModel, SampledSettings


class EpochSettings(OneModel, SampledSettings):
    """One model over the epochs of finetuning (Fig 3)."""


SCALES = {
    "quick": dict(n_train=1000, test_problems=40, test_completions=12),
    "mini": dict(n_train=1000, test_completions=20),
    "smollm2": dict(test_completions=16),
}
