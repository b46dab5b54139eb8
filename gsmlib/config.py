"""The dial and what derives from it: every notebook's settings, filled in and checked.

A notebook takes `scale` and a few more names; `settings` fills in the scale's values
(scales.py), checks everything and prints what will run. A value of 0, "" or [] means
"the scale's value". From the settings the stages' specs are made (specs.py).
"""

import os
import re
import sys
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gsmlib.data import check_problem_counts
from gsmlib.environment import best_precision, describe_setup
from gsmlib.records import (
    Count,
    Dataset,
    ModelName,
    Precision,
    Rate,
    Record,
    Seed,
    SettingsError,
)
from gsmlib.scales import (
    DEFAULT_SCALE,
    LEARNING_RATES,
    OTHER_MODELS_LEARNING_RATE,
    SCALES,
)

PARAMETER = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)  # in a notebook's cell
INJECTED = "# Parameters\n"  # how the cell begins that papermill adds


# -------------------------------------------------------------- the notebooks' settings


def _split_text(value: Any) -> Any:
    """`-p sizes 250,1000` and `-p seeds 0` reach us as text or as one number."""
    if isinstance(value, str):
        return [item for item in value.strip("[]() ").replace(",", " ").split() if item]
    return [value] if isinstance(value, int | float) else value


Counts = Annotated[tuple[Count, ...], BeforeValidator(_split_text), Field(min_length=1)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_split_text), Field(min_length=1)]
Rates = Annotated[tuple[Rate, ...], BeforeValidator(_split_text), Field(min_length=1)]
Models = Annotated[
    tuple[ModelName, ...], BeforeValidator(_split_text), Field(min_length=1)
]


class DatasetSettings(Record):
    """00_dataset: how many MiniGSM problems are described."""

    scale: str
    n_train: Count
    test_problems: Count


class StudySettings(Record):
    """What every notebook that trains a model has."""

    scale: str
    dataset: Dataset
    epochs: Count
    batch_tokens: Count
    dropout: float = Field(ge=0, lt=1)
    test_problems: Count
    max_length: Count
    seeds: Seeds
    precision: Precision  # of training and scoring, as mixed precision
    sampling_precision: Precision  # of the weights while sampling


class SampledSettings(StudySettings):
    """What every notebook that samples completions has."""

    test_completions: Count
    temperature: float = Field(gt=0)


class CalculatorSettings(SampledSettings):
    """01_calculator: one finetuned model, sampled with and without the calculator."""

    model: ModelName
    n_train: Count
    learning_rate: Rate

    @model_validator(mode="after")
    def _enough_problems(self) -> "CalculatorSettings":
        check_problem_counts(self.dataset, self.n_train, self.test_problems)
        return self


class TestAtNSettings(CalculatorSettings):
    """02_test_at_n: one model over the epochs of finetuning (Fig 3)."""

    __test__ = False  # the name starts with Test, but it is no test case


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


class VerificationSettings(VerifierSettings):
    """03_verification: finetuning against verification (Fig 5).

    `sizes` are numbers of training problems; `learning_rates` has one rate per model.
    """

    models: Models
    sizes: Counts
    learning_rates: Rates

    @model_validator(mode="after")
    def _consistent(self) -> "VerificationSettings":
        check_problem_counts(self.dataset, max(self.sizes), self.test_problems)
        check_rates(self.models, self.learning_rates)
        return self


class ScalingSettings(StudySettings):
    """04_finetuning_scaling: test@1 over training problems and models (Fig 2, C4)."""

    models: Models
    sizes: Counts
    learning_rates: Rates

    @model_validator(mode="after")
    def _consistent(self) -> "ScalingSettings":
        check_problem_counts(self.dataset, max(self.sizes), self.test_problems)
        check_rates(self.models, self.learning_rates)
        return self


class OneVerifierSettings(VerifierSettings):
    """What the notebooks about one generator and variants of its verifier have."""

    model: ModelName
    n_train: Count
    learning_rate: Rate

    @model_validator(mode="after")
    def _enough_problems(self) -> "OneVerifierSettings":
        check_problem_counts(self.dataset, self.n_train, self.test_problems)
        return self


