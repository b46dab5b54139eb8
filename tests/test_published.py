"""The pages in docs/report: complete, and what figures/ and its ledger say."""

import json
import re

import nbformat
import pytest

from gsmlib.chapters import CHAPTERS, find
from gsmlib.environment import project_root
from gsmlib.records import SettingsError
from gsmlib.report import publish
from gsmlib.report.page import FIGURES

PAGES = publish.pages_folder()
EVERY = sorted(PAGES.parent.glob("*/*.html"))  # docs/<scale>'s single ones too
INDEX = (PAGES / "index.html").read_text(encoding="utf-8")
SCALE = re.search(r"reproduced at scale (\w+)", INDEX)[1]
REPORTED = project_root() / "figures" / SCALE


def test_every_notebook_has_its_page_and_no_link_is_dead():
    names = {f"{chapter.name}.html" for chapter in CHAPTERS} | {"index.html"}
    if 'href="explorer.html"' in INDEX:
        names.add("explorer.html")
    assert {page.name for page in PAGES.glob("*.html")} == names
    for page in EVERY:
        text = page.read_text(encoding="utf-8")
        places = set(re.findall(r' id="([^"]+)"', text))
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            if link.startswith(("https://", "data:", "mailto:")):
                continue
            file, _, place = link.partition("#")
            assert not file or (page.parent / file).is_file(), (page.name, link)
            assert file or place in places, (page.name, link)


def test_figures_are_those_of_the_repository():
    shown = {file.name for file in (PAGES / FIGURES).iterdir()}
    there = {f.name for kind in publish.KINDS for f in REPORTED.glob(f"*.{kind}")}
    assert shown == there
    for name in shown:
        assert (PAGES / FIGURES / name).read_bytes() == (REPORTED / name).read_bytes()


@pytest.mark.parametrize(
    "page",
    [page for page in EVERY if page.with_suffix(".ipynb").is_file()],
    ids=lambda page: f"{page.parent.name}-{page.stem}",
)
def test_executed_notebooks_show_every_figure(page):
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    images = [o for o in outputs if "image/png" in o.get("data", {})]
    scale = SCALE if page.parent == PAGES else page.parent.name
    folder = project_root() / "figures" / scale
    figures = find(page.stem).figures
    there = [f for f in figures if (folder / f"{f.name}.csv").is_file()]
    assert len(images) == len(there)
    assert not [o for o in outputs if o.get("name") == "stderr"]
    places = re.findall(r"/(?:work|root|tmp|home|Users)/", nbformat.writes(notebook))
    assert not places, "no path of the machine that ran it"


def test_verdicts_are_those_of_the_ledger():
    for row in json.loads((REPORTED / "claims.json").read_text(encoding="utf-8")):
        start = INDEX.index(f'<tr id="{row["id"]}">')
        said = INDEX[start : INDEX.index("</tr>", start)]
        assert f"</span> {row['verdict']}</span>" in said


def test_pages_are_small():
    assert sum(f.stat().st_size for f in PAGES.rglob("*") if f.is_file()) < 25e6


@pytest.mark.parametrize("explored", [True, False])
def test_the_page_of_single_problems_goes_along(monkeypatch, tmp_path, explored):
    source, target = tmp_path / "run", tmp_path / "pages"
    source.mkdir()
    for chapter in CHAPTERS:
        (source / f"{chapter.name}.html").touch()
        nbformat.write(nbformat.v4.new_notebook(), source / f"{chapter.name}.ipynb")
    (source / "index.html").touch()
    if explored:
        (source / "explorer.html").write_text("problems")
    monkeypatch.setattr(publish, "run_folder", lambda scale: source)
    monkeypatch.setattr(publish, "pages_folder", lambda: target)
    monkeypatch.setattr(publish, "figures_folder", lambda scale: source)
    publish.publish("smoke")
    assert (target / "explorer.html").is_file() == explored


def test_one_notebook_is_published_beside_the_report(monkeypatch, tmp_path):
    page = tmp_path / "run" / "03_verification.html"
    page.parent.mkdir()
    page.write_text(
        '<a href="index.html"> <a href="02_test_at_n.html#a"> <a href="#fig5"> '
        f'<a href="03_verification.ipynb"> {page.parent}/figures, {tmp_path}/smollm2'
    )
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path))
    notebook = nbformat.v4.new_notebook(metadata={"papermill": {}})
    nbformat.write(notebook, page.with_suffix(".ipynb"))
    monkeypatch.setattr(publish, "pages_folder", lambda: tmp_path / "docs" / "report")
    published = publish.publish_run(page, "smollm2")
    assert published == tmp_path / "docs" / "smollm2" / page.name
    assert published.read_text() == (
        '<a href="../report/index.html"> <a href="../report/02_test_at_n.html#a"> '
        '<a href="#fig5"> <a href="03_verification.ipynb"> '
        "runs/figures, figures/smollm2"
    )
    assert "papermill" not in published.with_suffix(".ipynb").read_text()


def test_a_report_that_is_not_complete_is_not_published(monkeypatch, tmp_path):
    monkeypatch.setattr(publish, "run_folder", lambda scale: tmp_path)
    with pytest.raises(SettingsError, match="lacks index.html, 00_dataset.html"):
        publish.publish("smoke")
    assert (PAGES / "index.html").is_file()
