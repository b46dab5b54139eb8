"""README's wall of figures, written from the chapters' records: `make readme`.

It stands before the first paragraph on what the figures show, three figures a row, and
has what is exported of the scale that README reports. A figure's words say what was
found, where its table decides a claim, then what is drawn.
"""

import re

from gsmlib.chapters import CHAPTERS
from gsmlib.chapters.export import Figure, read_table
from gsmlib.chapters.record import Chapter
from gsmlib.chapters.style import drawn_from
from gsmlib.environment import project_root

SCALE, COLUMNS = "mini", 3
README = project_root() / "README.md"
WALL = re.compile(r"^\| \| \| \|\n(?:\|.*\n)+", re.MULTILINE)


def cell(chapter: Chapter, figure: Figure) -> str:
    """Return a figure with its words, as a cell of the wall."""
    image = f"figures/{SCALE}/{figure.name}.png"
    table = read_table(figure, (project_root() / image).with_suffix(".csv"))
    number = figure.id.removeprefix("fig")
    name = f"Fig {number}" if number != figure.id else figure.shows
    found = [
        f"{verdict.id} {verdict.verdict}: {verdict.sentence}"
        for verdict in chapter.judge(figure.id, table)
    ]
    words = [part for part in (figure.shows, drawn_from(table)) if part]
    title = [] if name == figure.shows else [f"**{name}.**"]
    drawn = ": ".join([*["Drawn"] * bool(found), *words])
    said = " ".join([*title, *found, f"{drawn}; `{SCALE}`"])
    return f"![{name}]({image})<br><sub>{said}</sub>"


def wall() -> str:
    """Return the wall as a Markdown table, in the chapters' order."""
    folder = project_root() / "figures" / SCALE
    cells = [
        cell(chapter, figure)
        for chapter in CHAPTERS
        for figure in chapter.figures
        if (folder / f"{figure.name}.png").is_file()
    ]
    cells += [""] * (-len(cells) % COLUMNS)
    rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["| | | |", "|---" * COLUMNS + "|", *lines]) + "\n"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(WALL.sub(lambda _: wall(), text, count=1), encoding="utf-8")
    print(f"{README.name} has the wall of scale {SCALE}.")
