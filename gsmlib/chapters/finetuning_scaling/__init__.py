"""How far do data and parameters carry finetuning? (Section 4.1, Fig 2)"""

from gsmlib.chapters.export import Figure
from gsmlib.chapters.finetuning_scaling import figures, verdicts
from gsmlib.chapters.finetuning_scaling.grid import (
    direct_grid,
    direct_table,
    grid,
    table,
)
from gsmlib.chapters.finetuning_scaling.settings import SCALES, ScalingSettings
from gsmlib.chapters.record import Chapter, Claim

__all__ = ["CHAPTER", "direct_grid", "direct_table", "grid", "table"]

DIRECT = "solutions with and without natural-language steps"

CHAPTER = Chapter(
    "04_finetuning_scaling",
    ScalingSettings,
    figures=(
        Figure("fig2_finetuning_scaling", figures.fig2, (2, 1, 4.6)),
        Figure("direct_answers", figures.direct, (1, 1, 1.4), DIRECT),
    ),
    claims=(Claim("C1", "fig2", verdicts.c1), Claim("C4", "direct", verdicts.c4)),
    grid=grid,
    scales=SCALES,
)
