"""Stopping by oneself before a machine is taken away: `gsmlib prepare --minutes 9`.

Whoever computes asks between steps whether the time is over, keeps what is done and
raises OutOfTime; the same command then goes on where it stopped. Workers inherit the
time by the environment.
"""

import os
import time

UNTIL = "GSMLIB_UNTIL"  # a time of `time.time()`
SAVING = 0.05  # of the time given is for what is under way: a step, a save,
SAVING_SECONDS = 15  # and at least this, or half of what is given


class OutOfTime(RuntimeError):
    """The time given is over; what was done is kept."""


def stop_after(minutes: float) -> None:
    """Let all computing of this process and its workers stop within so many minutes."""
    given = 60 * minutes
    kept = max(SAVING * given, min(SAVING_SECONDS, given / 2))
    os.environ[UNTIL] = repr(time.time() + given - kept)


def is_over() -> bool:
    """Return whether the time given is over; without one it never is."""
    until = os.environ.get(UNTIL)
    return until is not None and time.time() >= float(until)


def check() -> None:
    """Raise OutOfTime where the time given is over."""
    if is_over():
        raise OutOfTime("The time given is over.")
