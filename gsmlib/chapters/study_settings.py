"""What the settings of several chapters have in common; each chapter adds its own."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gsmlib.data import ANSWERED, call, count_beside, worlds
from gsmlib.data.own import Dataset
from gsmlib.method.inspection import check_rows
from gsmlib.method.sizes import size_of
from gsmlib.records import Count, Precision, Rate, Record
from gsmlib.settings import (
    Counts,
    Decoys,
    Model,
    Models,
    Names,
    Rates,
    ScaleName,
    Seeds,
    Weights,
)

# The settings that ask for so many problems, and the split that these are of.
ASKED = dict.fromkeys(["n_train", "sizes", "pretraining_texts"], "train")
ASKED |= dict.fromkeys(["test_problems", "greedy_problems"], "test")


class WorldSettings(Record):
    """MiniGSM's knobs (`worlds.Knobs`); of no other data set can they be changed."""

    steps: Weights = worlds.DEFAULT.steps
    """MiniGSM: relative weights of problems of 2, 3, ... solution steps"""
    decoys: Decoys = worlds.DEFAULT.decoys
    """MiniGSM: fewest and most facts that the answer does not rest on, or one number"""
    roots: float = worlds.DEFAULT.roots
    """MiniGSM: share of people whose number is told without a relation"""
    largest: Count = worlds.DEFAULT.largest
    """MiniGSM: largest value anywhere in a problem"""
    kinds: Names = worlds.DEFAULT.kinds
    """MiniGSM: the kinds of facts that occur"""
    questions: Names = worlds.DEFAULT.questions
    """MiniGSM: the kinds of questions that occur"""
    phrasings: Count = worlds.DEFAULT.phrasings
    """MiniGSM: how many phrasings a kind has, at most four"""
    names: Count = worlds.DEFAULT.names
    """MiniGSM: how many names of people occur"""
    things: Count = worlds.DEFAULT.things
    """MiniGSM: how many things occur"""
    quoted: bool = worlds.DEFAULT.quoted
    """MiniGSM: whether a line of a solution quotes its fact before it computes"""

    @model_validator(mode="after")
    def _possible_world(self) -> Self:
        worlds.check_knobs(self.knobs)
        dataset = getattr(self, "dataset", worlds.PLAIN)
        if dataset != worlds.PLAIN:
            usual = worlds.DEFAULT._asdict()
            for name, value in self.knobs._asdict().items():
                if value != usual[name]:
                    raise ValueError(
                        f"{name} is a knob of MiniGSM's problems, and dataset is "
                        f"{call(dataset)}; leave one of them out"
                    )
        return self

    @property
    def knobs(self) -> worlds.Knobs:
        """The knobs alone."""
        return worlds.Knobs(*(getattr(self, name) for name in worlds.Knobs._fields))

    @property
    def data(self) -> str:
        """The data set as specs and tables name it: with knobs that are changed."""
        dataset = getattr(self, "dataset", worlds.PLAIN)
        return worlds.name_of(self.knobs) if dataset == worlds.PLAIN else dataset


class StudySettings(WorldSettings):
    """What every notebook that trains a model has."""

    scale: ScaleName
    dataset: Dataset
    """minigsm, gsm8k, or a file or folder of your own problems"""
    epochs: Count
    """of finetuning"""
    batch_tokens: Count
    """tokens of a batch of finetuning"""
    loss_on_question: bool = True
    """whether finetuning's loss is on questions too, as the paper's, or on solutions"""
    dropout: float = Field(ge=0, lt=1)
    """rate of residual dropout in training"""
    test_problems: Count
    """how many test problems are answered"""
    split: Literal["test", "dev"] = "test"
    """of the problems answered: test; or dev, kept from training, to choose by"""
    max_length: Count
    """tokens of a question and its solution, at most"""
    seeds: Seeds
    """one run of everything each"""
    precision: Precision
    """of training and scoring, as mixed precision: fp32 or bf16"""
    sampling_precision: Precision
    """of the weights while sampling: fp32 or bf16"""

    @model_validator(mode="after")
    def _enough_problems(self) -> Self:
        check_rows(self.dataset)
        train, answered = count_beside(self.dataset, self.split)
        there, asked, remedy = {"train": train, "test": answered}, [], []
        for name, split in ASKED.items():
            value = getattr(self, name, 0)
            many = isinstance(value, tuple)
            most = max(value) if many else value
            if most > there[split]:
                asked.append(f"{name} asks for {most}")
                left = [n for n in value if n < there[split]] if many else []
                remedy.append(f"{name} {','.join(map(str, [*left, there[split]]))}")
        if asked:
            kind = ANSWERED[self.split]
            raise ValueError(
                f"dataset {call(self.dataset)} has {train} training and {answered} "
                f"{kind} problems, but {', '.join(asked)}; give at most -p "
                f"{' -p '.join(remedy)}"
            )
        return self


class SampledSettings(StudySettings):
    """What every notebook that samples completions has."""

    test_completions: Count
    """how many completions of each test problem are drawn"""
    temperature: float = Field(gt=0, allow_inf_nan=False)
    """of sampling"""


class VerifierSettings(SampledSettings):
    """What every notebook that trains a verifier has."""

    generator_epochs: Count
    """of finetuning the generator that a verifier learns from, at least"""
    generator_examples: Count = 1
    """that a generator sees at least, problems times epochs, within `epochs`"""
    completed_problems: Count
    """training problems, at most, that get completions for a verifier to learn from"""
    completions: Count
    """of each of these training problems"""
    verifier_epochs: Count
    """of training a verifier"""
    verifier_learning_rate: Rate
    """of training a verifier"""
    verifier_batch_tokens: Count
    """tokens of a batch of training a verifier"""
    verifier_group_size: Count
    """completions of one problem that share a batch, and so their question"""
    verifier_shared_language: bool = False
    """whether they share a language row too, which counts as often, or have one each"""

    @model_validator(mode="after")
    def _several_completions(self) -> Self:
        if self.test_completions < 2:
            raise ValueError(
                f"{self.test_completions} completion of a test problem leaves nothing "
                "to choose from; give test_completions 2 or more"
            )
        return self

    @model_validator(mode="after")
    def _enough_completions(self) -> Self:
        asked = getattr(self, "ablation_completions", 1)
        if asked > self.completions:
            raise ValueError(
                f"{asked} ablation_completions are more than completions, the "
                f"{self.completions} of each training problem"
            )
        return self


class OneModel(Record):
    """One finetuned model per seed."""

    model: Model
    """a mini-GPT or any causal language model: of the hub, or a folder"""
    n_train: Count
    """training problems"""
    learning_rate: Rate
    """of finetuning; the model's own, unless it is given"""


class ModelGrid(Record):
    """Models on training sets of several sizes; one rate per model."""

    models: Models
    """in any order: small and large go by their parameters"""
    sizes: Counts
    """numbers of training problems"""
    learning_rates: Rates
    """of finetuning, one per model; the models' own, unless they are given"""

    @model_validator(mode="after")
    def _a_rate_per_model(self) -> Self:
        if len(self.learning_rates) != len(self.models):
            raise ValueError(
                "Give as many learning_rates as there are models, for "
                f"{len(self.models)} models ({', '.join(self.models)}) not "
                f"{len(self.learning_rates)}"
            )
        return self

    @property
    def rates(self) -> list[tuple[str, float]]:
        """Pairs of a model and its learning rate, from the smallest to the largest."""
        pairs = zip(self.models, self.learning_rates, strict=True)
        return sorted(pairs, key=lambda pair: size_of(pair[0]).millions)
