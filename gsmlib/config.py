"""The dial and what derives from it: the scales as data, frozen specs for every stage.

A notebook takes `scale` and a few more names; `settings` fills in the scale's values,
checks everything and prints what will run. A value of 0, "" or [] means "the scale's
value". The stages' specs below are what the store's keys are made of.
"""

import os
import platform
import re
import sys
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

DEFAULT_SCALE = "quick"
# How many problems there are to draw from; MiniGSM makes as many as one asks for.
GSM8K_PROBLEMS = {"train": 7473, "test": 1319}
# The mini-GPTs, shipped in WEIGHTS: (width, layers); a head is 32 wide, and there are
# at least two.
MINI_SIZES = {
    "mini-0.1m": (32, 4),
    "mini-0.3m": (64, 4),
    "mini-1m": (128, 4),
    "mini-3m": (192, 6),
}
WEIGHTS = Path(__file__).parent / "weights"
TOKENIZER_FILE = WEIGHTS / "tokenizer.json"
PARAMETER = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)  # in a notebook's cell
INJECTED = "# Parameters\n"  # how the cell begins that papermill adds
# how accelerate and torchrun, or MPI, tell a process how many of it there are
PROCESS_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["fp32", "bf16"]
Dataset = Literal["minigsm", "gsm8k"]
ModelName = Annotated[str, Field(min_length=1)]


class SettingsError(ValueError):
    """Settings that cannot run; the message is one sentence."""


class Spec(BaseModel):
    """A frozen record of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: Any) -> Self:
        """Return the same with some fields changed, checked as a new one is."""
        return type(self)(**{**dict(self), **changes})


# ------------------------------------------------------------------ the stages' specs


class DataSpec(Spec):
    """The training problems, and how many test problems the test loss is taken over.

    `seed` chooses the training problems; the test problems are the same for every seed,
    so that methods and seeds can be compared problem by problem. With `answers_only` a
    solution is its last line alone, the final answer without steps (section 4.1).
    """

    dataset: Dataset
    n_train: Count
    n_test: Count
    seed: Seed = 0
    answers_only: bool = False

    @model_validator(mode="after")
    def _enough_problems(self) -> "DataSpec":
        check_problem_counts(self.dataset, self.n_train, self.n_test)
        return self


class TrainSettings(Spec):
    """One run of `training.train` (Appendix B); the rate decays linearly to 0.

    `warmup` is the share of the steps over which the rate first rises (the paper names
    none: 0 everywhere but in our own pretraining). `loss_on_question` None is the
    paper's: yes for a language model, no for either loss of a verifier.
    `level`, `loss` and `language_weight` matter for verifiers only; a language weight
    of 0 trains the verifier term alone. `group_size` says how many completions of one
    problem are put into the same batch (1: all are shuffled singly), next to as many
    copies of one language row; then their question is computed once.
    """

    epochs: Count
    learning_rate: Rate
    batch_tokens: Count = 32_000
    warmup: float = Field(0.0, ge=0, lt=1)
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.95, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Precision = "fp32"
    seed: Seed = 0
    loss_on_question: bool | None = None
    level: Literal["token", "solution"] = "token"
    loss: Literal["mse", "bce"] = "mse"
    language_weight: float = Field(1.0, ge=0)
    group_size: Count = 1


class PretrainSpec(Spec):
    """Additional pretraining of a model on `n_texts` of running text (section 5.2).

    The text is MiniGSM's, or GSM8K's training problems without annotations. It goes
    before finetuning with dropout, for which the model was not pretrained.
    """

    model: ModelName
    dataset: Dataset
    n_texts: Count
    training: TrainSettings

    @model_validator(mode="after")
    def _enough_texts(self) -> "PretrainSpec":
        check_problem_counts(self.dataset, self.n_texts, 1)
        return self


class FinetuneSpec(Spec):
    """A finetuned language model; the models after `keep_epochs` are kept.

    It starts from `model` as it is, or as additional `pretraining` left it.
    """

    model: ModelName
    data: DataSpec
    training: TrainSettings
    keep_epochs: tuple[Count, ...]
    max_length: Count = 400
    pretraining: PretrainSpec | None = None

    @model_validator(mode="after")
    def _same_model(self) -> "FinetuneSpec":
        if self.pretraining and self.pretraining.model != self.model:
            raise ValueError(
                f"pretraining of {self.pretraining.model} cannot start {self.model}"
            )
        return self

    @model_validator(mode="after")
    def _epochs_exist(self) -> "FinetuneSpec":
        late = [epoch for epoch in self.keep_epochs if epoch > self.training.epochs]
        if late or not self.keep_epochs:
            raise ValueError(
                f"keep_epochs {list(self.keep_epochs)} must name epochs of a run of "
                f"{self.training.epochs}"
            )
        return self


class SampleSpec(Spec):
    """Completions of a finetuned generator: `n` for each of `n_problems` problems.

    With a `sampler` they are sampled by that verifier's language model instead: one
    model that generates and verifies.
    """

    generator: FinetuneSpec
    epoch: Count
    split: Literal["train", "dev", "test"]
    n_problems: Count
    n: Count
    temperature: float = Field(ge=0)
    max_length: Count = 400
    calculator: bool = True
    stop_after_answer: bool = False
    precision: Precision = "fp32"
    seed: Seed = 0
    sampler: "VerifierSpec | None" = None

    @model_validator(mode="after")
    def _can_be_sampled(self) -> "SampleSpec":
        if self.epoch not in self.generator.keep_epochs:
            kept = list(self.generator.keep_epochs)
            raise ValueError(f"epoch {self.epoch} was not kept; kept were {kept}")
        if self.temperature == 0 and self.n != 1:
            raise ValueError(f"greedy decoding gives one completion, not {self.n}")
        drawn = self.generator.data.n_train
        if self.split == "train" and self.n_problems > drawn:
            raise ValueError(
                f"{self.n_problems} training problems asked for, {drawn} were drawn"
            )
        if self.split == "test":
            check_problem_counts(self.generator.data.dataset, 1, self.n_problems)
        return self


class VerifierSpec(Spec):
    """A verifier trained on labelled completions of training problems (section 4.2).

    It starts from the generator, or from `start`, another finetuned model (its last
    epoch); with `init` "pretrained" from what that one was before it was finetuned.
    It learns from the first `per_problem` completions of each problem (None: all), each
    distinct one once where `deduplicate`. `language_rows` says what the language term
    is taken over: the problems' own solutions, as in the paper, or the samples.
    `checkpoints` verifiers are kept, after equal shares of the training.
    """

    completions: SampleSpec
    init: Literal["generator", "pretrained"] = "generator"
    training: TrainSettings
    start: FinetuneSpec | None = None
    per_problem: Count | None = None
    deduplicate: bool = False
    language_rows: Literal["originals", "samples"] = "originals"
    checkpoints: Count = 1

    @property
    def base(self) -> FinetuneSpec:
        """The finetuned model that decides the verifier's size and first weights."""
        return self.start or self.completions.generator

    @model_validator(mode="after")
    def _enough_completions(self) -> "VerifierSpec":
        if (self.per_problem or 1) > self.completions.n:
            raise ValueError(
                f"{self.per_problem} completions of each problem asked for, "
                f"{self.completions.n} are sampled"
            )
        return self


