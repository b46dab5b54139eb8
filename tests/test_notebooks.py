"""The notebooks: house style, parameters, and every one run at smoke in two ways."""

import ast
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from gsmlib import scales
from gsmlib.chapters import CHAPTERS, find, resolve

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
GSM8K_ALONE = {"12_released_solutions"}  # nothing is drawn without its files
MAX_CELLS, MAX_LINES, MEDIAN_LINES, MAX_FUNCTION = 25, 15, 7, 5


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_of(name):
    return [cell.source for cell in read(name).cells if cell.cell_type == "code"]


def parameters_of(name):
    """The names and defaults of the first tagged cell, as papermill would take them."""
    tagged = [c for c in read(name).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1, "exactly one cell is tagged"
    return {
        line.target.id: ast.literal_eval(line.value)
        for line in ast.parse(tagged[0].source).body
    }


def test_every_settings_class_has_its_notebook():
    assert {chapter.name for chapter in CHAPTERS} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_committed_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


@pytest.mark.parametrize("name", NAMES)
def test_short(name):
    assert len(read(name).cells) <= MAX_CELLS
    lengths = [len(source.splitlines()) for source in code_of(name)]
    assert max(lengths) <= MAX_LINES
    assert statistics.median(lengths) <= MEDIAN_LINES


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_calls(name):
    tree = ast.parse("\n".join(code_of(name)))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.ClassDef)
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION
    source = "\n".join(code_of(name))
    for trick in ("sys.path", "chdir", "getcwd", "pip install", "!", "%"):
        lines = [line for line in source.splitlines() if line.startswith(trick)]
        assert not lines and (len(trick) == 1 or trick not in source), trick


@pytest.mark.parametrize("name", NAMES)
def test_in_the_order_of_the_house(name):
    cells = read(name).cells
    kinds = [cell.cell_type for cell in cells]
    assert kinds[:3] == ["markdown", "code", "code"]
    assert cells[0].source.startswith("# ") and "aper" in cells[0].source
    headings = [cell.source.splitlines()[0] for cell in cells]
    expected = [
        "## What is measured",
        "## The idea in a few lines",
        "## How to read the figure",
        "## What must hold at every scale",
        "## Our numbers beside the paper's",
    ]
    found = [h for h in headings if any(h.startswith(start) for start in expected)]
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected))
    assert "$" in cells[headings.index("## What is measured")].source
    assert "assert" in "\n".join(code_of(name))
    assert kinds[-1] == "code"
    assert cells[-1].source.splitlines()[-1].startswith("conclude(settings, ")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_settings(name):
    given = parameters_of(name)
    assert list(given)[0] == "scale" and given["scale"] == scales.DEFAULT_SCALE
    fields = set(find(name).kind.model_fields)
    hidden = fields - set(given)
    assert set(given) - fields == ({"more"} if hidden else set())
    for scale in scales.SCALES:
        resolved = resolve(name, **(given | {"scale": scale}))
        assert resolved.scale == scale


@pytest.mark.parametrize("name", NAMES)
def test_papermill_can_list_the_parameters(name):
    listed = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))
    assert set(listed) == set(parameters_of(name))
    assert all(row["help"] for row in listed.values())


def test_ruff_is_content():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(ROOT / "notebooks")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def smoke_environment(tmp_path_factory):
    """A store and a figures folder of their own; GSM8K is not at hand."""
    folder = tmp_path_factory.mktemp("smoke")
    settings = {
        "GSMLIB_CACHE": str(folder / "cache"),
        "GSMLIB_FIGURES": str(folder / "figures"),
        "GSMLIB_SCALE": "smoke",
        "HF_HUB_OFFLINE": "1",
    }
    hidden = {"GSM8K_DIR"}
    kept = {name: text for name, text in os.environ.items() if name not in hidden}
    return folder, kept | settings


@pytest.mark.parametrize("name", NAMES)
def test_runs_through_papermill(name, smoke_environment):
    folder, environment = smoke_environment
    path, output = ROOT / "notebooks" / f"{name}.ipynb", folder / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(path), str(output)]
    command += ["-p", "scale", "smoke", "-k", "python3", "--no-progress-bar"]
    command += ["--inject-paths"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = folder / "figures" / "smoke"
    if name not in GSM8K_ALONE:
        kinds = {file.suffix for file in figures.iterdir()}
        assert kinds == {".png", ".svg", ".pdf", ".csv", ".json"}
    drawn = [f for f in find(name).figures if (figures / f"{f.name}.csv").is_file()]
    outputs = [
        output
        for cell in nbformat.read(output, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    images = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(images) == len(drawn), "every figure is seen under its cell, once"
    assert bool(drawn) == (name not in GSM8K_ALONE)
    errors = [o.text for o in outputs if o.get("name") == "stderr"]
    left = [text for text in errors if "rows were cut at the maximum" not in text]
    assert not left, "no bar is left in the page, and no warning but smoke's own"
    assert not any("<progress" in str(o.get("data", "")) for o in outputs)


def test_the_cells_of_an_executed_copy_run_again_in_any_order():
    """As in JupyterLab: all up to the settings, then some of them again."""
    notebook = load_notebook_node(str(ROOT / "notebooks" / "02_test_at_n.ipynb"))
    copy = parameterize_notebook(notebook, {"scale": "smoke", "epochs": 3})
    cells = [cell for cell in copy.cells if cell.cell_type == "code"][:4]
    shown, injected, _, settings = cells
    assert injected.source.startswith("# Parameters")
    client = NotebookClient(copy, kernel_name="python3")
    said = []
    with client.setup_kernel():
        for cell in [*cells, injected, settings, settings, injected, shown, settings]:
            client.execute_cell(cell, 0)
            if cell is settings:
                text = "".join(output.text for output in cell.outputs)
                said.append(re.search(r"scale (\w+) .* epochs (\d+)", text).groups())
    smoke = ("smoke", "3")
    usual = str(scales.SCALES["quick"]["epochs"])
    assert said == [smoke, smoke, smoke, ("quick", usual)]


@pytest.mark.parametrize("name", NAMES)
def test_runs_through_nbval(name, smoke_environment):
    folder, environment = smoke_environment
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env"]
    command += ["-p", "no:cacheprovider", str(ROOT / "notebooks" / f"{name}.ipynb")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    if name not in GSM8K_ALONE:
        assert [path.name for path in (folder / "figures").iterdir()] == ["smoke"]
