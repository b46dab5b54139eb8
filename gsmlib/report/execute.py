"""A notebook executed by papermill, and the page of what it printed and drew.

Formulas are MathML, which browsers draw without a script.
"""

import re
import sys
import time
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

from gsmlib.files import write_file
from gsmlib.report.page import Outcome, render

START_SECONDS = 300  # that a kernel may take where the machine is busy
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

    A cell's error is returned as a sentence, not raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notebook, output = path.stem, folder / path.name
    start, error = time.perf_counter(), ""
    try:
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
    except PapermillExecutionError as failure:
        error = f"{notebook} failed: {failure.ename}: {failure.evalue}"
    except DeadKernelError:
        error = (
            f"{notebook} failed: its kernel died (was memory short?); what was "
            "computed is kept, run it again."
        )
    write_notebook(output, title=notebook)
    if not quiet:
        print(read_conclusion(output))
    return Outcome(notebook, time.perf_counter() - start, error)


def read_conclusion(path: Path) -> str:
    """Return the Markdown that an executed notebook ends with, "" where it has none."""
    outputs = nbformat.read(path, 4).cells[-1].get("outputs", [])
    texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    return "".join(texts)


def write_notebook(path: Path, title: str) -> Path:
    """Write an executed notebook as a page beside it; return the page."""
    notebook = nbformat.read(path, 4)
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
    write_file(path.with_suffix(".html"), render("notebook.html", values))
    return path.with_suffix(".html")


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
