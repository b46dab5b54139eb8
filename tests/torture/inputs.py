"""Mistakes that people make, and the sentence each gets before computing starts."""

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml
from IPython.core.interactiveshell import InteractiveShell
from papermill.cli import _resolve_type
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from traitlets.config import Config
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from gsmlib import cli
from gsmlib.chapters import resolve
from gsmlib.data import gsm8k
from gsmlib.environment import project_root
from gsmlib.method.decoding import Rules, sample_completions
from gsmlib.method.models import load_language_model
from gsmlib.report import run as report
from gsmlib.study import pool
from gsmlib.study.results import obtain
from gsmlib.study.store import Place, Store
from torture import study

ENVIRONMENT = ("GSMLIB_SCALE", "GSMLIB_CACHE", "GSMLIB_WORKERS", "GSM8K_DIR")
NATALIA = {"question": "How many?", "answer": "2+2=<<2+2=4>>4\n#### 4"}
TOKENS = "<|endoftext|> a b c d e f g h".split()


class Mistake(NamedTuple):
    """What somebody did, where, how to do it again, and what the sentence must say."""

    where: str
    what: str
    make: Callable[[Path], None]
    words: tuple[str, ...]


class Computed(Exception):
    """Computing began, although the input was wrong."""


# --------------------------------------------------------------------- how it is typed


def notebook(name: str, **parameters: Any) -> Callable[[Path], None]:
    """Return the making of settings in a notebook whose parameters cell was edited."""
    return lambda _: resolve(name, **parameters)


def papermill(name: str, *options: str) -> Callable[[Path], None]:
    """Return `papermill name.ipynb -` with options, up to where computing would start.

    The parameters are typed and injected by papermill itself.
    """

    def make(_: Path) -> None:
        path = project_root() / "notebooks" / f"{name}.ipynb"
        injected = parameterize_notebook(load_notebook_node(str(path)), _typed(options))
        shell = InteractiveShell.instance(config=NO_HISTORY)
        try:
            for cell in injected.cells:
                if cell.cell_type == "code" and "settings" not in shell.user_ns:
                    source = cell.source.partition("store = Store()")[0]
                    with redirect_stdout(io.StringIO()):
                        ran = shell.run_cell(source, store_history=True)
                    ran.raise_error()
        finally:
            InteractiveShell.clear_instance()
        raise Computed

    return make


