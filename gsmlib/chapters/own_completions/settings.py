"""The settings of 16_own_completions."""

import os
from typing import Annotated

from pydantic import AfterValidator

from gsmlib.data.samples import GSM8K_TEST
from gsmlib.records import Record
from gsmlib.settings import Names, ScaleName


def find_files(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the whole paths of files; ValueError where one is not there."""
    found = tuple(os.path.abspath(os.path.expanduser(path)) for path in paths)
    for path in found:
        if not os.path.isfile(path):
            raise ValueError(f"there is no file {path}; name one of completions")
    return found


class OwnCompletionsSettings(Record):
    """Which completions are looked at; nothing is computed at any scale."""

    scale: ScaleName
    samples: Annotated[Names, AfterValidator(find_files)] = ()
    """files of completions; without one the released solutions, or our examples"""
    scores: Names = ()
    """the columns to rank by; without one all numeric columns"""
    gold: Annotated[
        str,
        AfterValidator(lambda g: g if g in ("", GSM8K_TEST) else find_files((g,))[0]),
    ] = ""
    """gsm8k-test or a file of right answers, in the place of the files' own"""
