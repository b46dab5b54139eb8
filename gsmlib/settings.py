"""The dial: a notebook's settings from its scale, filled in, checked and printed.

A notebook takes `scale` and a few more names; the scale's values (scales.py, and the
chapter's own) fill in the rest. A value of "", [], None, or 0 for a number, means "the
scale's value". The same text means the same in a cell, to papermill and `gsmlib run`.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from gsmlib.environment import describe_setup
from gsmlib.records import (
    Count,
    ModelName,
    Rate,
    Record,
    Seed,
    SettingsError,
    Weight,
    did_you_mean,
)
from gsmlib.scales import DEFAULT_SCALE, SCALES, learning_rate_of

PARAMETER = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)  # in a notebook's cell
INJECTED = "# Parameters\n"  # how the cell begins that papermill adds
PAPERMILLS = "PAPERMILL_"  # its own names in there, of --inject-paths
QUOTED = r"""(?:"[^"]*"|'[^']*')"""
# An item of a list in text: what is in quotes, or up to the next comma.
ITEM = re.compile(rf"\s*{QUOTED}\s*(?=,|$)|[^,]+")
# A setting in `more`: up to the next `name=` that is not in quotes.
PAIR = re.compile(rf"(?:(?<=[=,[(\s]){QUOTED}|(?!\s+\w+\s*=).)+", re.DOTALL)

Values = dict[str, dict[str, Any]]  # by scale, then by the setting's name


def plain(value: Any) -> Any:
    """Return a value as plain Python, whoever gave it.

    Text loses quotes around it, `1e3` is 1000 and `None` None, as papermill reads them;
    True is no number; what numpy and pathlib have becomes lists, numbers and text.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _read_text(value) if isinstance(value, str) else value


def _read_text(text: str) -> Any:
    text = text.strip()
    if re.fullmatch(QUOTED, text):
        return text[1:-1]
    try:
        whole = not re.fullmatch(r"[+-]?\d+", text) and float(text).is_integer()
    except ValueError:
        return None if text == "None" else text
    return int(float(text)) if whole else text


def split_text(value: Any) -> Any:
    """Return a list of what text has between commas, in brackets or without them.

    `-p models a,b`, `-p models '["a", "b"]'` and `-p seeds 0` come as text or a number.
    """
    if isinstance(value, int | float):
        return [value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    items = (plain(item[0]) for item in ITEM.finditer(text) if item[0].strip())
    return [item for item in items if item != ""]


def split_numbers(value: Any) -> Any:
    """Return `split_text`'s list; numbers may have spaces between them too."""
    words = ",".join(value.split()) if isinstance(value, str) else value
    return split_text(words)


def make_pair(value: Any) -> Any:
    """Return a least and a greatest number, which one number is both of."""
    numbers = split_numbers(value)
    one = isinstance(numbers, list | tuple) and len(numbers) == 1
    return [*numbers, *numbers] if one else numbers


def refuse_number(value: Any) -> Any:
    """Refuse a number as a name: papermill makes 2 of `2.0`, and 7 of `007`."""
    try:
        float(value)
    except (TypeError, ValueError):
        return value
    raise ValueError(
        "a name that reads as a number may be changed on its way here; name its place, "
        f"./{value}"
    )


def name_model(value: Any) -> Any:
    """Return a model's name, or its folder's with `~` as the home."""
    value = refuse_number(value)
    if not isinstance(value, str):
        return value
    folder = os.path.expanduser(value)
    return os.path.normpath(folder) if os.path.isdir(folder) else folder