class VerifierAblationSettings(OneVerifierSettings):
    """05_verifier_ablations: level, objective and the two models' sizes (Fig 6).

    Verifiers of Fig 6a and 6b are looked at `checkpoints` times during
    `ablation_epochs` over the first `ablation_completions` of each problem. Fig 6c
    crosses the two `models`, small then large, at the training-set `sizes`; with one
    model there is no such figure.
    """

    ablation_epochs: Count
    ablation_completions: Count
    checkpoints: Count
    models: Models
    learning_rates: Rates
    sizes: Counts

    @model_validator(mode="after")
    def _consistent(self) -> "VerifierAblationSettings":
        check_problem_counts(self.dataset, max(self.sizes), self.test_problems)
        check_rates(self.models, self.learning_rates)
        if len(self.models) > 2:
            raise ValueError(
                f"Fig 6c crosses two models, small and large, not {len(self.models)}"
            )
        return check_ablation(self)


class TestTimeSettings(OneVerifierSettings):
    """06_test_time_compute: accuracy over completions and voters (Fig 7).

    `counts` are the numbers of completions that Fig 7b has a curve for.
    """

    __test__ = False  # the name starts with Test, but it is no test case

    counts: Counts

    @model_validator(mode="after")
    def _enough_completions(self) -> "TestTimeSettings":
        if max(self.counts) > self.test_completions:
            raise ValueError(
                f"counts go up to {max(self.counts)}, but each test problem gets "
                f"{self.test_completions} test_completions"
            )
        return self


class DropoutSettings(OneVerifierSettings):
    """07_dropout: residual dropout in finetuning and in verifiers (Fig 8).

    With dropout the model is first pretrained further on `pretraining_texts` at
    `pretraining_learning_rate` (section 5.2). Verifiers learn from the first
    `ablation_completions` of each problem; those of Fig 8c from `large_completions`, in
    batches `large_batch_factor` times as large (Appendix B: 4 times, and 300).
    """

    sizes: Counts
    dropout_rate: float = Field(gt=0, lt=1)
    pretraining_texts: Count
    pretraining_learning_rate: Rate
    ablation_completions: Count
    large_batch_factor: Count
    large_completions: Count

    @model_validator(mode="after")
    def _consistent(self) -> "DropoutSettings":
        check_problem_counts(self.dataset, max(self.sizes), self.test_problems)
        return check_ablation(self)


class TokenScoreSettings(OneVerifierSettings):
    """08_verifier_scores: the scores of single tokens and completions (Fig 13)."""


