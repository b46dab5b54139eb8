"""How a model is trained (Appendix B): one record for language models and verifiers."""

from typing import Literal

from pydantic import Field

from gsmlib.records import Count, Precision, Rate, Record, Seed

Level = Literal["token", "solution", "line"]
EVALUATION_TOKENS = 8192  # tokens a batch where nothing is learnt


class TrainSettings(Record):
    """One run of `training.train` (Appendix B); the rate decays linearly to 0.

    `warmup` is the share of the steps over which the rate first rises (the paper names
    none: 0 everywhere but in our own pretraining). `loss_on_question` None is the
    paper's: yes for a language model, no for either loss of a verifier.
    `level`, `loss` and `language_weight` matter for verifiers only; a language weight
    of 0 trains the verifier term alone. The paper's levels are "token" and "solution";
    "line" looks at the ends of a solution's lines. `group_size` says how many
    completions of one problem are put into the same batch (1: all are shuffled singly);
    then their question is computed once. With `shared_language` they have one language
    row beside them that counts as often, where otherwise each has its own (section
    4.2's equal mix either way): less work, fewer different rows in a batch; of groups
    of 1 it changes nothing.
    `optimizer` "muon" is for pretraining: Muon (Jordan et al. 2024) for the matrices
    within the layers at twice the rate, Adam for the rest; the paper's is Adam.
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
    level: Level = "token"
    loss: Literal["mse", "bce"] = "mse"
    language_weight: float = Field(1.0, ge=0)
    group_size: Count = 1
    shared_language: bool = False
    optimizer: Literal["adam", "muon"] = "adam"
