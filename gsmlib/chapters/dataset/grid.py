"""The tables of 00_dataset: what the problems are like, and the released solutions."""

import os
from pathlib import Path

import pandas as pd

from gsmlib.chapters.dataset.settings import DatasetSettings
from gsmlib.data import GSM8K_PROBLEMS, load_problems
from gsmlib.environment import cache_folder
from gsmlib.method.intervals import Interval, difference_interval, mean_interval
from gsmlib.paper import RELEASED_ACCURACY
from gsmlib.scales import SCALES

MOST_STEPS = 7  # fewer than 30 test problems have more: they are taken together


def table(settings: DatasetSettings) -> pd.DataFrame:
    """Return one row per problem of MiniGSM and, where at hand, of GSM8K.

    Columns: dataset, split, steps (lines before the answer's), question_words,
    solution_words.
    """
    counts = {
        settings.data: {"train": settings.n_train, "test": settings.test_problems}
    }
    if gsm8k_at_hand(settings.scale):
        counts["gsm8k"] = GSM8K_PROBLEMS
    return pd.DataFrame(
        {
            "dataset": dataset,
            "split": split,
            "steps": len(problem.solution.splitlines()) - 1,
            "question_words": len(problem.question.split()),
            "solution_words": len(problem.solution.split()),
        }
        for dataset, by_split in counts.items()
        for split, n in by_split.items()
        for problem in load_problems(dataset, split, n)
    )


def gsm8k_at_hand(scale: str, file: str = "train.jsonl") -> bool:
    """Return whether a file of GSM8K is here, or this scale trains on GSM8K anyway."""
    folder = Path(os.environ.get("GSM8K_DIR") or cache_folder() / "gsm8k").expanduser()
    return SCALES[scale]["dataset"] == "gsm8k" or (folder / file).exists()


def distributions(problems: pd.DataFrame) -> pd.DataFrame:
    """Return the shares that `dataset` plots: dataset, quantity, value, share.

    problems: a row per problem with dataset, steps, question_words, solution_words;
    words are put in bins of 10, named by their lower edge.
    """
    parts = []
    for quantity in ("steps", "question_words", "solution_words"):
        width = 1 if quantity == "steps" else 10
        value = (problems[quantity] // width * width).rename("value")
        share = value.groupby(problems["dataset"]).value_counts(normalize=True)
        part = share.rename("share").reset_index().assign(quantity=quantity)
        parts.append(part.sort_values(["dataset", "value"]))
    return pd.concat(parts)[["dataset", "quantity", "value", "share"]]


def released_table(correct: pd.DataFrame, steps: pd.Series) -> pd.DataFrame:
    """Return the table of `released` from who solved which problem.

    correct: (problems, systems) bool, columns named as paper.RELEASED_ACCURACY; steps:
    (problems,) of the reference solution, taken together from MOST_STEPS on.
    """
    rows = []
    for name in RELEASED_ACCURACY:
        system = name.replace("b_", "B ")
        about = {"quantity": "accuracy", "system": system, "steps": 0}
        rows.append(about | _estimate(mean_interval(correct[name]), len(correct)))
    for size in ("6b", "175b"):
        for step, solved in correct.groupby(steps.clip(upper=MOST_STEPS)):
            pair = solved[f"{size}_verification"], solved[f"{size}_finetuning"]
            about = {"quantity": "difference", "system": size.upper(), "steps": step}
            rows.append(about | _estimate(difference_interval(*pair), len(solved)))
    return pd.DataFrame(rows)


def _estimate(found: Interval, problems: int) -> dict[str, float]:
    limits = {"value": found.mean, "low": found.low, "high": found.high}
    return {"problems": problems} | limits
