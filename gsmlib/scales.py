"""The scales as data: for each the values of every setting (see config.py)."""

from typing import Any

DEFAULT_SCALE = "quick"

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
