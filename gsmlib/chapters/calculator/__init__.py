"""What does the calculator do, and what is it worth? (Appendix C, Fig 9)"""

from gsmlib.chapters.calculator import figures
from gsmlib.chapters.calculator.grid import grid, table
from gsmlib.chapters.calculator.settings import SCALES, CalculatorSettings
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter

__all__ = ["CHAPTER", "grid", "table"]

WORTH = "what the calculator is worth, greedy and for single samples"

CHAPTER = Chapter(
    "01_calculator",
    CalculatorSettings,
    figures=(
        Figure("fig9_calculator", figures.fig9),
        Figure("calculator_worth", figures.calculator, (1, 1, 1.5), WORTH),
    ),
    grid=grid,
    scales=SCALES,
)