def _typed(options: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters as papermill's command line reads them."""
    values: dict[str, Any] = {}
    for option in options:
        kind, text = option.split(" ", 1)
        if kind == "-y":
            values |= yaml.safe_load(text)
        else:
            name, _, value = text.partition(" ")
            values[name] = _resolve_type(value) if kind == "-p" else value
    return values


def command(*arguments: str) -> Callable[[Path], None]:
    """Return a run of the command line; its sentence is raised again as an error.

    `{}` in an argument stands for the case's folder.
    """

    def make(folder: Path) -> None:
        argv = ["gsmlib", *(a.replace("{}", str(folder)) for a in arguments)]
        said = io.StringIO()
        with (
            mock.patch.object(sys, "argv", argv),
            mock.patch.object(report, "prepare", _computed),
            mock.patch.object(report, "execute", _computed),
            redirect_stderr(said),
            redirect_stdout(io.StringIO()),
        ):
            try:
                cli.main()
            except SystemExit as end:
                assert end.code == 2, f"exit code {end.code}: {said.getvalue()}"
        raise ValueError(said.getvalue().strip())

    return make


def _computed(*_: object, **__: object) -> None:
    raise Computed


def environment(make: Callable[[Path], None], **values: str) -> Callable[[Path], None]:
    """Return the same under environment variables; `{}` is the case's folder."""

    def made(folder: Path) -> None:
        given = {name: text.replace("{}", str(folder)) for name, text in values.items()}
        with mock.patch.dict(os.environ, given):
            make(folder)

    return made


# ------------------------------------------------------------------- files of one's own


def data(content: bytes, released: bytes = b"", split: str = "test") -> Callable:
    """Return the reading of a GSM8K file with this content, where `released` is right.

    The sizes and sums of the real release are replaced by those of `released`.
    """
    right = released or rows(NATALIA, other("Who?"))
    digest = gsm8k._digest(right, "sha256:")
    known = gsm8k.DataFile(right.count(b"\n"), digest)

    def make(folder: Path) -> None:
        (folder / f"{split}.jsonl").write_bytes(content)
        patched = {**gsm8k.FILES, f"{split}.jsonl": known}
        with mock.patch.object(gsm8k, "FILES", patched):
            gsm8k.load_gsm8k(split)
        raise Computed

    return environment(make, GSM8K_DIR="{}")


def other(question: str) -> dict[str, str]:
    """Return a row with another question."""
    return NATALIA | {"question": question}


def rows(*values: object) -> bytes:
    """Return values as lines of JSON."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def model(
    change: Callable[[Path], object] | None = None, **changes: Any
) -> Callable[[Path], None]:
    """Return the finetuning of a saved model that has something wrong with it.

    changes: `words` of the tokenizer, `vocabulary` of the model, `positions`, and
    tokenizer arguments. `change` spoils the saved folder further.
    """

    def make(folder: Path) -> None:
        words = changes.get("words", TOKENS)
        size = changes.get("vocabulary", len(words))
        positions = changes.get("positions", 400)
        config = GPT2Config(
            n_embd=8, n_layer=1, n_head=1, vocab_size=size, n_positions=positions
        )
        GPT2LMHeadModel(config).save_pretrained(folder / "model")
        _tokenizer(words, changes.get("end", TOKENS[0])).save_pretrained(
            folder / "model"
        )
        if change is not None:
            change(folder / "model")
        _finetune(str(folder / "model"), folder)

    return make


def _tokenizer(words: list[str], end: str | None) -> PreTrainedTokenizerFast:
    known = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(known, unk_token=words[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


def _finetune(name: str, folder: Path) -> None:
    """Finetune a model by name, up to the first step; sample from it where it is."""
    spec = study.last_stages(study.settings(name))[0]
    while hasattr(spec, "generator") or hasattr(spec, "completions"):
        spec = getattr(spec, "generator", None) or spec.completions
    with (
        mock.patch("gsmlib.method.training.take_step", _computed),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        obtain(spec, Store(folder / "store"))
    raise Computed


def unlink(name: str) -> Callable[[Path], object]:
    """Return the removal of a file of a model's folder."""
    return lambda folder: (folder / name).unlink()


def replace(name: str, content: bytes) -> Callable[[Path], object]:
    """Return the replacement of a file of a model's folder."""
    return lambda folder: (folder / name).write_bytes(content)


def sampled(**changes: Any) -> Callable[[Path], None]:
    """Return a direct call of the sampler with a setting that cannot be served."""

    def make(_: Path) -> None:
        given = dict(temperature=0.7, seed=0, max_length=60) | changes
        lm = load_language_model("tiny:random")
        sample_completions(lm, ["1?"], given.pop("n", 1), Rules(**given))
        raise Computed

    return make


def written(name: str, text: str, make: Callable[[Path], None]) -> Callable:
    """Return the same with a file in the case's folder."""

    def made(folder: Path) -> None:
        (folder / name).write_text(text)
        make(folder)

    return made


NO_HISTORY = Config({"HistoryManager": {"enabled": False}})  # nothing is written
NB, PM, CLI, ENV = "notebook cell", "papermill", "command line", "environment"
DATA, MODEL, CALL = "data file", "model", "library call"
N2, N3, N5 = "02_test_at_n", "03_verification", "05_verifier_ablations"
N6, N9 = "06_test_time_compute", "09_open_points"
PLAIN = command("run", N2, "--scale", "smoke")

MISTAKES = [
    Mistake(NB, "scale misspelt", notebook(N2, scale="qiuck"), ("'qiuck'", "smoke")),
    Mistake(NB, "a number in words", notebook(N2, epochs="many"), ("epochs", "'many'")),
    Mistake(NB, "a negative number", notebook(N2, epochs=-1), ("epochs", "-1")),
    Mistake(NB, "half an epoch", notebook(N2, epochs=1.5), ("epochs", "1.5")),
    Mistake(NB, "a list for a number", notebook(N2, epochs=[3]), ("epochs", "[3]")),
    Mistake(NB, "an unknown setting", notebook(N2, epoch=3), ("'epoch'", "epochs")),
    Mistake(NB, "dropout of 50", notebook(N2, more="dropout=50"), ("dropout", "50")),
    Mistake(NB, "`more` without =", notebook(N2, more="dropout"), ("name=value",)),
    Mistake(
        NB,
        "`more` with commas between",
        notebook(N2, more="dropout=0.1,epochs=2"),
        ("dropout", "0.1,epochs=2"),
    ),
    Mistake(NB, "an unknown precision", notebook(N2, precision="fp8"), ("precision",)),
    Mistake(NB, "a dataset that is none", notebook(N2, dataset="gsm9k"), ("dataset",)),
    Mistake(
        NB,
        "more problems than GSM8K has",
        notebook(N2, scale="gpt2", n_train=9999),
        ("9999", "7473"),
    ),
    Mistake(
        NB,
        "one rate for two models",
        notebook(N3, models=["mini-0.5m", "mini-2m"], learning_rates=[1e-3]),
        ("2 models", "not 1"),
    ),
    Mistake(NB, "a training size of 0", notebook(N3, sizes=[0, 10]), ("sizes", "0")),
    Mistake(NB, "a negative seed", notebook(N3, seeds=[-1]), ("seeds", "-1")),
    Mistake(
        NB,
        "three models for Fig 6c",
        notebook(N5, models=["a", "b", "c"]),
        ("two models", "not 3"),
    ),
    Mistake(
        NB,
        "more completions ranked than sampled",
        notebook(N6, counts=[10**6]),
        ("1000000",),
    ),
    Mistake(
        NB,
        "an ablation of more than there is",
        notebook(N9, ablation_completions=10**6),
        ("1000000",),
    ),
    Mistake(
        NB,
        "a temperature of -1",
        notebook(N3, more="temperature=-1"),
        ("temperature", "-1"),
    ),
    Mistake(NB, "NaN", notebook(N3, more="temperature=nan"), ("temperature", "nan")),
    Mistake(NB, "a notebook that is none", notebook("12_none"), ("'12_none'",)),
    Mistake(PM, "-p epochs -3", papermill(N2, "-p epochs -3"), ("epochs", "-3")),
    Mistake(PM, "-p epoch 3", papermill(N2, "-p epoch 3"), ("'epoch'", "epochs")),
    Mistake(PM, "-p epochs two", papermill(N2, "-p epochs two"), ("epochs", "'two'")),
    Mistake(PM, "-p sizes 10;20", papermill(N3, "-p sizes 10;20"), ("sizes", "10;20")),
    Mistake(PM, "-r scale Smoke", papermill(N3, "-r scale Smoke"), ("'Smoke'",)),
    Mistake(PM, "-y {seeds: [a]}", papermill(N3, "-y {seeds: [a]}"), ("seeds", "'a'")),
    Mistake(PM, "-y {sizes: {a: 1}}", papermill(N3, "-y {sizes: {a: 1}}"), ("sizes",)),
    Mistake(
        PM,
        "-y more as a mapping",
        papermill(N3, "-y {more: {dropout: 0.2}}"),
        ("more",),
    ),
    Mistake(
        PM,
        "-p more dropout:0.2",
        papermill(N3, "-p more dropout:0.2"),
        ("dropout:0.2",),
    ),
    Mistake(CLI, "a misspelt scale", command("report", "--scale", "big"), ("'big'",)),
    Mistake(
        CLI, "a misspelt option", command("report", "--sclae", "smoke"), ("--sclae",)
    ),
    Mistake(
        CLI, "an option without its value", command("report", "--scale"), ("--scale",)
    ),
    Mistake(CLI, "no notebook", command("run"), ("notebook",)),
    Mistake(CLI, "a number of no notebook", command("run", "99"), ("'99'", N2)),
    Mistake(
        CLI, "a misspelt setting", command("run", N2, "-p", "epoch", "3"), ("'epoch'",)
    ),
    Mistake(CLI, "-p with a name alone", command("run", N2, "-p", "epochs"), ("-p",)),
    Mistake(CLI, "-p epochs=3.5", command("run", N2, "-p", "epochs=3.5"), ("epochs",)),
    Mistake(CLI, "-p =3", command("run", N2, "-p", "=3"), ("''",)),
    Mistake(CLI, "a command that is none", command("dance"), ("dance",)),
    Mistake(CLI, "a word too much", command("plan", "smoke"), ("smoke",)),
    Mistake(
        CLI, "figures of an empty folder", command("figures", "{}"), ("no figures",)
    ),
    Mistake(
        CLI,
        "figures for a venue that is none",
        command("figures", "--for", "icml"),
        ("'icml'",),
    ),
    Mistake(
        CLI,
        "a figure's CSV that is empty",
        written("fig3_a.csv", "", command("figures", "{}")),
        ("fig3_a.csv",),
    ),
    Mistake(
        CLI,
        "a figure's CSV without its columns",
        written("fig3_a.csv", "a,b\n1,2\n", command("figures", "{}")),
        ("fig3_a.csv",),
    ),
    Mistake(
        CLI,
        "pretraining a size that is none",
        command("pretrain", "mini-9m"),
        ("mini-9m", "mini-2m"),
    ),
    Mistake(
        ENV,
        "GSMLIB_SCALE=big",
        environment(command("run", N2), GSMLIB_SCALE="big"),
        ("'big'",),
    ),
    Mistake(
        ENV,
        "GSMLIB_WORKERS=all",
        environment(lambda _: pool.count_workers(), GSMLIB_WORKERS="all"),
        ("'all'",),
    ),
    Mistake(
        ENV,
        "GSMLIB_WORKERS=0",
        environment(lambda _: pool.count_workers(), GSMLIB_WORKERS="0"),
        ("'0'",),
    ),
    Mistake(
        ENV,
        "GSMLIB_CACHE is a file",
        written(
            "f",
            "",
            environment(
                lambda _: Store().get(Place("stage", {}), _computed),
                GSMLIB_CACHE="{}/f",
            ),
        ),
        ("cannot be written", "GSMLIB_CACHE"),
    ),
    Mistake(
        ENV,
        "GSM8K_DIR does not exist",
        environment(lambda _: gsm8k.load_gsm8k("test"), GSM8K_DIR="{}/nowhere"),
        ("nowhere", "does not exist"),
    ),
    Mistake(
        ENV,
        "GSM8K_DIR without the file",
        environment(lambda _: gsm8k.load_gsm8k("test"), GSM8K_DIR="{}"),
        ("test.jsonl", "does not exist"),
    ),
    Mistake(
        DATA,
        "a key is missing",
        data(rows(NATALIA, {"question": "?"})),
        ("line 2", "'answer'"),
    ),
    Mistake(
        DATA,
        "a number for a question",
        data(rows(NATALIA, other(5))),
        ("line 2", "'question'"),
    ),
    Mistake(DATA, "a list in place of rows", data(rows([NATALIA])), ("JSON list",)),
    Mistake(
        DATA,
        "cut off in the middle",
        data(rows(NATALIA, NATALIA)[:-30]),
        ("line 2", "truncated"),
    ),
    Mistake(DATA, "empty", data(b""), ("line 1",)),
    Mistake(
        DATA, "an empty line", data(rows(NATALIA) + b"\n" + rows(NATALIA)), ("line 2",)
    ),
    Mistake(
        DATA,
        "a byte order mark",
        data(b"\xef\xbb\xbf" + rows(NATALIA)),
        ("byte order mark",),
    ),
    Mistake(
        DATA,
        "Windows line ends",
        data(rows(NATALIA, other("Who?")).replace(b"\n", b"\r\n")),
        ("CRLF",),
    ),
    Mistake(
        DATA, "Latin-1", data('{"question": "é"}\n'.encode("latin-1")), ("line 1",)
    ),
    Mistake(
        DATA,
        "a question twice",
        data(rows(NATALIA, NATALIA)),
        ("line 2 repeats the question of line 1",),
    ),
    Mistake(
        DATA,
        "a test question in train",
        data(rows(NATALIA, other("Test?")), split="train"),
        ("train.jsonl", "differs"),
    ),
    Mistake(
        DATA,
        "an answer put right by hand",
        data(rows(NATALIA, other("Who?") | {"answer": "#### 5"})),
        ("differs",),
    ),
    Mistake(DATA, "a row too many", data(rows(NATALIA, NATALIA, NATALIA)), ("3 rows",)),
    Mistake(
        MODEL,
        "a name that is none",
        lambda folder: _finetune("no-such/model", folder),
        ("'no-such/model'",),
    ),
    Mistake(
        MODEL,
        "a mini-GPT that is none",
        lambda folder: _finetune("mini-9m:random", folder),
        ("'mini-9m'",),
    ),
    Mistake(MODEL, "no end token", model(end=None), ("no end token",)),
    Mistake(
        MODEL,
        "a vocabulary smaller than the tokenizer's",
        model(vocabulary=4),
        ("4 tokens", "9"),
    ),
    Mistake(
        MODEL, "fewer positions than the longest row", model(positions=16), ("16",)
    ),
    Mistake(MODEL, "no config.json", model(unlink("config.json")), ("config.json",)),
    Mistake(MODEL, "no weights", model(unlink("model.safetensors")), ("safetensors",)),
    Mistake(
        MODEL,
        "weights cut off",
        model(replace("model.safetensors", b"\x08")),
        ("model",),
    ),
    Mistake(
        MODEL,
        "a config that is no JSON",
        model(replace("config.json", b"{")),
        ("config.json",),
    ),
    Mistake(
        MODEL,
        "a tokenizer that is no JSON",
        model(replace("tokenizer.json", b"{")),
        ("model",),
    ),
    Mistake(
        CALL,
        "longer than the model's positions",
        sampled(max_length=4000),
        ("4000", "400"),
    ),
    Mistake(CALL, "no completions", sampled(n=0), ("at least 1",)),
    Mistake(CALL, "a temperature below 0", sampled(temperature=-1.0), ("-1.0",)),
]


# ------------------------------------------------------------------------- running them


def run_inputs(
    folder: Path, seed: int, count: int, deadline: float
) -> tuple[dict, list[str]]:
    """Make every mistake (or the first `count`); note the sentence each gets."""
    table, faults = [], []
    for number, mistake in enumerate(MISTAKES[: count or None]):
        if time.monotonic() > deadline:
            break
        place = folder / f"case-{number}"
        place.mkdir()
        with _plain_environment(place):
            sentence, fault = commit(mistake, place)
        shown = sentence.replace(str(place), "DIR").replace(str(Path.cwd()), "DIR")
        table.append([mistake.where, mistake.what, shown])
        faults += [f"{mistake.where}, {mistake.what}: {fault}"] if fault else []
    return {"bad_inputs": len(table), "table": table}, faults


@contextmanager
def _plain_environment(folder: Path) -> Iterator[None]:
    values = {
        name: text for name, text in os.environ.items() if name not in ENVIRONMENT
    }
    values |= {"GSMLIB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    logging.disable(logging.ERROR)
    with mock.patch.dict(os.environ, values, clear=True):
        yield
    logging.disable(logging.NOTSET)


def commit(mistake: Mistake, folder: Path) -> tuple[str, str | None]:
    """Make a mistake; return the sentence it got, and what is wrong with that."""
    try:
        mistake.make(folder)
    except Computed:
        return "", "computing starts."
    except (ValueError, OSError, RuntimeError) as error:
        sentence = str(error).removeprefix("gsmlib: ")
    except Exception as error:  # a traceback is what nobody should get
        return repr(error), f"ends in {error!r:.200}."
    else:
        return "", "nothing is said."
    if "\n" in sentence or not sentence or len(sentence) > 600:
        return sentence, f"is told {sentence[:300]!r}."
    missing = [word for word in mistake.words if word not in sentence]
    return sentence, f"is told {sentence!r} without {missing}." if missing else None