class OpenPointSettings(OneVerifierSettings):
    """09_open_points: what the paper leaves open, one change at a time.

    Verifiers learn from the first `ablation_completions` of each problem.
    """

    ablation_completions: Count
    other_temperature: float = Field(gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "OpenPointSettings":
        return check_ablation(self)


class ClaimSettings(Record):
    """10_claims: the ledger of a scale, from its exported tables."""

    scale: str


def check_rates(models: tuple[str, ...], rates: tuple[float, ...]) -> None:
    """Raise ValueError unless there is one learning rate per model."""
    if len(rates) != len(models):
        raise ValueError(
            f"{len(models)} models need as many learning_rates, not {len(rates)}"
        )


def check_ablation(settings: Any) -> Any:
    """Raise ValueError where an ablation asks for more completions than there are."""
    if settings.ablation_completions > settings.completions:
        raise ValueError(
            f"{settings.ablation_completions} ablation_completions asked for, but each "
            f"training problem gets {settings.completions} completions"
        )
    return settings


SETTINGS: dict[str, type[Record]] = {
    "00_dataset": DatasetSettings,
    "01_calculator": CalculatorSettings,
    "02_test_at_n": TestAtNSettings,
    "03_verification": VerificationSettings,
    "04_finetuning_scaling": ScalingSettings,
    "05_verifier_ablations": VerifierAblationSettings,
    "06_test_time_compute": TestTimeSettings,
    "07_dropout": DropoutSettings,
    "08_verifier_scores": TokenScoreSettings,
    "09_open_points": OpenPointSettings,
    "10_claims": ClaimSettings,
}

# ------------------------------------------------------------------------ the machinery


def parse_more(more: str) -> dict[str, str]:
    """Read "dropout=0.2 max_length=300", the settings a notebook does not show."""
    if not isinstance(more, str):
        raise SettingsError(f'more = {more!r} is refused: give text, "name=value".')
    pairs = [item.partition("=") for item in more.split()]
    bad = [name for name, equals, value in pairs if not (name and equals and value)]
    if bad:
        raise SettingsError(f'"{bad[0]}" is not of the form name=value.')
    return {name: value for name, _, value in pairs}


def check_scale(scale: str) -> str:
    """Return a scale's name, or raise a sentence listing what exists."""
    if scale not in SCALES:
        known = ", ".join(SCALES)
        raise SettingsError(f"There is no scale {scale!r}; there are {known}.")
    return scale


def check_names(notebook: str, names: list[str]) -> type[Record]:
    """Return the notebook's settings class, or raise a sentence listing what exists."""
    if notebook not in SETTINGS:
        known = ", ".join(SETTINGS)
        raise SettingsError(f"There is no notebook {notebook!r}; there are {known}.")
    kind = SETTINGS[notebook]
    unknown = [name for name in names if name not in kind.model_fields]
    if unknown:
        known = ", ".join(kind.model_fields)
        raise SettingsError(
            f"{notebook} has no setting {unknown[0]!r}; it has {known}."
        )
    return kind


def resolve(notebook: str, more: str = "", **parameters: Any) -> Any:
    """Return the notebook's full settings; raise SettingsError with one sentence.

    A parameter of 0, "" or [] means the scale's value; `more` holds further settings as
    text ("dropout=0.2 max_length=300"). GSMLIB_SCALE replaces the default scale.
    """
    given = {**parameters, **parse_more(more)}
    kind = check_names(notebook, list(given))
    given = {name: value for name, value in given.items() if not _is_empty(value)}
    scale = given.pop("scale", DEFAULT_SCALE)
    if scale == DEFAULT_SCALE:
        scale = os.environ.get("GSMLIB_SCALE") or DEFAULT_SCALE
    check_scale(scale)
    values = {**SCALES[scale], **SCALES[scale].get(notebook, {}), **given}
    values = {k: v for k, v in values.items() if k in kind.model_fields}
    try:
        return kind(**{"scale": scale, **_derived(kind, values), **values})
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def settings(notebook: str, more: str = "", **parameters: Any) -> Any:
    """`resolve`, printed: versions, device and every resolved value.

    In a notebook that papermill executes, raises SettingsError for a parameter that
    the notebook does not have.
    """
    _check_injected(notebook)
    resolved = resolve(notebook, more, **parameters)
    print(describe_setup())
    shown = resolved.model_dump().items()
    print(" · ".join(f"{k} {_shown(v)}" for k, v in shown))
    return resolved


def _check_injected(notebook: str) -> None:
    """Refuse what papermill set and the parameters cell before it does not have."""
    ipython = sys.modules.get("IPython")  # there in a notebook
    shell = ipython.get_ipython() if ipython else None
    cells = shell.user_ns["In"] if shell else []
    for shown, injected in pairwise(cells):
        if injected.startswith(INJECTED):
            known = PARAMETER.findall(shown)
            unknown = [n for n in PARAMETER.findall(injected) if n not in known]
            if unknown:
                raise SettingsError(
                    f"{notebook} has no parameter {unknown[0]!r}; it has "
                    f"{', '.join(known)}. Other settings go into more."
                )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _is_empty(value: Any) -> bool:
    return value is None or (not isinstance(value, bool) and value in (0, "", [], ()))


def _derived(kind: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """Values that follow from others: a model's own learning rate, the precision."""
    derived: dict[str, Any] = {}
    for name in ("precision", "sampling_precision"):
        if name in kind.model_fields and name not in values:
            derived[name] = best_precision()
    if "learning_rate" in kind.model_fields:
        derived["learning_rate"] = learning_rate_of(values["model"])
    if "learning_rates" in kind.model_fields:
        names = _split_text(values["models"])
        derived["learning_rates"] = tuple(learning_rate_of(name) for name in names)
    return derived


def learning_rate_of(model: str) -> float:
    """The finetuning rate for a model name; ":random" variants share their model's."""
    known = LEARNING_RATES.get(model) or LEARNING_RATES.get(model.split(":")[0])
    return known or OTHER_MODELS_LEARNING_RATE


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence that names the setting."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    if not where:
        return what[0].upper() + what[1:] + "."
    what = what[0].lower() + what[1:]
    return f"{where} = {first['input']!r} is refused: {what}."
