"""The settings of 05_verifier_ablations."""

from typing import Self

from pydantic import Field, model_validator

from gsmlib.chapters.study_settings import ModelGrid, OneModel, VerifierSettings
from gsmlib.records import Count


class VerifierAblationSettings(OneModel, ModelGrid, VerifierSettings):
    """Level, objective and the two models' sizes (Fig 6).

    Fig 6a and 6b are of one `model`. Fig 6c crosses the two `models`, a small and a
    large one, at the training-set `sizes`; with one model there is no such figure.
    """

    ablation_epochs: Count
    """of the verifiers of Fig 6a and 6b"""
    ablation_completions: Count
    """the first of each problem, which these verifiers learn from"""
    checkpoints: int = Field(ge=1, le=100)
    """how often these verifiers are looked at while they are trained"""

    @model_validator(mode="after")
    def _two_models_at_most(self) -> Self:
        if len(self.models) > 2:
            said = "Fig 6c crosses two models, small and large"
            raise ValueError(f"{said}, not {len(self.models)}")
        return self


SCALES = {
    "smoke": dict(ablation_epochs=1, checkpoints=2),
    "quick": dict(
        models=("mini-0.2m", "mini-0.5m"),
        sizes=(250,),
        ablation_epochs=1,
        checkpoints=4,
    ),
    "mini": dict(sizes=(2000,), ablation_epochs=2, checkpoints=4),
    "smollm2": dict(sizes=(2000,), ablation_epochs=1, checkpoints=2),
    "smollm2-full": dict(ablation_epochs=2, checkpoints=4),
    "gpt2": dict(ablation_epochs=2, checkpoints=8),
}
