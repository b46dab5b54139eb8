"""What each stage computes, as digests of its code: the reminder to raise a version.

`python tests/stage_code.py` (or `make versions`) notes the code as it is now in
tests/stage_code.json. Comments, docstrings and layout do not count.
"""

import ast
import hashlib
import io
import json
import tokenize
from pathlib import Path

from gsmlib.environment import project_root
from gsmlib.study.artifacts import VERSIONS

FILE = Path(__file__).with_suffix(".json")
MODELS = "tokenizer smollm2 models batching data data.gsm8k data.minigsm"
# stage -> the modules that decide its result, and the functions that compute it
CODE = {
    "pretrain": (f"{MODELS} training pretraining", "_pretrain"),
    "finetune": (
        f"{MODELS} training",
        "_finetune _load_pretrained training_problems shortened language_rows",
    ),
    "sample": (
        f"{MODELS} answers calculator engine decoding",
        "_sample _sample_shard _sampler_folder sampled_problems _complete _merge "
        "_label",
    ),
    "train_verifier": (
        f"{MODELS} training verifier",
        "_train_verifier verifier_rows _joint_rows _verifier_start per_problem",
    ),
    "score": (
        f"{MODELS} verifier selection",
        "_score _score_shard _merge _checkpoint per_problem",
    ),
}


def without_words(source: str) -> str:
    """Return a module's source without comments, docstrings and white space."""
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
    return "".join("".join(lines).split())


def digest(source: str) -> str:
    """Return eight hexadecimal digits of what a source computes."""
    return hashlib.sha256(without_words(source).encode()).hexdigest()[:8]


def module_source(name: str) -> str:
    """Return the source of one of gsmlib's modules."""
    path = project_root() / "gsmlib" / name.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8")


def function_sources() -> dict[str, str]:
    """Return the source of each function of artifacts.py and stages.py, by name."""
    sources = {}
    for source in map(module_source, ("artifacts", "stages")):
        found = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
        sources |= {node.name: ast.get_source_segment(source, node) for node in found}
    return sources


def current_code() -> dict[str, dict]:
    """Return each stage's version, and the digests of what decides its result."""
    functions, stages = function_sources(), {}
    for stage, version in VERSIONS.values():
        modules, names = (text.split() for text in CODE[stage])
        code = {name: digest(module_source(name)) for name in modules}
        code |= {f"{name}()": digest(functions[name]) for name in names}
        stages[stage] = {"version": version, "code": code}
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
            "artifacts.VERSIONS; in any case run `make versions` and commit "
            f"{FILE.name}."
        )
    return said


if __name__ == "__main__":
    FILE.write_text(json.dumps(current_code(), indent=1) + "\n")
    print(f"Noted in {FILE.name}.")