class ScoreSpec(Spec):
    """A verifier's scores of completions; `checkpoint` None is the last."""

    verifier: VerifierSpec
    completions: SampleSpec
    checkpoint: Count | None = None

    @model_validator(mode="after")
    def _checkpoint_exists(self) -> "ScoreSpec":
        if (self.checkpoint or 1) > self.verifier.checkpoints:
            raise ValueError(
                f"checkpoint {self.checkpoint} was not kept; there are "
                f"{self.verifier.checkpoints}"
            )
        return self


SampleSpec.model_rebuild()


def check_problem_counts(dataset: str, n_train: int, n_test: int) -> None:
    """Raise ValueError when GSM8K has fewer problems than asked for."""
    if dataset != "gsm8k":
        return
    for split, asked in (("train", n_train), ("test", n_test)):
        if asked > GSM8K_PROBLEMS[split]:
            raise ValueError(
                f"{asked} {split} problems asked for, GSM8K has {GSM8K_PROBLEMS[split]}"
            )


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


class DatasetSettings(Spec):
    """00_dataset: how many MiniGSM problems are described."""

    scale: str
    n_train: Count
    test_problems: Count


class StudySettings(Spec):
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


class ClaimSettings(Spec):
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


SETTINGS: dict[str, type[Spec]] = {
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

# --------------------------------------------------------------------- the scales' data

# Finetuning rates by model. GPT-2: Appendix B's rate is a tenth of alpha, and its
# alphas are a tenth of the pretraining rates in Brown et al. 2020 (Table 2.1); the same
# table's rows for 125M, 350M, 760M and 1.3B give the rates of GPT-2's four sizes.
LEARNING_RATES = {
    "tiny:random": 3e-3,
    "mini-0.1m": 2e-3,
    "mini-0.3m": 1.5e-3,
    "mini-1m": 1e-3,
    "mini-3m": 1e-3,
    "smollm2-135m": 1e-4,
    "gpt2": 6e-6,
    "gpt2-medium": 3e-6,
    "gpt2-large": 2.5e-6,
    "gpt2-xl": 2e-6,
}
OTHER_MODELS_LEARNING_RATE = 1e-5

# The regime of MiniGSM and the mini-GPTs, shared by `quick` and `mini`.
MINI_REGIME: dict[str, Any] = dict(
    dataset="minigsm",
    epochs=6,
    generator_epochs=3,
    batch_tokens=4_000,
    dropout=0.0,
    temperature=0.7,
    max_length=400,
    verifier_epochs=1,
    verifier_learning_rate=1e-3,
    verifier_batch_tokens=8_000,
    verifier_group_size=4,
    sampling_precision="fp32",  # bf16 samples these sizes hardly faster
    dropout_rate=0.2,
    pretraining_learning_rate=1e-3,
    large_batch_factor=4,
    other_temperature=1.0,
)

# What 03's verifiers answer at `quick`; notebooks that agree share its completions.
_QUICK_TEST: dict[str, Any] = dict(test_problems=100, test_completions=16)

# scale -> values for all notebooks, and under a notebook's name its own.
SCALES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        MINI_REGIME,
        model="tiny:random",
        models=("tiny:random", "mini-0.1m:random"),
        n_train=24,
        sizes=(8, 24),
        epochs=2,
        generator_epochs=2,
        completed_problems=8,
        completions=4,
        test_problems=6,
        test_completions=4,
        max_length=200,
        seeds=(0,),
        precision="fp32",
        ablation_epochs=1,
        ablation_completions=4,
        large_completions=4,
        checkpoints=2,
        counts=(2, 4),
        pretraining_texts=40,
    ),
    "quick": {
        **MINI_REGIME,
        "model": "mini-1m",
        "models": ("mini-0.3m", "mini-1m"),
        "epochs": 4,
        "n_train": 1500,
        "sizes": (250, 600, 1500),
        "completed_problems": 300,
        "completions": 8,
        "test_problems": 40,
        "test_completions": 100,
        "seeds": (0,),
        "01_calculator": dict(test_completions=20),
        "02_test_at_n": dict(test_problems=30),
        "03_verification": _QUICK_TEST,
        "04_finetuning_scaling": dict(
            models=("mini-0.1m", "mini-0.3m", "mini-1m"), test_problems=100
        ),
        "05_verifier_ablations": dict(
            _QUICK_TEST,
            model="mini-0.3m",
            ablation_epochs=2,
            ablation_completions=4,
            checkpoints=4,
            sizes=(600, 1500),
        ),
        "06_test_time_compute": dict(
            test_problems=25, test_completions=400, counts=(25, 100, 400)
        ),
        "07_dropout": dict(
            _QUICK_TEST,
            model="mini-0.3m",
            sizes=(600, 1500),
            pretraining_texts=4_000,
            ablation_completions=4,
            large_completions=8,
        ),
        "08_verifier_scores": _QUICK_TEST,
        "09_open_points": dict(_QUICK_TEST, model="mini-0.3m", ablation_completions=8),
    },
    "mini": {
        **MINI_REGIME,
        "model": "mini-3m",
        "models": ("mini-1m", "mini-3m"),
        "n_train": 4000,
        "sizes": (250, 1000, 4000),
        "completed_problems": 4000,
        "completions": 8,
        "test_problems": 200,
        "test_completions": 100,
        "seeds": (0, 1, 2),
        "ablation_completions": 4,
        "ablation_epochs": 2,
        "large_completions": 8,
        "checkpoints": 4,
        "counts": (25, 50, 100, 200, 400, 800, 1600),
        "pretraining_texts": 25_000,
        "01_calculator": dict(test_completions=20),
        "02_test_at_n": dict(test_problems=80),
        "04_finetuning_scaling": dict(
            models=("mini-0.1m", "mini-0.3m", "mini-1m", "mini-3m"),
            sizes=(250, 500, 1000, 2000, 4000),
        ),
        "05_verifier_ablations": dict(model="mini-1m", sizes=(1000, 4000)),
        "06_test_time_compute": dict(
            model="mini-1m", test_problems=45, test_completions=1600
        ),
        "07_dropout": dict(model="mini-1m", sizes=(1000, 4000)),
        "08_verifier_scores": dict(model="mini-3m"),
        "09_open_points": dict(model="mini-1m"),
    },
    "smollm2": {
        "dataset": "gsm8k",
        "model": "smollm2-135m",
        "models": ("smollm2-135m",),
        "n_train": 300,
        "sizes": (300,),
        "epochs": 2,
        "generator_epochs": 2,
        "batch_tokens": 4_000,
        "dropout": 0.0,
        "completed_problems": 20,  # all 300 would take hours on 2 cores
        "completions": 20,
        "test_problems": 50,
        "test_completions": 20,
        "temperature": 0.7,
        # the paper: 400; 97.5 % of GSM8K's rows are no longer than 350
        "max_length": 350,
        "verifier_epochs": 1,
        "verifier_learning_rate": 5e-5,
        "verifier_batch_tokens": 4_000,
        "verifier_group_size": 4,
        "seeds": (0,),
        "ablation_epochs": 1,
        "ablation_completions": 4,
        "large_completions": 20,
        "checkpoints": 2,
        "counts": (5, 10, 20),
        "dropout_rate": 0.2,
        "pretraining_texts": 100,
        "pretraining_learning_rate": 1e-4,
        "large_batch_factor": 4,
        "other_temperature": 1.0,
        "04_finetuning_scaling": dict(sizes=(75, 150, 300)),
    },
    "gpt2": {
        "dataset": "gsm8k",
        "model": "gpt2-xl",
        "models": ("gpt2-medium", "gpt2-xl"),
        "n_train": 7473,
        "sizes": (500, 1000, 2000, 4000, 7473),
        "epochs": 20,
        "generator_epochs": 2,
        "batch_tokens": 32_000,
        "dropout": 0.0,
        "completed_problems": 7473,
        "completions": 100,
        "test_problems": 1319,
        "test_completions": 100,
        "temperature": 0.7,
        "max_length": 400,
        "verifier_epochs": 1,
        "verifier_learning_rate": 1e-5,
        "verifier_batch_tokens": 32_000,
        "verifier_group_size": 10,
        "seeds": (0, 1, 2),
        "ablation_epochs": 2,
        "ablation_completions": 100,
        "large_completions": 300,
        "checkpoints": 8,
        "counts": (100, 200, 400, 800, 1600, 3200),
        "dropout_rate": 0.2,
        "pretraining_texts": 7473,
        "pretraining_learning_rate": 1e-5,
        "large_batch_factor": 4,
        "other_temperature": 1.0,
        "01_calculator": dict(model="gpt2", test_completions=20),
        "04_finetuning_scaling": dict(
            models=("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
        ),
        "06_test_time_compute": dict(test_completions=3200),
    },
}


