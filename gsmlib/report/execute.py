"""A notebook executed by papermill, and the page of what it printed and drew.

Formulas are MathML, which browsers draw without a script.
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
from latex2mathml.converter import convert
from markupsafe import Markup
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from gsmlib.files import in_words, write_file
from gsmlib.records import SettingsError
from gsmlib.report.page import Outcome, render
from gsmlib.settings import PARAMETER

START_SECONDS = 600  # that a kernel may take where the machine is busy
AGAIN = "run it again."
# $$...$$ and $...$ as Jupyter reads them; code is passed over.
FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$\n]+?)(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)


def execute(
    path: Path, folder: Path, parameters: dict[str, Any], quiet: bool = True
) -> Outcome:
    """Execute a notebook into `folder`, with its page; `quiet` shows nothing meanwhile.

    Whatever goes wrong is returned as a sentence, not raised; a page from before goes.
    """
    notebook, output = path.stem, folder / path.name
    start = time.perf_counter()

    def run() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (output, output.with_suffix(".html")):
            old.unlink(missing_ok=True)
        shown_parameters(path)
        papermill.execute_notebook(
            path,
            output,
            parameters=parameters,
            kernel_name="python3",
            # none of the kernel's own messages; figures whatever MPLBACKEND says
            extra_arguments=["--log-level=CRITICAL", "--matplotlib=inline"],
            progress_bar=False,
            start_timeout=START_SECONDS,
            stdout_file=None if quiet else sys.stdout,
            stderr_file=None if quiet else sys.stderr,
        )

    def show() -> None:
        write_notebook(output, title=notebook)
        if not quiet:
            print(read_conclusion(output))

    error = _attempt(run, output)
    if output.is_file():
        shown = _attempt(show, output)
        error = error or shown
    ended = f"{notebook} failed: {error}" if error else ""
    return Outcome(notebook, time.perf_counter() - start, ended)


def _attempt(step: Callable[[], None], output: Path) -> str:
    """Do a step; return why it failed, in a sentence, "" where it went well."""
    try:
        step()
    except PapermillExecutionError as failure:
        return f"{failure.ename}: {failure.evalue}"
    except DeadKernelError:
        return f"its kernel died (was memory short?); what it computed is kept, {AGAIN}"
    except OSError as failure:
        return in_words(failure, output, "GSMLIB_RUNS")
    except ValueError as failure:
        return str(failure)
    except Exception as failure:
        if isinstance(failure, RuntimeError) and "ernel" in str(failure):  # Jupyter's
            return f"its kernel did not start ({failure}, a busy machine?); {AGAIN}"
        return f"{type(failure).__name__}: {failure}"
    return ""


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook; ValueError, in a sentence, where the file is none."""
    try:
        notebook = nbformat.read(path, 4)
        [(cell.source, cell.metadata) for cell in notebook.cells]
    except OSError:
        raise
    except Exception as error:  # nbformat has many
        raise ValueError(
            f"{path} is no notebook ({type(error).__name__}); restore it, as by "
            "git checkout."
        ) from error
    return notebook


def shown_parameters(path: Path) -> list[str]:
    """Return the names in a notebook's parameters cell (the first tagged one)."""
    for cell in read_notebook(path).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return PARAMETER.findall(cell.source)
    raise SettingsError(f"{path.name} has no cell tagged parameters.")


def read_conclusion(path: Path) -> str:
    """Return the Markdown that an executed notebook ends with, "" where it has none."""
    outputs = read_notebook(path).cells[-1].get("outputs", [])
    texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    return "".join(texts)


def write_notebook(path: Path, title: str) -> Path:
    """Write an executed notebook as a page beside it; return the page."""
    notebook = read_notebook(path)
    formulas = _take_formulas(notebook)
    exporter = HTMLExporter(template_name="basic")
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    body, _ = exporter.from_notebook_node(notebook)
    for place, formula in enumerate(formulas):
        body = body.replace(_mark(place), formula)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)
    body = body.replace(
        'alt="No description has been provided for this image"',
        'alt="Figure drawn by the code above"',
    )
    values = {"title": title, "source": path.name, "body": Markup(body)}
    page = path.with_suffix(".html")
    write_file(page, render("notebook.html", values), "GSMLIB_RUNS")
    return page


def _take_formulas(notebook: nbformat.NotebookNode) -> list[str]:
    """Put marks, which Markdown leaves alone, for formulas; return these as MathML."""
    formulas: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        formulas.append(to_mathml(match["block"] or match["inline"], match["block"]))
        return _mark(len(formulas) - 1)

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(take, cell.source)
    return formulas


def _mark(place: int) -> str:
    return f"FORMULA{place:04d}HERE"


def to_mathml(tex: str, block: str | None) -> str:
    """Return a formula as MathML, with its TeX for who cannot see it."""
    known = re.sub(r"\\arg(?![a-z])", r"\\operatorname{arg}\\,", tex)  # not known to it
    drawn = convert(known.strip(), display="block" if block else "inline")
    inside = re.sub(r"^<math[^>]*>|</math>$", "", drawn)  # the template has its own
    values = {"tex": " ".join(tex.split()), "block": block, "drawn": Markup(inside)}
    return render("formula.html", values)
