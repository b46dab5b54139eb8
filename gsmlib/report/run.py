"""Run the notebooks of a report and gather their figures into one offline page.

Each notebook is executed by papermill in a kernel of this environment; its parameters
are validated before anything runs, because papermill only warns about unknown ones. The
executed copies, their HTML and the page go to `runs/<scale>/`.
"""

import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path
from shlex import quote
from typing import Any

import pandas as pd

from gsmlib import clock
from gsmlib.chapters import CHAPTERS, find, resolve
from gsmlib.chapters.export import figures_folder, run_folder
from gsmlib.chapters.ledger import by_origin
from gsmlib.chapters.record import Chapter
from gsmlib.environment import project_root
from gsmlib.files import check_folder, write_file
from gsmlib.records import Record, SettingsError
from gsmlib.report.execute import execute, read_notebook, shown_parameters
from gsmlib.report.explorer import write_explorer
from gsmlib.report.page import Outcome, Section, count_verdicts, read_rows, write_index
from gsmlib.settings import as_text, parse_more, write_more
from gsmlib.study import handing, pool
from gsmlib.study.checks import check_shipped
from gsmlib.study.estimates import GPU, GPU_FLOPS, GPU_SHARE, estimate_seconds, in_words
from gsmlib.study.pool import (
    cost_table,
    describe_work,
    list_tasks,
    needed_tasks,
    plan_table,
    prepare,
)
from gsmlib.study.results import obtain
from gsmlib.study.specs import Spec
from gsmlib.study.store import Store

COSTS = "costs"  # in a folder of figures: what the stages behind them took
FOR_A_GPU = ("smollm2-full", "gpt2")  # scales whose plan tells GPU hours
MANY_TIMES = 100  # a run of so many times its scale's cost is asked about first
NEW_PROCESS = "fork" if sys.platform == "linux" else "spawn"


def notebook_path(notebook: str) -> Path:
    """Return a notebook's file in the checkout; raises SettingsError without one."""
    path = project_root() / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; run this in a checkout of gsmlib.")
    return path


def resolve_as_run(notebook: str, scale: str, given: dict[str, str]) -> Record:
    """Return the settings of a notebook as it will itself find them, given some.

    What it does not show goes into `more`, where 0 is 0 and not the scale's value.
    """
    if not given:  # nor is a notebook needed, of which an installed package has none
        return resolve(notebook, scale=scale)
    shown, known = shown_parameters(notebook_path(notebook)), find(notebook).kind
    hidden = [n for n in given if n in known.model_fields and n not in shown]
    further = write_more({name: given[name] for name in hidden})
    others = {name: text for name, text in given.items() if name not in hidden}
    more = f"{further} {others.pop('more', '')}"
    return resolve(notebook, more, **{**others, "scale": scale})


def notebook_parameters(
    notebook: str, scale: str, given: dict[str, str]
) -> dict[str, Any]:
    """Return what papermill injects: typed, checked, and known to the notebook.

    Settings that the notebook does not show go into its parameter `more`.
    """
    resolved = resolve_as_run(notebook, scale, given)
    shown = shown_parameters(notebook_path(notebook))
    names = [n for n in ["scale", *given] if n != "more"]
    names += parse_more(given.get("more", ""))
    values = {name: getattr(resolved, name) for name in names}
    more = {n: as_text(value) for n, value in values.items() if n not in shown}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    plain = {name: value for name, value in plain.items() if name in shown}
    return plain | ({"more": write_more(more)} if more else {})


def run_notebook(notebook: str, scale: str, given: dict[str, str]) -> Outcome:
    """Compute what one notebook needs, then execute it, showing its output as it comes.

    What a trial gives goes to a folder of its own. Raises SettingsError before anything
    runs where a parameter is refused.
    """
    chapter = find(notebook)
    parameters = notebook_parameters(chapter.name, scale, given)
    settings = resolve_as_run(chapter.name, scale, given)
    changed, store = chapter.changed(settings), Store()
    folder = _check_places(scale, changed)
    prepare(chapter.stages(settings), store)
    outcome = _execute_aloud(chapter.name, scale, parameters, folder)
    took = cost_table(list_tasks(chapter.stages(settings), store), store)
    _write_costs(chapter.name, took, figures_folder(scale, changed))
    page = page_of(notebook, scale, given)
    if page.is_file():
        print(page.resolve().as_uri())
    return outcome


def page_of(notebook: str, scale: str, given: dict[str, str]) -> Path:
    """Return where a notebook's page goes, the notebook as executed beside it."""
    chapter = find(notebook)
    changed = chapter.changed(resolve_as_run(chapter.name, scale, given))
    return run_folder(scale, changed) / f"{chapter.name}.html"


def _write_costs(notebook: str, took: pd.DataFrame, figures: Path) -> None:
    """Write what all of a notebook's stages took, beside its figures.

    `costs/<notebook>.csv` has the rows of `pool.cost_table`; without stages, no file.
    """
    if len(took):
        csv = took.round(2).to_csv(index=False, lineterminator="\n")
        write_file(figures / COSTS / f"{notebook}.csv", csv, "GSMLIB_FIGURES")


