"""The stages' specs: frozen records of what each stage computes, and from what.

The store's keys are made of them. A score names its verifier and its completions, a
verifier its completions, these their generator, and that its problems.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from gsmlib.data import GSM8K_PROBLEMS, call, check_problem_counts, family
from gsmlib.data.gsm8k import SYSTEMS
from gsmlib.data.own import Dataset
from gsmlib.method.recipe import TrainSettings
from gsmlib.records import Count, ModelName, Precision, Record, Seed


class Spec(Record):
    """What a stage's result depends on, or a part of that."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.check()
        return self

    def check(self) -> None:
        """Raise ValueError where the fields do not go together."""

    def describe(self) -> str:
        """Say in a few words what is computed."""
        return ""


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

    def check(self) -> None:
        check_problem_counts(self.dataset, train=self.n_train, test=self.n_test)


class PretrainSpec(Spec):
    """Additional pretraining of a model on `n_texts` of running text (section 5.2).

    The text is MiniGSM's, or of other data the training problems without annotations.
    It goes before finetuning with dropout, for which the model was not pretrained.
    """

    model: ModelName
    dataset: Dataset
    n_texts: Count
    training: TrainSettings

    def check(self) -> None:
        check_problem_counts(self.dataset, train=self.n_texts)

    def describe(self) -> str:
        rate = self.training.dropout
        return f"{self.model} on {self.n_texts} more texts, dropout {rate:g}"


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

    def check(self) -> None:
        if self.pretraining and self.pretraining.model != self.model:
            raise ValueError(
                f"pretraining of {self.pretraining.model} cannot start {self.model}"
            )
        late = [epoch for epoch in self.keep_epochs if epoch > self.training.epochs]
        if late or not self.keep_epochs:
            raise ValueError(
                f"keep_epochs {list(self.keep_epochs)} must name epochs of a run of "
                f"{self.training.epochs}"
            )

    def describe(self) -> str:
        data, training, more = self.data, self.training, self.pretraining
        after = f"after {more.n_texts} more texts, " if more else ""
        return (
            f"{self.model} on {data.n_train} {call(data.dataset)} problems, {after}"
            f"{training.epochs} epochs, seed {training.seed}"
        )


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

    def check(self) -> None:
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
        if self.split != "train":
            dataset = self.generator.data.dataset
            check_problem_counts(dataset, **{self.split: self.n_problems})

    def describe(self) -> str:
        generator = self.generator
        drawn = f"{self.n} completion" + "s" * (self.n > 1)
        return (
            f"{generator.model} ({generator.data.n_train} problems, epoch "
            f"{self.epoch}): {drawn} of each of {self.n_problems} {self.split} "
            f"problems, T {self.temperature:g}"
        )


