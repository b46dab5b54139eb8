"""Whether models can check here at all: what chose the world and the models' training.

Measured on development problems, before the study (docs/regime.md). Goals stand at what
chooses a regime; what the paper asks, whether a verifier's choice is better, has none.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.verification.errors import RIGHT, first_errors, share_of
from gsmlib.chapters.verification.grid import grid
from gsmlib.chapters.verification.settings import VerificationSettings
from gsmlib.data import checker, family
from gsmlib.method import metrics
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.study.pool import prepare
from gsmlib.study.store import Store


class Goal(NamedTuple):
    """Between which values a quantity has to lie."""

    low: float
    high: float


COPIES = Goal(0.97, 1)
GREEDY_FEW, GREEDY_MANY = Goal(0, 0.2), Goal(0.35, 0.65)
ANY_OVER_MEAN = Goal(1.5, np.inf)
PLANNING = Goal(0.6, 1)
AUC, AUC_GAIN = Goal(0.9, 1), Goal(0.05, 1)
MOST_FACTS = 8
PASSAGES = 200  # of each number of facts
BEGIN, END = "<!-- gsmlib regime -->", "<!-- end -->"  # of the table in regime.md

Row = dict[str, Any]


def regime_table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return the regime's quantities, a row each, of every model and the first seed.

    Columns: quantity, model, n_train (0 before finetuning), value, low, high (95 %),
    goal ("" where there is none) and met. The goals are the largest model's; those of
    finetuning and verifiers at its smallest and largest training set.
    """
    points = grid(settings.replace(split="dev", seeds=settings.seeds[:1]))
    specs = [point.specs for point in points]
    prepare([spec for some in specs for spec in some.values()], store)
    rows = []
    for model, _ in settings.rates:
        goals = model == settings.rates[-1][0]
        rows += _steps(model, goals) if family(settings.data) == "minigsm" else []
        for point, some in zip(points, specs, strict=True):
            if point.about["model"] == model:
                n = point.about["n_train"]
                few, many = (goals and n == of(settings.sizes) for of in (min, max))
                found = _finetuned(some, store, few, many)
                rows += [{"model": model, "n_train": n} | row for row in found]
    return _judge(tabulate(rows, ("quantity", "model", "n_train")))


def write_regime(table: pd.DataFrame, folder: Path) -> None:
    """Write a table to regime.json, and into the place that regime.md has for it."""
    rows = json.loads(table.to_json(orient="records", double_precision=4))
    (folder / "regime.json").write_text(json.dumps(rows, indent=1) + "\n")
    page = folder / "regime.md"
    cells = [list(map(_cell, row)) for row in table.round(3).to_numpy()]
    lines = [table.columns, ["---"] * len(table.columns), *cells]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{rows}\n{END}{rest.partition(END)[2]}")


def _cell(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _steps(model: str, goals: bool) -> Iterator[Row]:
    """Yield what the pretrained model can do of a single step."""
    # here: they import torch, which drawing figures does not need
    from gsmlib.method.competence import measure_steps
    from gsmlib.method.models import load_language_model

    about = {"model": model, "n_train": 0}
    table = measure_steps(load_language_model(model), PASSAGES)
    lines = np.array([x for row in table["quoted"] for x in row])
    yield about | _row("facts quoted exactly", lines, COPIES if goals else None)
    for row in table.itertuples():
        goal = COPIES if goals and row.facts == MOST_FACTS else None
        name = f"expression right given the quote, {row.facts} facts"
        yield about | _row(name, np.array(row.computed), goal)


def _finetuned(
    specs: dict[str, Any], store: Store, few: bool, many: bool
) -> Iterator[Row]:
    """Yield what finetuned models and their verifier do.

    few, many: whether the goals of the smallest and of the largest training set hold.
    """
    greedy, spec = shared.solved(specs["greedy"], store), specs["scores"]
    scores, correct = shared.scores_and_labels(spec, store)  # (P, n)
    others = shared.without_verifier(spec.completions, store)
    goal = GREEDY_MANY if many else GREEDY_FEW if few else None
    yield _row("greedy", greedy, goal)
    yield from _sampled(correct, many)
    likely = others["logprob_auc"].values
    within = metrics.within_problem_auc(scores, correct)
    yield _row("within-problem AUC of the verifier", within, AUC if many else None)
    yield _row("within-problem AUC of the log-probability", likely)
    yield {
        "quantity": "the verifier's AUC minus the log-probability's",
        **difference("value", within, likely),
        "goal": AUC_GAIN if many else None,
    }
    if family(spec.completions.generator.data.dataset) == "minigsm":
        errors = first_errors(spec.completions, store)
        planned = share_of(np.isin(errors, checker.PLANNING), errors != RIGHT)
        goal = PLANNING if many else None
        yield _row("first errors that are of planning", planned, goal)
    n = correct.shape[1]
    best = metrics.verified_at_n(scores, correct, n)
    for words, values in (
        ("greedy", greedy),
        (f"vote of {n}", others["majority_vote"].values),
        (f"best of {n} by log-probability", others["by_logprob_per_token"].values),
    ):
        name = f"best of {n} by the verifier minus {words}"
        yield {"quantity": name, **difference("value", best, values)}


def _sampled(correct: np.ndarray, many: bool) -> Iterator[Row]:
    """Yield what samples reach, of (P, n) which are right."""
    n = correct.shape[1]
    mean, any_right = correct.mean(axis=1), metrics.test_at_n(correct, n)
    yield _row("mean of single samples", mean)
    yield _row(f"test@{n}", any_right)
    yield {
        "quantity": f"test@{n} over the mean",
        "value": float(any_right.mean() / mean.mean()) if mean.any() else np.nan,
        "goal": ANY_OVER_MEAN if many else None,
    }


def _row(quantity: str, values: np.ndarray, goal: Goal | None = None) -> Row:
    return {"quantity": quantity, **share("value", values), "goal": goal}


def _judge(table: pd.DataFrame) -> pd.DataFrame:
    """Write the goals in words, and whether they are met."""
    order = ["quantity", "model", "n_train", "value", "value_low", "value_high"]
    met, words = [], []
    for value, goal in zip(table["value"], table["goal"], strict=True):
        known = isinstance(goal, Goal)
        met.append(
            "" if not known else "yes" if goal.low <= value <= goal.high else "no"
        )
        words.append(_in_words(goal) if known else "")
    table = table[order].rename(columns={"value_low": "low", "value_high": "high"})
    return table.assign(goal=words, met=met)


def _in_words(goal: Goal) -> str:
    if goal.low <= 0:
        return f"at most {goal.high:g}"
    return (
        f"at least {goal.low:g}" if goal.high >= 1 else f"{goal.low:g} to {goal.high:g}"
    )
