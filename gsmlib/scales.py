"""The scales as data: for each the values that its chapters share.

A chapter's folder holds what is its own (`SCALES` in its settings.py).
"""

from typing import Any

from gsmlib.paper import HYPERPARAMETERS, TEST_PROBLEMS, TRAIN_PROBLEMS

DEFAULT_SCALE = "quick"

# Finetuning rates by model. GPT-2: Appendix B's rate is a tenth of alpha, and its
# alphas are a tenth of the pretraining rates in Brown et al. 2020 (Table 2.1); the same
# table's rows for 125M, 350M, 760M and 1.3B give the rates of GPT-2's four sizes.
LEARNING_RATES = {
    "tiny:random": 3e-3,
    "mini-0.2m": 1e-3,
    "mini-0.5m": 1e-3,
    "mini-2m": 5e-4,
    "mini-4m": 5e-4,
    "smollm2-135m": 1e-4,
    "gpt2": 6e-6,
    "gpt2-medium": 3e-6,
    "gpt2-large": 2.5e-6,
    "gpt2-xl": 2e-6,
}
OTHER_MODELS_LEARNING_RATE = 1e-5


def learning_rate_of(model: str) -> float:
    """The finetuning rate for a model name; ":random" variants share their model's."""
    known = LEARNING_RATES.get(model) or LEARNING_RATES.get(model.split(":")[0])
    return known or OTHER_MODELS_LEARNING_RATE


GENERAL, FINETUNING, VERIFICATION = (
    HYPERPARAMETERS[name] for name in ("general", "finetuning", "verification")
)
PAPERS: dict[str, Any] = dict(  # the paper's values that all scales begin with
    dropout=GENERAL["dropout"],
    temperature=VERIFICATION["temperature"],
    max_length=GENERAL["max_length"],
    verifier_epochs=VERIFICATION["verifier_epochs"],
)

# The regime of MiniGSM and the mini-GPTs (docs/regime.md), of `smoke`, `quick`, `mini`.
MINI_REGIME: dict[str, Any] = dict(
    PAPERS,
    dataset="minigsm",
    epochs=FINETUNING["epochs"],
    generator_epochs=3,
    generator_examples=12_000,  # more epochs for small training sets: docs/regime.md
    batch_tokens=4_000,
    verifier_learning_rate=1e-3,
    verifier_batch_tokens=4_000,
    verifier_group_size=4,
    precision="fp32",  # bf16 is a fourteenth as fast without AVX-512
    sampling_precision="fp32",
    seeds=(0,),
)

# At `quick`, whose minutes go into the main result: a small part of what is beside it.
QUICK_SIDE: dict[str, Any] = dict(model="mini-0.5m", n_train=250, test_problems=100)

SCALES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        MINI_REGIME,
        model="tiny:random",
        models=("tiny:random", "mini-0.2m:random"),
        n_train=24,
        sizes=(8, 24),
        epochs=2,
        generator_epochs=2,
        generator_examples=1,
        completed_problems=8,
        completions=4,
        ablation_completions=4,
        test_problems=6,
        test_completions=4,
        max_length=200,
    ),
    "quick": dict(
        MINI_REGIME,
        model="mini-2m",
        models=("mini-2m",),
        epochs=10,
        n_train=2000,
        sizes=(250, 2000),
        completed_problems=2000,
        completions=4,
        ablation_completions=2,
        test_problems=200,
        test_completions=16,
    ),
    "mini": dict(
        MINI_REGIME,
        model="mini-2m",
        models=("mini-0.5m", "mini-2m"),
        n_train=2000,
        sizes=(250, 1000, 2000),
        completed_problems=2000,
        completions=12,  # 24,000 in all: docs/regime.md
        ablation_completions=4,
        test_problems=400,
        test_completions=24,
        precision="bf16",  # as it was measured, on processors that have it
        seeds=(0, 1, 2),
    ),
    "smollm2": dict(
        PAPERS,
        dataset="gsm8k",
        model="smollm2-135m",
        models=("smollm2-135m",),
        n_train=2000,
        sizes=(500, 2000, TRAIN_PROBLEMS),
        epochs=4,
        generator_epochs=VERIFICATION["generator_epochs"],
        batch_tokens=4_000,
        completed_problems=2000,
        completions=8,
        ablation_completions=2,
        test_problems=300,
        test_completions=64,
        # the paper: 400; 97.5 % of GSM8K's rows are no longer than 350
        max_length=350,
        precision="bf16",
        sampling_precision="fp32",  # bf16: 1.4 times as fast, but batches would count
        verifier_learning_rate=5e-5,
        verifier_batch_tokens=4_000,
        verifier_group_size=4,
        seeds=(0,),
    ),
    # The paper's protocol at SmolLM2's size, for one GPU (docs/scaling.md).
    "smollm2-full": dict(
        PAPERS,
        dataset="gsm8k",
        model="smollm2-135m",
        models=("smollm2-135m",),
        n_train=TRAIN_PROBLEMS,
        sizes=(500, 2000, TRAIN_PROBLEMS),
        epochs=5,
        generator_epochs=VERIFICATION["generator_epochs"],
        batch_tokens=GENERAL["batch_tokens"],
        completed_problems=TRAIN_PROBLEMS,
        completions=VERIFICATION["completions_train"],
        test_problems=TEST_PROBLEMS,
        test_completions=VERIFICATION["completions_test"],
        verifier_learning_rate=5e-5,
        verifier_batch_tokens=GENERAL["batch_tokens"],
        verifier_group_size=10,
        precision="bf16",
        sampling_precision="bf16",
        seeds=(0,),
        ablation_completions=20,
    ),
    "gpt2": dict(
        PAPERS,
        dataset="gsm8k",
        model="gpt2-xl",
        models=("gpt2-medium", "gpt2-xl"),
        n_train=TRAIN_PROBLEMS,
        sizes=(500, 1000, 2000, 4000, TRAIN_PROBLEMS),
        epochs=FINETUNING["epochs"],
        generator_epochs=VERIFICATION["generator_epochs"],
        batch_tokens=GENERAL["batch_tokens"],
        completed_problems=TRAIN_PROBLEMS,
        completions=VERIFICATION["completions_train"],
        test_problems=TEST_PROBLEMS,
        test_completions=VERIFICATION["completions_test"],
        verifier_learning_rate=VERIFICATION["learning_rate"],
        verifier_batch_tokens=GENERAL["batch_tokens"],
        verifier_group_size=10,
        precision="bf16",
        sampling_precision="bf16",
        seeds=(0, 1, 2),
        ablation_completions=VERIFICATION["completions_train"],
    ),
}
