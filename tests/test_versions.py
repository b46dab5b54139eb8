"""Code that gives other results under an old version would mix old and new."""

import ast
import json

import pytest
import stage_code
from stage_code import (
    changed_defaults,
    complaints,
    current_code,
    current_defaults,
    digest,
    made_of,
    new_fields,
    read_sources,
)
from test_stages import finetune_spec, score_spec

from gsmlib.study import stages
from gsmlib.study.specs import DataSpec, FinetuneSpec
from gsmlib.study.stages import DEFAULTS, STAGES, identity
from gsmlib.study.store import key_of

SOURCES = read_sources()
ALL = {stage.name for stage in STAGES.values()}


def test_the_code_of_every_stage_is_the_noted_one():
    known = json.loads(stage_code.FILE.read_text())
    assert not complaints(known, current_code())


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('def f(x):\n    """Other words."""\n    return x + 1  # why\n', True),
        ("def f(x):\n    return (\n        x + 1\n    )\n", False),  # told apart: safe
        ("def f(x):\n\n    return x + 1\n", True),
        ('def f(x):\n    """Words."""\n    return x + 2\n', False),
        ('def f(x):\n    """Words."""\n    return x - 1\n', False),
    ],
)
def test_only_what_computes_counts(source, same):
    plain = 'def f(x):\n    """Words."""\n    return x + 1\n'
    assert (digest(source) == digest(plain)) == same


def test_a_hash_in_a_text_is_no_comment():
    assert digest('x = "####"  # a mark\n') == digest('x = "####"\n')
    assert digest('x = "#### a"\n') != digest('x = "#### b"\n')


def test_white_space_that_decides_counts():
    assert digest('x = " ".join(y)\n') != digest('x = "".join(y)\n')
    inside = "for x in y:\n    f(x)\n    g(x)\n"
    assert digest(inside) != digest("for x in y:\n    f(x)\ng(x)\n")


# ------------------------------------------------------- what a stage is found to be of


def changed(module, name):
    """All sources with one more statement at the start of a definition's body."""
    source = SOURCES[module]
    for node in ast.walk(ast.parse(source)):
        if getattr(node, "name", None) == name:
            lines = source.splitlines(keepends=True)
            first = node.body[1] if ast.get_docstring(node) else node.body[0]
            lines.insert(first.lineno - 1, " " * first.col_offset + "changed = 1\n")
            return SOURCES | {module: "".join(lines)}
    raise LookupError(f"{module} defines no {name}")


JUDGING = "released train_verifier score search"


@pytest.mark.parametrize(
    ("module", "name", "stages_of_it"),
    [
        ("method.decoding", "encode_prompt", f"finetune sample {JUDGING}"),
        ("method.losses", "model_inputs", f"pretrain finetune {JUDGING}"),
        ("method.models", "_load_pretrained", "*"),
        ("study.making", "load_start", "finetune train_verifier"),
        ("method.models", "Verifier", "*"),
        ("method.calculator", "evaluate", "sample released search"),
        ("method.answers", "final_number", "sample released search"),
        ("method.selection", "aggregate", "score"),
        ("method.tokenizer", "build_tokenizer", ""),
        ("method.engine", "new_engine", "sample search"),
        ("method.batching", "plan_epoch", "pretrain finetune train_verifier"),
        ("data.gsm8k", "load_gsm8k", "*"),
        ("data.worlds", "make_problem", "*"),
        ("data.schoolwork", "make_passage", "pretrain"),
        ("study.stages", "shortened", "finetune train_verifier"),
        (
            "study.stages",
            "epoch_name",
            "finetune sample released train_verifier search",
        ),
        ("study.specs", "base", "train_verifier search score"),
        ("study.specs", "describe", ""),
        ("method.pretraining", "pretrain", ""),  # of the shipped weights: no stage
        ("chapters.shared", "verifier", ""),
    ],
)
def test_a_change_is_noticed_where_it_matters(module, name, stages_of_it):
    now = current_code(changed(f"gsmlib.{module}", name))
    before = current_code(SOURCES)
    noticed = {stage for stage in now if now[stage] != before[stage]}
    expected = ALL if stages_of_it == "*" else set(stages_of_it.split())
    assert noticed == expected
    said = " ".join(complaints(before, now))
    label = "VerifierSpec" if name == "base" else name  # a property counts as its class
    assert said.count(f"({module}.{label})") == len(expected)


