"""Adding a chapter is a folder, a notebook and a line: one is built and run, whole."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from gsmlib import chapters, paper
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim
from gsmlib.environment import project_root
from gsmlib.records import Record, SettingsError

RECORD = '''"""Do the greedy solutions end? A chapter of a test."""

import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from gsmlib import paper
from gsmlib.chapters import rules
from gsmlib.chapters.export import Figure
from gsmlib.chapters.record import Chapter, Claim, Point
from gsmlib.chapters.shared import computed, describe, each_seed, greedily
from gsmlib.chapters.study_settings import OneModel, StudySettings
from gsmlib.method.intervals import Interval
from gsmlib.study.results import sample


class EndSettings(OneModel, StudySettings):
    """Its settings; `least` is its own, with values of its own at one scale."""

    least: float = Field(0.5, ge=0, le=1)


def grid(settings):
    return [
        Point(describe(settings, base), {"greedy": greedily(settings, base)})
        for base in each_seed(settings)
    ]


def table(settings, store):
    rows = []
    for point in computed(grid(settings), store):
        solutions = sample(point.specs["greedy"], store)
        share = solutions["finished"].mean()
        rows.append(point.about | {"ended": share, "n_problems": len(solutions)})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, axes: Axes) -> Axes:
    axes.bar(table["seed"], 100 * table["ended"])
    axes.set_xlabel("seed")
    return axes


@rules.judge
def x1(table):
    share = Interval(*3 * [table["ended"].mean()])
    sentence = f"{100 * share.mean:.0f} % of the solutions end"
    return rules.decide(share.mean > 0.99, False), share, sentence


CHAPTER = Chapter(
    "11_ends",
    EndSettings,
    figures=(Figure("ends_of_solutions", draw, (1, 1, 1.5), "solutions that end"),),
    claims=(
        Claim(
            "X1",
            "ends",
            x1,
            paper.Claim("X1", "nowhere", "ends", "all end", "All end.", "share"),
        ),
    ),
    grid=grid,
    scales={"smoke": {"least": 0.25}},
)
'''
CELLS = (
    "from gsmlib.chapters import ends\nfrom gsmlib.chapters.shown import conclude\n"
    "from gsmlib.study.store import Store",
    "settings = ends.CHAPTER.settings(more, scale=scale, seeds=seeds)\n"
    "assert settings.least == 0.25",
    "table = ends.table(settings, Store())",
    'drawing = ends.CHAPTER.draw("ends", table)\n'
    'files = ends.CHAPTER.export("ends", drawing, table, settings)',
    'conclude(settings, ends.CHAPTER.judge("ends", table))',
)
PARAMETERS = 'scale: str = "quick"  # the dial\nseeds: list = []\nmore: str = ""'


def write_notebook(path):
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# Do solutions end?"), v4.new_code_cell(PARAMETERS)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [v4.new_code_cell(source) for source in CELLS]
    notebook = v4.new_notebook(cells=cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout whose only notebook is the new chapter's, after its report."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project_root() / "gsmlib", root / "gsmlib", ignore=ignored)
    shutil.copy(project_root() / "pyproject.toml", root)
    (root / "gsmlib" / "chapters" / "ends").mkdir()
    (root / "gsmlib" / "chapters" / "ends" / "__init__.py").write_text(RECORD)
    (root / "notebooks").mkdir()
    write_notebook(root / "notebooks" / "11_ends.ipynb")
    listed = root / "gsmlib" / "chapters" / "__init__.py"
    listed.write_text(
        listed.read_text().replace("    claims\n", "    ends\n    claims\n")
    )
    run(root, "report", "--scale", "smoke")
    return root


def run(root, *arguments):
    """Run gsmlib's command line in the checkout; return what it printed."""
    settings = {"PYTHONPATH": str(root), "GSMLIB_CACHE": str(root / "cache")}
    hidden = {"GSMLIB_FIGURES", "GSMLIB_SCALE"}
    kept = {name: text for name, text in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-m", "gsmlib.cli", *arguments],
        cwd=root,
        env=kept | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_its_figure_and_its_table_are_exported(checkout):
    figures = checkout / "runs" / "smoke" / "figures"
    kinds = {path.suffix for path in figures.glob("ends_of_solutions.*")}
    assert kinds == {".png", ".svg", ".pdf", ".csv", ".json"}
    about = json.loads((figures / "ends_of_solutions.json").read_text())
    assert about["settings"]["least"] == 0.25


def test_the_page_has_its_figure_its_question_and_its_cost(checkout):
    page = (checkout / "runs" / "smoke" / "index.html").read_text()
    for words in (
        "Do solutions end?",
        "Solutions that end",
        "11_ends.html",
        "finetune",
    ):
        assert words in page


def test_its_claim_is_judged_behind_the_papers(checkout):
    printed = run(checkout, "claims", "--scale", "smoke")
    assert printed.index("C17 not testable") < printed.index("X1 ")
    assert "% of the solutions end; one seed." in printed


def test_its_figure_is_redrawn_byte_for_byte(checkout):
    figures = checkout / "runs" / "smoke" / "figures"
    before = {p.name: p.read_bytes() for p in figures.glob("ends*.[ps]*")}
    assert "ends_of_solutions.png" in run(checkout, "figures", str(figures))
    assert before == {p.name: p.read_bytes() for p in figures.glob("ends*.[ps]*")}


ENDS = Figure("ends_of_x", None, None, "solutions that end")
MINE = paper.Claim("X1", "nowhere", "ends", "all end", "All end.", "share")


@pytest.mark.parametrize(
    ("name", "figures", "claims", "words"),
    [
        ("03_verification", (), (), "Two notebooks are called 03_verification"),
        ("12_x", (Figure("fig5_x", None),), (), "Two figures have the id fig5"),
        ("12_x", (Figure("lengths_x", None),), (), "lengths_x needs own_words"),
        ("12_x", (ENDS,), (Claim("C5", "ends", None),), "Two claims have the id C5"),
        ("12_x", (ENDS,), (Claim("X1", "ends", None),), "X1 is no claim of the paper"),
        ("12_x", (ENDS,), (Claim("X1", "fig5", None, MINE),), "no figure of 12_x"),
    ],
)
def test_records_that_contradict_each_other_are_refused(name, figures, claims, words):
    mine = Chapter(name, Record, figures, claims)
    with pytest.raises(SettingsError, match=words):
        chapters.check([*chapters.CHAPTERS, mine])
    right = Chapter("12_x", Record, (ENDS,), (Claim("X1", "ends", None, MINE),))
    chapters.check([*chapters.CHAPTERS, right])


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match="FOLDERS names 'verifcation'"):
        chapters.load("verifcation")


def test_its_settings_reach_its_stages(checkout):
    printed = run(checkout, "run", "11_ends", "--scale", "smoke", "-p", "seeds", "1")
    assert "seed 1" in printed and "11_ends done" in printed
    assert "**X1, all end: " in printed  # the notebook's conclusion
