"""What the settings of several chapters have in common; each chapter adds its own."""

from typing import Any, Self

from pydantic import Field, model_validator

from gsmlib.data import check_problem_counts
from gsmlib.records import Count, Dataset, ModelName, Precision, Rate, Record
from gsmlib.settings import Counts, Models, Rates, Seeds


class StudySettings(Record):
    """What every notebook that trains a model has.

    `precision` is that of training and scoring, as mixed precision;
    `sampling_precision` that of the weights while sampling.
    """

    scale: str
    dataset: Dataset
    epochs: Count
    batch_tokens: Count
    dropout: float = Field(ge=0, lt=1)
    test_problems: Count
    max_length: Count
    seeds: Seeds
    precision: Precision
    sampling_precision: Precision

    @model_validator(mode="after")
    def _enough_problems(self) -> Self:
        sizes = [getattr(self, "n_train", 1), *getattr(self, "sizes", ())]
        check_problem_counts(self.dataset, max(sizes), self.test_problems)
        return self


class SampledSettings(StudySettings):
    """What every notebook that samples completions has."""

    test_completions: Count
    temperature: float = Field(gt=0)


class VerifierSettings(SampledSettings):
    """What every notebook that trains a verifier has.

    At most `completed_problems` training problems get `completions` each for it to
    learn from; `verifier_group_size` of them share a batch, and so their question.
    """

    generator_epochs: Count
    completed_problems: Count
    completions: Count
    verifier_epochs: Count
    verifier_learning_rate: Rate
    verifier_batch_tokens: Count
    verifier_group_size: Count

    @model_validator(mode="after")
    def _enough_completions(self) -> Self:
        asked = getattr(self, "ablation_completions", 1)
        if asked > self.completions:
            raise ValueError(
                f"{asked} ablation_completions asked for, but each training problem "
                f"gets {self.completions} completions"
            )
        return self


class OneModel(Record):
    """One finetuned model per seed."""

    model: ModelName
    n_train: Count
    learning_rate: Rate


class ModelGrid(Record):
    """Models, small to large, on training sets of several sizes; one rate per model."""

    models: Models
    sizes: Counts
    learning_rates: Rates

    @model_validator(mode="after")
    def _a_rate_per_model(self) -> Self:
        if len(self.learning_rates) != len(self.models):
            raise ValueError(
                f"{len(self.models)} models need as many learning_rates, not "
                f"{len(self.learning_rates)}"
            )
        return self

    @property
    def rates(self) -> Any:
        """Pairs of a model and its learning rate."""
        return zip(self.models, self.learning_rates, strict=True)
