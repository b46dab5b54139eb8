"""The stages' makers: each computes its spec into a folder, out of its parents'.

A maker has its stage's name and finds its parents in the store; `results.obtain` calls
it where the store lacks an artifact.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyarrow.parquet import write_table

from gsmlib import progress
from gsmlib.data import Problem, checker, load_problems
from gsmlib.files import write_file
from gsmlib.method import models
from gsmlib.method.answers import final_number, is_correct
from gsmlib.method.batching import Row, encode
from gsmlib.method.decoding import Completion, Rules, decode, stream_completions
from gsmlib.method.losses import evaluate_losses, in_precision
from gsmlib.method.planted import Solution
from gsmlib.method.pretraining import more_text_rows
from gsmlib.method.recipe import EVALUATION_TOKENS
from gsmlib.method.search import Beams, Scorer, Searched
from gsmlib.method.search import search as find_solutions
from gsmlib.method.selection import AGGREGATIONS, aggregate
from gsmlib.method.training import launched, train
from gsmlib.method.verifier import (
    make_rows,
    new_verifier,
    score_completions,
    with_lines,
)
from gsmlib.records import Precision
from gsmlib.study import specs, stages
from gsmlib.study.parts import finished_rows, keeper, merge, per_problem
from gsmlib.study.store import RESUME, Store

# ----------------------------------------------------------------------------- pretrain


def pretrain(spec: specs.PretrainSpec, store: Store, work: Path) -> None:
    """Go on pretraining a model on running text, as with dropout in section 5.2."""
    training = spec.training
    lm = models.load_language_model(
        spec.model, dropout=training.dropout, seed=training.seed
    )
    rows = more_text_rows(lm.tokenizer, spec.dataset, spec.n_texts, training.seed)
    history = train(
        lm.model,
        rows,
        training,
        pad_token=lm.tokenizer.pad_token_id,
        checkpoint=work / RESUME,
    )
    models.save_language_model(lm, work / "model")
    history.to_csv(work / stages.HISTORY, index=False)


def load_start(
    spec: specs.FinetuneSpec, dropout: float, store: Store
) -> models.LanguageModel:
    """The model before it is finetuned, after additional pretraining if there is."""
    if spec.pretraining is None:
        return models.load_language_model(
            spec.model, dropout=dropout, seed=spec.training.seed
        )
    folder = stages.folder_of(spec.pretraining, store) / "model"
    return models.load_saved_language_model(folder, dropout=dropout)


# ----------------------------------------------------------------------------- finetune


def finetune(spec: specs.FinetuneSpec, store: Store, work: Path) -> None:
    """Finetune a language model on problems (section 4.1); keep the asked epochs."""
    data, training = spec.data, spec.training
    lm = load_start(spec, training.dropout, store)
    problems = stages.training_problems(data, data.n_train)
    rows = language_rows(lm, problems, spec.max_length)
    test = stages.shortened(load_problems(data.dataset, "test", data.n_test), data)
    test_rows = language_rows(lm, test, spec.max_length)

    def after_epoch(epoch: int, summary: dict) -> None:
        if epoch in spec.keep_epochs:
            models.save_language_model(lm, work / stages.epoch_name(epoch))
        losses = evaluate_losses(lm, test_rows, training.precision)
        _note_losses(work / stages.LOSSES, epoch, *losses)

    history = train(
        lm.model,
        rows,
        training,
        pad_token=lm.tokenizer.pad_token_id,
        on_epoch=after_epoch,
        checkpoint=work / RESUME,
    )
    history.to_csv(work / stages.HISTORY, index=False)


def _note_losses(path: Path, epoch: int, nats: list[float], tokens: list[int]) -> None:
    """Add an epoch's losses to a file that survives an interruption."""
    known = json.loads(path.read_text()) if path.exists() else {"tokens": tokens}
    write_file(path, json.dumps(known | {str(epoch): nats}))


def language_rows(
    lm: models.LanguageModel, problems: list[Problem], max_length: int
) -> list[Row]:
    """Encode problems with their own solutions as language-model rows."""
    return [encode(lm.tokenizer, *problem, max_length) for problem in problems]


# ------------------------------------------------------------------------------- sample


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load(folder: Path, precision: Precision) -> models.LanguageModel:
    """Return a model to compute with, on the device and in the precision asked for."""
    lm = models.load_saved_language_model(folder)
    return lm._replace(model=in_precision(lm.model.to(best_device()), precision))


def sample(spec: specs.SampleSpec, store: Store, work: Path) -> None:
    """Sample completions of a generator and label them (section 4.2)."""
    if _compute_share(sample_shard, spec, store, work / RESUME):
        write_table(merge(work / RESUME), work / stages.COMPLETIONS)


