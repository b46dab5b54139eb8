"""What a chapter is: one record, from which every list of chapters is derived.

A chapter asks one question of the paper in one notebook. Its folder holds its settings,
its grid, its figures and its verdicts; its record says what of these there is.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from gsmlib import paper
from gsmlib.chapters import export
from gsmlib.chapters.export import Figure
from gsmlib.chapters.rules import Verdict
from gsmlib.data import family
from gsmlib.method.inspection import tell
from gsmlib.records import Record
from gsmlib.settings import Values, announce, chosen_scale, resolve
from gsmlib.study.specs import ScoreSpec, Spec


class Point(NamedTuple):
    """A point of a chapter's grid: what its rows of the table say, and are made of."""

    about: dict[str, Any]  # the columns that describe it
    specs: dict[str, Spec]  # by the part they play


class Claim(NamedTuple):
    """A claim, the figure whose table decides it, and the rule that does.

    `own` says what it is where it is none of the paper's.
    """

    id: str
    figure: str
    judge: Callable[[pd.DataFrame], Verdict]
    own: paper.Claim | None = None

    @property
    def about(self) -> paper.Claim:
        """What is claimed, where, and of which quantity."""
        return self.own or paper.claim(self.id)

    def verdict(self, table: pd.DataFrame) -> Verdict:
        """Return the verdict from the table of the claim's figure."""
        return self.judge(table)._replace(id=self.id, own=self.own)


class Chapter(NamedTuple):
    """A notebook's question: all that is the chapter's own.

    `grid` lists its points, from which both the stages to prepare and the rows of its
    tables come; `scales` has the chapter's own values of the settings, by scale; one
    that `reads_others` runs when all others have exported their figures.
    """

    name: str  # its notebook's
    kind: type[Record]  # of its settings
    figures: Sequence[Figure] = ()
    claims: Sequence[Claim] = ()
    grid: Callable[[Any], list[Point]] | None = None
    scales: Values = {}
    reads_others: bool = False

    def resolve(self, more: str = "", **parameters: Any) -> Any:
        """Return the full settings; see `settings.resolve`."""
        return resolve(self.name, self.kind, self.scales, more, **parameters)

    def settings(self, more: str = "", **parameters: Any) -> Any:
        """`resolve`, printed: versions, device, every value, and a trial's folder.

        In a notebook, GSMLIB_SCALE replaces the scale that nobody chose.
        """
        if "scale" in parameters:
            parameters["scale"] = chosen_scale(parameters["scale"])
        resolved = self.resolve(more, **parameters)
        announce(self.name, resolved)
        dataset = getattr(resolved, "dataset", "")
        if dataset and family(dataset) == "own":
            print(tell(dataset))
        if changed := self.changed(resolved):
            folder = export.figures_folder(resolved.scale, changed)
            print(f"A trial ({', '.join(changed)} changed): its figures go to {folder}")
        return resolved

    def changed(self, settings: Record) -> dict[str, Any]:
        """Return what of the settings is not the scale's, by name: of a trial."""
        usual = dict(self.resolve(scale=settings.scale))
        return {name: value for name, value in settings if value != usual[name]}

    def stages(self, settings: Record) -> list[Spec]:
        """Return the last stages that the chapter's tables are made of."""
        return stages_of(self.grid(settings)) if self.grid else []

    def figure(self, figure_id: str) -> Figure:
        """Return one of the chapter's figures; KeyError names those there are."""
        for figure in self.figures:
            if figure.id == figure_id:
                return figure
        known = ", ".join(figure.id for figure in self.figures)
        raise KeyError(f"{self.name} has no figure {figure_id!r}; it has {known}.")

    def draw(self, figure_id: str, table: pd.DataFrame) -> Drawing:
        """Draw a figure from its table alone."""
        return export.draw(self.figure(figure_id), table)

    def export(
        self, figure_id: str, drawing: Drawing, table: pd.DataFrame, settings: Record
    ) -> list[Path]:
        """Write a drawn figure, its table and where both come from; return the files.

        settings: those that the table was made with; they say where. What is not the
        scale's goes to a folder of its own, see `export.figures_folder`.
        """
        figure, changed = self.figure(figure_id), self.changed(settings)
        return export.export(figure, drawing, table, settings, changed)

    def judge(self, figure_id: str, table: pd.DataFrame) -> list[Verdict]:
        """Return the verdicts on the claims that a figure's table decides."""
        return [c.verdict(table) for c in self.claims if c.figure == figure_id]


def stages_of(points: Sequence[Point]) -> list[Spec]:
    """Return each point's specs once; with scores, the completions they are read with.

    Their ancestors follow from the specs themselves.
    """
    specs = [spec for point in points for spec in point.specs.values()]
    read = [spec.completions for spec in specs if isinstance(spec, ScoreSpec)]
    return list(dict.fromkeys([*specs, *read]))
