"""Stopping by oneself in time: however often it is stopped, it comes out alike."""

import os
import time

import pandas as pd
import pytest
from test_cli import run_cli

from gsmlib import clock
from gsmlib.chapters import resolve, verification
from gsmlib.report import run
from gsmlib.study import pool, stages
from gsmlib.study.store import Store

TINY = dict(sizes="8", test_problems="3", models="tiny:random")


class Watch:
    """A clock that is over after so many looks at it; None: never."""

    def __init__(self, looks):
        self.left = looks

    def is_over(self):
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """One process, a store of its own, and no time that another test gave."""
    monkeypatch.setenv("GSMLIB_WORKERS", "1")
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(clock.UNTIL, raising=False)
    return monkeypatch


def test_without_a_time_it_is_never_over(alone):
    assert not clock.is_over()
    clock.check()


def test_a_twentieth_of_the_time_is_for_what_is_under_way(alone):
    alone.setenv(clock.UNTIL, "0")  # so that it is put back
    alone.setattr(time, "time", lambda: 1e9)
    clock.stop_after(10)
    for after, over in ((569, False), (571, True)):
        alone.setattr(time, "time", lambda after=after: 1e9 + after)
        assert clock.is_over() == over


def test_of_a_short_time_more_is_for_it(alone):
    alone.setenv(clock.UNTIL, "0")
    alone.setattr(time, "time", lambda: 1e9)
    for minutes, computing in ((1, 45), (0.5, 15), (4, 225), (60, 3420)):
        clock.stop_after(minutes)
        assert float(os.environ[clock.UNTIL]) == pytest.approx(1e9 + computing)


def test_what_is_stopped_again_and_again_comes_out_as_at_once(alone, tmp_path):
    """Every stage of a study, stopped at every few steps, rows and scores."""
    settings = resolve("03_verification", scale="smoke", more=more())
    specs = verification.CHAPTER.stages(settings)
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    pool.prepare(specs, whole)
    stopped = 0
    while pool.needed_tasks(pool.list_tasks(specs, parts)):
        alone.setattr(clock, "is_over", Watch(3).is_over)
        pool.prepare(specs, parts)
        stopped += 1
        assert stopped < 500
    assert stopped > 15
    for spec in specs:
        one, other = (stages.folder_of(spec, store) for store in (whole, parts))
        for path in one.glob("*.parquet"):
            pd.testing.assert_frame_equal(
                pd.read_parquet(path), pd.read_parquet(other / path.name)
            )


def more():
    return " ".join(f"{name}={text}" for name, text in TINY.items())


def test_the_command_says_what_is_left_and_goes_on(alone, capsys):
    arguments = [part for pair in TINY.items() for part in ("-p", *pair)]
    command = ["prepare", "03", "--scale", "smoke", *arguments]
    alone.setattr(clock, "SAVING", 1)  # all of it
    alone.setenv(clock.UNTIL, "0")  # so that it is put back
    code, printed = run_cli(capsys, alone, *command, "--minutes", "60")
    assert code == 75
    assert "The time given is over; left: " in printed.out
    assert "The same command goes on." in printed.out
    assert "failed" not in printed.out + printed.err
    alone.setattr(clock, "SAVING", 0.05)
    code, printed = run_cli(capsys, alone, *command, "--minutes", "60")
    assert code == 0 and "left" not in printed.out
    alone.setattr(clock, "SAVING", 1)
    code, _ = run_cli(capsys, alone, *command, "--minutes", "60")
    assert code == 0  # nothing was left


def test_workers_stop_in_time_too(alone):
    """Two processes, which inherit the time by the environment."""
    alone.setenv("GSMLIB_WORKERS", "2")
    alone.setattr(pool, "FEW_SECONDS", 0)
    alone.setenv(clock.UNTIL, "0")
    with pytest.raises(clock.OutOfTime, match="left: "):
        run.fill_store("smoke", "", "03", TINY)
    assert pool.needed_tasks(pool.list_tasks(run._stages("smoke", "03", TINY), Store()))


@pytest.mark.parametrize("minutes", ["-1", "soon", "0", "0.1"])
def test_minutes_that_are_none_are_refused(minutes, alone, capsys):
    code, printed = run_cli(capsys, alone, "prepare", "03", "--minutes", minutes)
    assert code == 2 and "minutes" in printed.err


def test_minutes_are_not_rays(alone, capsys):
    code, printed = run_cli(capsys, alone, "prepare", "--ray", "auto", "--minutes", "9")
    assert code == 2 and "leave out --ray" in printed.err
