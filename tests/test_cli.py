"""The command line: refusals in a sentence, exit codes, what needs no torch."""

import os
import subprocess
import sys

import pytest

from gsmlib import __main__, cli, environment
from gsmlib.chapters import CHAPTERS, export
from gsmlib.report import publish
from gsmlib.report import run as report
from gsmlib.report.page import Outcome


def run_cli(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gsmlib", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "--scale", "huge"], ["'huge'", "smoke, quick"]),
        (["plan", "--scale", "qick"], ["'qick' (did you mean quick?)"]),
        (["plan", "02", "-p", "epochs=3", "-p", "epochs=1"], ["epochs is given twice"]),
        (["plan", "02", "-p", "more", "epochs=3", "-p", "epochs=1"], ["given twice"]),
        (["plan", "02", "-p", "more", "n_train=8", "-p", "n_train=9"], ["given twice"]),
        (["plan", "02", "-p", "more", "dropout=0 dropout=0"], ["given twice"]),
        (["plan", "03", "-p", "dataset", "minigms"], ["(did you mean minigsm?)"]),
        (["plan", "03", "-p", "sizes", "0.5"], ["an item is no whole number"]),
        (["plan", "verifcation"], ["(did you mean 03_verification?)"]),
        (["plan", "03", "-p", "models", "mini-2n"], ["(did you mean mini-2m?)"]),
        (["prepare", "03", "-p", "sizes", "99999999999"], ["-p sizes 1000000."]),
        (["prepare", "03", "-p", "max_length", "10"], ["raise max_length"]),
        (["plan", "03", "-p", "questions", ""], ["questions is given no value"]),
        (["plan", "03", "-p", "kinds", "[]"], ["kinds = '[]' is refused: it is empty"]),
        (["plan", "03", "-p", "kinds", "foo"], ["of count, packs"]),
        (["plan", "03", "-p", "seeds", "-1"], ["seeds = '-1'"]),
        (["run", "07_none"], ["'07_none'", "03_verification"]),
        (["run", "0"], ["10 notebooks begin with '0'", "03_verification"]),
        (["plan", "03_verifer"], ["'03_verifer'", "03_verification"]),
        (["run", "02_test_at_n", "-p", "epoch", "3"], ["did you mean epochs?"]),
        (["run", "02_test_at_n", "-p", "scale", "mini"], ["--scale"]),
        (["run", "02_test_at_n", "-p", "more", "dropot=0"], ["did you mean dropout?"]),
        (["run", "02_test_at_n", "-psize"], ["-p needs a name and a value"]),
        (["run", "02", "-p", "test_completions", "9999999"], ["--yes", "days"]),
        (["plan", "-p", "epochs", "3"], ["-p needs a notebook: gsmlib plan 03"]),
        (["prepare", "-p", "epochs", "3"], ["-p needs a notebook: gsmlib prepare 03"]),
        (["prepare", "03_verifer"], ["'03_verifer'", "03_verification"]),
        (["settings", "02", "--scale", "huge"], ["'huge'"]),
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


def test_notebooks_are_listed_with_their_questions(capsys, monkeypatch):
    code, printed = run_cli(capsys, monkeypatch, "notebooks")
    lines = printed.out.splitlines()
    assert code == 0 and len(lines) == len(CHAPTERS)
    assert lines[3].split(maxsplit=1) == [
        "03_verification",
        "When does a verifier beat finetuning?",
    ]


def test_settings_are_listed_with_values_and_meanings(capsys, monkeypatch):
    code, printed = run_cli(capsys, monkeypatch, "settings", "03", "--scale", "gpt2")
    rows = {
        line.split()[0]: line.split(maxsplit=2)[1:]
        for line in printed.out.split("\n")
        if line
    }
    assert code == 0
    assert rows["epochs"] == ["20", "of finetuning"]
    words = "in any order: small and large go by their parameters"
    assert rows["models"] == ["gpt2-medium,gpt2-xl", words]


@pytest.mark.parametrize(
    ("variable", "arguments", "scale"),
    [
        ("smoke", ["--scale", "quick"], "quick"),
        ("smoke", ["--scale", "mini"], "mini"),
        ("smoke", [], "smoke"),
        ("", [], "quick"),
        ("huge", ["--scale", "smoke"], "smoke"),
    ],
)
def test_the_command_lines_scale_wins(variable, arguments, scale, capsys, monkeypatch):
    monkeypatch.setenv("GSMLIB_SCALE", variable)
    ran = []
    done = report.Outcome("02_test_at_n", 1.0, "")
    monkeypatch.setattr(report, "run_notebook", lambda *a: ran.append(a) or done)
    assert run_cli(capsys, monkeypatch, "run", "02", *arguments)[0] == 0
    assert ran == [("02", scale, {})]
    code, printed = run_cli(capsys, monkeypatch, "settings", "02", *arguments)
    assert code == 0 and printed.out.split()[:2] == ["scale", scale]
    parameters = report.notebook_parameters("02_test_at_n", scale, {})
    assert parameters == {"scale": scale}  # chosen, in the kernel too


def test_the_version_is_printed(capsys, monkeypatch):
    code, printed = run_cli(capsys, monkeypatch, "--version")
    assert (code, printed.out) == (0, "gsmlib 0.1.0\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [("gsmlib sett", "settings"), ("gsmlib run 03", "03_verification")],
)
def test_a_shell_completes_commands_and_notebooks(words, found):
    asked = {"_GSMLIB_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(words.count(" "))
    command = [sys.executable, "-c", "from gsmlib.cli import main; main()"]
    done = subprocess.run(
        command, env=os.environ | asked, capture_output=True, text=True
    )
    assert done.stdout.split() == [found], done.stderr


def test_a_trial_of_a_hundred_times_the_cost_is_asked_about(capsys, monkeypatch):
    ran = []
    done = report.Outcome("02_test_at_n", 1.0, "")
    monkeypatch.setattr(report, "run_notebook", lambda *a: ran.append(a) or done)
    trial = ["run", "02", "-p", "test_completions", "9999999"]
    assert run_cli(capsys, monkeypatch, *trial)[0] == 2 and not ran
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, code in ((False, 1), (True, 0)):
        monkeypatch.setattr(cli.typer, "confirm", lambda text, a=answer: a)
        assert run_cli(capsys, monkeypatch, *trial)[0] == code
        assert len(ran) == answer
    monkeypatch.setattr(cli.typer, "confirm", lambda text: pytest.fail("asked"))
    assert run_cli(capsys, monkeypatch, *trial, "--yes")[0] == 0 and len(ran) == 2
    assert run_cli(capsys, monkeypatch, "run", "02")[0] == 0 and len(ran) == 3


def test_a_trial_is_measured_by_its_scale_even_where_that_is_in_the_store(monkeypatch):
    def stages(**given):
        chapter = report.find("02")
        settings = report.resolve_as_run(chapter.name, "smoke", given)
        return report.list_tasks(chapter.stages(settings), report.Store())

    done = {task.place for task in stages()}
    monkeypatch.setattr(report.Store, "has", lambda store, place: place in done)
    assert report.warn_of_cost("02", "smoke", {}) == ""
    assert report.warn_of_cost("02", "smoke", {"test_completions": "9"}) == ""
    asked = report.warn_of_cost("02", "smoke", {"test_completions": "9999999"})
    assert "times as long as at scale smoke" in asked


def test_the_plan_of_a_trial(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    plans = []
    for epochs in ("2", "200"):
        trial = ["plan", "02", "--scale", "smoke", "-p", "epochs", epochs]
        plans.append(run_cli(capsys, monkeypatch, *trial)[1].out)
    assert all("Left, estimated" in plan for plan in plans)
    assert plans[0] != plans[1]
    code, printed = run_cli(capsys, monkeypatch, "plan", "00")
    assert code == 0 and "No stage is needed" in printed.out


def test_claims_say_of_which_scale_they_are(capsys, monkeypatch):
    code, printed = run_cli(capsys, monkeypatch, "claims", "--scale", "quick")
    folder = export.figures_folder("quick")
    first = f"The verdicts at scale quick, from the tables in {folder}:"
    assert code == 0 and printed.out.splitlines()[0] == first


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


COMMAND = "from gsmlib.cli import main; main()"


def run_elsewhere(*arguments, **changed):
    """Run the command in a process of another environment; None unsets a variable."""
    values = {k: v for k, v in (os.environ | changed).items() if v is not None}
    command = [sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(command, env=values, capture_output=True)


def test_ctrl_c_while_importing_is_quiet(monkeypatch):
    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == "gsmlib.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "gsmlib.cli")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 130


def test_a_terminal_that_knows_ascii_alone_gets_question_marks():
    plain = dict(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    done = run_elsewhere("settings", "03", GSMLIB_SCALE=None, **plain)
    assert done.returncode == 0, done.stderr
    code = "from gsmlib import cli; cli.app = lambda *a, **k: print('3 \u00b7 4'); "
    done = subprocess.run(
        [sys.executable, "-c", code + "cli.main()"],
        env=os.environ | plain,
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"3 ? 4\n"), done.stderr


def test_an_error_of_the_system_has_its_path_and_a_remedy(
    capsys, monkeypatch, tmp_path
):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.csv"))

    monkeypatch.setattr(report, "run_notebook", refuse)
    code, printed = run_cli(capsys, monkeypatch, "run", "00")
    assert code == 2 and printed.err == (
        f"gsmlib: {tmp_path / 'a.csv'} cannot be used (Permission denied); see that "
        "you may read and write there.\n"
    )


def no_home(monkeypatch):
    """Be a user whom the system does not know, without HOME."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(environment.os, "getuid", lambda: 2**31 - 7)
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")  # noted, to be put back
        monkeypatch.delenv(name)


def test_a_user_without_home_is_told_to_say_where_the_cache_is(capsys, monkeypatch):
    no_home(monkeypatch)
    monkeypatch.delenv("GSMLIB_CACHE", raising=False)
    code, printed = run_cli(capsys, monkeypatch, "plan", "03", "--scale", "smoke")
    assert code == 2 and "set GSMLIB_CACHE to a folder, or HOME" in printed.err


def test_a_user_without_home_has_a_temporary_one(monkeypatch, tmp_path):
    no_home(monkeypatch)
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    environment.give_home()
    home = os.environ["HOME"]
    assert os.access(home, os.W_OK) and os.environ["JUPYTER_RUNTIME_DIR"].startswith(
        home
    )
    assert environment.cache_folder() == tmp_path / "cache"
    assert not (tmp_path / "cache").exists()


def test_a_home_that_cannot_be_written_is_kept_but_not_written(monkeypatch, tmp_path):
    no_home(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    environment.give_home()
    assert os.environ["HOME"] == str(tmp_path / "none")
    assert os.path.isdir(os.path.dirname(os.environ["JUPYTER_RUNTIME_DIR"]))


def test_a_run_that_is_to_be_published_is_refused_early(capsys, monkeypatch, tmp_path):
    (tmp_path / "smoke").touch()
    monkeypatch.setattr(publish, "pages_folder", lambda: tmp_path / "report")
    monkeypatch.setattr(report, "run_notebook", pytest.fail)
    asked = ["run", "00", "--scale", "smoke", "--publish"]
    code, said = run_cli(capsys, monkeypatch, *asked)
    assert code == 2 and "smoke cannot be written (Not a directory)" in said.err


def test_a_run_is_published_if_it_ended_well(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(publish, "pages_folder", lambda: tmp_path / "docs" / "report")
    monkeypatch.setenv("GSMLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GSMLIB_FIGURES", str(tmp_path / "figures"))
    asked = ["run", "00", "--scale", "smoke", "--publish"]
    code, said = run_cli(capsys, monkeypatch, *asked)
    page = tmp_path / "docs" / "smoke" / "00_dataset.html"
    assert code == 0 and f"Published: {page}" in said.out
    text = page.read_text(encoding="utf-8")
    text += page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    failed = Outcome("00_dataset", 1.0, "ValueError: no")
    monkeypatch.setattr(report, "run_notebook", lambda *asked: failed)
    page.unlink()
    code, said = run_cli(capsys, monkeypatch, *asked)
    assert code == 1 and not page.exists()
