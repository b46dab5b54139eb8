"""The command line: `gsmlib report | prepare | run | plan | figures | claims | ...`."""

import os
import subprocess
import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from gsmlib import chapters, clock, environment
from gsmlib.chapters import export
from gsmlib.chapters.style import VENUES, TooLong
from gsmlib.environment import cache_folder
from gsmlib.files import check_folder, in_words
from gsmlib.records import SettingsError
from gsmlib.scales import DEFAULT_SCALE, SCALES
from gsmlib.settings import (
    as_text,
    check_scale,
    names_of,
    refuse_twice,
    split_text,
    write_more,
)
from gsmlib.study.store import StoreError

UNFINISHED = 75  # the exit code where the time given was not enough: EX_TEMPFAIL
INTERRUPTED = 130  # the exit code after Ctrl-C
app = typer.Typer(pretty_exceptions_enable=False)


def _names() -> list[str]:
    return [chapter.name for chapter in chapters.CHAPTERS]


Scale = Annotated[
    str,
    typer.Option(
        help=f"One of {', '.join(SCALES)}.",
        envvar="GSMLIB_SCALE",  # where the command line says nothing
        autocompletion=lambda: list(SCALES),
    ),
]
Notebook = Annotated[
    str, typer.Argument(help="Its name, or how this begins: 03.", autocompletion=_names)
]
Ray = Annotated[
    str, typer.Option(help="A Ray cluster's address, or auto: fill the store there.")
]
Parameters = Annotated[
    list[str], typer.Option("-p", help="A setting: -p NAME VALUE, may be repeated.")
]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"gsmlib {version('gsmlib')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
]


@app.callback()
def _options(version: Version = False) -> None:
    """GSM8K's verifier paper, figure by figure; `gsmlib notebooks` lists its parts."""
    environment.give_home()


@app.command()
def notebooks() -> None:
    """List the notebooks, each with its question."""
    from gsmlib.report.run import read_title

    width = max(map(len, _names()))
    for name in _names():
        print(f"{name:{width}}  {read_title(name)}")


@app.command()
def settings(notebook: Notebook, scale: Scale = DEFAULT_SCALE) -> None:
    """List a notebook's settings: the name, the scale's value, what it means."""
    chapter = chapters.find(notebook)
    values = {n: as_text(v) for n, v in chapter.resolve(scale=check_scale(scale))}
    name_width, width = (max(map(len, texts)) for texts in (values, values.values()))
    for name in names_of(chapter.kind):
        field = chapter.kind.model_fields[name]
        meaning = field.description or ""
        print(f"{name:{name_width}}  {values[name]:{width}}  {meaning}".rstrip())


@app.command(name="data")
def check_data(
    file: Annotated[str, typer.Argument(help="A file or folder of your own problems.")],
) -> None:
    """Check problems of your own: rows, train and test part, lengths, every fault."""
    from gsmlib.data.own import read_own, require_sound
    from gsmlib.method.inspection import describe, find_faults

    own = read_own(file)
    print(describe(own))
    faults = [*own.faults, *find_faults(own.name)]
    for fault in sorted(faults, key=lambda fault: fault.place):
        print(f"{fault.row}: {fault.what}" + f" ({fault.detail})" * bool(fault.detail))
    if faults:
        print(f"{len(faults):,} faults; `-p dataset` takes it when there are none.")
        raise typer.Exit(1)
    require_sound(own)  # neither part is empty
    print(f"No faults: use it with -p dataset '{file}'")


@app.command()
def prepare(
    notebook: Notebook = "",
    scale: Scale = DEFAULT_SCALE,
    p: Parameters = (),
    ray: Ray = "",
    minutes: Annotated[
        float | None,
        typer.Option(min=0.5, help="Stop by then; the same command goes on."),
    ] = None,
) -> None:
    """Compute all that a report, or one notebook, needs, and run no notebook.

    With --minutes it ends in time, with exit code 75 where something is left.
    """
    if ray and minutes:
        raise SettingsError("--minutes is for this machine alone: leave out --ray.")
    if minutes:
        clock.stop_after(minutes)  # before the next import, which takes seconds of it
    from gsmlib.report.run import fill_store

    _check_notebook_given(p, notebook, "prepare")
    asked = check_scale(scale), ray, notebook, _read_parameters(p)
    try:
        failed = fill_store(*asked)
    except clock.OutOfTime as left:
        print(left)
        raise typer.Exit(UNFINISHED) from None
    if failed:
        print(f"{len(failed)} stages failed, and all that rests on them is missing.")
        raise typer.Exit(1)


