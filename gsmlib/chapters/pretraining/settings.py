"""The settings of 10_pretraining."""

from typing import Any

from gsmlib import paper
from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.records import Count, Rate
from gsmlib.scales import QUICK_SIDE
from gsmlib.settings import Counts


class CourseSettings(OneModel, VerifierSettings):
    """One model after more and more pretraining, then as ever.

    A mini-GPT's random weights are pretrained as what is shipped was, but for fewer
    texts; another model goes on from its own weights.
    """

    pretraining_texts: Counts
    """numbers of texts of the pretraining"""
    pretraining_learning_rate: Rate = 3e-3
    """of the pretraining"""
    pretraining_batch_tokens: Count = 32_000
    """tokens of a batch of the pretraining"""


SCALES: dict[str, dict[str, Any]] = {
    "smoke": dict(pretraining_texts=(20, 40), pretraining_batch_tokens=2_000),
    "quick": dict(QUICK_SIDE, model="mini-0.5m:random", pretraining_texts=(500, 4_000)),
    "mini": dict(
        model="mini-2m:random",
        epochs=6,
        pretraining_texts=(16_000, 32_000, 64_000, 128_000, 256_000, 512_000),
        completions=2,
        test_problems=200,
        seeds=(0,),
    ),
    "smollm2": dict(
        n_train=500,
        completions=2,
        test_completions=16,
        pretraining_texts=(500, 2000),
        pretraining_learning_rate=1e-4,
    ),
    "smollm2-full": dict(
        pretraining_texts=(1000, paper.TRAIN_PROBLEMS), pretraining_learning_rate=1e-4
    ),
    "gpt2": dict(
        pretraining_texts=(1000, paper.TRAIN_PROBLEMS), pretraining_learning_rate=1e-5
    ),
}
