"""Which models can do what stages ask of them: said before any is computed.

What is shipped can read MiniGSM, as tests know; everything else is tried.
"""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gsmlib.data import Problem, load_problems
from gsmlib.method.folders import state_of
from gsmlib.method.sizes import SIZES, check_model, known_names, positions_of
from gsmlib.records import SettingsError
from gsmlib.study.specs import (
    FinetuneSpec,
    PretrainSpec,
    ReleasedSpec,
    SampleSpec,
    SearchSpec,
    Spec,
    VerifierSpec,
)
from gsmlib.study.stages import sampled_problems, shortened, training_problems, work_of

OWN_PROBLEMS = SampleSpec | ReleasedSpec | SearchSpec
SHIPPED = set(known_names()) - {"smollm2-135m"}  # they and their one tokenizer
ENOUGH_TOKENS = 200  # for the longest question of MiniGSM, whose knobs are as they were


class Reading(NamedTuple):
    """Problems that a model must be able to read: a question and its solution."""

    model: str
    dataset: str
    max_length: int | None  # in tokens; None where what is longer is cut
    setting: str = "max_length"  # that says so


def check_specs(specs: Collection[Spec]) -> None:
    """Raise SettingsError, in one sentence, where a model cannot do what specs ask.

    That is where it cannot be had, is no language model, cannot spell the paper's
    format, be trained or sampled from as asked, or cannot read its problems.
    """
    models = sorted({work_of(spec).model for spec in specs})
    for model in models:
        check_model(model)
    readings = {_reading(spec): [] for spec in specs}
    for spec in specs:
        readings[_reading(spec)].append(spec)
    for reading in readings:
        positions = positions_of(reading.model)
        if positions is not None and (reading.max_length or 0) > positions:
            raise SettingsError(
                f"{reading.setting} {reading.max_length} is more than the {positions} "
                f"tokens that {reading.model} has positions for; give {positions} or "
                "less."
            )
    for model in models:
        if not _is_known(model):
            _check_unknown(model, state_of(model), *_asked_of(model, specs))
    for reading, some in readings.items():
        if not _is_tried(reading):
            _check_reading(reading, some)
    for spec in specs:
        if isinstance(spec, VerifierSpec) and spec.start is not None:
            _check_tokens(spec.base.model, spec.completions.generator.model)


def check_shipped(specs: Collection[Spec]) -> None:
    """Raise SettingsError where a model that is shipped cannot read its problems.

    It is a part of `check_specs` that reads no model, and no file but the problems.
    """
    for reading in {_reading(spec): None for spec in specs}:
        if reading.model in SHIPPED and not _is_tried(reading):
            _check_reading(reading, [s for s in specs if _reading(s) == reading])


def _is_tried(reading: Reading) -> bool:
    """Whether tests know that a model reads the problems: MiniGSM, not cut short."""
    long = (reading.max_length or ENOUGH_TOKENS) >= ENOUGH_TOKENS
    return reading.model in known_names() and reading.dataset == "minigsm" and long


def _is_known(model: str) -> bool:
    """Whether a name stands for one model that has been tried."""
    return model in known_names() or (model in SIZES and not Path(model).is_dir())


def _asked_of(model: str, specs: Collection[Spec]) -> tuple[float, bool, bool]:
    """The dropout a model gets; whether it is loaded at all; whether it verifies."""
    trained = [s for s in specs if isinstance(s, FinetuneSpec | PretrainSpec)]
    trained = [s for s in trained if s.model == model]
    verifying = [s for s in specs if isinstance(s, VerifierSpec)]
    verifying = [s for s in verifying if s.base.model == model]
    rates = [spec.training.dropout for spec in (*trained, *verifying)]
    return max(rates, default=0.0), bool(trained), bool(verifying)


@cache  # once for a model, in every state of its folder
def _check_unknown(
    model: str, _: tuple[Any, ...], dropout: float, loaded: bool, verifies: bool
) -> None:
    if not loaded:
        return
    # here: they import torch, which shipped models need not wait for
    from gsmlib.method import checks
    from gsmlib.method.models import load_language_model

    lm = load_language_model(model, dropout=dropout)
    checks.check_format(lm.tokenizer, model)
    checks.check_decoding(lm, model)
    if verifies:
        checks.check_scoring(lm, model)


def _reading(spec: Spec) -> Reading:
    """What a spec's model reads."""
    if isinstance(spec, PretrainSpec):
        return Reading(spec.model, spec.dataset, None)
    if isinstance(spec, FinetuneSpec):
        return Reading(spec.model, spec.data.dataset, spec.max_length)
    completions = spec if isinstance(spec, OWN_PROBLEMS) else spec.completions
    dataset = completions.generator.data.dataset
    released = isinstance(completions, ReleasedSpec)
    setting = "released_length" if released else "max_length"
    return Reading(work_of(spec).model, dataset, completions.max_length, setting)


def _check_reading(reading: Reading, specs: Collection[Spec]) -> None:
    from gsmlib.method.checks import check_problems
    from gsmlib.method.models import load_tokenizer_of

    problems = list(dict.fromkeys(p for spec in specs for p in _problems_of(spec)))
    tokenizer = load_tokenizer_of(reading.model)
    check_problems(tokenizer, *reading[:2], problems, *reading[2:])


def _problems_of(spec: Spec) -> Iterator[Problem]:
    """The problems that a spec's model reads, or more of them."""
    if isinstance(spec, PretrainSpec):
        yield from load_problems(
            spec.dataset, "train", spec.n_texts, spec.training.seed
        )
    elif isinstance(spec, FinetuneSpec):
        data = spec.data
        yield from training_problems(data, data.n_train)
        yield from shortened(load_problems(data.dataset, "test", data.n_test), data)
    else:
        own = isinstance(spec, OWN_PROBLEMS)
        yield from sampled_problems(spec if own else spec.completions)


def _check_tokens(verifier: str, generator: str) -> None:
    """Refuse a verifier that reads other tokens than completions are made of."""
    if verifier == generator or {verifier, generator} <= SHIPPED:
        return
    from gsmlib.method.models import load_tokenizer_of

    one, other = (load_tokenizer_of(name).get_vocab() for name in (verifier, generator))
    if one != other:
        raise SettingsError(
            f"{verifier} cannot verify {generator}: their tokens differ; take two "
            "models of one family."
        )
