"""The tables of 13_selection, all from completions and scores that others ask for."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gsmlib.chapters import shared
from gsmlib.chapters.record import Point
from gsmlib.chapters.selection.settings import SelectionSettings
from gsmlib.chapters.shared import METHODS, Completions, along_axis, read_completions
from gsmlib.method import foresight, metrics, selection
from gsmlib.method.intervals import (
    Interval,
    Measure,
    bootstrap_curves,
    difference,
    pseudo_values,
    share,
    tabulate,
)
from gsmlib.method.sizes import size_of
from gsmlib.study.estimates import Work, estimate_flops
from gsmlib.study.results import sample, score
from gsmlib.study.stages import epoch_folder, sampled_problems
from gsmlib.study.store import Store

COVERAGE, GREEDY, RANDOM = "test@n", "greedy", "random pick"
SCORED = ("verification", "weighted vote")  # the methods that read a verifier's scores
FEW = 4  # one of so many completions says how often a problem is solved
BINS = 10  # of success rates, beside the problems that are never solved
PLACES = foresight.EDGES[1::3]  # shares of wrong completions that the ROC is told at
ANSWERED = tuple(np.round(np.arange(0.05, 1.01, 0.05), 2))  # shares of the problems
READ = tuple(np.round(np.arange(0.1, 1.01, 0.1), 2))  # shares of a solution's tokens


def grid(settings: SelectionSettings) -> list[Point]:
    """Return a point per seed: the scores of 06's many completions, 03's greedy ones.

    Of the greedy solutions there may be more than `test_problems`: the first count.
    """
    points = []
    for base in shared.each_seed(settings):
        model = shared.finetuned(settings, base, settings.epochs)
        problems = max(settings.greedy_problems, settings.test_problems)
        specs = {
            "scores": shared.verified(settings, base),
            "greedy": shared.answers(settings, model, n_problems=problems),
        }
        points.append(Point(shared.describe(settings, base), specs))
    return points


def _computed(
    settings: SelectionSettings, store: Store
) -> Iterator[tuple[dict[str, Any], Point, Completions]]:
    """Yield what each seed's rows say of it, its point, and its completions."""
    for point in shared.computed(grid(settings), store):
        run = read_completions(point.specs["scores"], store)
        yield point.about | {"n_problems": len(run.correct)}, point, run


# ------------------------------------------------------------- choices, and their price


def choices_table(settings: SelectionSettings, store: Store) -> pd.DataFrame:
    """Return what each choice among n completions reaches, and what it costs.

    A row per (method, n, seed). Columns: dataset, model, n_train, seed, n_problems,
    method (those of `shared.METHODS`, "random pick" and, with n = 1, "greedy"), n;
    accuracy with low and high; gap, test@n minus it, and over_greedy, it minus that of
    the greedy solutions, paired by problem, with _low and _high; flops, operations for
    a problem (`flops_of`). In the mean over seeds: best, of all choices among n > 1;
    frontier, surpassed by no choice and no greedy solution that costs as much or less.
    """
    ns, rows = along_axis(settings.test_completions), []
    for about, point, run in _computed(settings, store):
        greedy = shared.solved(point.specs["greedy"], store)[: len(run.correct)]
        once, each, first = _tokens(point, run, store)
        for method, n, solved in _solved(run, ns, greedy):
            tokens = once + first if method == GREEDY else once + n * each
            row = about | {"method": method, "n": n, **share("", solved)}
            if method != GREEDY:  # which is none of the n
                row |= difference("gap", metrics.test_at_n(run.correct, n), solved)
            row |= difference("over_greedy", solved, greedy)
            rows.append(row | {"flops": flops_of(point, method, tokens)})
    return _with_best(tabulate(rows, ("method", "n")))