class ReleasedSpec(Spec):
    """The paper's released solutions as completions, of every second test problem.

    `half` says which problems of GSM8K's test set, by their number in the file; of each
    there are four solutions, in the order of `gsm8k.SYSTEMS`. They become the tokens of
    `generator`, which did not write them, and get its log-probability; the labels are
    those released, also of what `max_length` cuts (`finished` says so). A verifier that
    learns from one half can be asked about the other. `solutions` "planted" is the
    control: in their place the problem's own solution, and it with each of three errors
    (`planted`).
    """

    generator: FinetuneSpec
    half: Literal["even", "odd"]
    n_problems: Count
    max_length: Count = 400
    precision: Precision = "fp32"
    solutions: Literal["released", "planted"] = "released"

    @property
    def epoch(self) -> int:
        """The generator's last epoch."""
        return self.generator.keep_epochs[-1]

    @property
    def n(self) -> int:
        """Solutions of each problem."""
        return len(SYSTEMS)

    @property
    def split(self) -> str:
        """What the problems are part of."""
        return "test"

    def check(self) -> None:
        dataset = self.generator.data.dataset
        if dataset != "gsm8k":
            raise ValueError(f"released solutions are of gsm8k, not of {call(dataset)}")
        most = -(-GSM8K_PROBLEMS["test"] // 2) - (self.half == "odd")
        if self.n_problems > most:
            raise ValueError(
                f"{self.n_problems} {self.half} problems asked for, there are {most}"
            )

    def describe(self) -> str:
        kind = "released" if self.solutions == "released" else "right and wrong"
        return f"{self.n_problems * self.n} {kind} solutions, {self.half} problems"


class VerifierSpec(Spec):
    """A verifier trained on labelled completions of training problems (section 4.2).

    It starts from the generator, or from `start`, another finetuned model (its last
    epoch); with `init` "pretrained" from what that one was before it was finetuned.
    It learns from the first `per_problem` completions of each problem (None: all), each
    distinct one once where `deduplicate`. Its `head` is the paper's, a scaled logit, or
    a linear one on the last hidden state. `language_rows` says what the language term
    is taken over: the problems' own solutions, as in the paper, or the samples.
    Labels are of outcomes, the final answers, or "process": of MiniGSM's every line.
    `checkpoints` verifiers are kept, after equal shares of the training.
    """

    completions: SampleSpec | ReleasedSpec
    init: Literal["generator", "pretrained"] = "generator"
    training: TrainSettings
    head: Literal["logit", "linear"] = "logit"
    start: FinetuneSpec | None = None
    per_problem: Count | None = None
    deduplicate: bool = False
    language_rows: Literal["originals", "samples"] = "originals"
    labels: Literal["outcome", "process"] = "outcome"
    checkpoints: Count = 1

    @property
    def base(self) -> FinetuneSpec:
        """The finetuned model that decides the verifier's size and first weights."""
        return self.start or self.completions.generator

    def check(self) -> None:
        if (self.per_problem or 1) > self.completions.n:
            raise ValueError(
                f"{self.per_problem} completions of each problem asked for, "
                f"{self.completions.n} are sampled"
            )
        if self.labels == "process":
            if self.training.level != "line":
                raise ValueError("process labels are of lines: give level line")
            dataset = self.completions.generator.data.dataset
            if family(dataset) != "minigsm":
                raise ValueError(f"{call(dataset)} has no process labels, MiniGSM has")

    def describe(self) -> str:
        each = self.per_problem or self.completions.n
        learnt = f"{self.completions.n_problems * each} completions"
        if isinstance(self.completions, ReleasedSpec):
            learnt = self.completions.describe()
        joint = "joint" if self.training.language_weight else "alone"
        return f"{self.base.model} on {learnt}, {self.training.level}-level, {joint}"


class ScoreSpec(Spec):
    """A verifier's scores of completions; `checkpoint` None is the last."""

    verifier: VerifierSpec
    completions: SampleSpec | ReleasedSpec
    checkpoint: Count | None = None

    def check(self) -> None:
        if (self.checkpoint or 1) > self.verifier.checkpoints:
            raise ValueError(
                f"checkpoint {self.checkpoint} was not kept; there are "
                f"{self.verifier.checkpoints}"
            )

    def describe(self) -> str:
        return f"{self.completions.describe()}; scored by {self.verifier.describe()}"


class SearchSpec(Spec):
    """Solutions found by a search that a verifier guides line by line (`search`).

    Of the verifier's own generator: `width` prefixes are kept, each with `branching`
    continuations; `shuffled` keeps any, and is what guidance is compared with. With an
    `oracle` MiniGSM's checker guides instead, which knows whether all lines are right.
    """

    verifier: VerifierSpec
    split: Literal["dev", "test"]
    n_problems: Count
    width: Count
    branching: Count
    temperature: float = Field(gt=0)
    max_length: Count = 400
    precision: Precision = "fp32"
    seed: Seed = 0
    shuffled: bool = False
    oracle: bool = False

    @property
    def generator(self) -> FinetuneSpec:
        """The model that is sampled from."""
        return self.verifier.completions.generator

    def check(self) -> None:
        dataset = self.generator.data.dataset
        if self.oracle and family(dataset) != "minigsm":
            raise ValueError(f"{call(dataset)} has no oracle, MiniGSM has")
        check_problem_counts(dataset, **{self.split: self.n_problems})

    def describe(self) -> str:
        how = "by the checker" if self.oracle else "by a verifier"
        how = "at random" if self.shuffled else how
        return (
            f"{self.generator.model}: {self.n_problems} {self.split} problems, "
            f"{self.width} of {self.width * self.branching} lines kept {how}"
        )


SampleSpec.model_rebuild()
