"""The settings of 16_own_completions."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from gsmlib.data.samples import GSM8K_TEST
from gsmlib.environment import project_root
from gsmlib.records import Record
from gsmlib.settings import Names, ScaleName


def find_files(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return files' paths from the project's folder; ValueError where one is missing.

    A file elsewhere has its whole path. So figures made of the project's own files say
    the same on every machine.
    """
    root, found = project_root(), []
    for path in paths:
        whole = Path(os.path.abspath(os.path.expanduser(path)))
        file = whole if whole.is_file() else root / path  # a kernel works elsewhere
        if not file.is_file():
            raise ValueError(f"there is no file {whole}; name one of completions")
        inside = file.is_relative_to(root)
        found.append(str(file.relative_to(root) if inside else file))
    return tuple(found)


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
