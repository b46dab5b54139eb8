"""The scales, the notebooks' settings and the refusals, one sentence each."""

import pytest
from pydantic import ValidationError

from gsmlib import environment, settings
from gsmlib.chapters import CHAPTERS, find, resolve
from gsmlib.method import recipe
from gsmlib.records import Record, SettingsError
from gsmlib.scales import SCALES
from gsmlib.study import specs


@pytest.fixture(autouse=True)
def no_scale_from_outside(monkeypatch):
    monkeypatch.delenv("GSMLIB_SCALE", raising=False)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("notebook", [chapter.name for chapter in CHAPTERS])
def test_every_scale_has_values_for_every_notebook(scale, notebook):
    resolved = resolve(notebook, scale=scale)
    assert resolved.scale == scale
    assert next(iter(type(resolved).model_fields)) == "scale"


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


def test_environment_sets_the_default_scale_only(monkeypatch):
    monkeypatch.setenv("GSMLIB_SCALE", "smoke")
    assert resolve("00_dataset").scale == "smoke"
    assert resolve("00_dataset", scale="mini").scale == "mini"


@pytest.mark.parametrize(
    ("notebook", "given", "words"),
    [
        ("02_test_at_n", {"scale": "tiny"}, ["'tiny'", "smoke, quick, mini"]),
        ("99_none", {}, ["'99_none'", "02_test_at_n"]),
        ("02_test_at_n", {"epoch": 3}, ["'epoch' (did you mean epochs?)", "seeds"]),
        ("02_test_at_n", {"wings": 3}, ["no setting 'wings'; it has scale"]),
        ("0", {}, ["10 notebooks begin with '0'; there are 00_dataset, 01_"]),
        ("02_test_at_n", {"epochs": -1}, ["epochs", "-1", "greater than or equal"]),
        ("02_test_at_n", {"epochs": "many"}, ["epochs", "'many'", "integer"]),
        ("02_test_at_n", {"precision": "fp8"}, ["precision", "fp32"]),
        ("02_test_at_n", {"dropout": 1.5}, ["dropout", "1.5"]),
        ("02_test_at_n", {"more": "dropout"}, ["dropout", "name=value"]),
        ("02_test_at_n", {"scale": "gpt2", "n_train": 8000}, ["8000", "7473"]),
        ("03_verification", {"learning_rates": [1e-3]}, ["2 models", "not 1"]),
        ("03_verification", {"seeds": [-1]}, ["seeds", "-1"]),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(notebook, given, words):
    with pytest.raises(SettingsError) as refusal:
        resolve(notebook, **given)
    sentence = str(refusal.value)
    assert all(word in sentence for word in words), sentence
    assert sentence.endswith(".") and "\n" not in sentence


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
