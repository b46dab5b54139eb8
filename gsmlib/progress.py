"""Progress bars, one at a time: in a notebook's page, a terminal's line, or a log.

What is computed within `under` shows no bar of its own but tells how far it is. In
Jupyter a bar is one display, which its end empties: a saved notebook keeps none. A log
cannot take a line back: it gets one in half a minute.
"""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from html import escape
from typing import Any, Self

from tqdm import tqdm

LOG_EVERY = 30.0  # seconds
# is told which share, 0 to 1, is done, and which was when the bar began
Report = Callable[[float, float], None]
_outer: ContextVar[Report | None] = ContextVar("outer", default=None)


class Share:
    """A bar without a look: it reports which share of `total` is done."""

    def __init__(self, total: float, report: Report, initial: float = 0):
        self.total, self.n, self.report = max(1, total), initial, report
        self.initial = initial

    def update(self, n: float = 1) -> None:
        """Count `n` more as done."""
        self.n += n
        self.report(min(1.0, self.n / self.total), self.initial / self.total)

    def set_postfix(self, **_: Any) -> None:
        """Nothing: there is no place for it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class PageBar(tqdm):
    """A bar in a notebook's page; it needs no widgets."""

    def __init__(self, *arguments: Any, **look: Any):
        from IPython.display import HTML, display  # only a kernel has it

        self.html = HTML
        self.place = display(HTML(""), display_id=True)
        super().__init__(*arguments, file=io.StringIO(), **look)

    def display(self, *_: Any, **__: Any) -> bool:
        """Replace what the page shows."""
        share = self.n / self.total if self.total else 0
        bar = f'<progress value="{share:.3f}" style="width:14em"></progress>'
        words = escape(str(self).strip())
        self.place.update(self.html(f"<div>{bar} <span>{words}</span></div>"))
        return True

    def close(self) -> None:
        """Take the bar out of the page."""
        if not self.disable:
            super().close()
            self.place.update(self.html(""))


class LogBar(tqdm):
    """A bar where standard error is a file or a pipe: a line now and then."""

    def __init__(self, *arguments: Any, **look: Any):
        pauses = dict.fromkeys(("delay", "mininterval", "maxinterval"), LOG_EVERY)
        super().__init__(*arguments, file=io.StringIO(), **look | pauses)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line, if the log still takes any; its end clears nothing."""
        if msg is None and sys.stderr is not None:
            with suppress(OSError, ValueError):
                print(str(self).strip(), file=sys.stderr, flush=True)
        return True


def in_jupyter() -> bool:
    """Return whether this process is a notebook's kernel."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell else None
    return found is not None and "IPKernelApp" in found.config


def _on_terminal() -> bool:
    there = sys.stderr is not None and not sys.stderr.closed
    return there and sys.stderr.isatty()


def bar(total: float, *, initial: float = 0, **look: Any) -> tqdm | Share:
    """Return a bar, to be used with `with`; `look` are tqdm's further arguments."""
    report = _outer.get()
    if report is not None:
        hidden = look.get("disable", False)  # it counts what is a part of a step
        return Share(total, (lambda share, begun: None) if hidden else report, initial)
    if in_jupyter() and not look.get("disable"):
        kind = PageBar
    else:
        kind = tqdm if _on_terminal() else LogBar
    return kind(total=total, initial=initial, leave=False, **look)


@contextmanager
def under(report: Report) -> Iterator[None]:
    """Within, bars are not shown: `report` is told the shares that are done."""
    token = _outer.set(report)
    try:
        yield
    finally:
        _outer.reset(token)


def say(text: str) -> None:
    """Print a line without breaking a bar."""
    tqdm.write(text)
    sys.stdout.flush()
