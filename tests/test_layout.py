"""The house rules that a machine can check: import order, short functions, no eval."""

import ast
import doctest
import importlib
import re
import statistics
import subprocess
import sys
from itertools import chain

import pytest

from gsmlib.environment import project_root

# A module imports only modules before it, lazily imported ones included; a * stands for
# any chapter's folder. data/__init__ alone collects its folder's modules in a function.
ORDER = """
    clock files progress records paper environment scales settings
    data data.kinds data.worlds data.own data.gsm8k data.completions data.samples
    data.schoolwork data.checker
    method method.recipe method.folders method.sizes method.answers method.calculator
    method.inspection method.planted method.tokenizer
    method.smollm2 method.pretrained method.models method.engine method.decoding
    method.search
    method.attention method.batching method.losses method.checks method.training
    method.pretraining method.competence method.verifier method.selection
    method.labels method.metrics method.foresight
    method.intervals
    study study.specs study.store study.estimates study.stages study.parts study.making
    study.results study.handing study.checks study.pool study.cluster
    chapters.rules chapters.style chapters.textpage chapters.export chapters.record
    chapters.shown chapters.study_settings chapters.shared chapters.*.settings
    chapters.*.grid chapters.*.errors chapters.*.regime chapters.*.verdicts
    chapters.*.figures chapters.* chapters
    chapters.ledger curves
    report report.page report.execute report.explorer report.run report.publish
    cli
    __main__
""".split()
ROOT = project_root()
MODULES = sorted((ROOT / "gsmlib").rglob("*.py"))
BESIDE = [
    path for name in ("benchmarks", "extras") for path in (ROOT / name).glob("*.py")
]
CODE = MODULES + sorted(BESIDE)
SOURCES = CODE + sorted((ROOT / "tests").glob("*.py"))
FORBIDDEN = {
    "pickles": r"\bimport pickle\b|\btorch\.(load|save)\(|weights_only=False",
    "evaluated text": r"(?<![\w.])(eval|exec)\(",
    "an open end": r"\b(TO" + r"DO|FIX" + r"ME|XXX)\b|NotImplemented" + "Error",
    "a silenced check": r"type: ignore|pragma: no " + r"cover|except:\s*$",
    "global seeding": r"(?<!torch\.)\b(np\.random|random)\.seed\(|set_seed\(",
    "token ids": r"token(_id)? ?= ?[0-9]",
    "signals": r"\bimport signal\b|SIGALRM",
    "threads set": r"set_num_threads\(",
}


def name_of(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removeprefix("gsmlib.").removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def imports_of(tree):
    """All gsmlib modules that a module imports, lazily imported ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner.removeprefix("gsmlib.") in NAMES
                yield inner if is_module else node.module


def rank(module):
    room, _, rest = module.partition(".")
    folder, _, part = rest.partition(".")
    if module not in ORDER and room == "chapters":
        module = f"chapters.*.{part}" if part else "chapters.*"
    return ORDER.index(module)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_only_what_stands_above_them(path):
    name = name_of(path)
    if name == "__init__":
        return
    imported = {
        m.removeprefix("gsmlib.") for m in imports_of(ast.parse(path.read_text()))
    }
    # data/__init__ collects its folder's modules inside a function
    inner = {"data", "data.own", "data.gsm8k", "data.worlds"}
    allowed = inner if name == "data" else set()
    late = [m for m in imported & NAMES - allowed if rank(m) >= rank(name)]
    assert not late, f"{name} imports {late}, which stand below it"


def functions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def lines_of(function):
    """Lines of code: the signature and the docstring are not counted."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    trees = {path: ast.parse(path.read_text()) for path in CODE}
    lengths = {
        f"{name_of(path)}.{function.name}": lines_of(function)
        for path, tree in trees.items()
        for function in functions(tree)
    }
    assert not {name: n for name, n in lengths.items() if n > 40}
    assert statistics.median(lengths.values()) <= 12


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring and len(docstring.splitlines()) <= 10
    kinds = (ast.FunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]
    assert not [node.name for node in public if ast.get_docstring(node) is None]


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_signatures_have_types(path):
    missing = [
        f"{function.name}({argument.arg})"
        for function in functions(ast.parse(path.read_text()))
        for argument in chain(
            function.args.posonlyargs, function.args.args, function.args.kwonlyargs
        )
        if argument.annotation is None and argument.arg not in ("self", "cls")
    ]
    assert not missing


def test_modules_are_short():
    assert not [name_of(p) for p in CODE if len(p.read_text().splitlines()) > 500]


EXAMPLES = [path for path in MODULES if ">>>" in path.read_text()]


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_the_examples_in_docstrings_hold(path):
    module = importlib.import_module(f"gsmlib.{name_of(path)}")
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_the_house_rules_out(what):
    # a pool alone knows what else computes beside a stage
    allowed = {"threads set": "pool.py"}.get(what)
    found = [
        f"{path.name}: {match.group(0)}"
        for path in CODE
        if path.name != allowed
        for match in re.finditer(FORBIDDEN[what], path.read_text(), re.MULTILINE)
    ]
    assert not found


def test_only_study_and_what_stands_above_it_touch_the_store():
    users = {
        name_of(path)
        for path in CODE
        if "gsmlib.study.store" in set(imports_of(ast.parse(path.read_text())))
    }
    users = {name.partition(".")[0] for name in users}
    assert users <= {"study", "chapters", "cli", "report"}


def test_reading_what_is_in_the_store_needs_no_torch():
    heavy = {"torch", "transformers", "accelerate"}
    code = (
        "import sys; from gsmlib import chapters; from gsmlib.chapters import ledger; "
    )
    code += "from gsmlib.report import run; from gsmlib.study import pool; "
    code += f"print(*({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.decode().split() == []


def test_no_path_of_one_machine():
    texts = [*SOURCES, *ROOT.glob("*.*"), *(ROOT / "notebooks").glob("*.ipynb")]
    places = re.compile(r"/(home|Users|work|opt|tmp|root)/\w")
    texts = [p for p in texts if p.is_file() and p.name != ".git"]  # a worktree's
    found = [path.name for path in texts if places.search(path.read_text())]
    assert not found
