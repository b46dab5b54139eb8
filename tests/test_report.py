"""The report: notebooks run in order, failures named, pages that ask for nothing."""

import base64
import errno
import json
import os
import re
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
import pytest
from browser import PHONE, browse, needs_browser
from matplotlib import pyplot as plt

from gsmlib import environment, files
from gsmlib.chapters import (
    CHAPTERS,
    claims,
    export,
    find,
    ledger,
    resolve,
    verification,
)
from gsmlib.chapters.rules import WORDS
from gsmlib.records import SettingsError
from gsmlib.report import execute, page
from gsmlib.report import run as report
from gsmlib.study.store import Store

matplotlib.use("agg")

PARAMETERS = """scale: str = "smoke"  # the dial
n_train: int = 0  # problems
more: str = ""  # any other setting"""
LAST = ["cost", "provenance"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with a notebook that works, one that fails, and the ledger."""
    (tmp_path / "notebooks").mkdir()
    make_notebook(tmp_path, "00_dataset", ["print(f'{scale} {n_train} [{more}]')"])
    make_notebook(tmp_path, "01_calculator", ["raise ValueError('it is broken')"])
    ended = f"len(list(Path({str(tmp_path)!r}).rglob('0*.html')))"
    code = f"from pathlib import Path\nassert {ended} == 2"
    make_notebook(tmp_path, "11_claims", [code])
    for module in (report, export):
        monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    monkeypatch.setattr(report, "figures_folder", lambda *_: tmp_path / "figures")
    monkeypatch.delenv("GSMLIB_RUNS", raising=False)
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GSMLIB_SCALE", raising=False)
    (tmp_path / "figures").mkdir()
    draw(tmp_path / "figures" / "ledger_of_claims.png")
    return tmp_path


def draw(path):
    figure = plt.figure(figsize=(2, 1))
    figure.savefig(path)
    plt.close(figure)


def make_notebook(root, name, cells):
    parameters = nbformat.v4.new_code_cell(PARAMETERS)
    parameters.metadata["tags"] = ["parameters"]
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    text = nbformat.v4.new_markdown_cell("# What is $x^2$?")
    notebook = nbformat.v4.new_notebook(cells=[text, parameters, *code])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


# ------------------------------------------------------------------------ running it


def test_parameters_reach_the_notebook_typed(project):
    given = {"n_train": "12", "test_problems": "5"}
    values = report.notebook_parameters("00_dataset", "smoke", given)
    assert values == {"scale": "smoke", "n_train": 12, "more": "test_problems=5"}
    hidden = values.pop("more")
    resolved = resolve("00_dataset", hidden, **values)
    assert (resolved.n_train, resolved.test_problems) == (12, 5)


def test_a_missing_notebook_is_one_sentence(project):
    with pytest.raises(SettingsError, match="03_verification.ipynb does not exist"):
        report.run_notebook("03_verification", "smoke", {})


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_failing_notebook_is_named_and_the_others_run(
    project, capfd, monkeypatch, workers
):
    monkeypatch.setenv("GSMLIB_WORKERS", workers)
    monkeypatch.setattr(report, "prepare", lambda specs, store: None)
    outcomes = report.run_report("smoke")
    printed = capfd.readouterr().out
    # the last one passes only where both others have ended before it
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].error == "01_calculator failed: ValueError: it is broken"
    assert "1 of 3 notebooks failed: 01_calculator." in printed
    assert (project / "runs" / "smoke" / "index.html").as_uri() in printed
    assert "Nothing to compute" not in printed and "0 not testable" not in printed
    assert ("smoke 0 []" in printed) == (workers == "1")  # several are quiet
    folder = project / "runs" / "smoke"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    names = [outcome.notebook for outcome in outcomes]
    pages = {f"{name}.{kind}" for name in names for kind in ("ipynb", "html")}
    assert found == pages | {"index.html", "figures/ledger_of_claims.png"}
    index = (folder / "index.html").read_text()
    assert "it is broken" in index and 'src="figures/ledger_of_claims.png"' in index
    assert 'href="00_dataset.html"' in index and "What is $x^2$?" in index


def test_a_report_ends_with_its_verdicts(project, capfd, monkeypatch):
    monkeypatch.setattr(report, "needed_tasks", lambda tasks: {})
    monkeypatch.setattr(report, "run_notebooks", lambda *_: [])
    ledger.write_ledger(ledger.read_ledger(CHAPTERS, project), project / "figures")
    report.run_report("smoke")
    lines = capfd.readouterr().out.splitlines()
    assert "Nothing to compute: the store has all stages" in lines
    assert lines[-3] == "17 claims at scale smoke: 17 not testable."
    assert lines[-2] == "7 further claims at scale smoke: 7 not testable."
    assert lines[-1] == (project / "runs" / "smoke" / "index.html").as_uri()
    rows = [{"verdict": "reversed"}, *[{"verdict": "reproduced"}] * 2]
    assert page.count_verdicts(rows) == "2 reproduced, 1 reversed"


def test_a_trial_is_executed_into_a_folder_of_its_own(project, capfd, monkeypatch):
    monkeypatch.setattr(report, "prepare", lambda specs, store: None)
    given = {"n_train": "12", "test_problems": "5"}
    report.run_notebook("00", "smoke", given)
    folder = project / "runs" / "trials" / "smoke-n_train=12-test_problems=5"
    assert sorted(path.name for path in folder.iterdir()) == [
        "00_dataset.html",
        "00_dataset.ipynb",
    ]
    assert (folder / "00_dataset.html").as_uri() in capfd.readouterr().out
    usual = resolve("00_dataset", scale="smoke").n_train
    report.run_notebook("00", "smoke", {"n_train": str(usual)})
    assert (project / "runs" / "smoke" / "00_dataset.html").is_file()


def test_what_its_stages_took_is_written_beside_a_notebooks_figures(
    project, monkeypatch
):
    monkeypatch.setattr(report, "prepare", lambda specs, store: None)
    took = pd.DataFrame([{"stage": "sample", "processor": "Z80", "minutes": 61.254}])
    monkeypatch.setattr(report, "cost_table", lambda tasks, store: took)
    report.run_notebook("00", "smoke", {})
    report.run_notebook("00", "smoke", {"n_train": "12"})
    for changed in ({}, {"n_train": 12}):
        folder = report.figures_folder("smoke", changed) / report.COSTS
        (path,) = folder.iterdir()
        assert path.name == "00_dataset.csv"
        assert path.read_text() == "stage,processor,minutes\nsample,Z80,61.25\n"
    path.unlink()
    monkeypatch.setattr(report, "cost_table", lambda tasks, store: took[:0])
    report.run_notebook("00", "smoke", {"n_train": "12"})
    assert not path.exists()  # one without stages


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"models": '["/my models/a", "b"]'}, {"models": ["/my models/a", "b"]}),
        ({"models": "~/a"}, {"models": [str(Path.home() / "a")]}),
        ({"seeds": "0"}, {"seeds": [0]}),
        ({"completions": "0"}, {"completions": 12}),  # shown: the scale's value
        ({"dropout": "0"}, {"more": "dropout=0.0"}),  # not shown: 0
        (
            {"epochs": "3", "more": "temperature=0.5"},
            {"more": "epochs=3 temperature=0.5"},
        ),
        ({"learning_rates": "[1e-3, 1e-4]"}, {"more": "learning_rates=0.001,0.0001"}),
    ],
)
def test_what_run_is_given_reaches_the_notebook_as_it_was_meant(given, expected):
    parameters = report.notebook_parameters("03_verification", "mini", given)
    assert parameters == {"scale": "mini"} | expected
    again = find("03_verification").resolve(**parameters)
    assert again == report.resolve_as_run("03_verification", "mini", given)


def test_what_a_notebook_does_not_show_is_not_0_by_mistake(project):
    with pytest.raises(SettingsError, match="test_problems = '0' is refused"):
        report.notebook_parameters("00_dataset", "smoke", {"test_problems": "0"})


def test_figures_are_shown_whatever_backend_is_set(project, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    make_notebook(project, "02_mine", ["import pylab\npylab.plot([1, 2])"])
    path = report.notebook_path("02_mine")
    assert not execute.execute(path, project / "runs", {}).error
    cells = nbformat.read(project / "runs" / path.name, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def execute_or_die(path, folder, parameters, quiet=True):
    """Ends its process, but where the report itself executes the notebook."""
    if quiet:
        os._exit(1)
    return page.Outcome(path.stem, 0.0, "")


def test_notebooks_that_a_died_process_leaves_are_executed(project, monkeypatch, capfd):
    monkeypatch.setenv("GSMLIB_WORKERS", "2")
    monkeypatch.setattr(report, "execute", execute_or_die)
    names = ["00_dataset", "01_calculator", "11_claims"]
    outcomes = report.run_notebooks([find(name) for name in names], "smoke")
    assert [outcome.notebook for outcome in outcomes] == names
    assert "A process died" in capfd.readouterr().out


def test_a_file_that_is_no_notebook_ends_nothing_but_itself(
    project, capfd, monkeypatch
):
    monkeypatch.setenv("GSMLIB_WORKERS", "2")
    monkeypatch.setattr(report, "prepare", lambda specs, store: None)
    broken = ["{", "[]", '{"nbformat": 4, "cells": [{}]}', "<<<<<<< HEAD", "\0"]
    names = [c.name for c in CHAPTERS[2 : 2 + len(broken)]]
    for name, text in zip(names, broken, strict=True):
        (project / "notebooks" / f"{name}.ipynb").write_text(text)
    make_notebook(project, CHAPTERS[7].name, [])
    untagged = project / "notebooks" / f"{CHAPTERS[7].name}.ipynb"
    untagged.write_text(untagged.read_text().replace('"parameters"', '"other"'))
    stale = project / "runs" / "smoke" / f"{names[0]}.html"
    stale.parent.mkdir(parents=True)
    stale.write_text("of a run before")
    outcomes = {
        outcome.notebook: outcome.error for outcome in report.run_report("smoke")
    }
    assert not outcomes["00_dataset"]
    index = (project / "runs" / "smoke" / "index.html").read_text()
    for name in names:
        path = project / "notebooks" / f"{name}.ipynb"
        assert outcomes[name].startswith(f"{name} failed: {path} is no notebook (")
        assert "\n" not in outcomes[name] and f"{path} is no notebook" in index
        assert f'href="{name}.html"' not in index and not stale.exists()
    assert outcomes[CHAPTERS[7].name].endswith("has no cell tagged parameters.")
    assert "7 of 9 notebooks failed" in capfd.readouterr().out


def use_kernel(folder, monkeypatch, *command):
    """Let "python3" be a kernel that a command starts."""
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    about = {"argv": list(command), "display_name": "Python 3", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(about))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ["sh", "-c", "sleep 60"],
            "its kernel did not start (Kernel didn't respond in 1 seconds",
        ),
        (["false"], "its kernel did not start (Kernel died before"),
        (["no-such-program"], "No such file or directory"),
    ],
)
def test_a_kernel_that_does_not_start_is_a_sentence(
    project, monkeypatch, command, words
):
    use_kernel(project, monkeypatch, *command)
    monkeypatch.setattr(execute, "START_SECONDS", 1)
    path = project / "notebooks" / "00_dataset.ipynb"
    outcome = execute.execute(path, project / "out", {"scale": "smoke"})
    assert outcome.error.startswith("00_dataset failed: ") and words in outcome.error
    assert "\n" not in outcome.error


def test_a_kernel_may_take_minutes_to_start():
    assert execute.START_SECONDS >= 600


def test_a_kernel_that_is_killed_is_a_sentence(project):
    code = "import os; os.kill(os.getpid(), 9)"
    make_notebook(project, "01_calculator", [code])
    path = project / "notebooks" / "01_calculator.ipynb"
    outcome = execute.execute(path, project / "out", {"scale": "smoke"})
    assert "01_calculator failed: its kernel died (was memory short?)" in outcome.error
    assert (project / "out" / "01_calculator.html").is_file()


def test_a_run_that_cannot_be_written_is_a_sentence(project, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = project / "notebooks" / "00_dataset.ipynb"
    (project / "file").touch()
    outcome = execute.execute(path, project / "file" / "out", {"scale": "smoke"})
    assert (
        f"{project / 'file' / 'out'} cannot be used (Not a directory)" in outcome.error
    )
    monkeypatch.setattr(execute.papermill, "execute_notebook", full)
    outcome = execute.execute(path, project / "out", {"scale": "smoke"})
    assert outcome.error == (
        f"00_dataset failed: {project / 'out' / path.name} cannot be used (No space "
        "left on device); free some space there, or set GSMLIB_RUNS to another folder."
    )


def test_an_interruption_ends_everything(project, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(execute.papermill, "execute_notebook", interrupt)
    path = project / "notebooks" / "00_dataset.ipynb"
    with pytest.raises(KeyboardInterrupt):
        execute.execute(path, project / "out", {"scale": "smoke"})


def test_runs_go_where_they_are_told(project, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "prepare", lambda specs, store: None)
    monkeypatch.setattr(report, "figures_folder", export.figures_folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GSMLIB_RUNS", "~/elsewhere")
    report.run_notebook("00", "smoke", {})
    place = tmp_path / "home" / "elsewhere" / "smoke"
    assert (place / "00_dataset.html").is_file() and not (project / "runs").exists()
    assert export.figures_folder("smoke") == place / "figures"


@pytest.mark.parametrize(
    ("variable", "blocked"), [("GSMLIB_RUNS", "runs"), ("GSMLIB_FIGURES", "figures")]
)
def test_a_checkout_that_cannot_be_written_is_said_before_computing(
    project, monkeypatch, variable, blocked
):
    monkeypatch.setattr(report, "figures_folder", export.figures_folder)
    monkeypatch.setattr(report, "prepare", lambda *_: pytest.fail("computed"))
    there = os.access
    monkeypatch.setattr(
        files.os,
        "access",
        lambda path, mode: blocked not in str(path) and there(path, mode),
    )
    (project / "runs").mkdir()
    for start in (report.run_report, lambda s: report.run_notebook("00", s, {})):
        with pytest.raises(OSError, match=f"{blocked} cannot be written.*{variable}"):
            start("quick")


# ------------------------------------------------------------------------- the pages


def test_figures_stand_with_the_notebook_that_exports_them(project):
    draw(project / "figures" / "other_one.png")
    assert report.read_title("00_dataset") == "What is $x^2$?"
    sections = [page.Section(find(name), "") for name in ("00_dataset", "11_claims")]
    shown = [page._section(s, project / "figures", project, []) for s in sections]
    assert [[f["name"] for f in each["figures"]] for each in shown] == [
        [],
        ["ledger_of_claims"],
    ]
    assert not (project / "figures" / "other_one.json").exists()


def test_formulas_become_mathml_and_money_does_not():
    cell = nbformat.v4.new_markdown_cell(
        "$x_i * y_i * z$ costs $5 or $ 6, `$a$`\n\n$$\\frac{a}{b}\n= 1$$\n\n<b>$c$</b>"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    formulas = execute._take_formulas(notebook)
    assert len(formulas) == 3 and all("<math" in drawn for drawn in formulas)
    assert "costs $5 or $ 6, `$a$`" in notebook.cells[0].source
    assert 'display="block"' in formulas[1] and "<mfrac>" in formulas[1]
    assert 'aria-label="\\frac{a}{b} = 1"' in formulas[1]


@pytest.mark.parametrize(
    "path",
    sorted((environment.project_root() / "notebooks").glob("*.ipynb")),
    ids=lambda path: path.stem,
)
def test_every_formula_of_the_notebooks_is_drawn(path):
    for drawn in execute._take_formulas(nbformat.read(path, 4)):
        said = re.sub(r' aria-label="[^"]*"', "", drawn)
        assert "<math" in said and "\\" not in said


def test_every_figure_has_words():
    for chapter in CHAPTERS:
        assert all(figure.shows for figure in chapter.figures), chapter.name


def test_a_caption_says_where_a_figure_comes_from(tmp_path):
    record = tmp_path / "fig3_test.json"
    assert page.origin(record) == "Scale unknown, commit unknown."
    about = {"scale": "mini", "commit": "abc", "settings": {"seeds": [0, 1]}}
    record.write_text(json.dumps(about))
    assert page.origin(record) == "Scale mini, seeds 0, 1, commit abc."


def test_a_pngs_size_is_read(tmp_path):
    draw(tmp_path / "a.png")
    width, height = page.png_size(tmp_path / "a.png")
    assert (width, height) == plt.imread(tmp_path / "a.png").shape[1::-1]


def test_the_cost_is_what_the_store_noted(tmp_path):
    outcomes = [page.Outcome(name, 90.0, "") for name in ("02_a", "03_b")]

    def page_of(*tables):
        costs = dict(zip(("02_a", "03_b"), tables, strict=True))
        arguments = (tmp_path, "quick", [], outcomes, costs, tmp_path)
        return page.write_index(*arguments).read_text()

    none = report.cost_table([], Store(tmp_path))
    assert none.empty and "No stage" in page_of(none, none)
    row = {"stage": "sample", "model": "mini-2m", "processor": "Z80"}
    row |= {"stages": 2, "minutes": 61.25}
    other = {"model": "mini-4m", "processor": "", "minutes": 2000.0}
    some = pd.DataFrame([row, row | other])
    shown = page_of(none, some).partition("<h2>Costs by")[2].replace("<wbr>", "")
    cells = re.sub(r"<[^>]+>", " ", shown).split()
    for notebook, *expected in (
        ("02_a", "1.5", "0", "0.0"),
        ("03_b", "1.5", "4", "2,061.2"),
        ("all", "3.0", "4", "2,061.2"),
        ("mini-2m", "Z80", "2", "61.2"),
        ("mini-4m", "not", "noted", "2", "2,000.0"),
    ):
        place = cells.index(notebook) + 1
        assert cells[place : place + len(expected)] == expected


def test_a_stage_is_counted_for_the_first_notebook_that_needs_it(tmp_path):
    names = ("00_dataset", "03_verification", "07_dropout")
    alone = {name: report._report_stages("smoke", [find(name)]) for name in names}
    store = Store(tmp_path)
    tasks = {name: report.list_tasks(specs, store) for name, specs in alone.items()}
    costs = report._own_costs(tasks, store)
    assert [len(table) for table in costs.values()] == [0, 0, 0]
    store.has, store.spent = lambda place: True, lambda place: {"Z80": 60.0}
    tasks = {name: report.list_tasks(specs, store) for name, specs in alone.items()}
    costs = report._own_costs(tasks, store)
    stages = {name: int(table["stages"].sum()) for name, table in costs.items()}
    both = report.list_tasks([s for specs in alone.values() for s in specs], store)
    assert stages["00_dataset"] == 0
    assert stages["03_verification"] == len(tasks["03_verification"])
    assert 0 < stages["07_dropout"] < len(tasks["07_dropout"])
    assert sum(stages.values()) == len(both)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small report: two figures, a ledger, and a notebook of all kinds of output."""
    root = tmp_path_factory.mktemp("page")
    source, run = root / "smoke", root / "run"
    source.mkdir()
    run.mkdir()
    rows = ledger.read_ledger(CHAPTERS, source)
    rows[5] |= {"verdict": "reversed", "value": -0.15, "interval": [-0.2, None]}
    rows[5] |= {"sentence": "-15.0 points (-20.0 to -1.0)."}
    factor = {"value": 0.21, "interval": [0.09, None], "paper": 30}
    rows[5] |= {"size_factor": factor}
    table = ledger.ledger_table(rows)
    drawing = claims.CHAPTER.draw("ledger", table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GSMLIB_FIGURES", str(root))
        settings = claims.CHAPTER.resolve(scale="smoke")
        claims.CHAPTER.export("ledger", drawing, table, settings)
    plt.close(drawing)
    draw(source / "fig5_verification.png")
    about = {"scale": "figures", "commit": "abc", "settings": {"seeds": [0, 1]}}
    (source / "fig5_verification.json").write_text(json.dumps(about))
    ledger.write_ledger(rows, source)
    images = sorted(source.glob("*.png"))
    sections = [
        page.Section(verification.CHAPTER, 'Is it "<better>"?'),
        page.Section(claims.CHAPTER, "Which?"),
    ]
    outcomes = [page.Outcome("03_verification", 61.0, "03_verification failed: <x>")]
    outcomes.append(page.Outcome("06_test_time_compute", 6100.0, ""))
    for name in ("03_verification", "06_test_time_compute", "11_claims"):
        write_executed(run / f"{name}.ipynb", images[0])
        execute.write_notebook(run / f"{name}.ipynb", name)
    row = {"stage": "sample", "model": "mini-2m", "processor": "Z80"}
    row |= {"stages": 222, "minutes": 22061.25}
    costs = {outcome.notebook: pd.DataFrame([row]) for outcome in outcomes}
    page.write_index(run, "quick", sections, outcomes, costs, source)
    return run


def write_executed(path, image):
    """An executed notebook with wide code, tables, text, an image and formulas."""
    v4, wide = nbformat.v4, "a = " + " + ".join(["value"] * 60)
    data = [
        {"image/png": base64.b64encode(image.read_bytes()).decode()},
        {"text/html": f"<table><tr>{'<td>0.123456</td>' * 40}</tr></table>"},
        {"text/markdown": "| a | b |\n|---|---|\n| [x](03_verification.ipynb) | 1 |"},
        {"text/plain": "wide " * 80},
    ]
    outputs = [v4.new_output("display_data", data=each) for each in data]
    outputs.append(v4.new_output("stream", text="printed " * 60))
    code = v4.new_code_cell(wide, outputs=outputs, execution_count=1)
    long = " + ".join(f"x_{{{i}}}^2" for i in range(60))
    text = v4.new_markdown_cell(f"# Title with $n_i$\n\nText.\n\n$$y = {long}$$")
    nbformat.write(v4.new_notebook(cells=[text, code]), path)


def test_pages_are_complete_without_a_network(folder):
    for path in folder.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"(src|href)=\"(https?:)?//|url\(|@import", text), path
        assert 'lang="en"' in text and text.count("<h1") == 1
        assert not re.search(r"<img(?![^>]*alt=\"[^\"]+\")", text)
        assert "No description has been provided" not in text
        for target in re.findall(r'(?:href|src)="([^"#:]+)"', text):
            assert (folder / target).is_file(), target


def test_the_wall_says_what_there_is_to_say(folder):
    text = (folder / "index.html").read_text()
    for words in (
        "Is it &#34;&lt;better&gt;&#34;?",
        "03_verification failed: &lt;x&gt;",
        "Figure 5.",
        "175B models 34.7 % and 56.3 %",
        "Scale figures, seeds 0, 1, commit abc.",
        'href="figures/ledger_of_claims.pdf"',
        "-15.0 points (-20.0 to -1.0).",
        "worth a model 0.21 (0.09 to no limit) times as large; paper 30.",
        "<b>16</b>",
        "+21.5 points",  # of the paper
        "1e16 parameters",
    ):
        assert words in text, words
    assert all(f'<tr id="C{number}">' in text for number in range(1, 18))
    numbers = re.sub(r"<[^>]+>", "", text[text.index("<main>") :])
    assert not re.search(r"\de[+-]\d|[ (]-0\.\d", numbers)
    ledger = text[: text.index('<section id="03_verification">')]
    assert ledger.count("-15.0") == 1, "an effect stands once in the ledger"
    assert "fig5 has not been made at this scale (03_verification)." in text
    caption = text.partition("<figcaption>")[2].partition("</figcaption>")[0]
    places = [caption.index(words) for words in ("C5", "Figure 5.", "The paper")]
    assert places == sorted(places), "what was found, what is drawn, the paper's"


def test_verdicts_come_first_and_costs_last(folder):
    text = (folder / "index.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', text)
    assert sections == ["verdicts", "03_verification", "11_claims", *LAST]
    contents = text[text.index("<nav") : text.index("</nav>")]
    assert re.findall(r'href="#(\w+)"', contents) == sections


def test_the_words_used_are_defined_once(folder):
    text = (folder / "index.html").read_text()
    for word, meaning in WORDS.items():
        assert text.count(meaning) == (word in ("reversed", "not testable"))


def test_claims_lead_to_their_figures_and_back(folder):
    text = (folder / "index.html").read_text()
    places = re.findall(r' id="([\w]+)"', text)
    assert len(places) == len(set(places))
    assert set(re.findall(r'href="#(\w+)"', text)) <= set(places)
    row = text[text.index('<tr id="C6">') : text.index('<tr id="C7">')]
    assert '<a href="#fig5_verification">Figure 5</a>' in row
    assert '<a href="03_verification.html">' in row
    start = text.index('<figure id="fig5_verification">')
    drawn = text[start : text.index("</figure>", start)]
    assert '<a href="#C6">C6</a>' in drawn and "reversed" in drawn
    missing = text[text.index('<tr id="C1">') : text.index('<tr id="C2">')]
    assert 'href="#' not in missing  # its figure is not there


def test_a_figure_alone_uses_the_width(folder):
    text = (folder / "index.html").read_text()
    assert text.count('<div class="wall single">') == 2


def test_a_caption_says_what_was_measured(tmp_path):
    figure = verification.CHAPTER.figure("fig5")
    assert page._measured(figure, tmp_path / "none.csv") == ""
    csv = tmp_path / "fig5_verification.csv"
    csv.write_text("dataset,n_problems,n_train,seed\nminigsm,9,5,0\nminigsm,9,6,0\n")
    said = "MiniGSM, 9 test problems; 5 to 6 training problems; seed 0"
    assert page._measured(figure, csv) == said


@needs_browser
@pytest.mark.parametrize("width", [PHONE, 1280])
@pytest.mark.parametrize("name", ["index", "03_verification"])
def test_a_browser_draws_everything_and_complains_of_nothing(folder, name, width):
    found, said = browse(folder / f"{name}.html", width)
    assert found["width"] == width
    assert found["overflow"] <= 0, "something is wider than the page"
    assert not said and not found["failed"]
    assert found["images"] and all(found["images"])
    assert all(url.startswith(("file:", "data:")) for url in found["asked"])
    if name == "03_verification":
        assert len(found["formulas"]) == 2 and all(found["formulas"])


@needs_browser
def test_the_browsers_complaints_would_be_heard(folder):
    broken = folder / "broken.html"
    broken.write_text(
        "<html><head></head><body><img src='none.png'><p style='width:2000px'>wide"
        "<script>console.error('loud')</script></body></html>"
    )
    found, said = browse(broken, PHONE)
    broken.unlink()
    assert found["images"] == [0] and found["overflow"] > 0
    assert any("loud" in line for line in said)
    assert [url.rpartition("/")[2] for url in found["failed"]] == ["none.png"]


def test_the_paper_is_printed_without_navigation(folder):
    style = Path(page.__file__).with_name("templates") / "page.css"
    printed = style.read_text().partition("@media print")[2]
    assert "nav { display: none }" in printed and "break-inside: avoid" in printed