def _compute_share(
    shard: Callable[..., None], spec: specs.Spec, store: Store, parts: Path
) -> bool:
    """Compute this process's share of the rows; return whether it writes them all."""
    shard(spec, store, parts, launched().process_index, launched().num_processes)
    launched().wait_for_everyone()
    return launched().is_main_process


def sample_shard(
    spec: specs.SampleSpec, store: Store, parts: Path, shard: int, shards: int
) -> None:
    """Complete every `shards`-th problem, but for what `parts` has already."""
    parts.mkdir(exist_ok=True)
    finished = finished_rows(parts)
    places = range(shard, spec.n_problems, shards)
    if all((place, j) in finished for place in places for j in range(spec.n)):
        return
    models.keep_freed_memory()
    if spec.sampler is None:
        folder = stages.epoch_folder(spec.generator, spec.epoch, store)
    else:
        folder = stages.folder_of(spec.sampler, store) / stages.verifier_name()
    lm = _load(folder, spec.precision)
    keep = keeper(parts)
    for row in _complete(lm, spec, places, finished):
        keep([row])
    keep([], at_once=True)


def _complete(
    lm: models.LanguageModel,
    spec: specs.SampleSpec,
    places: Sequence[int],
    finished: set[tuple[int, int]],
) -> Iterator[dict[str, Any]]:
    """Yield a labelled row for every completion that is not finished, as it is done."""
    problems = stages.sampled_problems(spec)
    pairs = [(i, j) for i in range(len(places)) for j in range(spec.n)]
    skip = {(i, j) for i, j in pairs if (places[i], j) in finished}
    stream = stream_completions(
        lm,
        [problems[place].question for place in places],
        spec.n,
        _rules(spec),
        problem_ids=places,
        skip=skip,
    )
    with progress.bar(len(pairs), initial=len(skip), unit="completion") as bar:
        for i, sample, completion in stream:
            about = {"problem": places[i], "sample": sample} | completion._asdict()
            yield about | _label(completion, problems[places[i]])
            bar.update()


def _rules(spec: specs.SampleSpec | specs.SearchSpec) -> Rules:
    return Rules(**{k: v for k, v in spec if k in Rules._fields})


def _label(completion: Completion, problem: Problem) -> dict[str, Any]:
    return {
        "correct": is_correct(completion.text, problem.solution),
        "answer": final_number(completion.text),
    }


# ------------------------------------------------------------------------------- search


def search(spec: specs.SearchSpec, store: Store, work: Path) -> None:
    """Search solutions, guided by a verifier, and label them: the best-scored first."""
    if _compute_share(search_shard, spec, store, work / RESUME):
        write_table(merge(work / RESUME), work / stages.COMPLETIONS)


def search_shard(
    spec: specs.SearchSpec, store: Store, parts: Path, shard: int, shards: int
) -> None:
    """Search a shard's groups of problems, but for those that `parts` has already."""
    groups = _missing_groups(spec, parts, shard, shards)
    if not groups:
        return
    models.keep_freed_memory()
    problems, epoch = stages.sampled_problems(spec), spec.verifier.completions.epoch
    folder = stages.epoch_folder(spec.generator, epoch, store)
    lm = _load(folder, spec.precision)
    score = _oracle(lm) if spec.oracle else _scorer(spec.verifier, store)
    keep = keeper(parts)
    beams = Beams(spec.width, spec.branching, spec.shuffled)
    with progress.bar(sum(map(len, groups)), unit="problem") as bar:
        for places in groups:
            rows: list[dict[str, Any]] = []
            questions = [problems[place].question for place in places]
            found = find_solutions(lm, score, questions, beams, _rules(spec), places)
            for place, searched in zip(places, found, strict=True):
                rows += _searched_rows(searched, place, problems[place])
            keep(rows)
            bar.update(len(places))
    keep([], at_once=True)


def _scorer(spec: specs.VerifierSpec, store: Store) -> Scorer:
    """Return what scores prefixes by a trained verifier."""
    score = _token_scorer(spec, store)
    return lambda questions, prefixes: [
        [float(scores[-1]) for scores in some] for some in score(questions, prefixes)
    ]


def _oracle(lm: models.LanguageModel) -> Scorer:
    """Return what scores prefixes by MiniGSM's checker."""

    read = partial(decode, lm.tokenizer)
    return lambda questions, prefixes: [
        [float(checker.right_so_far(question, read(tokens))) for tokens in some]
        for question, some in zip(questions, prefixes, strict=True)
    ]


def _searched_rows(searched: Searched, place: int, problem: Problem) -> Iterator[dict]:
    for rank, completion in enumerate(searched.completions):
        about = {"problem": place, "sample": rank} | completion._asdict()
        about |= {"score": searched.scores[rank], "written": searched.written}
        yield about | _label(completion, problem)


