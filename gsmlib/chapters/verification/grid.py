"""The grid and the table of Fig 5, and the regime measured on the same models."""

from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.verification.settings import VerificationSettings
from gsmlib.data import call, count_problems
from gsmlib.method import metrics, selection
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.records import SettingsError
from gsmlib.study.pool import prepare
from gsmlib.study.results import parameter_count, sample
from gsmlib.study.specs import SampleSpec, ScoreSpec
from gsmlib.study.store import Store

REGIME_SAMPLES, REGIME_VOTERS = 100, 32
REGIME_GOALS = (
    ("greedy test@1, smallest training set", "below 10 %"),
    ("greedy test@1, largest training set", "30-60 %"),
    ("mean accuracy of single samples", ""),
    ("test@100", "at least 1.5x the mean accuracy"),
    ("majority vote of 32", "above the mean accuracy"),
    ("within-problem AUC", "at least 0.65"),
    ("best of 32 by score", ""),
)
# Fig 4's boxes: id, column, row, title, and the boxes that theirs feeds.
BOXES = (
    ("problems", 0, 0, "training problems", "generator"),
    ("generator", 0, 1, "finetune the generator", "completions sample"),
    ("completions", 0, 2, "sample and label", "verifier"),
    ("verifier", 0, 3, "train the verifier", "score"),
    ("problem", 1, 0, "test problem", "sample"),
    ("sample", 1, 1, "sample", "score"),
    ("score", 1, 3, "score", "select"),
    ("select", 1, 4, "select", ""),
)


def grid(settings: VerificationSettings) -> list[Point]:
    """Return a point per model, training set and seed: greedy solutions and scores."""
    points = []
    for base in shared.each_model_and_size(settings):
        specs = {"greedy": shared.greedily(settings, base)}
        specs |= {"scores": shared.verified(settings, base)}
        points.append(Point(shared.describe(settings, base), specs))
    return points


def table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 5's table: a row per (model, n_train, seed, method).

    Columns: dataset, model, n_train, seed, parameters, n_problems, method
    ("finetuning", "verification" or a choice of selection.NO_VERIFIER), accuracy, low,
    high. On the rows of verification also gain (over finetuning, paired by problem)
    with gain_low and gain_high, and the columns of `shared.verified_best`.
    """
    points = shared.computed(grid(settings), store)
    rows = [row for point in points for row in _rows(point, store)]
    return tabulate(rows, ("model", "n_train", "method"))


def _rows(point: Point, store: Store) -> list[dict[str, Any]]:
    """Return the rows of one point of Fig 5: of finetuning, and of each choice."""
    greedy, scores = point.specs["greedy"], point.specs["scores"]
    right = shared.solved(greedy, store)
    best, columns = shared.verified_best(scores, store)
    about = point.about | {"parameters": parameter_count(greedy.generator, store)}
    about |= {"n_problems": len(right)}
    gain = difference("gain", best, right)
    others = selection.NO_VERIFIER.items()
    return [
        about | {"method": "finetuning"} | share("", right),
        about | {"method": "verification"} | columns | gain,
        *(about | {"method": of} | {"accuracy": columns[name]} for name, of in others),
    ]


def pipeline_boxes(settings: VerificationSettings) -> pd.DataFrame:
    """Return the table of Fig 4 with the numbers of a run.

    Columns: id, column (0 or 1), row, title, feeds (ids, separated by spaces), detail.
    """
    name = call(settings.data)
    completed = min(max(settings.sizes), settings.completed_problems)
    heat = settings.temperature
    details = {
        "problems": f"{name}, up to {max(settings.sizes):,}",
        "generator": f"{settings.generator_epochs} epochs",
        "completions": f"up to {completed:,} x {settings.completions}, T = {heat:g}",
        "verifier": f"from the generator, epochs: {settings.verifier_epochs}",
        "problem": f"{name}, {settings.test_problems:,}",
        "sample": f"{settings.test_completions} each, T = {heat:g}",
        "score": "P(correct) of each",
        "select": "answer of the best-scored",
    }
    boxes = pd.DataFrame(BOXES, columns=["id", "column", "row", "title", "feeds"])
    return boxes.assign(detail=boxes["id"].map(details))


# --------------------------------------------------------------------------- the regime


def regime_table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return what decides whether the paper's effects can appear (docs/regime.md).

    Measured on development problems with the largest model, at its smallest and largest
    training set and the first seed. Columns: quantity, value, low and high (95 % over
    problems) and the goal that was set beforehand.
    """
    _check_dev_problems(settings)
    specs = smallest, largest, scored = _regime_specs(settings)
    prepare(specs, store)
    spec = scored.completions
    scores, correct = shared.scores_and_labels(scored, store)  # (P, 100)
    answers = selection.answer_numbers(shared.matrix(sample(spec, store), "answer"))
    within = metrics.within_problem_auc(scores, correct)
    values = (
        shared.solved(smallest, store),
        shared.solved(largest, store),
        correct.mean(axis=1),
        metrics.test_at_n(correct, REGIME_SAMPLES),
        metrics.vote_at_n(answers, correct, REGIME_VOTERS, [REGIME_VOTERS])[0],
        within[~np.isnan(within)],
        metrics.verified_at_n(scores, correct, REGIME_VOTERS),
    )
    rows = [
        {"quantity": name} | share("value", value) | {"goal": goal}
        for (name, goal), value in zip(REGIME_GOALS, values, strict=True)
    ]
    pooled = metrics.pooled_auc(scores, correct)
    return tabulate([*rows, {"quantity": "pooled AUC", "value": pooled}], ["quantity"])


def _check_dev_problems(settings: VerificationSettings) -> None:
    """Refuse more problems than there are beside each other to train and to develop."""
    counts = count_problems(settings.data)
    if not counts:
        return
    dev, train = counts["dev"], counts["train"] - counts["dev"]
    if settings.test_problems > dev or max(settings.sizes) > train:
        raise SettingsError(
            f"Dataset {call(settings.data)} has {dev} development problems beside "
            f"{train} to train on; give at most -p test_problems {dev} -p sizes "
            f"{train}."
        )


def _regime_specs(
    settings: VerificationSettings,
) -> tuple[SampleSpec, SampleSpec, ScoreSpec]:
    """Return greedy solutions after the smallest and largest set, and the scores."""
    more = settings.replace(
        test_completions=REGIME_SAMPLES,
        models=settings.models[-1:],
        learning_rates=settings.learning_rates[-1:],
        sizes=(min(settings.sizes), max(settings.sizes)),
        seeds=settings.seeds[:1],
    )
    small, large = (point.specs for point in grid(more))
    completions = large["scores"].completions.replace(split="dev")
    return (
        small["greedy"].replace(split="dev"),
        large["greedy"].replace(split="dev"),
        large["scores"].replace(completions=completions),
    )
