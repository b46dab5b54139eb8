"""The stages on tiny random models: keys, resuming, shards, and tables that fit."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from gsmlib import pipeline
from gsmlib.config import (
    DataSpec,
    FinetuneSpec,
    SampleSpec,
    ScoreSpec,
    Spec,
    TrainSettings,
    VerifierSpec,
)
from gsmlib.data import load_problems
from gsmlib.models import load_language_model, save_language_model
from gsmlib.pipeline import identity, per_problem
from gsmlib.store import Store, key_of
from gsmlib.verifier import AGGREGATIONS


def finetune_spec(**changes):
    training = TrainSettings(epochs=2, learning_rate=3e-3, batch_tokens=500)
    data = DataSpec(dataset="minigsm", n_train=6, n_test=3)
    values = dict(model="tiny:random", data=data, training=training)
    return FinetuneSpec(**{**values, "keep_epochs": (1, 2), **changes})


def sample_spec(**changes):
    values = dict(generator=finetune_spec(), epoch=2, split="train", n_problems=4, n=2)
    values |= dict(temperature=0.7, max_length=200, seed=1)
    return SampleSpec(**{**values, **changes})


def score_spec():
    training = TrainSettings(epochs=1, learning_rate=1e-3, batch_tokens=900)
    verifier = VerifierSpec(completions=sample_spec(), training=training)
    completions = sample_spec(split="test", n_problems=3)
    return ScoreSpec(verifier=verifier, completions=completions)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def full_store(tmp_path_factory):
    """A store in which all stages were run once."""
    store = Store(tmp_path_factory.mktemp("full"))
    pipeline.score(score_spec(), store)
    return store


# ------------------------------------------------------------------------------ keys


def variants(spec):
    """Every spec that differs from `spec` in one field, at any depth, with its path."""
    for name, value in spec:
        if isinstance(value, Spec):
            for path, changed in variants(value):
                yield f"{name}.{path}", spec.model_copy(update={name: changed})
        else:
            yield name, spec.model_copy(update={name: another(value)})


def another(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 7)
    return value + ("x" if isinstance(value, str) else 1)


VARIANTS = dict(variants(score_spec()))


@pytest.mark.parametrize("path", VARIANTS)
def test_every_setting_changes_the_key(path):
    assert key_of(identity(VARIANTS[path])) != key_of(identity(score_spec()))


@pytest.mark.parametrize("stage", pipeline.VERSIONS)
def test_a_stages_version_changes_its_childrens_keys(stage, monkeypatch):
    before = key_of(identity(score_spec()))
    name, version = pipeline.VERSIONS[stage]
    monkeypatch.setitem(pipeline.VERSIONS, stage, (name, version + 1))
    assert key_of(identity(score_spec())) != before


def test_a_later_stages_version_leaves_earlier_keys(monkeypatch):
    before = key_of(identity(finetune_spec()))
    monkeypatch.setitem(pipeline.VERSIONS, SampleSpec, ("sample", 99))
    assert key_of(identity(finetune_spec())) == before


def test_equal_specs_have_equal_keys():
    assert key_of(identity(score_spec())) == key_of(identity(score_spec()))


def test_other_weights_under_the_same_name_change_the_key(tmp_path):
    spec = finetune_spec(model=str(tmp_path))
    keys = set()
    for seed in (0, 1):
        save_language_model(load_language_model("tiny:random", seed=seed), tmp_path)
        pipeline.weights_fingerprint.cache_clear()
        keys.add(key_of(identity(spec)))
    assert len(keys) == 2


# ---------------------------------------------------------------------------- stages


def test_finetuning_keeps_epochs_and_losses(full_store):
    spec = finetune_spec()
    assert pipeline.finetune(spec, full_store).cached
    losses = pipeline.epoch_losses(spec, full_store)
    assert losses["epoch"].tolist() == [1, 2]
    assert losses[["train_loss", "test_loss"]].notna().all(axis=None)
    assert losses["train_loss"].is_monotonic_decreasing
    first, second = (
        pipeline.load_finetuned(spec, epoch, full_store).model for epoch in (1, 2)
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_parameters_are_counted_once(full_store):
    model = load_language_model("tiny:random").model
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert pipeline.parameter_count(finetune_spec(), full_store) == expected


def test_interrupted_finetuning_goes_on_to_the_same_weights(
    store, full_store, monkeypatch
):
    note = pipeline._note_loss

    def interrupt(path, epoch, loss):
        note(path, epoch, loss)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_note_loss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pipeline.finetune(finetune_spec(), store)
    monkeypatch.undo()
    spec = finetune_spec()
    resumed = pipeline.load_finetuned(spec, 2, store).model.state_dict()
    whole = pipeline.load_finetuned(spec, 2, full_store).model.state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert pipeline.epoch_losses(spec, store).equals(
        pipeline.epoch_losses(spec, full_store)
    )


def test_completions_are_labelled_rows(full_store):
    table = pipeline.sample(sample_spec(), full_store)
    assert len(table) == 8
    assert table["problem"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table["sample"].tolist() == [0, 1] * 4
    lengths = table["tokens"].map(len)
    assert (lengths == table["forced"].map(len)).all() and (lengths > 0).all()
    assert table["correct"].dtype == bool
    assert (table["logprob"] < 0).all()


def test_interrupted_sampling_makes_only_what_is_missing(
    store, full_store, monkeypatch
):
    spec, label, made = sample_spec(), pipeline._label, []

    def count(completion, problem):
        made.append(completion)
        if len(made) == 4:
            raise KeyboardInterrupt
        return label(completion, problem)

    monkeypatch.setattr(pipeline, "SAVE_SECONDS", 0)
    monkeypatch.setattr(pipeline, "_label", count)
    with pytest.raises(KeyboardInterrupt):
        pipeline.sample(spec, store)
    resumed = pipeline.sample(spec, store)
    assert len(made) == 1 + spec.n_problems * spec.n  # the one in the making was lost
    whole = pipeline.sample(spec, full_store)
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(list(pipeline.folder_of(spec, store).iterdir())) == 2


def test_scores_fit_the_completions(full_store):
    spec = score_spec()
    scores = pipeline.score(spec, full_store)
    completions = pipeline.sample(spec.completions, full_store)
    assert scores["problem"].tolist() == completions["problem"].tolist()
    assert scores["token_scores"].map(len).equals(completions["tokens"].map(len))
    last = scores["token_scores"].map(lambda values: values[-1])
    assert np.allclose(scores["last"], last)
    assert set(AGGREGATIONS) < set(scores.columns)


def test_a_verifier_may_start_from_the_pretrained_model(full_store):
    spec = score_spec().verifier.model_copy(update={"init": "pretrained"})
    assert not pipeline.train_verifier(spec, full_store).cached
    start = pipeline._verifier_start(spec, full_store).model.state_dict()
    pretrained = load_language_model("tiny:random").model.state_dict()
    assert all(torch.equal(start[name], pretrained[name]) for name in pretrained)


def test_everything_is_cached_the_second_time(full_store, capsys):
    pipeline.score(score_spec(), Store(full_store.root))
    assert capsys.readouterr().out.count("cached") == 1


def test_a_corrupt_artifact_is_named_and_made_again(full_store, capsys):
    spec = sample_spec()
    file = pipeline.folder_of(spec, full_store) / pipeline.COMPLETIONS
    before = pipeline.sample(spec, full_store)
    file.write_bytes(file.read_bytes()[:-1])
    after = pipeline.sample(spec, Store(full_store.root))
    assert str(file) in capsys.readouterr().out
    pd.testing.assert_frame_equal(before, after)


def test_test_problems_are_the_same_for_every_seed():
    data = DataSpec(dataset="minigsm", n_train=6, n_test=3, seed=5)
    spec = sample_spec(generator=finetune_spec(data=data))
    test = spec.model_copy(update={"split": "test"})
    assert pipeline.sampled_problems(test) == load_problems("minigsm", "test", 4, 0)
    assert pipeline.sampled_problems(spec) == load_problems("minigsm", "train", 4, 5)
    assert pipeline.sampled_problems(spec) == pipeline.training_problems(data, 6)[:4]


def test_the_manifest_holds_the_parents_versions(full_store):
    folder = pipeline.folder_of(score_spec(), full_store)
    known = json.loads((folder / "manifest.json").read_text())["identity"]
    assert known["version"] == pipeline.VERSIONS[ScoreSpec][1]
    generator = known["verifier"]["completions"]["generator"]
    assert generator["stage"] == "finetune" and generator["weights"]


def test_per_problem_sorts_and_unpacks():
    table = pd.DataFrame({"problem": [1, 0, 0], "sample": [0, 1, 0]})
    table["tokens"] = [np.array([5]), np.array([3, 4]), np.array([1])]
    assert per_problem(table, "tokens") == [[[1], [3, 4]], [[5]]]