# ----------------------------------------------------------------------------- released


def released(spec: specs.ReleasedSpec, store: Store, work: Path) -> None:
    """Make completions of released or planted solutions, likely or not to a model.

    Their log-probability is that of all tokens: which of them a calculator wrote was
    not released.
    """
    parts = work / RESUME
    groups, keep = _missing_groups(spec, parts, 0, 1), keeper(parts)
    models.keep_freed_memory()
    folder = stages.epoch_folder(spec.generator, spec.epoch, store)
    lm = _load(folder, spec.precision)
    problems, four = stages.sampled_problems(spec), list(stages.four_solutions(spec))
    with progress.bar(sum(map(len, groups)), unit="problem") as bar:
        for places in groups:
            chosen = [(place, problems[place], four[place]) for place in places]
            keep(_read_released(lm, spec, chosen))
            bar.update(len(places))
    keep([], at_once=True)
    write_table(merge(parts), work / stages.COMPLETIONS)


def _read_released(
    lm: models.LanguageModel,
    spec: specs.ReleasedSpec,
    chosen: Sequence[tuple[int, Problem, Sequence[Solution]]],
) -> list[dict[str, Any]]:
    """Return the rows of some places' problems' solutions, as `sample` has them."""
    each = [(i, j, p.question, s) for i, p, few in chosen for j, s in enumerate(few)]
    rows = [encode(lm.tokenizer, q, s.text, spec.max_length) for _, _, q, s in each]
    nats, _ = evaluate_losses(lm, rows, spec.precision)
    made = []
    for (place, j, _, solution), row, lost in zip(each, rows, nats, strict=True):
        text, correct, kind = solution
        tokens = list(row.tokens[row.prompt_length :])
        forced = [False] * len(tokens)
        completion = Completion(text, tokens, forced, -lost, not row.cut)
        about = {"problem": place, "sample": j} | completion._asdict()
        about |= {"kind": kind} if spec.solutions == "planted" else {}
        made.append(about | {"correct": correct, "answer": final_number(text)})
    return made


# ----------------------------------------------------------------------- train_verifier


def train_verifier(spec: specs.VerifierSpec, store: Store, work: Path) -> None:
    """Train a verifier on labelled completions, jointly with the language objective."""
    lm = _verifier_start(spec, store)
    rows = verifier_rows(spec, lm, store)
    verifier = new_verifier(lm, rows, spec.training.loss, spec.head)

    def keep(number: int) -> None:
        name = stages.verifier_name(number if number < spec.checkpoints else None)
        models.save_verifier(verifier, lm.tokenizer, work / name)

    history = train(
        verifier,
        rows,
        spec.training,
        language_rows=_joint_rows(spec, lm, rows),
        pad_token=lm.tokenizer.pad_token_id,
        shares=spec.checkpoints,
        on_share=keep,
        checkpoint=work / RESUME,
    )
    history.to_csv(work / stages.HISTORY, index=False)


def verifier_rows(
    spec: specs.VerifierSpec, lm: models.LanguageModel, store: Store
) -> list[Row]:
    """Return the labelled rows that a verifier learns from, problem by problem."""
    table = _read_completions(spec.completions, store)
    if spec.per_problem is not None:
        table = table[table["sample"] < spec.per_problem]
    if spec.deduplicate:
        text = table["tokens"].map(tuple)
        table = table[~table.assign(text=text).duplicated(["problem", "text"])]
    questions = [p.question for p in stages.sampled_problems(spec.completions)]
    rows = make_rows(
        lm.tokenizer,
        questions,
        per_problem(table, "tokens"),
        per_problem(table, "correct"),
        spec.completions.max_length,
    )
    if spec.training.level != "line":
        return rows
    labels: Iterable[list[bool] | None] = repeat(None, len(rows))
    if spec.labels == "process":
        texts = per_problem(table, "text")
        pairs = zip(questions, texts, strict=True)
        labels = (checker.line_labels(q, text) for q, some in pairs for text in some)
    return [with_lines(lm.tokenizer, *both) for both in zip(rows, labels, strict=True)]


def _read_completions(spec: specs.Spec, store: Store) -> pd.DataFrame:
    return pd.read_parquet(stages.folder_of(spec, store) / stages.COMPLETIONS)


def _joint_rows(
    spec: specs.VerifierSpec, lm: models.LanguageModel, rows: Sequence[Row]
) -> list[Row]:
    """The language rows of the joint objective."""
    if spec.language_rows == "samples":
        return [row._replace(label=float("nan")) for row in rows]
    data = spec.completions.generator.data
    originals = stages.training_problems(data, data.n_train)
    return language_rows(lm, originals, spec.completions.max_length)


