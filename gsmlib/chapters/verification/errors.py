"""Which mistakes a verifier lets pass, by the symbolic checker's classes.

The checker reads MiniGSM's language alone; no method of the paper uses it.
"""

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.verification.grid import grid
from gsmlib.chapters.verification.settings import VerificationSettings
from gsmlib.data import checker, family
from gsmlib.method import metrics
from gsmlib.method.intervals import share, tabulate
from gsmlib.study import stages
from gsmlib.study.results import sample
from gsmlib.study.specs import SampleSpec
from gsmlib.study.store import Store

RIGHT = "right answer"
CLASSES = (RIGHT, *checker.ERRORS)
COLUMNS = ["model", "error", "sampled", "likeliest", "chosen", "accepted"]  # if empty
ACCEPTED = 0.5  # a score above it says that a solution is rather right than wrong


def errors_table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return a row per (model, seed, error) with the largest training set.

    error: RIGHT, or the first error of a solution whose answer is wrong. Columns:
    dataset, model, n_train, seed, n_problems, n, error; the shares of the completions
    that have it, sampled, of the verifier's choices, chosen, of the most likely,
    likeliest (by log-probability per token), and of those with the error the share that
    is accepted.
    No rows for problems other than MiniGSM's.
    """
    points = grid(settings.replace(sizes=(max(settings.sizes),)))
    if family(settings.data) != "minigsm":
        points = []
    rows = []
    for about, specs in shared.computed(points, store):
        spec = specs["scores"]
        scores, _ = shared.scores_and_labels(spec, store)
        told = shared.completions(spec.completions, store)
        likely = shared.matrix(told, "per_token")
        errors = first_errors(spec.completions, store)
        n = errors.shape[1]
        for error in CLASSES:
            has = errors == error  # (P, n)
            rows.append(
                about
                | {"n_problems": len(errors), "n": n, "error": error}
                | share("sampled", has.mean(axis=1))
                | share("chosen", metrics.verified_at_n(scores, has, n))
                | share("likeliest", metrics.verified_at_n(likely, has, n))
                | share("accepted", share_of(scores > ACCEPTED, has))
            )
    table = tabulate(rows, ("model", "error"))
    return table if rows else table.reindex(columns=COLUMNS)


def share_of(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return (P,): of the completions in whole (P, n) the share that are in part.

    nan where a problem has none.
    """
    counts = whole.sum(axis=1)
    both = (part & whole).sum(axis=1)
    return np.divide(both, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def first_errors(spec: SampleSpec, store: Store) -> np.ndarray:
    """Return (P, n): RIGHT, or the checker's class of a wrong completion's first error.

    Of MiniGSM's problems.
    """
    table = sample(spec, store)
    texts, right = (shared.matrix(table, name) for name in ("text", "correct"))
    problems = stages.sampled_problems(spec)
    errors = np.full(texts.shape, RIGHT, dtype=object)
    for row, column in zip(*np.nonzero(~right.astype(bool)), strict=True):
        question = problems[row].question
        errors[row, column] = checker.check_solution(question, texts[row, column]).error
    return errors
