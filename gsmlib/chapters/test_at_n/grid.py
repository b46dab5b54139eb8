"""Tables of 00_dataset, 01_calculator and 02_test_at_n (Fig 3)."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gsmlib.config import CalculatorSettings, DatasetSettings, TestAtNSettings
from gsmlib.experiments.shared import (
    difference,
    finetune_spec,
    limits,
    matrix,
    progress,
    solved_greedily,
    test_spec,
)
from gsmlib.study.pipeline import epoch_losses, sample
from gsmlib.study.plan import prepare

from gsmlib.data import GSM8K_PROBLEMS, Problem, load_problems
from gsmlib.environment import cache_folder
from gsmlib.method import metrics
from gsmlib.scales import SCALES
from gsmlib.study.specs import FinetuneSpec, Spec
from gsmlib.study.store import Store


def dataset_table(settings: DatasetSettings) -> pd.DataFrame:
    """Return one row per problem of MiniGSM and, where at hand, of GSM8K.

    Columns: dataset, split, steps (lines before the answer's), question_words,
    solution_words.
    """
    mini = {"train": settings.n_train, "test": settings.test_problems}
    real = GSM8K_PROBLEMS if gsm8k_at_hand(settings.scale) else {}
    tables = [
        _describe(dataset, split, load_problems(dataset, split, n))
        for dataset, counts in (("minigsm", mini), ("gsm8k", real))
        for split, n in counts.items()
    ]
    return pd.concat(tables, ignore_index=True)


def calculator_stages(settings: CalculatorSettings) -> list[Spec]:
    """Return the last stages of 01_calculator's table."""
    return _sampling_stages(settings, [settings.epochs], [True, False])


def test_at_n_stages(settings: TestAtNSettings) -> list[Spec]:
    """Return the last stages of Fig 3's table."""
    return _sampling_stages(settings, range(1, settings.epochs + 1), [True])


test_at_n_stages.__test__ = False  # pytest would take the name for a test


def _sampling_stages(
    settings: CalculatorSettings, epochs: Iterable[int], calculators: list[bool]
) -> list[Spec]:
    return [
        test_spec(settings, _generator_of(settings, seed), epoch, n, calculator=on)
        for seed in settings.seeds
        for epoch in epochs
        for on in calculators
        for n in (0, settings.test_completions)
    ]


def calculator_value(settings: CalculatorSettings, store: Store) -> pd.DataFrame:
    """Return accuracy with and without the calculator: a row per (seed, calculator).

    Columns: dataset, seed, calculator (bool), n, n_problems, greedy, sampled (mean
    accuracy of single samples), test_at_n, each with _low and _high. On the rows with
    it also gain (greedy over without it, paired by problem), gain_low, gain_high and
    McNemar's p.
    """
    prepare(calculator_stages(settings), store)
    rows = []
    for (seed,) in progress([(seed,) for seed in settings.seeds], "calculator"):
        generator = _generator_of(settings, seed)
        for on in (True, False):
            about = {"dataset": settings.dataset, "seed": seed, "calculator": on}
            solved = _solved(settings, generator, settings.epochs, store, on)
            accuracy = _accuracy_columns(*solved)
            worth = _calculator_gain(settings, generator, store) if on else {}
            rows.append(about | accuracy | worth)
    words = {"test_at_1": "greedy", "mean_accuracy": "sampled"}
    ends = ("", "_low", "_high")
    names = {old + end: new + end for old, new in words.items() for end in ends}
    return pd.DataFrame(rows).rename(columns=names)


def _calculator_gain(
    settings: CalculatorSettings, generator: FinetuneSpec, store: Store
) -> dict[str, float]:
    used, unused = (
        solved_greedily(settings, generator, settings.epochs, store, on)
        for on in (True, False)
    )
    return difference("gain", used, unused) | {"p": metrics.mcnemar(used, unused)}


def test_at_n_curve(settings: TestAtNSettings, store: Store) -> pd.DataFrame:
    """Return Fig 3's table: a row per (seed, epoch) of finetuning.

    Columns: dataset, seed, epoch, n, n_problems, test_at_1 (greedy), test_at_n
    (T = 0.7) and mean_accuracy (single samples), each with _low and _high; train_loss
    and test_loss in nats per token; and, paired by problem, rise (of test@1 since the
    seed's epoch of least test loss) and fall (of test@n since its peak), likewise.
    """
    prepare(test_at_n_stages(settings), store)
    grid = [(s, e) for s in settings.seeds for e in range(1, settings.epochs + 1)]
    rows, solved = [], {}
    for seed, epoch in progress(grid, "test@n"):
        generator = _generator_of(settings, seed)
        losses = epoch_losses(generator, store).set_index("epoch").loc[epoch]
        first, correct = _solved(settings, generator, epoch, store)
        solved[seed, epoch] = first, metrics.test_at_n(correct, correct.shape[1])
        about = {"dataset": settings.dataset, "seed": seed, "epoch": epoch}
        rows.append(about | _accuracy_columns(first, correct) | losses.to_dict())
    table = pd.DataFrame(rows)
    changes = [_changes(table[table["seed"] == s], solved) for s in settings.seeds]
    return table.merge(pd.concat(changes), on=["seed", "epoch"])


def _changes(
    curve: pd.DataFrame, solved: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """Return rise and fall at every epoch of one seed's curve, paired by problem."""
    seed = curve["seed"].iloc[0]
    best = curve.loc[curve["test_loss"].idxmin(), "epoch"]
    peak = curve.loc[curve["test_at_n"].idxmax(), "epoch"]
    rows = []
    for epoch in curve["epoch"]:
        greedy, at_n = solved[seed, epoch]
        row = {"seed": seed, "epoch": epoch}
        row |= difference("rise", greedy, solved[seed, best][0])
        rows.append(row | difference("fall", solved[seed, peak][1], at_n))
    return pd.DataFrame(rows)


test_at_n_curve.__test__ = False  # pytest would take the paper's word for a test


def _solved(
    settings: CalculatorSettings,
    generator: FinetuneSpec,
    epoch: int,
    store: Store,
    calculator: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which test problems a generator solves: greedily (P,), sampled (P, n)."""
    n = settings.test_completions
    sampled = test_spec(settings, generator, epoch, n, calculator=calculator)
    first = solved_greedily(settings, generator, epoch, store, calculator)
    return first, matrix(sample(sampled, store), "correct")


def _accuracy_columns(first: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Return test@1, test@n and the mean accuracy, with intervals (see `_solved`)."""
    n = correct.shape[1]
    return {
        "n": n,
        "n_problems": len(correct),
        **limits("test_at_1", first),
        **limits("test_at_n", metrics.test_at_n(correct, n)),
        **limits("mean_accuracy", correct.mean(axis=1)),
    }


def _generator_of(settings: CalculatorSettings, seed: int) -> FinetuneSpec:
    return finetune_spec(
        settings,
        settings.model,
        settings.n_train,
        settings.learning_rate,
        epochs=settings.epochs,
        seed=seed,
        keep_all=isinstance(settings, TestAtNSettings),
    )


def gsm8k_at_hand(scale: str, file: str = "train.jsonl") -> bool:
    """Return whether a file of GSM8K is here, or this scale trains on GSM8K anyway."""
    folder = Path(os.environ.get("GSM8K_DIR") or cache_folder() / "gsm8k").expanduser()
    return SCALES[scale].get("dataset") == "gsm8k" or (folder / file).exists()


def _describe(dataset: str, split: str, problems: list[Problem]) -> pd.DataFrame:
    rows = [
        {
            "dataset": dataset,
            "split": split,
            "steps": len(problem.solution.splitlines()) - 1,
            "question_words": len(problem.question.split()),
            "solution_words": len(problem.solution.split()),
        }
        for problem in problems
    ]
    return pd.DataFrame(rows)