def _verifier_start(spec: specs.VerifierSpec, store: Store) -> models.LanguageModel:
    """The model a verifier starts from: its generator, or the pretrained one.

    Raises ValueError where it reads other tokens than the completions are made of.
    """
    base, samples, rate = spec.base, spec.completions, spec.training.dropout
    if spec.init == "pretrained":
        return load_start(base, rate, store)
    epoch = base.keep_epochs[-1] if spec.start else samples.epoch
    folder = stages.epoch_folder(base, epoch, store)
    lm = models.load_saved_language_model(folder, dropout=rate)
    if spec.start is not None:
        folder = stages.epoch_folder(samples.generator, samples.epoch, store)
        sampler = models.load_saved_language_model(folder)
        if sampler.tokenizer.get_vocab() != lm.tokenizer.get_vocab():
            raise ValueError(
                f"{base.model} cannot verify {samples.generator.model}: "
                "their tokens differ; take two models of one family."
            )
    return lm


# -------------------------------------------------------------------------------- score


def score(spec: specs.ScoreSpec, store: Store, work: Path) -> None:
    """Score completions by a verifier, token by token, and aggregate the scores."""
    if not _compute_share(score_shard, spec, store, work / RESUME):
        return
    scored = merge(work / RESUME).to_pandas()
    for how in AGGREGATIONS:
        scored[how] = [aggregate(scores, how) for scores in scored["token_scores"]]
    scored.to_parquet(work / stages.SCORES)


def score_shard(
    spec: specs.ScoreSpec, store: Store, parts: Path, shard: int, shards: int
) -> None:
    """Score a shard's groups of problems, but for those that `parts` has already."""
    groups = _missing_groups(spec, parts, shard, shards)
    if not groups:
        return
    models.keep_freed_memory()
    last = spec.checkpoint == spec.verifier.checkpoints
    score = _token_scorer(spec.verifier, store, None if last else spec.checkpoint)
    problems = stages.sampled_problems(spec.completions)
    tokens = per_problem(_read_completions(spec.completions, store), "tokens")
    keep = keeper(parts)
    with progress.bar(sum(map(len, groups)), unit="problem") as bar:
        for places in groups:
            questions = [problems[place].question for place in places]
            scored = score(questions, [tokens[place] for place in places])
            keep(
                [
                    {"problem": place, "sample": sample, "token_scores": scores}
                    for place, of_problem in zip(places, scored, strict=True)
                    for sample, scores in enumerate(of_problem)
                ]
            )
            bar.update(len(places))
    keep([], at_once=True)


def _token_scorer(
    spec: specs.VerifierSpec, store: Store, checkpoint: int | None = None
) -> Callable[..., list[list[np.ndarray]]]:
    """Return what scores completions by a verifier as trained, or at a checkpoint."""
    folder = stages.folder_of(spec, store) / stages.verifier_name(checkpoint)
    verifier, tokenizer = models.load_saved_verifier(folder)
    return partial(
        score_completions,
        in_precision(verifier.to(best_device()), spec.training.precision),
        tokenizer,
        batch_tokens=EVALUATION_TOKENS,
        precision=spec.training.precision,
        loss=spec.training.loss,
        progress=False,
    )


# ------------------------------------------------------------------------------- shards


SHARDED = {
    specs.SampleSpec: sample_shard,
    specs.ScoreSpec: score_shard,
    specs.SearchSpec: search_shard,
}
# How many problems are computed together: as many in any number of shards, and after an
# interruption, because what is computed in bfloat16 depends on what is beside it.
TOGETHER = {specs.SampleSpec: 1, specs.SearchSpec: 32}
TOGETHER |= dict.fromkeys([specs.ScoreSpec, specs.ReleasedSpec], 8)


def groups_of(spec: specs.Spec) -> list[range]:
    """Return the groups of problems that the shards of a stage share out."""
    n, size = getattr(spec, "completions", spec).n_problems, TOGETHER[type(spec)]
    return [range(first, min(first + size, n)) for first in range(0, n, size)]


def _missing_groups(
    spec: specs.Spec, parts: Path, shard: int, shards: int
) -> list[range]:
    """Return a shard's groups, without those of which `parts` has all problems."""
    parts.mkdir(exist_ok=True)
    finished = {problem for problem, _ in finished_rows(parts)}
    return [g for g in groups_of(spec)[shard::shards] if not finished.issuperset(g)]


def compute_shard(spec: specs.Spec, store: Store, shard: int, shards: int) -> None:
    """Compute one of `shards` parts of a stage's rows, which `obtain` then finds.

    A shard is every `shards`-th group of problems. Its stage, of a kind in SHARDED,
    must have its parents in the store.
    """
    if not stages.is_done(spec, store):
        parts = store.parts(stages.locate(spec))
        SHARDED[type(spec)](spec, store, parts, shard, shards)