# ------------------------------------------------------------------------ the machinery


def cache_folder() -> Path:
    """Where downloads and the store live: GSMLIB_CACHE, else ~/.cache/gsmlib."""
    return Path(os.environ.get("GSMLIB_CACHE") or "~/.cache/gsmlib").expanduser()


def count_from(variable: str) -> int | None:
    """Return the positive number in an environment variable, None where it is unset."""
    given = os.environ.get(variable, "")
    if given and (not given.isdecimal() or int(given) < 1):
        raise SettingsError(f"{variable} is {given!r}; give a number from 1.")
    return int(given) if given else None


def is_launched() -> bool:
    """Whether this is one of the processes of `accelerate launch` or its like."""
    return any(name in os.environ for name in PROCESS_COUNTS)


def has_gpu() -> bool:
    """Whether torch has a GPU; a build for CPUs alone need not be imported to know."""
    if metadata.version("torch").endswith("+cpu"):
        return False
    import torch  # here, so that drawing figures does not need torch

    return torch.cuda.is_available()


def best_precision() -> Precision:
    """ "bf16" on a GPU or a CPU with bfloat16 instructions, else "fp32"."""
    if has_gpu():
        return "bf16"
    flags = Path("/proc/cpuinfo")
    known = flags.read_text() if flags.exists() else ""
    return "bf16" if "avx512_bf16" in known or "amx_bf16" in known else "fp32"


def describe_setup() -> str:
    """One line: versions of what matters to a result, and the device."""
    names = ("gsmlib", "torch", "transformers")
    versions = " · ".join(f"{name} {metadata.version(name)}" for name in names)
    device = f"CPU, {os.cpu_count()} cores"
    if has_gpu():
        import torch

        device = torch.cuda.get_device_name()
    return f"Python {platform.python_version()} · {versions} · {device}"


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


def check_names(notebook: str, names: list[str]) -> type[Spec]:
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


def _derived(kind: type[Spec], values: dict[str, Any]) -> dict[str, Any]:
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
