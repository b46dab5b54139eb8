"""What are the problems, and how good were the paper's systems? (Section 2, Fig 1)"""

from gsmlib.chapters.dataset import figures
from gsmlib.chapters.dataset.grid import (
    distributions,
    gsm8k_at_hand,
    released_table,
    table,
)
from gsmlib.chapters.dataset.settings import DatasetSettings
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter

__all__ = ["CHAPTER", "distributions", "gsm8k_at_hand", "released_table", "table"]

SHARES = "steps and words of the problems"
RELEASED = "the released solutions: accuracy, and by steps"

CHAPTER = Chapter(
    "00_dataset",
    DatasetSettings,
    figures=(
        Figure("fig1_examples", figures.fig1),
        Figure("dataset_lengths", figures.dataset, (3, 1, 4.2), SHARES),
        Figure("released_solutions", figures.released, (2, 1, 3.7), RELEASED),
    ),
)