def test_lazy_imports_aliases_and_constants_are_followed():
    sources = {
        "gsmlib.a": (
            "from gsmlib import b as other\n"
            "import gsmlib.e as whole\n"
            "def maker():\n"
            "    from gsmlib.c import deep as renamed\n"
            "    return other.f(renamed) + whole.h()\n"
        ),
        "gsmlib.b": "N = 3\ndef f(x, n=N):\n    return g(x)\ndef g(x):\n    return x\n",
        "gsmlib.c": "from gsmlib.d import deep\n",
        "gsmlib.e": "def h():\n    return 1\n",
        "gsmlib.d": "class Base: ...\nclass deep(Base): ...\ndef unused(): ...\n",
    }
    found = made_of(sources, ("gsmlib.a", "maker"))
    expected = "a.maker b.f b.g b.N d.deep d.Base e.h".split()
    assert found == {(f"gsmlib.{m}", n) for m, n in (e.split(".") for e in expected)}


def test_every_maker_is_found_with_what_it_trains_samples_or_reads():
    code = current_code(SOURCES)
    assert set(code) == ALL
    for stage, entry in code.items():
        assert f"study.making.{stage}" in entry["code"]
        assert len(entry["code"]) > 50


def test_a_change_names_its_stages_and_what_to_do():
    now = current_code()
    known = json.loads(json.dumps(now))
    known["sample"]["code"]["method.decoding.uniform"] = "0"
    (sentence,) = complaints(known, now)
    assert "stage sample" in sentence and "(method.decoding.uniform)" in sentence
    assert "STAGES" in sentence and "make versions" in sentence


def test_a_version_raised_in_silence_is_noticed():
    now = current_code()
    known = json.loads(json.dumps(now))
    known["score"]["version"] += 1
    assert len(complaints(known, now)) == 1


# ------------------------------------------------------------------------- the defaults


class GrownSpec(FinetuneSpec):
    """A finetuning of later days, with one more setting."""

    dummy: int = 3


@pytest.fixture
def grown(monkeypatch):
    """A finetuning's spec that has grown a field, in the stage's table."""
    monkeypatch.setitem(stages.STAGES, GrownSpec, stages.STAGES[FinetuneSpec])
    return GrownSpec(**dict(finetune_spec()))


def test_the_defaults_are_the_noted_ones():
    now = current_defaults()
    assert not changed_defaults(DEFAULTS, now) + new_fields(DEFAULTS, now)
    assert now == DEFAULTS


def test_a_new_field_with_a_default_changes_no_key(grown):
    plain = key_of(identity(finetune_spec()))
    assert key_of(identity(grown)) == plain
    assert key_of(identity(grown.replace(dummy=4))) != plain


def test_a_new_field_leaves_the_keys_of_what_rests_on_it(grown):
    whole = score_spec()
    completions = whole.completions.model_copy(update={"generator": grown})
    later = whole.model_copy(update={"completions": completions})
    assert key_of(identity(later)) == key_of(identity(whole))


def test_a_default_counts_as_it_was_noted(monkeypatch):
    """Were a default changed in silence, keys would still tell old from new."""
    spec = finetune_spec()
    before = key_of(identity(spec))
    other = json.loads(json.dumps(DEFAULTS))
    other["finetune"]["defaults"]["FinetuneSpec"]["max_length"] = spec.max_length + 1
    monkeypatch.setattr(stages, "DEFAULTS", other)
    assert key_of(identity(spec)) != before


def test_a_changed_default_asks_for_a_new_version():
    known = json.loads(json.dumps(DEFAULTS))
    known["sample"]["defaults"]["SampleSpec"]["calculator"] = False
    (sentence,) = changed_defaults(known, DEFAULTS)
    assert "SampleSpec.calculator" in sentence and "raise the version" in sentence
    known["sample"]["version"] -= 1  # as if it had been raised since
    assert not changed_defaults(known, DEFAULTS)


def test_a_field_that_is_gone_asks_for_a_new_version():
    """Renamed with another default it would else give old results for new."""
    now = json.loads(json.dumps(DEFAULTS))
    del now["finetune"]["defaults"]["TrainSettings"]["adam_beta2"]
    (sentence,) = changed_defaults(DEFAULTS, now)
    assert "TrainSettings.adam_beta2" in sentence and "'gone'" in sentence


def test_a_default_that_is_not_noted_is_asked_for():
    known = json.loads(json.dumps(DEFAULTS))
    del known["finetune"]["defaults"]["DataSpec"]["seed"]
    (sentence,) = new_fields(known, DEFAULTS)
    assert sentence == "DataSpec.seed is new: run `make versions`."
    assert "seed" in DataSpec.model_fields
