"""Run the notebooks of a report and gather their figures into one offline page.

Each notebook is executed by papermill in a kernel of this environment; its parameters
are validated before anything runs, because papermill only warns about unknown ones. The
executed copies, their HTML and the page go to `runs/<scale>/`.
"""

import base64
import html
import json
import re
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from gsmlib.config import SETTINGS, SettingsError, Spec, resolve
from gsmlib.experiments import stages
from gsmlib.figures import figures_folder, project_root
from gsmlib.plan import count_workers, list_stages, plan_table, prepare, processes
from gsmlib.store import Store

PARAMETER = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto }}
body {{ padding: 0 1rem }}
pre {{ white-space: pre-wrap; background: #f6f6f6; padding: .5rem }}
img {{ max-width: 100% }} .prompt {{ color: #888; font-size: 12px }}
table {{ border-collapse: collapse }}
td, th {{ padding: .2rem .6rem; text-align: right }}
figure {{ display: inline-block; margin: 1rem; vertical-align: top; max-width: 26rem }}
.anchor-link {{ display: none }}
.failed {{ color: #b00 }}
</style></head><body>
{body}
</body></html>
"""


class Outcome(NamedTuple):
    """How a notebook's run ended; `error` is one sentence, empty if all went well."""

    notebook: str
    seconds: float
    error: str


def notebook_path(notebook: str) -> Path:
    """Return a notebook's file in the checkout; raises SettingsError without one."""
    path = project_root() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; run this in a checkout of gsmlib.")
    return path


def run_folder(scale: str) -> Path:
    """Return where a scale's executed notebooks and its page go."""
    return project_root() / "runs" / scale


def shown_parameters(path: Path) -> list[str]:
    """Return the names in a notebook's parameters cell (the first tagged one)."""
    for cell in nbformat.read(path, 4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return PARAMETER.findall(cell.source)
    raise SettingsError(f"{path.name} has no cell tagged parameters.")


def notebook_parameters(
    notebook: str, scale: str, given: dict[str, str]
) -> dict[str, Any]:
    """Return what papermill injects: typed, checked, and known to the notebook.

    Settings that the notebook does not show go into its parameter `more`.
    """
    resolved = resolve(notebook, **{**given, "scale": scale})
    shown = shown_parameters(notebook_path(notebook))
    values = {name: getattr(resolved, name) for name in ["scale", *given]}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    hidden = [name for name in plain if name not in shown]
    more = " ".join(f"{name}={_as_text(plain.pop(name))}" for name in hidden)
    return plain | ({"more": more} if more else {})


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def run_notebook(notebook: str, scale: str, given: dict[str, str]) -> Outcome:
    """Compute what one notebook needs, then execute it, showing its output as it comes.

    Raises SettingsError before anything runs where a parameter is refused.
    """
    parameters = notebook_parameters(notebook, scale, given)
    prepare(stages(resolve(notebook, **{**given, "scale": scale})), Store())
    return _execute_aloud(notebook, scale, parameters)


def _execute_aloud(notebook: str, scale: str, parameters: dict[str, Any]) -> Outcome:
    print(f"\n== {notebook} at scale {scale}", flush=True)
    outcome = execute(notebook_path(notebook), run_folder(scale), parameters)
    _say(outcome)
    return outcome


def _say(outcome: Outcome) -> None:
    ended = outcome.error or f"{outcome.notebook} done"
    print(f"{ended} ({outcome.seconds:.0f} s)", flush=True)


def execute(
    path: Path, folder: Path, parameters: dict[str, Any], quiet: bool = False
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
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own messages
            progress_bar=False,
            stdout_file=None if quiet else sys.stdout,
            stderr_file=None if quiet else sys.stderr,
        )
    except PapermillExecutionError as failure:
        error = f"{notebook} failed: {failure.ename}: {failure.evalue}"
    write_html(output, title=notebook)
    return Outcome(notebook, time.perf_counter() - start, error)


def write_html(path: Path, title: str) -> None:
    """Write an executed notebook as one HTML file that needs no network."""
    exporter = HTMLExporter(template_name="basic")
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    body, _ = exporter.from_filename(str(path))
    page = PAGE.format(title=html.escape(title), body=body)
    path.with_suffix(".html").write_text(page, encoding="utf-8")


def run_report(scale: str) -> list[Outcome]:
    """Run every notebook that exists, the failing ones included, and write the page."""
    names = [name for name in SETTINGS if _exists(name)]
    if not names:
        raise SettingsError(
            f"There are no notebooks in {project_root() / 'notebooks'}; run this in a "
            "checkout of gsmlib."
        )
    start = time.perf_counter()
    print(f"The report at scale {scale}: {len(names)} notebooks", flush=True)
    prepare(_report_stages(scale), Store())
    outcomes = run_notebooks(names, scale)
    page = write_index(scale, outcomes)
    failed = [outcome.notebook for outcome in outcomes if outcome.error]
    print(f"\nThe report took {time.perf_counter() - start:.0f} s: {page}")
    if failed:
        print(
            f"{len(failed)} of {len(outcomes)} notebooks failed: {', '.join(failed)}."
        )
    return outcomes


def _report_stages(scale: str) -> list[Spec]:
    return [spec for name in SETTINGS for spec in stages(resolve(name, scale=scale))]


def print_plan(scale: str) -> None:
    """Print the stages of a report, which the store has, and what is left to do."""
    table = plan_table(list_stages(_report_stages(scale), Store()))
    print(table.round(1).to_string(index=False))
    minutes, workers = table["core_minutes"].sum(), count_workers()
    print(
        f"{minutes:.0f} core minutes are left, about {minutes / workers:.0f} minutes "
        f"by {workers} processes here."
    )


def run_notebooks(names: list[str], scale: str) -> list[Outcome]:
    """Execute notebooks: on a CPU several at a time, and quietly; else one by one."""
    workers = min(count_workers(), len(names))
    parameters = {name: notebook_parameters(name, scale, {}) for name in names}
    if workers < 2:
        return [_execute_aloud(name, scale, parameters[name]) for name in names]
    with processes(workers) as pool:
        running = [
            pool.submit(
                execute, notebook_path(name), run_folder(scale), parameters[name], True
            )
            for name in names
        ]
        for future in as_completed(running):
            _say(future.result())
        return [future.result() for future in running]


def _exists(notebook: str) -> bool:
    return (project_root() / "notebooks" / f"{notebook}.ipynb").is_file()


def write_index(scale: str, outcomes: list[Outcome]) -> Path:
    """Write `runs/<scale>/index.html`: the notebooks, how they ended, the figures."""
    rows = "\n".join(_outcome_row(outcome) for outcome in outcomes)
    images = sorted(figures_folder(scale).glob("*.png"))
    figures = "\n".join(_figure(image) for image in images)
    title = f"gsmlib, scale {scale}"
    body = f"<h1>{title}</h1>\n<ul>\n{rows}\n</ul>\n{figures}"
    page = run_folder(scale) / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE.format(title=title, body=body), encoding="utf-8")
    return page


def _outcome_row(outcome: Outcome) -> str:
    name = outcome.notebook
    ended = f"{outcome.seconds:.0f} s"
    if outcome.error:
        ended += f' <span class="failed">{html.escape(outcome.error)}</span>'
    return f'<li><a href="{name}.html">{name}</a> {ended}</li>'


def _figure(image: Path) -> str:
    data = base64.b64encode(image.read_bytes()).decode()
    words = f"{image.stem}, {_origin(image.with_suffix('.json'))}"
    return (
        f'<figure><img alt="{image.stem}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def _origin(record: Path) -> str:
    """Return the scale and commit a figure's record names."""
    known = json.loads(record.read_text()) if record.exists() else {}
    return f"scale {known.get('scale', '?')}, commit {known.get('commit', '?')}"
