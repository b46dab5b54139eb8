"""The command line and the report: refusals, named failures, offline pages."""

import re
import subprocess
import sys

import nbformat
import pytest

from gsmlib import cli, config, report
from gsmlib.config import SettingsError

PARAMETERS = """scale: str = "smoke"  # the dial
n_train: int = 0  # problems
more: str = ""  # any other setting"""


def run_cli(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gsmlib", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "--scale", "huge"], ["'huge'", "smoke, quick"]),
        (["run", "07_none"], ["'07_none'", "03_verification"]),
        (["run", "02_test_at_n", "-p", "epoch", "3"], ["'epoch'", "epochs"]),
        (["run", "02_test_at_n", "-p", "epochs", "-3"], ["epochs", "-3"]),
        (["run", "02_test_at_n", "-p", "epochs"], ["-p needs a name and a value"]),
        (["run"], ["notebook"]),
        (["dance"], ["dance"]),
        (["figures", "nowhere"], ["nowhere"]),
    ],
)
def test_wrong_commands_are_refused_in_a_sentence(
    arguments, words, capsys, monkeypatch
):
    code, printed = run_cli(capsys, monkeypatch, *arguments)
    assert code == 2
    assert all(word in printed.err for word in words), printed.err
    assert printed.err.count("\n") == 1 and "Traceback" not in printed.err


def test_the_bare_command_shows_what_there_is(capsys, monkeypatch):
    code, printed = run_cli(capsys, monkeypatch)
    assert code == 0
    assert all(word in printed.out for word in ("report", "run", "figures", "claims"))


def test_ctrl_c_says_that_work_is_kept(capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "run_notebook", interrupt)
    code, printed = run_cli(capsys, monkeypatch, "run", "00_dataset")
    assert code == 130 and "finished work is kept" in printed.err


@pytest.mark.parametrize(
    "arguments", [["-p", "a", "1", "-p", "b", "2,3"], ["-p", "a=1", "-p", "b=2,3"]]
)
def test_both_spellings_of_a_parameter_are_read(arguments):
    assert cli._join_parameters(arguments) == ["-p", "a=1", "-p", "b=2,3"]


def test_drawing_needs_no_torch():
    code = "import gsmlib.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------------------- report


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with one notebook that works and one that fails."""
    (tmp_path / "notebooks").mkdir()
    make_notebook(tmp_path, "00_dataset", ["print(f'{scale} {n_train} [{more}]')"])
    make_notebook(tmp_path, "01_calculator", ["raise ValueError('it is broken')"])
    monkeypatch.setattr(report, "project_root", lambda: tmp_path)
    monkeypatch.setattr(report, "figures_folder", lambda scale: tmp_path / "figures")
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GSMLIB_SCALE", raising=False)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "fig3_test.png").write_bytes(b"png")
    return tmp_path


def make_notebook(root, name, cells):
    parameters = nbformat.v4.new_code_cell(PARAMETERS)
    parameters.metadata["tags"] = ["parameters"]
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    equation = nbformat.v4.new_markdown_cell("$x^2$ as text")
    notebook = nbformat.v4.new_notebook(cells=[parameters, equation, *code])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def test_parameters_reach_the_notebook_typed(project):
    given = {"n_train": "12", "test_problems": "5"}
    values = report.notebook_parameters("00_dataset", "smoke", given)
    assert values == {"scale": "smoke", "n_train": 12, "more": "test_problems=5"}
    hidden = values.pop("more")
    resolved = config.resolve("00_dataset", hidden, **values)
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
    assert [bool(outcome.error) for outcome in outcomes] == [False, True]
    assert outcomes[1].error == "01_calculator failed: ValueError: it is broken"
    assert "1 of 2 notebooks failed: 01_calculator." in printed
    assert ("smoke 0 []" in printed) == (workers == "1")  # several are quiet
    folder = project / "runs" / "smoke"
    names = {path.name for path in folder.iterdir()}
    both = {"00_dataset", "01_calculator"}
    assert names == {f"{n}.{kind}" for n in both for kind in ("ipynb", "html")} | {
        "index.html"
    }
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"<(script|link|img)[^>]*https?://", text), page
    index = (folder / "index.html").read_text()
    assert "it is broken" in index and "data:image/png;base64,cG5n" in index
    assert 'href="00_dataset.html"' in index


def test_a_failed_report_ends_with_code_1(project, capsys, monkeypatch):
    ended = [report.Outcome("01_calculator", 1.0, "it is broken")]
    monkeypatch.setattr(report, "run_report", lambda scale: ended)
    code, _ = run_cli(capsys, monkeypatch, "report", "--scale", "smoke")
    assert code == 1