@app.command()
def report(
    scale: Scale = DEFAULT_SCALE,
    ray: Ray = "",
    publish: Annotated[
        bool, typer.Option("--publish", help="Then replace the pages in docs/report.")
    ] = False,
) -> None:
    """Run all notebooks; write them, the figures and one page to runs/<scale>/."""
    from gsmlib.report.run import run_report  # not needed to redraw figures

    if ray:
        prepare(scale=scale, ray=ray)
    outcomes = run_report(check_scale(scale))
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)
    if publish:
        from gsmlib.report.publish import publish as publish_pages

        print(f"Published: {publish_pages(scale)}")


@app.command()
def run(
    notebook: Notebook,
    scale: Scale = DEFAULT_SCALE,
    p: Parameters = (),
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="Then put it as executed, and its page, into docs/<scale> of the "
            "checkout, in the place of what is there.",
        ),
    ] = False,
) -> None:
    """Run one notebook with any of its settings; a trial gets a folder of its own."""
    from gsmlib.report.publish import publish_run, runs_folder
    from gsmlib.report.run import page_of, run_notebook, warn_of_cost

    asked = notebook.removesuffix(".ipynb"), check_scale(scale), _read_parameters(p)
    if publish:  # refused before anything is computed
        check_folder(runs_folder(scale), "")
    costly = "" if yes else warn_of_cost(*asked)
    if costly and not sys.stdin.isatty():
        raise SettingsError(f"{costly}; give --yes to start it all the same.")
    if costly and not typer.confirm(f"{costly}. Start it?"):
        raise typer.Exit(1)
    outcome = run_notebook(*asked)
    if outcome.error:
        raise typer.Exit(1)
    if publish:
        print(f"Published: {publish_run(page_of(*asked), scale)}")


@app.command(name="figures")
def redraw_figures(
    folder: Annotated[Path | None, typer.Argument(help="Where the CSVs are.")] = None,
    venue: Annotated[
        str, typer.Option("--for", help=f"Size and fonts: {', '.join(VENUES)}.")
    ] = "",
) -> None:
    """Redraw all figures from their CSVs; nothing is computed.

    They are those of GSMLIB_FIGURES, if it is set, else the project's. For a venue they
    go into a folder of its name beside the CSVs.
    """
    if venue not in ("", *VENUES):
        known = ", ".join(VENUES)
        raise SettingsError(f"There is no venue {venue!r}; there are {known}.")
    usual = environment.project_root() / "figures"
    folder = folder or environment.folder_of("GSMLIB_FIGURES", usual)
    folder = Path(os.path.expanduser(folder))
    found = {csv: chapters.find_figure(csv) for csv in _tables_in(folder)}
    if not any(found.values()):
        raise SettingsError(f"There are no figures' CSVs in {folder}.")
    for csv, figure in found.items():
        if figure is None:
            continue
        try:
            files = export.redraw(figure, csv, csv.parent / venue, venue)
            print(", ".join(path.name for path in files))
        except TooLong as error:
            print(f"{csv.stem} is left out: {error}.")


def _tables_in(folder: Path) -> list[Path]:
    """Return the CSVs in a folder, and in the folders right below it."""
    return sorted([*folder.glob("*.csv"), *folder.glob("*/*.csv")])


@app.command()
def claims(
    scale: Scale = DEFAULT_SCALE,
    write: Annotated[
        bool, typer.Option("--write", help="Write claims.json and its figure anew.")
    ] = False,
) -> None:
    """Print the ledger: each claim's verdict from a scale's exported tables."""
    from gsmlib.chapters.ledger import print_ledger

    print_ledger(chapters.CHAPTERS, check_scale(scale), write)


