"""README, docs/figures.md and what stands beside them say what the files say."""

import re
import shutil
import tomllib

import pytest
import readme_wall
import yaml

import gsmlib
from gsmlib.chapters import CHAPTERS
from gsmlib.environment import project_root
from gsmlib.report.run import read_title

ROOT = project_root()
README = readme_wall.README.read_text(encoding="utf-8")
ROWS = readme_wall.read_rows()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_part_is_in_readme_once_and_is_what_the_results_say():
    assert readme_wall.PART.findall(README) == list(readme_wall.PARTS)
    assert readme_wall.filled(README, ROWS) == README, "run `make readme`"


def test_the_page_of_all_figures_is_the_chapters():
    text = readme_wall.FIGURES.read_text(encoding="utf-8")
    assert text == readme_wall.all_figures(ROWS), "run `make readme`"
    for scale in readme_wall.SCALES:
        for png in (readme_wall.REPORTED / scale).glob("*.png"):
            assert f"/{png.name})" in text
    for png in (readme_wall.REPORTED / readme_wall.REAL).glob("*.png"):
        assert f"/{readme_wall.REAL}/{png.name})" in text


def test_gsm8ks_figures_stand_behind_the_studys(tmp_path, monkeypatch):
    without = shutil.ignore_patterns(readme_wall.REAL)
    shutil.copytree(readme_wall.REPORTED, tmp_path / "f", ignore=without)
    real = tmp_path / "f" / readme_wall.REAL
    real.mkdir()
    monkeypatch.setattr(readme_wall, "REPORTED", tmp_path / "f")
    assert not readme_wall.on_gsm8k()
    for file in (tmp_path / "f" / "quick").glob("fig5_verification.*"):
        text = file.read_bytes().replace(b'"quick"', b'"smollm2"')
        (real / file.name).write_bytes(text)
    title, shown = readme_wall.on_gsm8k()
    assert readme_wall.all_figures(ROWS).endswith(f"{title}\n\n{shown}\n")
    assert "smollm2/fig5_verification.png)" in shown and "C6 is" in shown
    assert "-p sizes 250,2000" in shown  # as it was computed, not the scale's
    assert f'<a name="fig5-{readme_wall.REAL}">' in shown


def test_another_verdict_would_be_noticed():
    worse = [row | {"verdict": "reversed"} for row in ROWS]
    assert readme_wall.filled(README, worse) != README


def test_every_claim_and_every_notebook_has_its_row():
    row = r"^\| \[([A-Z]\d+)\]\(\S+\) \| .+ \| \*\*(.+)\*\* \|"
    table = re.findall(row, README, re.M)
    assert table == [(row["id"], row["verdict"]) for row in ROWS]
    for chapter in CHAPTERS:
        page = f"docs/report/{chapter.name}"
        row = f"[{chapter.name}](notebooks/{chapter.name}.ipynb) | "
        row += f"[notebook]({page}.ipynb), [page]({page}.html)"
        _, _, rest = README.partition(row)
        assert rest.split(" | ")[1] == read_title(chapter.name)


def test_the_words_are_explained_before_they_are_used_in_the_table():
    for row in ROWS:
        explained = README.index(f"- **{row['verdict']}**: ")
        assert explained < README.index(f"| **{row['verdict']}** |")


def test_the_commands_stand_before_the_first_picture():
    first = README.index("<img")
    assert README.index("git clone") < README.index("make report") < first
    assert README.index("make test") < first


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in filter(None, sum(LINK.findall(page.read_text("utf-8")), ())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            text = file.read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}
            assert anchor in known | set(re.findall(r'<a name="([\w-]+)">', text))


def test_the_version_has_one_source():
    assert gsmlib.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version = {{{PROJECT['version']}}}" in README


def test_the_citation_says_what_the_project_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= set(citation)  # what 1.2.0 requires
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["title"] in README and "2110.14168" in paper["url"]
