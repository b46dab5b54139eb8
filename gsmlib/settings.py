"""The dial: a notebook's settings from its scale, filled in, checked and printed.

A notebook takes `scale` and a few more names; the scale's values (scales.py, and the
chapter's own) fill in the rest. A value of 0, "" or [] means "the scale's value".
"""

import os
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from gsmlib.environment import best_precision, describe_setup
from gsmlib.records import Count, ModelName, Rate, Record, Seed, SettingsError
from gsmlib.scales import DEFAULT_SCALE, SCALES, learning_rate_of

PARAMETER = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)  # in a notebook's cell
INJECTED = "# Parameters\n"  # how the cell begins that papermill adds

Values = dict[str, dict[str, Any]]  # by scale, then by the setting's name


def split_text(value: Any) -> Any:
    """Return a list: `-p sizes 250,1000` and `-p seeds 0` come as text or a number."""
    if isinstance(value, str):
        return [item for item in value.strip("[]() ").replace(",", " ").split() if item]
    return [value] if isinstance(value, int | float) else value


def refuse_twice(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values that all differ; one that stands twice would count twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands there twice")
    return values


_LISTED = BeforeValidator(split_text), Field(min_length=1)
_ONCE = AfterValidator(refuse_twice)
Counts = Annotated[tuple[Count, ...], *_LISTED, _ONCE]
Seeds = Annotated[tuple[Seed, ...], *_LISTED, _ONCE]
Rates = Annotated[tuple[Rate, ...], *_LISTED]
Models = Annotated[tuple[ModelName, ...], *_LISTED, _ONCE]
ScaleName = Annotated[str, Field(description=f"one of {', '.join(SCALES)}")]


def as_text(value: Any) -> str:
    """Return a setting's value as `-p` and `more` take it: "250,1000"."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def name_known(name: str, known: Iterable[str]) -> str:
    """Return the end of a refusal of `name`: the nearest of the known names, and all.

    >>> name_known("epoch", ["epochs", "seeds"])
    "'epoch' (did you mean epochs?); it has epochs, seeds"
    """
    known = list(known)
    near = get_close_matches(name, known, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{name!r}{meant}; it has {', '.join(known)}"


def parse_more(more: str) -> dict[str, str]:
    """Read "dropout=0.2 max_length=300", the settings a notebook does not show."""
    if not isinstance(more, str):
        raise SettingsError(f'more = {more!r} is refused: give text, "name=value".')
    pairs = [item.partition("=") for item in more.split()]
    bad = [name for name, equals, value in pairs if not (name and equals and value)]
    if bad:
        raise SettingsError(f'"{bad[0]}" is not of the form name=value.')
    return {name: value for name, _, value in pairs}


def check_scale(scale: str) -> str:
    """Return a scale's name, or raise a sentence listing what exists."""
    if scale not in SCALES:
        known = ", ".join(SCALES)
        raise SettingsError(f"There is no scale {scale!r}; there are {known}.")
    return scale


def resolve(
    notebook: str, kind: type[Record], own: Values, more: str = "", **parameters: Any
) -> Any:
    """Return a notebook's full settings; raise SettingsError with one sentence.

    kind: the record they become; own: the notebook's own values of each scale. A
    parameter of 0, "" or [] means the scale's value; `more` holds further settings as
    text ("dropout=0.2 max_length=300"). GSMLIB_SCALE replaces the default scale.
    """
    given = {**parameters, **parse_more(more)}
    unknown = [name for name in given if name not in kind.model_fields]
    if unknown:
        known = name_known(unknown[0], kind.model_fields)
        raise SettingsError(f"{notebook} has no setting {known}.")
    given = {name: value for name, value in given.items() if not _is_empty(value)}
    scale = given.pop("scale", DEFAULT_SCALE)
    if scale == DEFAULT_SCALE:
        scale = os.environ.get("GSMLIB_SCALE") or DEFAULT_SCALE
    check_scale(scale)
    _check_own(notebook, kind, own)
    values = {**SCALES[scale], **own.get(scale, {}), **given}
    values = {k: v for k, v in values.items() if k in kind.model_fields}
    try:
        return kind(**{"scale": scale, **_derived(kind, values), **values})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise SettingsError(
                f"{notebook} has no value of {first['loc'][0]} at scale {scale}; give "
                "one, or add it to its chapter's SCALES."
            ) from None
        raise SettingsError(_sentence(error)) from None


def _check_own(notebook: str, kind: type[Record], own: Values) -> None:
    """Refuse values of a chapter for scales or settings that there are not."""
    unknown = [name for name in own if name not in SCALES]
    unknown += [n for some in own.values() for n in some if n not in kind.model_fields]
    if unknown:
        raise SettingsError(
            f"SCALES of {notebook} names {unknown[0]!r}, which is neither a scale nor "
            "one of its settings."
        )


def announce(notebook: str, settings: Record) -> None:
    """Print versions, device and every value of a notebook's settings.

    In a notebook that papermill executes, raises SettingsError for a parameter that
    the notebook does not have.
    """
    _check_injected(notebook)
    print(describe_setup())
    print(" · ".join(f"{name} {as_text(value)}" for name, value in settings))


def _check_injected(notebook: str) -> None:
    """Refuse what papermill set and the parameters cell before it does not have."""
    ipython = sys.modules.get("IPython")  # there in a notebook
    shell = ipython.get_ipython() if ipython else None
    cells = shell.user_ns["In"] if shell else []
    for shown, injected in pairwise(cells):
        if injected.startswith(INJECTED):
            known = PARAMETER.findall(shown)
            unknown = [n for n in PARAMETER.findall(injected) if n not in known]
            if unknown:
                raise SettingsError(
                    f"{notebook} has no parameter {name_known(unknown[0], known)}; "
                    "other settings go into more."
                )


def _is_empty(value: Any) -> bool:
    return value is None or (not isinstance(value, bool) and value in (0, "", [], ()))


def _derived(kind: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """Values that follow from others: a model's own learning rate, the precision."""
    missing = [name for name in kind.model_fields if name not in values]
    derived: dict[str, Any] = {
        name: best_precision() for name in missing if name.endswith("precision")
    }
    if "learning_rate" in kind.model_fields:
        derived["learning_rate"] = learning_rate_of(values["model"])
    if "learning_rates" in kind.model_fields:
        names = split_text(values["models"])
        derived["learning_rates"] = tuple(map(learning_rate_of, names))
    return derived


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence that names the setting."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ").removesuffix(".")
    if not where:
        return what[0].upper() + what[1:] + "."
    what = what[0].lower() + what[1:]
    return f"{where} = {first['input']!r} is refused: {what}."