@app.command()
def plan(
    notebook: Notebook = "", scale: Scale = DEFAULT_SCALE, p: Parameters = ()
) -> None:
    """List what a report, or one notebook, would compute, and about how long."""
    from gsmlib.report.run import print_plan

    _check_notebook_given(p, notebook, "plan")
    print_plan(check_scale(scale), notebook, _read_parameters(p))


@app.command(name="curves")
def show_curves(
    samples: Annotated[list[str], typer.Argument(help="Files of completions.")],
    scores: Annotated[
        list[str], typer.Option(help="A column to rank by; may be repeated.")
    ] = (),
    gold: Annotated[
        str, typer.Option(help="Right answers: gsm8k-test, or a file of them.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Write figures and tables to this folder.")
    ] = None,
) -> None:
    """Say what choosing among your own completions gives: test@n, votes, best-of-n.

    Reads logged samples of lm-evaluation-harness, OVM's outputs, the released
    solutions, and tables (JSON lines, CSV, parquet) as they are.
    """
    from gsmlib import curves

    columns = [name for given in scores for name in split_text(given)]
    read = [curves.read(file, columns, gold) for file in samples]
    found = curves.table(*read)
    print("\n".join(curves.describe(*read)), end="\n\n")
    print(curves.summary(found), end="\n\n")
    if found["samples"].nunique() > 1:
        differences = curves.differences(*read)
        print(curves.summary_of_differences(differences), end="\n\n")
    print(curves.summary_of_extraction(curves.extraction(*read)))
    differ = len(curves.rows_that_differ(*read))
    print(f"Completions right by one of the rules alone: {differ:,}.")
    if out is not None:
        files = curves.write(out, *read)
        print(f"Written: {len(files)} files in {files[0].parent}")


@app.command(name="export")
def export_stages(
    notebook: Notebook,
    keys: Annotated[
        list[str], typer.Argument(help="How stages' keys begin; without one, all.")
    ] = (),
    scale: Scale = DEFAULT_SCALE,
    p: Parameters = (),
    out: Annotated[Path, typer.Option(help="The folder they go to.")] = Path("."),
    every: Annotated[
        bool, typer.Option("--all", help="Those that verifiers learn from, too.")
    ] = False,
) -> None:
    """Write a notebook's completions and scores as parquet; nothing is computed.

    One file a stage, with its spec, key and versions in its metadata; `gsmlib curves`
    reads them.
    """
    from gsmlib.report.run import export_completions

    given = _read_parameters(p)
    for path, spec in export_completions(
        check_scale(scale), notebook, given, out, keys, every
    ):
        print(f"{path}  {spec.describe()}")


@app.command(name="import")
def import_stages(
    files: Annotated[list[Path], typer.Argument(help="What `gsmlib export` wrote.")],
) -> None:
    """Take exported completions into this store; nothing is computed.

    What was sampled on one machine is so verified, scored or drawn on another.
    """
    from gsmlib.study.handing import take_in
    from gsmlib.study.store import Store

    store, refused = Store(), 0
    for file in files:
        try:
            spec, new = take_in(file, store)
        except SettingsError as error:
            refused += 1
            print(error)
        else:
            print(f"{'Taken' if new else 'There already'}: {file}  {spec.describe()}")
    if refused:
        raise SettingsError(f"{refused} of {len(files)} files were not taken.")


