"""The chapters, a folder each, in the order of the report.

Adding one is a folder, a notebook of the record's name, and a line in FOLDERS.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.records import SettingsError

FOLDERS = """
    dataset
    calculator
    test_at_n
    verification
    finetuning_scaling
    verifier_ablations
    test_time_compute
    dropout
    verifier_scores
    open_points
    claims
""".split()
CHAPTERS: tuple[Chapter, ...] = tuple(
    import_module(f"gsmlib.chapters.{folder}").CHAPTER for folder in FOLDERS
)


def find(name: str) -> Chapter:
    """Return the chapter of a notebook; SettingsError names those there are."""
    for chapter in CHAPTERS:
        if chapter.name == name:
            return chapter
    known = ", ".join(chapter.name for chapter in CHAPTERS)
    raise SettingsError(f"There is no notebook {name!r}; there are {known}.")


def resolve(name: str, more: str = "", **parameters: Any) -> Any:
    """Return the full settings of a notebook; see `settings.resolve`."""
    return find(name).resolve(more, **parameters)


def find_figure(csv: Path) -> Figure | None:
    """Return the figure whose exported table a CSV is by its name, None if of none."""
    figure_id = csv.stem.partition("_")[0]
    figures = (figure for chapter in CHAPTERS for figure in chapter.figures)
    return next((figure for figure in figures if figure.id == figure_id), None)


def find_claim(claim_id: str) -> Claim:
    """Return the claim of an id such as "C5"; KeyError names those there are."""
    known = {claim.id: claim for chapter in CHAPTERS for claim in chapter.claims}
    if claim_id not in known:
        raise KeyError(f"no claim {claim_id!r}; there are {', '.join(known)}")
    return known[claim_id]
