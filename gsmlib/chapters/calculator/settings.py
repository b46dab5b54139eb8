"""The settings of 01_calculator."""

from gsmlib.chapters.study_settings import OneModel, SampledSettings


class CalculatorSettings(OneModel, SampledSettings):
    """One finetuned model, sampled with and without the calculator."""


SCALES = {
    "quick": dict(n_train=1000, test_problems=100, test_completions=8),
    "mini": dict(test_completions=8),
    "smollm2": dict(test_completions=16),
    "gpt2": dict(model="gpt2", test_completions=20),
}
