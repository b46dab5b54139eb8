"""One function per figure: its grid of specs, and the tidy table (a row per point)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from gsmlib import metrics, selection
from gsmlib.answers import final_number
from gsmlib.config import (
    GSM8K_PROBLEMS,
    SCALES,
    CalculatorSettings,
    DatasetSettings,
    DataSpec,
    FinetuneSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    StudySettings,
    TestAtNSettings,
    TrainSettings,
    VerificationSettings,
    VerifierSpec,
    cache_folder,
)
from gsmlib.data import Problem, load_problems
from gsmlib.pipeline import (
    epoch_losses,
    parameter_count,
    sample,
    sampled_problems,
    score,
)
from gsmlib.plan import prepare
from gsmlib.store import Store

TEST_LOSS_PROBLEMS = 100
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
# Models whose every epoch is kept, so that figures share one run; a hub model's files
# are gigabytes, and only the epochs a figure needs are kept.
SMALL_MODELS = ("tiny", "mini", "smollm2")


# --------------------------------------------------------------------------- the specs


def finetune_spec(
    settings: StudySettings,
    model: str,
    n_train: int,
    learning_rate: float,
    *,
    epochs: int,
    seed: int,
    keep_all: bool = False,
) -> FinetuneSpec:
    """Return the spec of finetuning `model` on `n_train` problems for `epochs`."""
    keep_all = keep_all or model.startswith(SMALL_MODELS)
    return FinetuneSpec(
        model=model,
        data=DataSpec(
            dataset=settings.dataset,
            n_train=n_train,
            n_test=TEST_LOSS_PROBLEMS,
            seed=seed,
        ),
        training=TrainSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch_tokens=settings.batch_tokens,
            dropout=settings.dropout,
            precision=settings.precision,
            seed=seed,
        ),
        keep_epochs=tuple(range(1, epochs + 1)) if keep_all else (epochs,),
        max_length=settings.max_length,
    )


def test_spec(
    settings: StudySettings,
    generator: FinetuneSpec,
    epoch: int,
    n: int,
    *,
    calculator: bool = True,
) -> SampleSpec:
    """Return the spec of `n` completions a test problem; n = 0 means one greedy one."""
    return SampleSpec(
        generator=generator,
        epoch=epoch,
        split="test",
        n_problems=settings.test_problems,
        n=max(1, n),
        temperature=settings.temperature if n else 0.0,
        max_length=settings.max_length,
        calculator=calculator,
        precision=settings.sampling_precision,
        seed=generator.training.seed,
    )


test_spec.__test__ = False  # pytest would take the name for a test


def verifier_spec(
    settings: VerificationSettings, generator: FinetuneSpec
) -> VerifierSpec:
    """Return the spec of a verifier trained on the generator's completions."""
    training = generator.training
    completions = SampleSpec(
        generator=generator,
        epoch=training.epochs,
        split="train",
        n_problems=min(generator.data.n_train, settings.completed_problems),
        n=settings.completions,
        temperature=settings.temperature,
        max_length=settings.max_length,
        precision=settings.sampling_precision,
        seed=training.seed,
    )
    verifier_training = TrainSettings(
        epochs=settings.verifier_epochs,
        learning_rate=settings.verifier_learning_rate,
        batch_tokens=settings.verifier_batch_tokens,
        group_size=settings.verifier_group_size,
        dropout=settings.dropout,
        precision=settings.precision,
        seed=training.seed,
        loss_on_question=False,
    )
    return VerifierSpec(completions=completions, training=verifier_training)


def stages(settings: Spec) -> list[Spec]:
    """Return the last stages that a notebook's tables are made of.

    `settings` are a notebook's; their ancestors follow from the specs themselves.
    """
    if isinstance(settings, VerificationSettings):
        return [
            spec
            for point in _verification_grid(settings)
            for spec in _both_specs(settings, *point)
        ]
    if isinstance(settings, TestAtNSettings):
        calculators, epochs = [True], range(1, settings.epochs + 1)
    elif isinstance(settings, CalculatorSettings):
        calculators, epochs = [True, False], [settings.epochs]
    else:
        return []
    return [
        test_spec(settings, _generator_of(settings, seed), epoch, n, calculator=on)
        for seed in settings.seeds
        for epoch in epochs
        for on in calculators
        for n in (0, settings.test_completions)
    ]


# -------------------------------------------------------------------------- the figures


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