def warn_of_cost(notebook: str, scale: str, given: dict[str, str]) -> str:
    """Return what a run costs where that is MANY_TIMES its scale's cost, else ""."""
    chapter, store = find(notebook), Store()

    def tasks(given: dict[str, str]) -> list[pool.Task]:
        settings = resolve_as_run(chapter.name, scale, given)
        return list_tasks(chapter.stages(settings), store)

    left = sum(task.seconds for task in needed_tasks(tasks(given)).values())
    if not left:
        return ""
    # what is done counts too, unlike in `Task.seconds`
    usual = sum(estimate_seconds(task.work) for task in tasks({}))
    if left <= MANY_TIMES * usual:
        return ""
    return (
        f"{chapter.name} would compute for {in_words(left)} on one core, "
        f"{left / usual:,.0f} times as long as at scale {scale} ({in_words(usual)})"
    )


def _check_places(scale: str, changed: dict[str, Any] | None = None) -> Path:
    """Return the folder of a run; OSError where it or the figures cannot be written."""
    folder = run_folder(scale, changed)
    check_folder(folder, "GSMLIB_RUNS (GSMLIB_FIGURES for figures)")
    check_folder(figures_folder(scale, changed), "GSMLIB_FIGURES")
    return folder


def _execute_aloud(
    notebook: str, scale: str, parameters: dict[str, Any], folder: Path
) -> Outcome:
    print(f"\n== {notebook} at scale {scale}", flush=True)
    outcome = execute(notebook_path(notebook), folder, parameters, quiet=False)
    _say(outcome)
    return outcome


def _say(outcome: Outcome) -> None:
    ended = outcome.error or f"{outcome.notebook} done"
    print(f"{ended} ({in_words(outcome.seconds)})", flush=True)


def run_report(scale: str) -> list[Outcome]:
    """Run every notebook that exists, the failing ones included, and write the page."""
    folder = project_root() / "notebooks"
    there = [c for c in CHAPTERS if (folder / f"{c.name}.ipynb").is_file()]
    if not there:
        raise SettingsError(
            f"There are no notebooks in {folder}; run this in a checkout of gsmlib."
        )
    _check_places(scale)
    start, store = time.perf_counter(), Store()
    print(f"The report at scale {scale}: {len(there)} notebooks", flush=True)
    stages = _report_stages(scale, there)
    if not needed_tasks(list_tasks(stages, store)):
        print("Nothing to compute: the store has all stages", flush=True)
    prepare(stages, store)
    outcomes = run_notebooks(there, scale)
    page = write_report_page(scale, outcomes, store)
    print(f"\nThe report took {in_words(time.perf_counter() - start)}.")
    if rows := read_rows(figures_folder(scale)):
        _print_verdicts(rows, scale)
    print(page.resolve().as_uri())
    failed = [outcome.notebook for outcome in outcomes if outcome.error]
    if failed:
        print(f"{len(failed)} of {len(there)} notebooks failed: {', '.join(failed)}.")
    return outcomes


def _print_verdicts(rows: list[dict[str, Any]], scale: str) -> None:
    for kind, some in zip(("", "further "), by_origin(rows), strict=True):
        if some:
            print(f"{len(some)} {kind}claims at scale {scale}: {count_verdicts(some)}.")


def fill_store(
    scale: str,
    ray: str = "",
    notebook: str = "",
    given: dict[str, str] | None = None,
) -> list[Spec]:
    """Compute what a report needs, here or on a Ray cluster; return what failed there.

    notebook: for this one alone, with the `given` settings. Here a stage's error is
    raised, and OutOfTime, which says what is left, where the time given was too short.
    """
    specs, store = _stages(scale, notebook, given or {}), Store()
    if ray:
        from gsmlib.study.cluster import prepare_on_ray  # an extra

        return prepare_on_ray(specs, store, ray)
    prepare(specs, store)
    left = needed_tasks(list_tasks(specs, store))
    if left and clock.is_over():
        raise clock.OutOfTime(
            f"The time given is over; left: {describe_work(left)}. The same command "
            "goes on."
        )
    for spec in left:
        obtain(spec, store)
    return []


def _stages(scale: str, notebook: str, given: dict[str, str]) -> list[Spec]:
    if not notebook:
        return _report_stages(scale)
    chapter = find(notebook)
    return chapter.stages(resolve_as_run(chapter.name, scale, given))


def _report_stages(scale: str, chapters: Sequence[Chapter] = CHAPTERS) -> list[Spec]:
    return [
        spec
        for chapter in chapters
        for spec in chapter.stages(chapter.resolve(scale=scale))
    ]


