"""The chapters, a folder each, in the order of the report.

Adding one is a folder, a notebook of the record's name, and a line in FOLDERS.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gsmlib import paper
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.records import SettingsError, did_you_mean

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
    pretraining
    claims
    released_solutions
    selection
    process_labels
    guided_search
    own_completions
""".split()


def load(folder: str) -> Chapter:
    """Return the record of a chapter's folder; SettingsError where there is none."""
    name = f"gsmlib.chapters.{folder}"
    try:
        return import_module(name).CHAPTER
    except (ModuleNotFoundError, AttributeError) as error:
        if error.name not in (name, "CHAPTER"):
            raise  # a fault of its own, inside the folder
        raise SettingsError(
            f"FOLDERS names {folder!r}, but gsmlib/chapters/{folder} has no CHAPTER."
        ) from error


def check(chapters: Sequence[Chapter]) -> None:
    """Raise SettingsError where records contradict each other or lack what is shown."""
    claims = [(chapter, claim) for chapter in chapters for claim in chapter.claims]
    figures = [figure for chapter in chapters for figure in chapter.figures]
    for what, names in {
        "notebooks are called": [chapter.name for chapter in chapters],
        "figures have the id": [figure.id for figure in figures],
        "claims have the id": [claim.id for _, claim in claims],
    }.items():
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"Two {what} {name}; each needs one of its own.")
    for figure in figures:
        if not figure.own_words and figure.id not in paper.FIGURES:
            raise SettingsError(f"The figure {figure.name} needs own_words.")
    for chapter, claim in claims:
        if claim.figure not in [figure.id for figure in chapter.figures]:
            raise SettingsError(
                f"{claim.id} is judged by {claim.figure!r}, which is no figure of "
                f"{chapter.name}."
            )
        if not claim.own and claim.id not in [known.id for known in paper.CLAIMS]:
            raise SettingsError(f"{claim.id} is no claim of the paper: it needs own.")


CHAPTERS: tuple[Chapter, ...] = tuple(map(load, FOLDERS))
check(CHAPTERS)


def find(name: str) -> Chapter:
    """Return the chapter of a notebook by its name or how this alone begins: "03".

    SettingsError names those there are.
    """
    begun = [chapter for chapter in CHAPTERS if chapter.name.startswith(name)]
    meant = [chapter for chapter in begun if chapter.name == name] or begun
    if len(meant) == 1:
        return meant[0]
    said = f"{len(begun)} notebooks begin with" if begun else "There is no notebook"
    known = [chapter.name for chapter in begun or CHAPTERS]
    numbered = name if name[:1].isdigit() else f"00_{name}"
    near = "" if begun else did_you_mean(numbered, known)
    raise SettingsError(f"{said} {name!r}{near}; there are {', '.join(known)}.")


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
