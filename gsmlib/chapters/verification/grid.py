"""The grid and the table of Fig 5, and Fig 4's boxes."""

from typing import Any

import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.verification.settings import VerificationSettings
from gsmlib.data import call
from gsmlib.method import selection
from gsmlib.method.intervals import difference, share, tabulate
from gsmlib.study.results import parameter_count
from gsmlib.study.store import Store

COMPLETED = "completed"  # training problems whose completions a verifier learns from
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
    """Return a point per model, training set and seed: specs of both methods."""
    points = []
    for base in shared.each_model_and_size(settings):
        specs = {"greedy": shared.greedily(settings, base)}
        specs |= {"scores": shared.verified(settings, base)}
        points.append(Point(shared.describe(settings, base), specs))
    return points


def table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 5's table: a row per (model, n_train, seed, method).

    Columns: dataset, model, n_train, seed, parameters, n_problems, method
    ("finetuning", "verification" or a choice of selection.NO_VERIFIER), accuracy, and
    low and high, the limits of its mean over seeds (`intervals.tabulate`). On the rows
    of verification also gain (over finetuning, paired by problem) with gain_low and
    gain_high, and the columns of `shared.verified_best`. Where a verifier learns from
    completions of fewer than n_train problems (the setting completed_problems),
    `completed` says of how many.
    """
    points = shared.computed(grid(settings), store)
    rows = [row for point in points for row in _rows(point, store)]
    made = tabulate(rows, ("model", "n_train", "method"))
    return made.drop(columns=COMPLETED) if _all_completed(made) else made


def _all_completed(table: pd.DataFrame) -> bool:
    return bool((table[COMPLETED] == table["n_train"]).all())


def _rows(point: Point, store: Store) -> list[dict[str, Any]]:
    """Return the rows of one point of Fig 5: of finetuning, and of each choice."""
    greedy, scores = point.specs["greedy"], point.specs["scores"]
    right = shared.solved(greedy, store)
    best, columns = shared.verified_best(scores, store)
    about = point.about | {"parameters": parameter_count(greedy.generator, store)}
    about |= {"n_problems": len(right)}
    about |= {COMPLETED: scores.verifier.completions.n_problems}
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
    epochs = {shared.generator_epochs(settings, n) for n in settings.sizes}
    spans = str(min(epochs)) if len(epochs) == 1 else f"{min(epochs)} to {max(epochs)}"
    heat = settings.temperature
    details = {
        "problems": f"{name}, up to {max(settings.sizes):,}",
        "generator": f"{spans} epochs",
        "completions": f"up to {completed:,} x {settings.completions}, T = {heat:g}",
        "verifier": f"from the generator, epochs: {settings.verifier_epochs}",
        "problem": f"{name}, {settings.test_problems:,}",
        "sample": f"{settings.test_completions} each, T = {heat:g}",
        "score": "P(correct) of each",
        "select": "answer of the best-scored",
    }
    boxes = pd.DataFrame(BOXES, columns=["id", "column", "row", "title", "feeds"])
    return boxes.assign(detail=boxes["id"].map(details))