def export_completions(
    scale: str,
    notebook: str,
    given: dict[str, str],
    folder: Path,
    keys: Sequence[str] = (),
    every: bool = False,
) -> list[tuple[Path, Spec]]:
    """Write a notebook's completions and scores as parquet; return files and specs.

    keys, every: which of them, see `handed_on`. SettingsError says which command
    computes what the store lacks; nothing is computed.
    """
    asked, store = _stages(scale, notebook, given), Store()
    specs = handing.handed_on(asked, keys, every)
    if lacking := handing.missing(specs, store):
        name = find(notebook).name
        more = "".join(f" -p {setting} {quote(v)}" for setting, v in given.items())
        raise SettingsError(
            f"The store lacks {len(lacking)} of {len(specs)} stages of {name}; "
            f"`gsmlib prepare {name} --scale {scale}{more}` computes them."
        )
    return list(zip(handing.write_stages(specs, store, folder), specs, strict=True))


def print_plan(
    scale: str, notebook: str = "", given: dict[str, str] | None = None
) -> None:
    """Print the stages of a report, which the store has, and what is left to do.

    notebook: of this one alone, with the `given` settings. Everything is estimated. GPU
    hours are told where the models are for a GPU.
    """
    tasks = list_tasks(_stages(scale, notebook, given or {}), Store())
    check_shipped([task.spec for task in tasks])
    if not tasks:
        print("No stage is needed: there is nothing to train or to sample.")
        return
    table, left = plan_table(tasks), describe_work(needed_tasks(tasks))
    hidden = [] if scale in FOR_A_GPU else ["gpu_hours"]
    shown = table.drop(columns=["core_minutes", *hidden]).round(2)
    shown.insert(4, "one core", [in_words(60 * n) for n in table["core_minutes"]])
    print(shown.to_string(index=False))
    alone = in_words(60 * table["core_minutes"].sum())
    memory, disk = table["memory_gb"].max(), table["disk_gb"].sum()
    print(
        f"Left, estimated: {left} here, of up to {memory:.1f} GB memory each; {alone} "
        f"on one core; {disk:.1f} GB of disk."
    )
    if scale in FOR_A_GPU:
        print(
            f"On a GPU, estimated from FLOPs at {100 * GPU_SHARE:.0f} % of the peak of "
            f"an {GPU} ({GPU_FLOPS / 1e12:.0f} TFLOP/s in bf16): "
            f"{table['gpu_hours'].sum():.1f} GPU hours."
        )


def run_notebooks(chapters: Sequence[Chapter], scale: str) -> list[Outcome]:
    """Execute notebooks: on a CPU several at a time, and quietly; else one by one.

    One by one are also those that a died process leaves, and at the end those that read
    what the others exported.
    """
    names = [c.name for c in chapters if not c.reads_others]
    workers = min(pool.count_workers(), len(names))
    ended = _execute_together(workers, names, scale) if workers > 1 else {}
    return [
        ended.get(name)
        or _execute_aloud(name, scale, {"scale": scale}, run_folder(scale))
        for name in [*names, *(c.name for c in chapters if c.reads_others)]
    ]


def _execute_together(workers: int, names: list[str], scale: str) -> dict[str, Outcome]:
    """Execute notebooks by several processes; return how those that ended did."""
    folder, ended = run_folder(scale), {}
    with pool.processes(workers, NEW_PROCESS) as executor:
        running = [
            executor.submit(execute, notebook_path(name), folder, {"scale": scale})
            for name in names
        ]
        for future in as_completed(running):
            outcome = future.result()
            ended[outcome.notebook] = outcome
            _say(outcome)
    return ended


def write_report_page(scale: str, outcomes: list[Outcome], store: Store) -> Path:
    """Write `runs/<scale>/index.html`: verdicts, figures, notebooks, cost, origin.

    Beside it, where the store has what it shows, the page of single problems.
    """
    figures = figures_folder(scale)
    ran = [find(outcome.notebook) for outcome in outcomes]
    sections = [Section(chapter, read_title(chapter.name)) for chapter in ran]
    tasks = {c.name: list_tasks(_report_stages(scale, [c]), store) for c in ran}
    for name, needed in tasks.items():
        _write_costs(name, cost_table(needed, store), figures)
    costs = _own_costs(tasks, store)
    write_explorer(run_folder(scale), scale, outcomes, store)
    return write_index(run_folder(scale), scale, sections, outcomes, costs, figures)


def _own_costs(
    tasks: dict[str, list[pool.Task]], store: Store
) -> dict[str, pd.DataFrame]:
    """Return each notebook's `cost_table`, without what one before it needs too."""
    seen: set[Spec] = set()
    costs = {}
    for notebook, needed in tasks.items():
        own = [task for task in needed if task.spec not in seen]
        costs[notebook] = cost_table(own, store)
        seen |= {task.spec for task in own}
    return costs


def read_title(notebook: str) -> str:
    """Return a notebook's first heading, its question; its name where it has none."""
    try:
        cells = read_notebook(notebook_path(notebook)).cells
    except (OSError, ValueError):  # said where it is executed
        return notebook
    source = "\n".join(cell.source for cell in cells)
    title = re.search(r"^# (.+)$", source, re.MULTILINE)
    return title[1] if title else notebook
