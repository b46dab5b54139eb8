"""Records of settings, frozen and checked: the base of settings, specs and recipes."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["fp32", "bf16"]
ModelName = Annotated[str, Field(min_length=1)]


class SettingsError(ValueError):
    """Settings that cannot run; the message is one sentence."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the nearest known name, "" if none is near."""
    near = get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class Record(BaseModel):
    """A frozen record of values that refuses names it does not know.

    A string below a field says what it means; `gsmlib settings` shows it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    def replace(self, **changes: Any) -> Self:
        """Return the same with some fields changed, checked as a new one is."""
        return type(self)(**{**dict(self), **changes})