def refuse_twice(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values that all differ; one that stands twice would count twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands there twice")
    return values


_NUMBERS = BeforeValidator(split_numbers), Field(min_length=1)
_TEXTS = BeforeValidator(split_text), Field(min_length=1)
_ONCE = AfterValidator(refuse_twice)
SOME = *_TEXTS, _ONCE  # makes a setting of several words, no two alike
Counts = Annotated[tuple[Count, ...], *_NUMBERS, _ONCE]
Seeds = Annotated[tuple[Seed, ...], *_NUMBERS, _ONCE]
Weights = Annotated[tuple[Weight, ...], *_NUMBERS]
Decoys = Annotated[tuple[Seed, Seed], BeforeValidator(make_pair)]
Names = Annotated[tuple[str, ...], *_TEXTS]
Rates = Annotated[tuple[Rate, ...], *_NUMBERS]
Model = Annotated[ModelName, BeforeValidator(name_model)]
Models = Annotated[tuple[Model, ...], *SOME]
ScaleName = Annotated[str, Field(description=f"one of {', '.join(SCALES)}")]


def as_text(value: Any) -> str:
    """Return a setting's value as `-p` and `more` take it: "250,1000"."""
    if isinstance(value, tuple | list):
        items = map(str, value)
        return ",".join(f'"{item}"' if "," in item else item for item in items)
    return str(value)


def name_known(name: str, known: Iterable[str]) -> str:
    """Return the end of a refusal of `name`: the nearest of the known names, and all.

    >>> name_known("epoch", ["epochs", "seeds"])
    "'epoch' (did you mean epochs?); it has epochs, seeds"
    """
    known = list(known)
    return f"{name!r}{did_you_mean(name, known)}; it has {', '.join(known)}"


def names_of(kind: type[Record]) -> list[str]:
    """Return a record's settings, those last that no scale has a value of."""
    fields = kind.model_fields
    return sorted(fields, key=lambda name: not fields[name].is_required())


def parse_more(more: str) -> dict[str, str]:
    """Read "dropout=0.2 max_length=300", the settings a notebook does not show."""
    more = plain(more)
    if not isinstance(more, str | None):
        raise SettingsError(f'more = {more!r} is refused: give text, "name=value".')
    pairs = [item.partition("=") for item in PAIR.findall(more or "")]
    given = {name.strip(): value.strip() for name, _, value in pairs}
    refuse_twice([name.strip() for name, _, _ in pairs])
    bad = [pair for pair in pairs if not (pair[0].strip() and pair[2].strip())]
    if bad and bad[0][1]:
        name = bad[0][0].strip() or "a setting without a name"
        raise SettingsError(f"{name} is given no value; leave it out for the scale's.")
    if bad:
        raise SettingsError(f'"{bad[0][0].strip()}" is not of the form name=value.')
    if "scale" in given:
        raise SettingsError("The scale is no part of more: give it as scale.")
    return given


def refuse_twice(names: Sequence[str]) -> None:
    """Raise SettingsError where a name stands twice, so that one value is lost."""
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise SettingsError(f"{twice[0]} is given twice; give it once.")


def write_more(settings: Mapping[str, str]) -> str:
    """Write settings as the text that `parse_more` reads."""

    def quoted(text: str) -> str:
        mark = "'" if '"' in text else '"'
        return mark + text + mark if re.search(r"\s\w+\s*=", text) else text

    return " ".join(f"{name}={quoted(text)}" for name, text in settings.items())


def check_scale(scale: str) -> str:
    """Return a scale's name, or raise a sentence listing what exists."""
    if not isinstance(scale, str) or scale not in SCALES:
        known = ", ".join(SCALES)
        near = did_you_mean(scale, SCALES)
        raise SettingsError(f"There is no scale {scale!r}{near}; there are {known}.")
    return scale


def resolve(
    notebook: str, kind: type[Record], own: Values, more: str = "", **parameters: Any
) -> Any:
    """Return a notebook's full settings; raise SettingsError with one sentence.

    kind: the record they become; own: the notebook's own values of each scale. A
    parameter of "", [], None, or 0 for a number, means the scale's value; `more` holds
    further settings as text ("dropout=0 max_length=300"), where 0 is 0. Without a scale
    it is GSMLIB_SCALE, or the default one.
    """
    further = parse_more(more)
    for name in [*parameters, *further]:
        if name not in kind.model_fields:
            known = name_known(name, names_of(kind))
            raise SettingsError(f"{notebook} has no setting {known}.")
    lists = [
        n for n, f in kind.model_fields.items() if get_origin(f.annotation) is tuple
    ]
    given = {name: _read(value, name in lists) for name, value in parameters.items()}
    given = {n: v for n, v in given.items() if not _is_empty(v, n in lists)}
    refuse_twice([*given, *further])
    given |= {name: _read(text, name in lists) for name, text in further.items()}
    scale = given.pop("scale", os.environ.get("GSMLIB_SCALE") or DEFAULT_SCALE)
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
    """Print versions, device and the values of a notebook's settings.

    Of MiniGSM's knobs only those that are changed.

    In a notebook that papermill executes, raises SettingsError for a parameter that
    the notebook does not have.
    """
    _check_injected(notebook)
    print(describe_setup())
    fields = type(settings).model_fields
    told = [
        (n, v) for n, v in settings if fields[n].is_required() or fields[n].default != v
    ]
    print(" · ".join(f"{name} {as_text(value)}" for name, value in told))


def chosen_scale(scale: str) -> str:
    """Return the scale of a notebook's cell, "" where it was not chosen there.

    Then it is the default one, which GSMLIB_SCALE replaces: the cell says so, and not
    the cell that papermill adds. nbval, whose cells leave no trace, chooses nothing.
    """
    cells = _cells_with_parameters()
    chosen = "scale" in _injected(cells) if cells else any(_cells()) or not _shell()
    return scale if chosen or scale != DEFAULT_SCALE else ""


def _check_injected(notebook: str) -> None:
    """Refuse what papermill set and no parameters cell of the notebook has."""
    cells = _cells_with_parameters()
    shown = [cell for cell in cells if not cell.startswith(INJECTED)]
    known = list(dict.fromkeys(PARAMETER.findall("\n".join(shown))))
    unknown = [name for name in _injected(cells) if name not in known]
    if known and unknown:
        raise SettingsError(
            f"{notebook} has no parameter {name_known(unknown[0], known)}; "
            "other settings go into more."
        )


def _injected(cells: list[str]) -> list[str]:
    """Return the names that papermill set, unless a cell was run after its own."""
    if not (cells and cells[-1].startswith(INJECTED)):
        return []
    names = PARAMETER.findall(cells[-1])
    return [name for name in names if not name.startswith(PAPERMILLS)]


def _cells_with_parameters() -> list[str]:
    """Return the cells that set parameters, in the order they were run; [] elsewhere.

    They may have been run in any order, and any number of times.
    """
    set_scale = re.compile(r"^scale\s*(:[^=]+)?=", re.MULTILINE)
    return [c for c in _cells() if c.startswith(INJECTED) or set_scale.search(c)]


def _cells() -> list[str]:
    """Return the cells that were run, as far as the notebook's program keeps them."""
    shell = _shell()
    return shell.user_ns.get("In", []) if shell else []


def _shell() -> Any:
    """Return IPython's shell in a notebook, None elsewhere."""
    ipython = sys.modules.get("IPython")  # there in a notebook
    return ipython.get_ipython() if ipython else None


def _read(value: Any, listed: bool) -> Any:
    """Return a value as plain Python; a list's quotes stay, for a comma in them."""
    quoted = isinstance(value, str) and re.fullmatch(QUOTED, value.strip())
    return value if listed and quoted else plain(value)


def _is_empty(value: Any, listed: bool) -> bool:
    """Whether a value stands for the scale's; a list, such as seeds, may be of 0."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?0+", value):
        value = 0
    number = isinstance(value, int | float)
    return not (value or listed) if number else not value or split_text(value) == []


def _derived(kind: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """Values that follow from others: a model's own learning rate."""
    derived: dict[str, Any] = {}
    if "learning_rate" in kind.model_fields:
        derived["learning_rate"] = learning_rate_of(str(values["model"]))
    if "learning_rates" in kind.model_fields:
        names = split_text(values["models"])
        names = names if isinstance(names, Iterable) else ()  # refused later
        derived["learning_rates"] = tuple(learning_rate_of(str(n)) for n in names)
    return derived


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence that names the setting."""
    first = error.errors()[0]
    where = str(first["loc"][0]) if first["loc"] else ""  # an item's: of its list
    what = first["msg"].removeprefix("Value error, ").removesuffix(".")
    if not where:
        return f"{what}."  # begins with a setting's name, which has no capital
    if len(first["loc"]) > 1 and first["type"].endswith("_parsing"):
        kind = "whole number" if first["type"].startswith("int") else "number"
        what = f"an item is no {kind}; give numbers with commas between, such as 1,3"
    if first["type"] == "too_short":
        what = "it is empty; name one at least, or leave it out"
    what = what[0].lower() + what[1:]
    return f"{where} = {first['input']!r} is refused: {what}."
