"""The scales, the notebooks' settings and the refusals, one sentence each."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from papermill import cli as papermill_cli
from pydantic import ValidationError

from gsmlib import environment, settings
from gsmlib.chapters import CHAPTERS, find, resolve
from gsmlib.chapters.study_settings import VerifierSettings
from gsmlib.data import worlds
from gsmlib.method import recipe
from gsmlib.method.sizes import SIZES, known_names
from gsmlib.records import Record, SettingsError
from gsmlib.scales import SCALES
from gsmlib.settings import names_of
from gsmlib.study import specs
from gsmlib.study.stages import locate


@pytest.fixture(autouse=True)
def no_scale_from_outside(monkeypatch):
    monkeypatch.delenv("GSMLIB_SCALE", raising=False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("notebook", [chapter.name for chapter in CHAPTERS])
def test_every_scale_has_values_for_every_notebook(scale, notebook):
    resolved = resolve(notebook, scale=scale)
    assert resolved.scale == scale
    assert names_of(type(resolved))[0] == "scale"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_scale_names_models_that_there_are(scale, chapter):
    chosen = dict(chapter.resolve(scale=scale))
    names = {*chosen.get("models", ()), chosen.get("model", "tiny:random")}
    assert names <= {*known_names(), *SIZES} - {"tiny"}


def test_empty_parameters_mean_the_scales_values():
    plain = resolve("03_verification", scale="quick")
    empty = resolve("03_verification", scale="quick", epochs=0, models=[], precision="")
    assert plain == empty


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"sizes": [10, 20]}, "sizes", (10, 20)),
        ({"sizes": "10,20"}, "sizes", (10, 20)),
        ({"sizes": "[10, 20]"}, "sizes", (10, 20)),
        ({"seeds": 3}, "seeds", (3,)),
        ({"seeds": "0"}, "seeds", (0,)),
        ({"verifier_learning_rate": "1e-4"}, "verifier_learning_rate", 1e-4),
        ({"more": "dropout=0.2 max_length=300"}, "dropout", 0.2),
        ({"models": ["gpt2"]}, "learning_rates", (6e-6,)),
        ({"models": ["gpt2"], "learning_rates": [0.1]}, "learning_rates", (0.1,)),
    ],
)
def test_parameters_override_the_scale(given, name, expected):
    assert getattr(resolve("03_verification", **given), name) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("seeds", "0", (0,)),
        ("seeds", "[0, 2]", (0, 2)),
        ("seeds", "None", (0, 1, 2)),
        ("sizes", "1e3", (1000,)),
        ("sizes", "250 1000", (250, 1000)),
        ("sizes", "[]", (250, 1000, 2000)),
        ("completions", "0", 12),
        ("completions", "3.0", 3),
        ("models", '["a","b"]', ("a", "b")),
        ("models", "('a', 'b')", ("a", "b")),
        ("models", "[a, b]", ("a", "b")),
        ("models", '"a","b"', ("a", "b")),
        ("models", "/my models/a (copy)", ("/my models/a (copy)",)),
        ("models", '"/with, comma",b', ("/with, comma", "b")),
        ("models", "Ann's,Bob's", ("Ann's", "Bob's")),
        ("models", "~/a,b", (str(Path.home() / "a"), "b")),
        ("models", "'/one, with/comma'", ("/one, with/comma",)),
    ],
)
def test_the_same_text_means_the_same_to_all(name, text, expected):
    typed = papermill_cli._resolve_type(text)  # as papermill's -p reads it
    for value in (text, typed):
        resolved = resolve("03_verification", scale="mini", **{name: value})
        assert getattr(resolved, name) == expected


@pytest.mark.parametrize("text", ["True", "3.5", "two", "[3]", "nan"])
def test_the_same_text_is_refused_by_all(text):
    for value in (text, papermill_cli._resolve_type(text)):
        with pytest.raises(SettingsError, match="completions = .* is refused"):
            resolve("03_verification", completions=value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sizes", np.array([250, 1000]), (250, 1000)),
        ("sizes", pd.Series([250, 1000]), (250, 1000)),
        ("sizes", np.array([]), (250, 2000)),
        ("seeds", range(2), (0, 1)),
        ("seeds", (np.int64(0), 1), (0, 1)),
        ("seeds", 0, (0,)),
        ("completions", np.int64(3), 3),
        ("verifier_learning_rate", np.float32(0.5), 0.5),
        ("models", Path("/my models/a"), ("/my models/a",)),
        ("models", [Path("/a"), "b"], ("/a", "b")),
    ],
)
def test_a_cell_may_hold_what_python_has(name, value, expected):
    assert getattr(resolve("03_verification", **{name: value}), name) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("dropout=0.2 epochs=3", {"dropout": "0.2", "epochs": "3"}),
        ("dropout = 0.2\nepochs=3", {"dropout": "0.2", "epochs": "3"}),
        ("seeds=[0, 1] epochs=3", {"seeds": "[0, 1]", "epochs": "3"}),
        ("model=/my models/a epochs=3", {"model": "/my models/a", "epochs": "3"}),
        ("model=Ann's epochs=3", {"model": "Ann's", "epochs": "3"}),
        ('model="/a b=c" epochs=3', {"model": '"/a b=c"', "epochs": "3"}),
        ("None", {}),
    ],
)
def test_more_is_read_setting_by_setting(more, expected):
    assert settings.parse_more(more) == expected


def test_more_is_written_as_it_is_read():
    values = {"model": "/a b=c/d", "seeds": "0,1", "dataset": "/my data/x.jsonl"}
    resolved = settings.parse_more(settings.write_more(values))
    assert {name: settings.plain(text) for name, text in resolved.items()} == values


def test_in_more_0_is_0():
    assert resolve("02_test_at_n", "dropout=0", scale="gpt2").dropout == 0
    with pytest.raises(SettingsError, match="temperature = '0' is refused"):
        resolve("02_test_at_n", "temperature=0")
    with pytest.raises(SettingsError, match="The scale is no part of more"):
        resolve("02_test_at_n", "scale=smoke")


# ---------------------------------------------------------------------- MiniGSM's knobs

KNOBS = {
    ("decoys", "0"): {"decoys": (0, 0)},
    ("decoys", "1,2"): {"decoys": (1, 2)},
    ("decoys", "[1, 2]"): {"decoys": (1, 2)},
    ("quoted", "false"): {"quoted": False},
    ("steps", "0,1"): {"steps": (0, 1)},
    ("roots", "0.5"): {"roots": 0.5},
    ("largest", "99"): {"largest": 99},
    ("kinds", "count,more"): {"kinds": ("count", "more")},
    ("questions", "own"): {"questions": ("own",)},
    ("phrasings", "1"): {"phrasings": 1},
    ("names", "16"): {"names": 16},
    ("things", "1"): {"things": 1},
}
OURS = find("03")


def keys_of(**given):
    chosen = OURS.resolve(scale="smoke", **given)
    return {locate(spec).key for spec in OURS.stages(chosen)}


@pytest.mark.parametrize(("name", "text"), KNOBS)
def test_a_knob_reaches_the_data_set_in_every_way(name, text):
    expected = worlds.Knobs(**KNOBS[name, text])
    typed = papermill_cli._resolve_type(text)  # as papermill's -p reads it
    for given in ({name: text}, {name: typed}, {"more": f"{name}={text}"}):
        chosen = OURS.resolve(scale="smoke", **given)
        assert chosen.dataset == "minigsm" and chosen.data != "minigsm"
        assert worlds.knobs_of(chosen.data) == chosen.knobs == expected
        names = {data_of(spec).dataset for spec in OURS.stages(chosen)}
        assert names == {chosen.data}


def data_of(spec):
    """The problems that a stage rests on."""
    for name in ("generator", "completions"):
        spec = getattr(spec, name, spec)
    return data_of(spec) if hasattr(spec, "generator") else spec.data


def test_every_knob_is_a_setting_that_can_be_changed():
    assert {name for name, _ in KNOBS} == set(worlds.Knobs._fields)
    usual = dict(OURS.resolve(scale="smoke"))
    assert all(usual[name] == v for name, v in worlds.DEFAULT._asdict().items())


@pytest.mark.parametrize(("name", "text"), KNOBS)
def test_a_changed_knob_changes_every_key(name, text):
    assert not keys_of() & keys_of(**{name: text})


def test_knobs_that_are_given_as_they_are_change_no_key():
    assert keys_of() == keys_of(more="decoys=3,5 quoted=true largest=400")


def test_a_data_set_may_be_named_with_its_knobs():
    name = 'minigsm {"decoys": [0, 0]}'
    assert OURS.resolve(dataset=name).data == name
    assert keys_of(dataset=name) == keys_of(decoys=0)


def test_knobs_are_told_where_they_are_changed(capsys):
    find("02").settings(scale="smoke", decoys="1,2")
    changed = capsys.readouterr().out
    assert "decoys 1,2 ·" in changed and "quoted" not in changed
    find("02").settings(scale="smoke")
    assert "decoys" not in capsys.readouterr().out


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("name", "text"), KNOBS)
def test_a_knob_of_other_data_is_refused(name, text, own, tmp_path):
    rows = [{"question": f"{n}+1?", "answer": f"#### {n + 1}"} for n in range(60)]
    pd.DataFrame(rows).to_json(tmp_path / "my.jsonl", orient="records", lines=True)
    dataset = str(tmp_path / "my.jsonl") if own else "gsm8k"
    OURS.resolve(scale="smoke", dataset=dataset)
    with pytest.raises(SettingsError) as refusal:
        OURS.resolve(scale="smoke", dataset=dataset, **{name: text})
    called = "my.jsonl" if own else "GSM8K"
    assert str(refusal.value) == (
        f"{name} is a knob of MiniGSM's problems, and dataset is "
        f"{called}; leave one of them out."
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("decoys", "20"),
        ("decoys", "3,1"),
        ("decoys", "-1"),
        ("decoys", "1,2,3"),
        ("kinds", "nonsense"),
        ("kinds", "sum"),
        ("questions", "nonsense"),
        ("names", "1"),
        ("names", "33"),
        ("things", "25"),
        ("phrasings", "0"),
        ("roots", "2"),
        ("steps", "0,0"),
        ("steps", "inf,1"),
        ("steps", "-1,2"),
        ("largest", "0"),
        ("quoted", "perhaps"),
    ],
)
def test_impossible_knobs_are_refused_in_one_sentence(name, text):
    with pytest.raises(SettingsError) as refusal:
        OURS.resolve(f"{name}={text}")
    sentence = str(refusal.value)
    assert sentence.lower().startswith(name), sentence
    assert sentence.endswith(".") and "\n" not in sentence


# ---------------------------------------------------------------- in a notebook's cells

SHOWN = 'scale: str = "quick"  # the dial\nepochs: int = 0\nseeds: list = []'
SETTINGS = "settings = CHAPTER.settings(scale=scale, epochs=epochs)"


def injected(**values):
    return "# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in values.items())


@pytest.fixture
def run_cells(monkeypatch):
    """Pretend that a notebook has run cells; return how."""

    def run(*cells):
        shell = SimpleNamespace(user_ns={"In": ["", *cells]})
        IPython = SimpleNamespace(get_ipython=lambda: shell)
        monkeypatch.setitem(sys.modules, "IPython", IPython)

    return run


GOOD, BAD = injected(scale="smoke", epochs=2), injected(scale="smoke", epoch=2)
PATHS = injected(scale="smoke", PAPERMILL_INPUT_PATH="a", PAPERMILL_OUTPUT_PATH="b")


@pytest.mark.parametrize(
    "cells",
    [
        (SHOWN, GOOD, SETTINGS),
        (SHOWN, GOOD, SETTINGS, GOOD, SETTINGS),
        (SHOWN, GOOD, SETTINGS, SETTINGS, SHOWN, SETTINGS),
        (GOOD, SHOWN, GOOD, GOOD, SETTINGS),
        (SHOWN, BAD, SETTINGS, GOOD, SETTINGS),  # mended by hand
        (SHOWN, BAD, SETTINGS, SHOWN, SETTINGS),  # the cell was taken out
        (SHOWN, GOOD, 'scale = "smoke"', SETTINGS, GOOD, SETTINGS),
        (SHOWN, PATHS, SETTINGS),
        (GOOD, SETTINGS),  # a notebook of one's own, without a cell of parameters
    ],
)
def test_cells_may_be_run_in_any_order(cells, run_cells):
    run_cells(*cells)
    find("02_test_at_n").settings(scale="smoke")


@pytest.mark.parametrize("cells", [(SHOWN, BAD), (SHOWN, GOOD, SETTINGS, BAD)])
def test_a_parameter_that_a_notebook_has_not_is_refused(cells, run_cells):
    run_cells(*cells, SETTINGS)
    with pytest.raises(
        SettingsError, match="no parameter 'epoch' .* scale, epochs, se"
    ):
        find("02_test_at_n").settings(scale="smoke")


def test_environment_sets_the_default_scale_only(monkeypatch):
    monkeypatch.setenv("GSMLIB_SCALE", "smoke")
    assert (
        resolve("00_dataset").scale == resolve("00_dataset", scale="").scale == "smoke"
    )
    for scale in ("quick", "mini"):
        assert resolve("00_dataset", scale=scale).scale == scale
        assert find("00_dataset").settings(scale=scale).scale == scale


@pytest.mark.parametrize(
    ("cells", "scale", "expected"),
    [
        ([SHOWN], "quick", "smoke"),  # as committed: nobody chose it
        ([SHOWN], "mini", "mini"),  # edited by hand
        (
            [SHOWN, injected(scale="quick")],
            "quick",
            "quick",
        ),  # papermill -p scale quick
        ([SHOWN, injected(epochs=3)], "quick", "smoke"),
        ([SHOWN, injected(scale="quick"), SHOWN], "quick", "smoke"),
        (["settings = dataset.CHAPTER.settings(scale='quick')"], "quick", "quick"),
    ],
)
def test_a_chosen_scale_wins_over_the_environments(
    cells, scale, expected, run_cells, monkeypatch
):
    monkeypatch.setenv("GSMLIB_SCALE", "smoke")
    run_cells(*cells)
    assert find("00_dataset").settings(scale=scale).scale == expected


@pytest.mark.parametrize(
    ("notebook", "given", "words"),
    [
        ("02_test_at_n", {"scale": "tiny"}, ["'tiny'", "smoke, quick, mini"]),
        ("99_none", {}, ["'99_none'", "02_test_at_n"]),
        ("02_test_at_n", {"epoch": 3}, ["'epoch' (did you mean epochs?)", "seeds"]),
        ("02_test_at_n", {"zebra": 3}, ["no setting 'zebra'; it has scale"]),
        ("0", {}, ["10 notebooks begin with '0'; there are 00_dataset, 01_"]),
        ("02_test_at_n", {"epochs": -1}, ["epochs", "-1", "greater than or equal"]),
        ("02_test_at_n", {"epochs": "many"}, ["epochs", "'many'", "integer"]),
        ("02_test_at_n", {"precision": "fp8"}, ["precision", "fp32"]),
        ("02_test_at_n", {"dropout": 1.5}, ["dropout", "1.5"]),
        ("02_test_at_n", {"more": "dropout"}, ["dropout", "name=value"]),
        ("02_test_at_n", {"scale": "gpt2", "n_train": 8000}, ["8000", "7473"]),
        (
            "04_finetuning_scaling",
            {"learning_rates": [1e-3]},
            ["as many learning_rates", "3 models", "not 1"],
        ),
        ("03_verification", {"seeds": [-1]}, ["seeds", "-1"]),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(notebook, given, words):
    with pytest.raises(SettingsError) as refusal:
        resolve(notebook, **given)
    sentence = str(refusal.value)
    assert all(word in sentence for word in words), sentence
    assert sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_a_verifier_needs_two_completions_to_choose_from(chapter):
    if not issubclass(chapter.kind, VerifierSettings):
        pytest.skip("it has no verifier")
    counts = {"counts": [1]} if "counts" in chapter.kind.model_fields else {}
    with pytest.raises(SettingsError, match="give test_completions 2 or more"):
        chapter.resolve(scale="smoke", test_completions=1, **counts)


def test_a_notebook_is_found_by_how_its_name_begins():
    for chapter in CHAPTERS:
        assert find(chapter.name[:2]) is find(chapter.name) is chapter


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_setting_says_what_it_means(chapter):
    fields = chapter.kind.model_fields
    assert not [name for name, field in fields.items() if not field.description]


def test_settings_prints_versions_and_every_value(capsys):
    find("02_test_at_n").settings(scale="smoke")
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("torch", "CPU", "epochs 2", "scale smoke"))
    assert environment.processor_name() in printed


def test_a_value_that_a_scale_lacks_is_named():
    with pytest.raises(SettingsError) as refusal:
        settings.resolve("12_mine", Mine, {"smoke": {"bins": 3}}, scale="quick")
    assert str(refusal.value).startswith("12_mine has no value of bins at scale quick;")
    mine = settings.resolve("12_mine", Mine, {"smoke": {"bins": 3}}, scale="smoke")
    assert mine.bins == 3


@pytest.mark.parametrize("own", [{"smok": {"bins": 3}}, {"smoke": {"bns": 3}}])
def test_misspelt_values_of_a_chapter_are_refused(own):
    with pytest.raises(SettingsError, match="'(smok|bns)', which is neither a scale"):
        settings.resolve("12_mine", Mine, own, scale="smoke", bins=3)


class Mine(Record):
    """Settings of a chapter that is none of ours."""

    scale: str
    bins: int


def make_finetune(**changes):
    data = specs.DataSpec(dataset="minigsm", n_train=8, n_test=4)
    training = recipe.TrainSettings(epochs=2, learning_rate=1e-3)
    values = dict(model="tiny:random", data=data, training=training, keep_epochs=(1, 2))
    return specs.FinetuneSpec(**{**values, **changes})


def make_sample(**changes):
    values = dict(generator=make_finetune(), epoch=2, split="train", n_problems=4, n=2)
    return specs.SampleSpec(**{**values, "temperature": 0.7, **changes})


@pytest.mark.parametrize(
    ("make", "changes", "words"),
    [
        (make_finetune, {"keep_epochs": (3,)}, "epochs of a run of 2"),
        (make_finetune, {"keep_epochs": ()}, "epochs of a run of 2"),
        (make_finetune, {"size": 3}, "Extra inputs"),
        (make_sample, {"epoch": 3}, "epoch 3 was not kept"),
        (make_sample, {"n_problems": 9}, "9 training problems asked for, 8 were drawn"),
        (make_sample, {"temperature": 0}, "one completion, not 2"),
        (make_sample, {"n": 0}, "greater than or equal to 1"),
        (make_sample, {"split": "all"}, "train"),
    ],
)
def test_specs_refuse_what_cannot_be(make, changes, words):
    with pytest.raises(ValidationError, match=words):
        make(**changes)


def test_specs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        make_sample().n = 3


def test_gsm8k_has_only_so_many_problems():
    with pytest.raises(ValidationError, match="GSM8K has 7473"):
        specs.DataSpec(dataset="gsm8k", n_train=7474, n_test=1)


def test_the_papers_hyperparameters_at_scale_gpt2():
    verification = resolve("03_verification", scale="gpt2")
    assert verification.batch_tokens == 32_000
    assert verification.max_length == 400
    assert verification.epochs == 20
    assert verification.generator_epochs == 2
    assert verification.verifier_epochs == 1
    assert verification.verifier_learning_rate == 1e-5
    assert verification.completions == verification.test_completions == 100
    assert verification.temperature == 0.7
    training = recipe.TrainSettings(epochs=1, learning_rate=1e-5)
    assert (training.adam_beta1, training.adam_beta2) == (0.9, 0.95)
    assert training.language_weight == 1.0 and training.loss == "mse"


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    assert environment.cache_folder() == tmp_path
    monkeypatch.delenv("GSMLIB_CACHE")
    assert environment.cache_folder().name == "gsmlib"
