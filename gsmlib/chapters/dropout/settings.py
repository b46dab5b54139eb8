"""The settings of 07_dropout."""

from pydantic import Field

from gsmlib import paper
from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count, Rate
from gsmlib.scales import QUICK_TEST
from gsmlib.settings import Counts

FIG8C, GENERAL = (paper.HYPERPARAMETERS[name] for name in ("fig8c", "general"))


class DropoutSettings(OneModel, VerifierSettings):
    """Residual dropout in finetuning and in verifiers (Fig 8).

    With dropout the model is first pretrained further on `pretraining_texts` at
    `pretraining_learning_rate` (section 5.2). Verifiers learn from the first
    `ablation_completions` of each problem; those of Fig 8c from `large_completions`, in
    batches `large_batch_factor` times as large (Appendix B: 4 times, and 300).
    """

    sizes: Counts
    dropout_rate: float = Field(paper.DROPOUT, gt=0, lt=1)
    pretraining_texts: Count
    pretraining_learning_rate: Rate = 1e-3
    ablation_completions: Count
    large_batch_factor: Count = FIG8C["batch_tokens"] // GENERAL["batch_tokens"]
    large_completions: Count


SMALL = dict(QUICK_TEST, model="mini-0.3m", sizes=(600, 1500))
LARGE = dict(model="mini-1m", sizes=(1000, 4000))
SCALES = {
    "smoke": dict(pretraining_texts=40, large_completions=4),
    "quick": dict(SMALL, pretraining_texts=4_000, large_completions=8),
    "mini": dict(LARGE, pretraining_texts=25_000, large_completions=8),
    "smollm2": dict(
        pretraining_texts=100, pretraining_learning_rate=1e-4, large_completions=20
    ),
    "gpt2": dict(
        pretraining_texts=paper.TRAIN_PROBLEMS,
        pretraining_learning_rate=1e-5,
        large_completions=FIG8C["completions_train"],
    ),
}