@app.command()
def regime(
    scale: Scale = "mini",
    p: Parameters = (),
    write: Annotated[
        bool, typer.Option("--write", help="Write docs/regime.json and its table.")
    ] = False,
) -> None:
    """Measure, on development problems, whether models of a scale can check at all."""
    from gsmlib.chapters import verification
    from gsmlib.study.store import Store

    given = _read_parameters(p)
    more = given.pop("more", "")
    more = f"{write_more(given)} {more}"
    settings = verification.CHAPTER.settings(more, scale=scale, split="dev")
    table = verification.regime_table(settings, Store())
    print(table.round(3).to_string(index=False, na_rep=""))
    if write:
        verification.write_regime(table, environment.project_root() / "docs")


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender.")] = 5,
    smollm2: Annotated[bool, typer.Option(help="SmolLM2-135M too.")] = True,
    tokens: Annotated[
        int, typer.Option(min=100_000, help="Of the long training.")
    ] = 10_000_000,
) -> None:
    """Measure speed beside what one would otherwise use; write benchmarks/results.json.

    Takes half an hour; anything else that runs meanwhile is in the numbers. The file
    keeps the last run of each processor.
    """
    script = environment.project_root() / "benchmarks" / "bench.py"
    if not script.is_file():
        raise SettingsError(f"{script} is missing: only a checkout of gsmlib has it.")
    options = ["--rounds", str(rounds), "--smollm2" if smollm2 else "--no-smollm2"]
    options += ["--tokens", str(tokens)]
    done = subprocess.run([sys.executable, script, *options])
    raise typer.Exit(done.returncode)


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="A mini-GPT's size, such as mini-2m.")],
    steps: Annotated[
        int, typer.Option(min=0, help="A shorter course than the size's own (0).")
    ] = 0,
) -> None:
    """Pretrain a mini-GPT on MiniGSM's running text; files go to the cache.

    What is shipped was made so: copy the two files to gsmlib/weights to ship others.
    """
    from gsmlib.method import pretraining  # torch: not for figures alone

    folder = cache_folder() / "pretrained"
    record = pretraining.pretrain(name, folder, steps=steps)
    print(
        f"{name}: {record['parameters']:,} parameters, {record['texts']:,} passages "
        f"({record['tokens']:,} tokens) in {record['minutes']} minutes; loss "
        f"{list(record['loss'].values())[-1]:.2f} nats a token."
    )
    print(f"Written: {folder / name}.safetensors and {folder / name}.json")


def _join_parameters(arguments: list[str]) -> list[str]:
    """Rewrite papermill's `-p name value` as the `-p name=value` that typer reads."""
    joined, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        joined.append(argument)
        if argument != "-p":
            continue
        if rest and "=" not in rest[0]:
            if len(rest) < 2:
                raise SettingsError("-p needs a name and a value.")
            rest[:2] = [f"{rest[0]}={rest[1]}"]
        joined += rest[:1]
        del rest[:1]
    return joined


def _check_notebook_given(p: list[str], notebook: str, command: str) -> None:
    """Refuse settings that are no one notebook's."""
    if p and not notebook:
        raise SettingsError(f"-p needs a notebook: gsmlib {command} 03 -p epochs 3.")


def _read_parameters(p: list[str]) -> dict[str, str]:
    """Return what -p gives by name; `more` is one of them, as it is for papermill."""
    if any("=" not in item for item in p):
        raise SettingsError("-p needs a name and a value.")
    refuse_twice([item.partition("=")[0] for item in p])
    given = dict(item.split("=", 1) for item in p)
    if "scale" in given:
        raise SettingsError("The scale is no -p: give it as --scale.")
    return given


def _sentence(error: Exception) -> str | None:
    """Return what to tell a user, or None where only a traceback can help."""
    if isinstance(error, OSError):
        return in_words(error)
    if isinstance(error, ValueError | StoreError):
        return str(error)
    # typer's own errors (a missing argument), whose classes it does not export
    usage = getattr(error, "format_message", None)
    return usage() if usage else None


def main() -> None:
    """Run the command; an error is one sentence and exit code 2, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may know ASCII alone
    try:
        arguments = _join_parameters(sys.argv[1:]) or ["--help"]
        code = app(arguments, prog_name="gsmlib", standalone_mode=False)
    except typer.Abort:  # Ctrl-C, in an older typer
        code = INTERRUPTED
    except Exception as error:
        message, code = _sentence(error), 2
        if message is None:
            raise
        print(f"gsmlib: {message}", file=sys.stderr)
    if code == INTERRUPTED:
        message = "Stopped; finished work is kept, the same command goes on from there."
        print(f"\ngsmlib: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
