"""The settings of 04_finetuning_scaling."""

from gsmlib.chapters.study_settings import ModelGrid, StudySettings


class ScalingSettings(ModelGrid, StudySettings):
    """test@1 over training problems and models (Fig 2), and without steps (C4)."""


SCALES = {
    "quick": dict(models=("mini-0.2m", "mini-0.5m", "mini-2m"), sizes=(250, 1000)),
    "mini": dict(models=("mini-0.2m", "mini-0.5m", "mini-2m")),
    "gpt2": dict(models=("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")),
}