def _solved(
    run: Completions, ns: Sequence[int], greedy: np.ndarray
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield each method's accuracy on every problem, for each n."""
    yield GREEDY, 1, greedy
    for n in ns:
        yield RANDOM, n, run.correct.mean(axis=1)
        for method, accuracy in METHODS.items():
            yield method, n, accuracy(run, n)


def _tokens(point: Point, run: Completions, store: Store) -> tuple[float, float, float]:
    """Return the mean tokens of a question, a completion and a greedy solution."""
    from gsmlib.method.decoding import encode_prompt  # here: they import torch
    from gsmlib.method.pretrained import read_tokenizer

    sampled, greedy = point.specs["scores"].completions, point.specs["greedy"]
    folder = epoch_folder(sampled.generator, sampled.epoch, store)
    tokenizer, problems = read_tokenizer(str(folder)), sampled_problems(sampled)
    questions = [len(encode_prompt(tokenizer, each.question)) for each in problems]
    drawn = (sample(spec, store) for spec in (sampled, greedy))
    each, first = map(shared.lengths, drawn)
    return np.mean(questions), each.mean(), first[: len(problems)].mean()


def flops_of(point: Point, method: str, tokens: float) -> float:
    """Return the operations on a problem whose question and completions have `tokens`.

    2 a parameter and token (`estimates.COSTS`), a question read once for all of its
    completions; the verifier's own, who reads the same, where the method asks it. Left
    out is what attention adds with the length of a text.
    """
    spec = point.specs["scores"]
    flops = estimate_flops(Work("sample", spec.completions.generator.model, tokens))
    if method in SCORED:
        flops += estimate_flops(Work("score", spec.verifier.base.model, tokens))
    return flops


def attention_share(settings: SelectionSettings, store: Store) -> float:
    """Return what attention would add to `flops_of`, as a share of it.

    A solution's token meets the question and half of the solution: 2 operations each
    for products with their keys and values, in every layer and unit of width.
    """
    (_, point, run), *_ = _computed(settings, store)
    question, each, _ = _tokens(point, run, store)
    size = size_of(point.specs["scores"].completions.generator.model)
    met = question + each / 2
    return float(4 * met * size.layers * size.width / (2e6 * size.millions))


def _with_best(table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns best and frontier, of the means over seeds."""
    keys = ["method", "n"]
    means = table.groupby(keys, as_index=False)[["accuracy", "flops"]].mean()
    choices = means[~means["method"].isin([COVERAGE, GREEDY, RANDOM])]
    choices = choices[choices["n"] > 1]  # of a single one there is no choice
    best = choices.loc[choices.groupby("n")["accuracy"].idxmax(), keys]
    rivals = means[~means["method"].isin([COVERAGE, RANDOM])]
    rivals = rivals.sort_values(["flops", "accuracy"], ascending=[True, False])
    before = rivals["accuracy"].cummax().shift(fill_value=-1.0)
    frontier = rivals.loc[rivals["accuracy"] > before, keys]
    at = pd.MultiIndex.from_frame(table[keys])
    for name, rows in (("best", best), ("frontier", frontier)):
        table[name] = at.isin(pd.MultiIndex.from_frame(rows))
    return table


# ------------------------------------------------------------------- coverage over n


def law_table(settings: SelectionSettings, store: Store) -> pd.DataFrame:
    """Return coverage over n, how often problems are solved, and the power law.

    Columns: dataset, model, n_train, seed, n_problems, part. Rows of part "coverage":
    n, accuracy (test@n, unbiased) with low and high. Of part "histogram": rate, the
    upper end of a bin of success rates (0: never right), and problems, the share of
    them in it, with _low and _high. On all rows the law -log(coverage) = exp(level)
    n^slope: level; slope, bend and misfit (`foresight.PowerLaw`) with _low and _high
    from a bootstrap over problems and seeds.
    """
    ns, rows, curves = along_axis(settings.test_completions), [], []
    for about, _, run in _computed(settings, store):
        solved = np.array([metrics.test_at_n(run.correct, n) for n in ns])
        curves.append(solved.T)
        rows += [
            about | {"part": "coverage", "n": n, **share("", each)}
            for n, each in zip(ns, solved, strict=True)
        ]
        ends = np.ceil(BINS * run.correct.mean(axis=1) - 1e-9) / BINS
        rows += [
            about | {"part": "histogram", "rate": rate, **share("problems", here)}
            for rate in np.arange(BINS + 1) / BINS
            for here in [np.isclose(ends, rate)]
        ]
    law = power_law(np.array(ns), np.array(curves))
    return tabulate([row | law for row in rows], ("part", "n", "rate"))


def power_law(ns: np.ndarray, curves: np.ndarray) -> dict[str, Any]:
    """Return the law's columns from (seeds, P, X) coverages at ns (X,)."""
    mean = curves.mean(axis=(0, 1))
    inside = (mean > 0) & (mean < 1 - 1e-9)
    found = foresight.fit_power_law(ns[inside], mean[inside])
    drawn = bootstrap_curves(curves[..., inside])
    drawn[drawn > 1 - 1e-9] = 1.0  # sums of floats
    resampled = foresight.fit_power_law(ns[inside], drawn)
    columns: dict[str, Any] = {"level": float(found.level)}
    for name in ("slope", "bend", "misfit"):
        value, each = float(getattr(found, name)), getattr(resampled, name)
        known = each[np.isfinite(each)]
        limits = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        columns[name] = Interval(value, *map(float, limits))
    return columns


# -------------------------------------------------- the ROC, and what it lets foresee


def foresight_table(settings: SelectionSettings, store: Store) -> pd.DataFrame:
    """Return the ROC within problems, and the best-of-n curve that it foresees.

    Columns: dataset, model, n_train, seed, n_problems, part. Rows of part "roc": place,
    a share of wrong completions, and right, the share of right ones that are kept with
    them; alike, `foresight.how_alike`. Of part "curve": few, the first completions,
    whose labels are known; n, accuracy with low and high of the best-scored of n of the
    others, over_random; foreseen by `foresight.foresee`, one_roc, the same if all
    problems had one ROC, and error, foreseen minus measured. All with _low and _high:
    from groups of problems that are left out (`intervals.pseudo_values`), where they
    rest on the ROC.
    """
    few = max(1, settings.test_completions // FEW)
    ns, rows = along_axis(settings.test_completions - few), []
    for about, _, run in _computed(settings, store):
        places = foresight.places_of_right(run.scores, run.correct)
        rows += [about | {"part": "roc", **row} for row in _roc_rows(places, run)]
        later = run.scores[:, few:], run.correct[:, few:]
        measured = np.array([metrics.verified_at_n(*later, n) for n in ns]).T
        columns = _foreseen(places, run.correct, few, ns, measured)
        for n, solved, column in zip(ns, measured.T, columns, strict=True):
            row = about | {"part": "curve", "n": n, "few": few, **share("", solved)}
            row |= difference("over_random", solved, later[1].mean(axis=1)) | column
            rows.append(row)
    made = tabulate(rows, ("part", "place", "n"))
    return _within_bounds(made, "right", "alike", "foreseen", "one_roc")


def _roc_rows(places: foresight.Places, run: Completions) -> Iterator[dict[str, Any]]:
    def at_places(kept: np.ndarray) -> np.ndarray:
        roc = foresight.smooth_roc(places, kept)
        alike = foresight.how_alike(places, kept, roc)
        return np.append(np.interp(PLACES, foresight.EDGES, roc), alike)

    *values, alike = pseudo_values(at_places, len(run.correct)).T
    for place, each in zip(PLACES, values, strict=True):
        row = {"place": float(place), "right": Measure(each, False)}
        yield row | {"alike": Measure(alike, False)}


def _foreseen(
    places: foresight.Places,
    correct: np.ndarray,
    few: int,
    ns: Sequence[int],
    measured: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """Yield the columns foreseen, one_roc and error for each n; measured: (P, N)."""

    def three(kept: np.ndarray) -> np.ndarray:
        foreseen, one_roc = (
            foresight.foresee(places, correct, few, ns, kept, one_roc=one)
            for one in (False, True)
        )
        known = ~np.isnan(foreseen[:, 0])
        if not known.any():
            return np.full(3 * len(ns), np.nan)
        curves = foreseen, one_roc, foreseen - measured
        return np.concatenate([curve[known].mean(axis=0) for curve in curves])

    values = pseudo_values(three, len(correct))
    for columns in zip(*np.split(values.T, 3), strict=True):
        names = ("foreseen", "one_roc", "error")
        measures = (Measure(each, False) for each in columns)
        yield dict(zip(names, measures, strict=True))


def _within_bounds(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Keep the limits of shares between 0 and 1."""
    columns = [f"{name}_{end}" for name in names for end in ("low", "high")]
    return table.assign(**table[columns].clip(0, 1))


# ------------------------------------------------------ abstaining, and reading a part


def doubt_table(settings: SelectionSettings, store: Store) -> pd.DataFrame:
    """Return what a verifier's score is worth as a doubt, and how early it knows.

    Columns: dataset, model, n_train, seed, n_problems, n, part, share. Rows of part
    "abstaining": by (the best-scored completion's score, "oracle" or "random"), risk,
    the share of wrong answers among the share of problems that are answered, and area,
    its mean over all such shares. Of part "reading": auc, within problems, of the score
    at the token where a share of a solution's tokens is read. All with _low and _high.
    """
    rows: list[dict[str, Any]] = []
    for about, point, run in _computed(settings, store):
        about |= {"n": run.correct.shape[1]}
        rows += [about | row for row in _abstaining(run)]
        scored = score(point.specs["scores"], store)
        for part in READ:
            read = _scores_at(shared.matrix(scored, "token_scores"), part)
            auc = share("auc", metrics.within_problem_auc(read, run.correct))
            rows.append(about | {"part": "reading", "share": float(part), **auc})
    return _within_bounds(tabulate(rows, ("part", "by", "share")), "risk", "area")


def _abstaining(run: Completions) -> Iterator[dict[str, Any]]:
    chosen = selection.best_of(run.scores)
    wrong = 1.0 - np.take_along_axis(run.correct, chosen[:, None], axis=1)[:, 0]
    doubts = {"score": run.scores.max(axis=1), "oracle": -wrong, "random": 0 * wrong}
    for by, confidence in doubts.items():
        values = pseudo_values(_risks(confidence, wrong), len(wrong)).T
        area = Measure(values[-1], False)
        for part, risk in zip(ANSWERED, values[:-1], strict=True):
            row = {"part": "abstaining", "by": by, "share": float(part), "area": area}
            yield row | {"risk": Measure(risk, False)}


def _risks(
    confidence: np.ndarray, wrong: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the risks at ANSWERED and their area, as a statistic of some problems."""

    def of(kept: np.ndarray) -> np.ndarray:
        some = confidence[kept], wrong[kept]
        area = metrics.area_under_risk(*some)
        return np.append(metrics.risk_at(*some, ANSWERED), area)

    return of


def _scores_at(token_scores: np.ndarray, part: float) -> np.ndarray:
    """Return (P, n): scores where a share of the tokens of each (P, n) list is read."""
    flat = [each[int(np.ceil(part * len(each))) - 1] for each in token_scores.ravel()]
    return np.array(flat, dtype=float).reshape(token_scores.shape)
