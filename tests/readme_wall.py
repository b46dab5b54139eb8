"""README's wall of figures, written from the chapters' records: `make readme`.

It stands before the first paragraph on what the figures show, three figures a row, and
has what is exported of the scale that README reports.
"""

import re

from gsmlib.chapters import CHAPTERS
from gsmlib.chapters.export import Figure
from gsmlib.environment import project_root

SCALE, COLUMNS = "mini", 3
README = project_root() / "README.md"
WALL = re.compile(r"^\| \| \| \|\n(?:\|.*\n)+", re.MULTILINE)


def cell(figure: Figure) -> str:
    """Return a figure with its words, as a cell of the wall."""
    number = figure.id.removeprefix("fig")
    name = f"Fig {number}" if number != figure.id else figure.shows
    words = name if name == figure.shows else f"**{name}**, {figure.shows}"
    return f"![{name}](figures/{SCALE}/{figure.name}.png) {words}; `{SCALE}`"


def wall() -> str:
    """Return the wall as a Markdown table, in the chapters' order."""
    folder = project_root() / "figures" / SCALE
    figures = [figure for chapter in CHAPTERS for figure in chapter.figures]
    cells = [cell(f) for f in figures if (folder / f"{f.name}.png").is_file()]
    cells += [""] * (-len(cells) % COLUMNS)
    rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["| | | |", "|---" * COLUMNS + "|", *lines]) + "\n"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(WALL.sub(lambda _: wall(), text, count=1), encoding="utf-8")
    print(f"{README.name} has the wall of scale {SCALE}.")
