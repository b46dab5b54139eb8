"""Bars: one at a time, shares told to the bar above, nothing left in a notebook."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gsmlib import progress

CELL = """
from gsmlib import progress
with progress.bar(4, bar_format="{percentage:3.0f} % of <it>") as bar:
    for _ in range(4):
        bar.update()
print(type(bar).__name__)
"""


def test_under_a_bar_a_share_is_told_and_nothing_shown(capfd):
    told = []
    tell = progress.under(lambda *shares: told.append(shares))
    with tell, progress.bar(8, initial=2) as bar:
        bar.set_postfix(loss=1.0)
        bar.update(2)
        bar.update()
    assert told == [(0.5, 0.25), (0.625, 0.25)]
    assert capfd.readouterr() == ("", "")


def test_outside_a_bar_is_shown_and_taken_away(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.bar(2, mininterval=0) as bar:
        bar.update()
    shown = capfd.readouterr().err
    *_, last, rest = shown.split("\r")
    assert "50%" in shown and not last.strip() and not rest


def test_a_log_has_whole_lines(capfd, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    with progress.bar(2, mininterval=1, miniters=1) as bar:
        bar.update()
        progress.say("A stage failed.")
        bar.update()
    out, shown = capfd.readouterr()
    assert out == "A stage failed.\n" and "\r" not in shown and shown[-1] == "\n"
    assert [line.split("|")[0] for line in shown.splitlines()] == ["0%", "50%", "100%"]


class Full(io.StringIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_takes_no_lines_stops_nothing(monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    closed = io.StringIO()
    closed.close()
    for log in (Full(), closed, None):
        monkeypatch.setattr(sys, "stderr", log)
        with progress.bar(2, miniters=1) as bar:
            bar.update(2)
        assert bar.n == 2


def test_what_raises_leaves_no_bar_above():
    with pytest.raises(ValueError), progress.under(lambda *_: None):
        raise ValueError
    assert not isinstance(progress.bar(1, disable=True), progress.Share)


def test_a_saved_notebook_keeps_no_bar(tmp_path):
    cells = [nbformat.v4.new_code_cell(CELL)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    path, out = tmp_path / "bar.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "papermill", path, out, "-k", "python3"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = nbformat.read(out, as_version=4).cells[-1].outputs
    shown = [o["data"]["text/html"] for o in outputs if "data" in o]
    assert shown == [""], "the display is there, and empty"
    assert [o["text"] for o in outputs if o.get("name") == "stdout"] == ["PageBar\n"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
