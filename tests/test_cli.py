"""The command line: refusals in a sentence, exit codes, what needs no torch."""

import subprocess
import sys

import pytest

from gsmlib import cli, environment
from gsmlib.report import run as report


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
        (["figures", "--for", "icml"], ["'icml'", "acl, neurips, slides"]),
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


def test_a_failed_report_ends_with_code_1(capsys, monkeypatch):
    ended = [report.Outcome("01_calculator", 1.0, "it is broken")]
    monkeypatch.setattr(report, "run_report", lambda scale: ended)
    code, _ = run_cli(capsys, monkeypatch, "report", "--scale", "smoke")
    assert code == 1


def test_bench_runs_the_checkouts_script(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(environment, "project_root", lambda: tmp_path)
    code, printed = run_cli(capfd, monkeypatch, "bench")
    assert code == 2 and "bench.py is missing" in printed.err
    (tmp_path / "benchmarks").mkdir()
    script = "import sys; print(*sys.argv[1:]); sys.exit(3)"
    (tmp_path / "benchmarks" / "bench.py").write_text(script)
    code, printed = run_cli(capfd, monkeypatch, "bench", "--rounds", "2")
    assert (code, printed.out) == (3, "--rounds 2 --smollm2 --tokens 10000000\n")
    code, printed = run_cli(capfd, monkeypatch, "bench", "--no-smollm2")
    assert (code, printed.out) == (3, "--rounds 5 --no-smollm2 --tokens 10000000\n")
    code, printed = run_cli(capfd, monkeypatch, "bench", "--rounds", "0")
    assert code == 2 and "rounds" in printed.err
