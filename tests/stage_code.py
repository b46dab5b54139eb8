"""What each stage is made of, found from its maker: the reminder to raise a version.

`python tests/stage_code.py` (or `make versions`) notes the code as it is now in
tests/stage_code.json, and the defaults of the stages' records in
gsmlib/study/defaults.json. Comments, docstrings and layout do not count.

A stage is made of its maker in gsmlib/study/making.py and of all that this calls: the
functions, classes and constants of gsmlib that its code names, and so on from these.
"""

import ast
import hashlib
import io
import json
import symtable
import tokenize
import typing
from functools import cache
from pathlib import Path

from gsmlib.environment import project_root
from gsmlib.records import Record
from gsmlib.study.stages import STAGES

FILE = Path(__file__).with_suffix(".json")
DEFAULTS = project_root() / "gsmlib" / "study" / "defaults.json"
MAKERS = "gsmlib.study.making"
# What is asked for, and where it lies, are not how it is made.
ROOMS_APART = {"gsmlib.study.store", "gsmlib.records"}
SPECS = "gsmlib.study.specs"  # of its classes what is computed from fields counts alone
NOT_COMPUTED = ("check", "describe", "_possible")
APART = {("gsmlib.study.stages", "locate"), ("gsmlib.environment", "cache_folder")}

Sources = dict[str, str]  # by the module's name
Name = tuple[str, str]  # a module, and what it defines


def read_sources() -> Sources:
    """Return the source of all modules of gsmlib."""
    found = {}
    for path in sorted((project_root() / "gsmlib").rglob("*.py")):
        parts = path.relative_to(project_root()).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = path.read_text(encoding="utf-8")
    return found


# ------------------------------------------------------------------------- the closure


class Module(typing.NamedTuple):
    """A module's definitions by name, and what its imports call by which name."""

    defined: dict[str, list[ast.stmt]]
    imported: dict[str, Name]


@cache
def parse(source: str) -> Module:
    """Return what a module defines at its top level, and all that it imports."""
    tree = ast.parse(source)
    defined: dict[str, list[ast.stmt]] = {}
    for node in statements(tree.body):
        for name in names_defined(node):
            defined.setdefault(name, []).append(node)
    imported: dict[str, Name] = {}
    for node in ast.walk(tree):  # those inside functions too
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                imported[alias.asname or alias.name] = (node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name] = (alias.name, "")
    return Module(defined, imported)


def statements(body: list[ast.stmt]) -> typing.Iterator[ast.stmt]:
    """Yield a module's statements, those under its `if` and `try` one by one."""
    for node in body:
        inner = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
        inner += [handler.body for handler in getattr(node, "handlers", [])]
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from statements(sum(inner, []))
        else:
            yield node


def names_defined(node: ast.stmt) -> list[str]:
    """Return the names that a top-level statement defines or changes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return []
    # assignments; also `NAMES["x"] = 1` and `Class.method(...)` after a definition
    stored = (ast.Store, ast.Del)
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    wanted = [n.id for n in names if isinstance(n.ctx, stored)]
    return wanted or [n.id for n in names]


def resolve(sources: Sources, module: str, name: str) -> Name | None:
    """Return where gsmlib defines what a module calls `name`, None if it does not."""
    for _ in range(len(sources)):
        known = parse(sources[module])
        if name in known.defined:
            return module, name
        origin, original = known.imported.get(name, ("", ""))
        whole = f"{origin}.{original}".rstrip(".")
        if whole in sources:
            return whole, ""
        if origin not in sources:
            return None
        module, name = origin, original
    return None


def mentions(node: ast.AST) -> typing.Iterator[tuple[str, str]]:
    """Yield the module's names in a definition, with the attribute taken of them."""
    seen = global_names(symtable.symtable(ast.unparse(node), "", "exec"))
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            if part.value.id in seen:
                yield part.value.id, part.attr
        elif isinstance(part, ast.Name) and part.id in seen:
            yield part.id, ""


def global_names(scope: symtable.SymbolTable) -> set[str]:
    """Return the names that a scope and those inside it take from outside or import."""
    outer = scope.get_type() == "module"
    own = {
        symbol.get_name()
        for symbol in scope.get_symbols()
        if outer or symbol.is_global() or symbol.is_imported()
    }
    return own.union(*map(global_names, scope.get_children()))


def definitions(sources: Sources, name: Name) -> list[ast.stmt]:
    """Return the statements that define a name; of a spec its methods, not its fields.

    A spec's fields are in the key already, by their values.
    """
    found = parse(sources[name[0]]).defined[name[1]]
    if name[0] != SPECS:
        return found
    members = [m for node in found for m in getattr(node, "body", [])]
    methods = [m for m in members if isinstance(m, ast.FunctionDef)]
    return [method for method in methods if method.name not in NOT_COMPUTED]


def made_of(sources: Sources, maker: Name) -> set[Name]:
    """Return all definitions of gsmlib that a maker's result may depend on."""
    found: set[Name] = set()
    waiting = [maker]
    while waiting:
        name = waiting.pop()
        if name in found | APART or name[0] in ROOMS_APART:
            continue
        found.add(name)
        module = name[0]
        for node in definitions(sources, name):
            for word, attribute in mentions(node):
                target = resolve(sources, module, word)
                if target and not target[1]:  # a module: what is taken of it
                    target = resolve(sources, target[0], attribute)
                if target and target[1]:
                    waiting.append(target)
    return found


