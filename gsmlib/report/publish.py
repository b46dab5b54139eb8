"""A scale's report as static pages of the repository, for who computes nothing.

They stand in docs/report/, ready for GitHub Pages, and ask for nothing of the network;
beside each page is the executed notebook, which GitHub shows by itself. Single
notebooks of another scale stand in docs/<scale>/.
"""

import re
import shutil
from pathlib import Path

import nbformat

from gsmlib.chapters import CHAPTERS
from gsmlib.chapters.export import figures_folder, run_folder
from gsmlib.environment import project_root
from gsmlib.files import write_file
from gsmlib.records import SettingsError
from gsmlib.report.explorer import NAME as EXPLORER
from gsmlib.report.page import FIGURES

KINDS = ("png", "csv")  # of a figure's files; the others are in figures/
LEFT_OUT = re.compile(r'\s*<a href="figures/\w+\.(pdf|svg)">[^<]*</a>')
OTHER_PAGE = re.compile(r'href="(?=(?:index|\d\d_\w+)\.html)')


def pages_folder() -> Path:
    """Return where the published pages stand."""
    return project_root() / "docs" / "report"


def publish(scale: str) -> Path:
    """Replace the published pages by those of a scale's last report; return the first.

    Raises SettingsError where that report is not complete.
    """
    source, target = run_folder(scale), pages_folder()
    pages = [source / f"{name}.html" for name in ("index", *(c.name for c in CHAPTERS))]
    missing = [page.name for page in pages if not page.is_file()]
    if missing:
        raise SettingsError(
            f"The report at scale {scale} lacks {', '.join(missing)}; run "
            f"`gsmlib report --scale {scale}` first."
        )
    shutil.rmtree(target, ignore_errors=True)
    (target / FIGURES).mkdir(parents=True)
    for page in pages:
        text = LEFT_OUT.sub("", page.read_text(encoding="utf-8"))
        write_file(target / page.name, text)
        if page.stem != "index":
            notebook = page.with_suffix(".ipynb").name
            write_file(target / notebook, _without_places(source / notebook))
    explorer = source / f"{EXPLORER}.html"
    if explorer.is_file():  # it is written where the store has what it shows
        shutil.copy(explorer, target / explorer.name)
    for kind in KINDS:
        for file in figures_folder(scale).glob(f"*.{kind}"):
            shutil.copy(file, target / FIGURES / file.name)
    write_file(target / ".nojekyll", "")  # GitHub is to take the files as they are
    return target / "index.html"


def runs_folder(scale: str) -> Path:
    """Return where single notebooks of a scale are published."""
    return pages_folder().parent / scale


def publish_run(page: Path, scale: str) -> Path:
    """Put one notebook's page, and itself as executed, into docs/<scale>; return it.

    What is there is replaced. Where figures and runs were on this machine is left out.
    """
    target, notebook = runs_folder(scale), page.with_suffix(".ipynb")
    others = f'href="../{pages_folder().name}/'
    text = OTHER_PAGE.sub(others, page.read_text(encoding="utf-8"))
    for file, said in ((page, text), (notebook, _without_places(notebook))):
        said = said.replace(str(page.parent), "runs")
        said = said.replace(str(figures_folder(scale)), f"{FIGURES}/{scale}")
        write_file(target / file.name, said)
    return target / page.name


def _without_places(path: Path) -> str:
    """Return an executed notebook without notes of where and when it ran."""
    notebook = nbformat.read(path, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    return nbformat.writes(notebook) + "\n"