def calculator_value(settings: CalculatorSettings, store: Store) -> pd.DataFrame:
    """Return accuracy with and without the calculator: a row per (seed, calculator).

    Columns: dataset, seed, calculator (bool), n, n_problems, greedy, sampled (mean
    accuracy of single samples), test_at_n, each with _low and _high. On the rows with
    it also gain (greedy over without it, paired by problem), gain_low, gain_high and
    McNemar's p.
    """
    prepare(stages(settings), store)
    rows = []
    for (seed,) in _progress([(seed,) for seed in settings.seeds], "calculator"):
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
        _solved_greedily(settings, generator, settings.epochs, store, on)
        for on in (True, False)
    )
    gain = metrics.paired_difference(used, unused)
    limits = {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    return limits | {"p": metrics.mcnemar(used, unused)}


def test_at_n_curve(settings: TestAtNSettings, store: Store) -> pd.DataFrame:
    """Return Fig 3's table: a row per (seed, epoch) of finetuning.

    Columns: dataset, seed, epoch, n, n_problems, test_at_1 (greedy), test_at_n
    (T = 0.7) and mean_accuracy (single samples), each with _low and _high; train_loss
    and test_loss in nats per token; and, paired by problem, rise (of test@1 since the
    seed's epoch of least test loss) and fall (of test@n since its peak), likewise.
    """
    prepare(stages(settings), store)
    grid = [(s, e) for s in settings.seeds for e in range(1, settings.epochs + 1)]
    rows, solved = [], {}
    for seed, epoch in _progress(grid, "test@n"):
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
        rise = metrics.paired_difference(greedy, solved[seed, best][0])
        fall = metrics.paired_difference(solved[seed, peak][1], at_n)
        row = {"rise": rise.mean, "rise_low": rise.low, "rise_high": rise.high}
        row |= {"fall": fall.mean, "fall_low": fall.low, "fall_high": fall.high}
        rows.append({"seed": seed, "epoch": epoch} | row)
    return pd.DataFrame(rows)


test_at_n_curve.__test__ = False  # pytest would take the paper's word for a test


def verification_curve(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return Fig 5's table: a row per (model, n_train, seed, method).

    Columns: dataset, model, n_train, seed, parameters, n_problems, method ("finetuning"
    or "verification"), accuracy, low, high. On the rows of verification also gain (over
    finetuning, paired by problem), gain_low, gain_high, n, within_auc, pooled_auc, and
    of the same completions majority_vote, mean_accuracy and test_at_n.
    """
    prepare(stages(settings), store)
    grid = _verification_grid(settings)
    rows: list[dict[str, Any]] = []
    weights = [n_train for _, n_train, _, _ in grid]
    for point in _progress(grid, "verification", weights):
        model, n_train, _, seed = point
        about = {"dataset": settings.dataset, "model": model, "n_train": n_train}
        pair = _both_methods(settings, *point, store)
        rows += [about | {"seed": seed} | row for row in pair]
    return pd.DataFrame(rows)


def _verification_grid(
    settings: VerificationSettings,
) -> list[tuple[str, int, float, int]]:
    """Return model, n_train, learning rate and seed of every point of Fig 5."""
    rates = zip(settings.models, settings.learning_rates, strict=True)
    return [
        (model, n_train, rate, seed)
        for model, rate in rates
        for n_train in settings.sizes
        for seed in settings.seeds
    ]


def regime_table(settings: VerificationSettings, store: Store) -> pd.DataFrame:
    """Return what decides whether the paper's effects can appear (docs/regime.md).

    Measured on development problems with the largest model, at its smallest and largest
    training set and the first seed. Columns: quantity, value, low and high (95 % over
    problems) and the goal that was set beforehand.
    """
    specs = smallest, largest, scored = _regime_specs(settings)
    prepare(specs, store)
    spec = scored.completions
    completions = sample(spec, store)
    scores = matrix(score(scored, store), "last")  # (P, 100)
    correct = matrix(completions, "correct")
    voters = completions[completions["sample"] < REGIME_VOTERS]
    within = metrics.within_problem_auc(scores, correct)
    values = (
        matrix(sample(smallest, store), "correct")[:, 0].astype(float),
        matrix(sample(largest, store), "correct")[:, 0].astype(float),
        correct.mean(axis=1),
        metrics.test_at_n(correct, REGIME_SAMPLES),
        _majority_right(voters, spec),
        within[~np.isnan(within)],
        metrics.verified_at_n(scores, correct, REGIME_VOTERS),
    )
    table = [
        {"quantity": name} | _limits("value", value) | {"goal": goal}
        for (name, goal), value in zip(REGIME_GOALS, values, strict=True)
    ]
    pooled = metrics.pooled_auc(scores, correct)
    return pd.DataFrame([*table, {"quantity": "pooled AUC", "value": pooled}])


def _regime_specs(
    settings: VerificationSettings,
) -> tuple[SampleSpec, SampleSpec, ScoreSpec]:
    """Return greedy solutions after the smallest and largest set, and the scores."""
    more = settings.model_copy(update={"test_completions": REGIME_SAMPLES})
    model, rate, seed = settings.models[-1], settings.learning_rates[-1], settings.seeds
    (small, _), (large, scores) = (
        _both_specs(more, model, n_train, rate, seed[0])
        for n_train in (min(settings.sizes), max(settings.sizes))
    )
    development = {"split": "dev"}
    completions = scores.completions.model_copy(update=development)
    return (
        small.model_copy(update=development),
        large.model_copy(update=development),
        scores.model_copy(update={"completions": completions}),
    )


# ------------------------------------------------------------------------ single points


def _both_methods(
    settings: VerificationSettings,
    model: str,
    n_train: int,
    rate: float,
    seed: int,
    store: Store,
) -> list[dict[str, Any]]:
    """Return the rows of finetuning and of verification for one point of Fig 5."""
    greedy, scores = _both_specs(settings, model, n_train, rate, seed)
    solved = matrix(sample(greedy, store), "correct")[:, 0].astype(float)  # (P,)
    verified, details = _verification(scores, store)
    parameters = parameter_count(greedy.generator, store)
    about = {"parameters": parameters, "n_problems": len(solved)}
    gain = metrics.paired_difference(verified, solved)
    return [
        about | {"method": "finetuning"} | _limits("", solved),
        about
        | {"method": "verification"}
        | _limits("", verified)
        | {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
        | details,
    ]


def _both_specs(
    settings: VerificationSettings, model: str, n_train: int, rate: float, seed: int
) -> tuple[SampleSpec, ScoreSpec]:
    """Return the finetuned model's greedy solutions, and the verifier's scores."""
    finetuned, generator = (
        finetune_spec(settings, model, n_train, rate, epochs=epochs, seed=seed)
        for epochs in (settings.epochs, settings.generator_epochs)
    )
    n, epoch = settings.test_completions, settings.generator_epochs
    completions = test_spec(settings, generator, epoch, n)
    verifier = verifier_spec(settings, generator)
    return (
        test_spec(settings, finetuned, settings.epochs, 0),
        ScoreSpec(verifier=verifier, completions=completions),
    )


def _verification(spec: ScoreSpec, store: Store) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (P,): is the best-scored completion right; and measures of the scores."""
    scores = matrix(score(spec, store), "last")  # (P, n)
    completions, n = sample(spec.completions, store), spec.completions.n
    correct = matrix(completions, "correct")  # (P, n)
    details = {
        "n": n,
        "within_auc": _mean(metrics.within_problem_auc(scores, correct)),
        "pooled_auc": metrics.pooled_auc(scores, correct),
        "majority_vote": _majority_right(completions, spec.completions).mean(),
        "mean_accuracy": correct.mean(),
        "test_at_n": metrics.test_at_n(correct, n).mean(),
    }
    return metrics.verified_at_n(scores, correct, n), details


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
    first = _solved_greedily(settings, generator, epoch, store, calculator)
    return first, matrix(sample(sampled, store), "correct")


def _accuracy_columns(first: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Return test@1, test@n and the mean accuracy, with intervals (see `_solved`)."""
    n = correct.shape[1]
    return {
        "n": n,
        "n_problems": len(correct),
        **_limits("test_at_1", first),
        **_limits("test_at_n", metrics.test_at_n(correct, n)),
        **_limits("mean_accuracy", correct.mean(axis=1)),
    }


def _solved_greedily(
    settings: StudySettings,
    generator: FinetuneSpec,
    epoch: int,
    store: Store,
    calculator: bool = True,
) -> np.ndarray:
    """Return (P,): 1 where the greedy solution of a test problem is right, else 0."""
    spec = test_spec(settings, generator, epoch, 0, calculator=calculator)
    return matrix(sample(spec, store), "correct")[:, 0].astype(float)


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


def _majority_right(completions: pd.DataFrame, spec: SampleSpec) -> np.ndarray:
    """Return (P,): 1 where the commonest answer of the completions is right, else 0."""
    chosen = selection.majority(matrix(completions, "answer"))
    references = [final_number(problem.solution) for problem in sampled_problems(spec)]
    return (chosen == np.array(references, dtype=object)).astype(float)


def matrix(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of a (problem, sample) table as a (P, n) array.

    Raises ValueError when a problem lacks samples.
    """
    ordered = table.sort_values(["problem", "sample"])
    n_problems, n = ordered["problem"].nunique(), ordered["sample"].nunique()
    if len(ordered) != n_problems * n:
        raise ValueError("the table lacks samples of some problems")
    return ordered[column].to_numpy().reshape(n_problems, n)


def _limits(name: str, values: np.ndarray) -> dict[str, float]:
    """Return mean and bootstrap limits over problems as three columns."""
    interval = metrics.bootstrap_interval(values.astype(float), seed=0)
    if not name:
        return {"accuracy": interval.mean, "low": interval.low, "high": interval.high}
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, interval, strict=True))


def _mean(values: np.ndarray) -> float:
    """Mean of the defined values; nan where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


# ----------------------------------------------------------------------------- the rest


def _progress(
    grid: Sequence[tuple], name: str, weights: Sequence[int] | None = None
) -> Iterator[tuple]:
    """Yield the grid's points under a bar that estimates what is left of the whole."""
    weights = weights or [1] * len(grid)
    left = "{desc}: {percentage:3.0f} % done, {elapsed} so far, {remaining} left"
    with tqdm(total=sum(weights), desc=name, bar_format=left) as bar:
        for point, weight in zip(grid, weights, strict=True):
            yield point
            bar.update(weight)


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
