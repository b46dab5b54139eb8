"""The settings of 07_dropout."""

from pydantic import Field

from gsmlib import paper
from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count, Rate
from gsmlib.scales import QUICK_SIDE
from gsmlib.settings import Counts

FIG8C, GENERAL = (paper.HYPERPARAMETERS[name] for name in ("fig8c", "general"))

SWEPT = 0.01  # the best of 0.005 to 0.2 on development problems (docs/study.md)


class DropoutSettings(OneModel, VerifierSettings):
    """Residual dropout in finetuning and in verifiers (Fig 8).

    With dropout the model is first pretrained further (section 5.2). Appendix B: the
    batches of Fig 8c's verifiers are 4 times as large, their completions 300.
    """

    sizes: Counts
    """numbers of training problems"""
    dropout_rate: float = Field(paper.DROPOUT, gt=0, lt=1)
    """of the arms with dropout: share of a residual branch that is dropped"""
    pretraining_texts: Count
    """of the additional pretraining"""
    pretraining_learning_rate: Rate = 1e-3
    """of the additional pretraining"""
    ablation_completions: Count
    """the first of each problem, which verifiers learn from"""
    large_batch_factor: Count = FIG8C["batch_tokens"] // GENERAL["batch_tokens"]
    """how many times as large the batches of Fig 8c's verifiers are"""
    large_completions: Count
    """the first of each problem, which Fig 8c's verifiers learn from"""


SCALES = {
    "smoke": dict(dropout_rate=SWEPT, pretraining_texts=40, large_completions=4),
    "quick": dict(
        QUICK_SIDE,
        sizes=(250,),
        dropout_rate=SWEPT,
        pretraining_texts=1_000,
        large_completions=2,
    ),
    "mini": dict(
        sizes=(1000,),
        dropout_rate=SWEPT,
        pretraining_texts=25_000,
        large_completions=8,
    ),
    "smollm2": dict(
        n_train=500,
        sizes=(500,),
        test_completions=16,
        pretraining_texts=500,
        pretraining_learning_rate=1e-4,
        large_completions=4,
    ),
    "smollm2-full": dict(
        pretraining_texts=paper.TRAIN_PROBLEMS,
        pretraining_learning_rate=1e-4,
        large_completions=100,
    ),
    "gpt2": dict(
        pretraining_texts=paper.TRAIN_PROBLEMS,
        pretraining_learning_rate=1e-5,
        large_completions=FIG8C["completions_train"],
    ),
}