# ------------------------------------------------------------------------- the digests


def without_words(source: str) -> str:
    """Return a source without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            words = node.body[0]
            for number in range(words.lineno - 1, words.end_lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            line, place = token.start
            lines[line - 1] = lines[line - 1][:place]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def digest(source: str) -> str:
    """Return eight hexadecimal digits of what a source computes."""
    return hashlib.sha256(without_words(source).encode()).hexdigest()[:8]


def digest_of(sources: Sources, name: Name) -> str:
    """Return the digest of a definition, decorators included."""
    source, parts = sources[name[0]], []
    for node in definitions(sources, name):
        decorators = getattr(node, "decorator_list", [])
        parts += [f"@{ast.unparse(decorator)}\n" for decorator in decorators]
        parts.append(ast.get_source_segment(source, node) + "\n")
    return digest("".join(parts))


def current_code(sources: Sources | None = None) -> dict[str, dict]:
    """Return each stage's version, and the digests of what it is made of."""
    sources = sources or read_sources()
    stages = {}
    for stage in STAGES.values():
        found = made_of(sources, (MAKERS, stage.name))
        names = sorted(name for name in found if definitions(sources, name))
        code = {f"{m.removeprefix('gsmlib.')}.{n}": (m, n) for m, n in names}
        code = {name: digest_of(sources, where) for name, where in code.items()}
        stages[stage.name] = {"version": stage.version, "code": code}
    return stages


def complaints(known: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """Return a sentence for each stage whose code is not the noted one."""
    said = []
    for stage, entry in now.items():
        before = known.get(stage, {"version": None, "code": {}})
        if entry == before:
            continue
        names = sorted(set(entry["code"]) | set(before["code"]))
        other = [n for n in names if entry["code"].get(n) != before["code"].get(n)]
        said.append(
            f"The code of stage {stage} has changed ({', '.join(other) or 'version'}): "
            "if the same settings now give another result, raise its version in "
            "study.stages.STAGES; in any case run `make versions` and commit "
            f"{FILE.name}."
        )
    return said


# ------------------------------------------------------------------------ the defaults


def records_of(kind: type[Record]) -> list[type[Record]]:
    """Return a stage's spec and the records inside it that are no stages themselves."""
    found, waiting = [], [kind]
    while waiting:
        record = waiting.pop()
        found.append(record)
        for field in record.model_fields.values():
            waiting += [
                inner
                for inner in inner_types(field.annotation)
                if issubclass(inner, Record) and inner not in (*STAGES, *found)
            ]
    return found


def inner_types(annotation: object) -> list[type]:
    """Return the classes that an annotation names."""
    parts = typing.get_args(annotation) or (annotation,)
    if parts == (annotation,):
        return [annotation] if isinstance(annotation, type) else []
    return [kind for part in parts for kind in inner_types(part)]


def current_defaults() -> dict[str, dict]:
    """Return each stage's version, and the defaults of its records' fields."""
    return {
        stage.name: {
            "version": stage.version,
            "defaults": {
                record.__name__: {
                    name: field.default
                    for name, field in record.model_fields.items()
                    if not field.is_required()
                }
                for record in sorted(records_of(kind), key=lambda r: r.__name__)
            },
        }
        for kind, stage in STAGES.items()
    }


def new_fields(known: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """Return a sentence for each field with a default that is not noted yet."""
    said = []
    for stage, entry in now.items():
        noted = known.get(stage, {"defaults": {}})["defaults"]
        for record, fields in entry["defaults"].items():
            new = fields.keys() - noted.get(record, {}).keys()
            said += [f"{record}.{name} is new: run `make versions`." for name in new]
    return list(dict.fromkeys(said))


def changed_defaults(known: dict[str, dict], now: dict[str, dict]) -> list[str]:
    """Return a sentence for each noted default that is another, or gone.

    Refused without a new version: the keys of what is stored leave defaults out.
    """
    said = []
    for stage, before in known.items():
        entry = now.get(stage, {"version": None, "defaults": {}})
        if entry["version"] != before["version"]:
            continue
        for record, fields in before["defaults"].items():
            for name, default in fields.items():
                found = entry["defaults"].get(record, {}).get(name, "gone")
                if found != default:
                    said.append(
                        f"The default of {record}.{name} was {default!r} in this "
                        f"version of stage {stage} and is {found!r}: raise the version "
                        "in study.stages.STAGES, or keep it."
                    )
    return said


def main() -> None:
    """Note code and defaults as they are; refuse defaults that changed in silence."""
    known = json.loads(DEFAULTS.read_text())
    defaults = current_defaults()
    refused = changed_defaults(known, defaults)
    if refused:
        raise SystemExit("\n".join(refused))
    DEFAULTS.write_text(json.dumps(defaults, indent=1) + "\n")
    FILE.write_text(json.dumps(current_code(), indent=1) + "\n")
    print(f"Noted in {FILE.name} and {DEFAULTS.name}.")


if __name__ == "__main__":
    main()
