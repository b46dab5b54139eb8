"""The stages on tiny random models: keys, resuming, shards, and tables that fit."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from gsmlib.data import load_problems
from gsmlib.files import file_sha256
from gsmlib.method.answers import is_correct
from gsmlib.method.models import (
    load_language_model,
    load_saved_verifier,
    save_language_model,
)
from gsmlib.method.pretraining import Passages, more_text_rows
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.selection import AGGREGATIONS
from gsmlib.method.sizes import TOKENIZER_FILE, WEIGHTS
from gsmlib.records import Record
from gsmlib.study import making, parts, results, stages
from gsmlib.study.making import per_problem
from gsmlib.study.specs import (
    DataSpec,
    FinetuneSpec,
    PretrainSpec,
    ReleasedSpec,
    SampleSpec,
    ScoreSpec,
    SearchSpec,
    VerifierSpec,
)
from gsmlib.study.stages import identity
from gsmlib.study.store import Store, key_of


def finetune_spec(**changes):
    training = TrainSettings(epochs=2, learning_rate=3e-3, batch_tokens=500)
    data = DataSpec(dataset="minigsm", n_train=6, n_test=3)
    values = dict(model="tiny:random", data=data, training=training)
    return FinetuneSpec(**{**values, "keep_epochs": (1, 2), **changes})


def pretrain_spec(**changes):
    training = TrainSettings(epochs=1, learning_rate=3e-3, batch_tokens=500)
    values = dict(model="tiny:random", dataset="minigsm", n_texts=5, training=training)
    return PretrainSpec(**{**values, **changes})


def sample_spec(**changes):
    values = dict(generator=finetune_spec(), epoch=2, split="train", n_problems=4, n=2)
    values |= dict(temperature=0.7, max_length=200, seed=1)
    return SampleSpec(**{**values, **changes})


def score_spec(generator=None):
    given = {"generator": generator} if generator else {}
    training = TrainSettings(epochs=1, learning_rate=1e-3, batch_tokens=900)
    verifier = VerifierSpec(completions=sample_spec(**given), training=training)
    completions = sample_spec(split="test", n_problems=3, **given)
    return ScoreSpec(verifier=verifier, completions=completions)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def full_store(tmp_path_factory):
    """A store in which all stages were run once."""
    store = Store(tmp_path_factory.mktemp("full"))
    results.score(score_spec(), store)
    return store


# ------------------------------------------------------------------------------ keys


def variants(spec):
    """Every spec that differs from `spec` in one field, at any depth, with its path."""
    for name, value in spec:
        if isinstance(value, Record):
            for path, changed in variants(value):
                yield f"{name}.{path}", spec.model_copy(update={name: changed})
        else:
            yield name, spec.model_copy(update={name: another(value, name)})


OTHERS = {
    "pretraining": lambda: pretrain_spec(),
    "sampler": lambda: score_spec().verifier,
    "start": lambda: finetune_spec(max_length=300),
    "loss_on_question": lambda: True,
}


def another(value, name):
    if value is None:
        return OTHERS.get(name, lambda: 1)()
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 7)
    return value + ("x" if isinstance(value, str) else 1)


VARIANTS = dict(variants(score_spec()))


@pytest.mark.parametrize("path", VARIANTS)
def test_every_setting_changes_the_key(path):
    assert key_of(identity(VARIANTS[path])) != key_of(identity(score_spec()))


def search_spec(**changes):
    usual = dict(split="test", n_problems=2, width=1, branching=2, temperature=0.7)
    return SearchSpec(**{"verifier": score_spec().verifier, **usual, **changes})


def test_every_setting_of_a_search_changes_its_key():
    others = dict(split="dev", n_problems=3, width=2, branching=3, temperature=1.0)
    others |= dict(max_length=99, precision="bf16", seed=1, shuffled=True, oracle=True)
    others |= dict(verifier=score_spec().verifier.replace(head="linear"))
    assert set(others) == set(SearchSpec.model_fields)
    keys = {key_of(identity(search_spec(**{k: v}))) for k, v in others.items()}
    assert len(keys | {key_of(identity(search_spec()))}) == len(others) + 1


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stages_version_changes_its_childrens_keys(stage, monkeypatch):
    spec = score_spec(finetune_spec(pretraining=pretrain_spec()))
    if stage is ReleasedSpec:
        data = finetune_spec().data.replace(dataset="gsm8k")
        solutions = ReleasedSpec(
            generator=finetune_spec(data=data), half="odd", n_problems=2
        )
        spec = spec.replace(verifier=spec.verifier.replace(completions=solutions))
    if stage is SearchSpec:  # nothing is made of it
        spec = search_spec()
    before = key_of(identity(spec))
    row = stages.STAGES[stage]
    monkeypatch.setitem(stages.STAGES, stage, row._replace(version=row.version + 1))
    assert key_of(identity(spec)) != before


def test_a_later_stages_version_leaves_earlier_keys(monkeypatch):
    before = key_of(identity(finetune_spec()))
    later = stages.STAGES[SampleSpec]._replace(version=99)
    monkeypatch.setitem(stages.STAGES, SampleSpec, later)
    assert key_of(identity(finetune_spec())) == before


def test_equal_specs_have_equal_keys():
    assert key_of(identity(score_spec())) == key_of(identity(score_spec()))


@pytest.fixture
def folder(tmp_path):
    """A model folder, as anyone's own."""
    save_language_model(load_language_model("tiny:random"), tmp_path / "own")
    (tmp_path / "own" / "README.md").write_text("A model.")
    return tmp_path / "own"


def edit(file, old, new):
    """Change a file in place, within its length, as fast as can be."""
    text = file.read_text()
    assert old in text and len(old) == len(new)
    file.write_text(text.replace(old, new))


CHANGES = {
    "weights": lambda folder: save_language_model(
        load_language_model("tiny:random", seed=1), folder
    ),
    "config": lambda folder: edit(folder / "config.json", "1e-05", "1e-06"),
    "tokenizer": lambda folder: edit(folder / "tokenizer.json", '" bag"', '" bug"'),
    "its settings": lambda folder: edit(
        folder / "tokenizer_config.json", "false", "true "
    ),
    "a file more": lambda folder: (folder / "added_tokens.json").write_text("{}"),
    "a file less": lambda folder: (folder / "tokenizer_config.json").unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_models_folder_that_changes_changes_the_key(what, folder):
    """Within one process too: nothing is remembered by the name alone."""
    spec = score_spec(finetune_spec(model=str(folder)))
    before = stages.locate(spec).key
    assert stages.locate(spec).key == before
    CHANGES[what](folder)
    assert stages.locate(spec).key != before


def test_what_decides_nothing_in_a_folder_changes_no_key(folder, tmp_path):
    spec = finetune_spec(model=str(folder))
    before = stages.locate(spec).key
    (folder / "README.md").write_text("A better text about it.")
    (folder / ".cache").mkdir()
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.move(tmp_path / "copy", folder)  # other times, the same bytes
    assert stages.locate(spec).key == before


def test_a_folder_named_as_a_shipped_model_is_not_it(folder, monkeypatch):
    before = stages.weights_fingerprint("mini-2m")
    folder.rename(folder.with_name("mini-2m"))
    monkeypatch.chdir(folder.parent)
    assert stages.weights_fingerprint("mini-2m") == before


def test_the_keys_of_shipped_models_have_not_changed():
    """A store stays valid: what was made before folders' configs counted is found."""
    assert stages.weights_fingerprint("gpt2") == "e3b0c44298fc1c14"  # of no file
    sums = [file_sha256(WEIGHTS / "mini-2m.safetensors"), file_sha256(TOKENIZER_FILE)]
    expected = hashlib.sha256(" ".join(sums).encode()).hexdigest()[:16]
    assert stages.weights_fingerprint("mini-2m") == expected


# ---------------------------------------------------------------------------- stages


def test_finetuning_keeps_epochs_and_losses(full_store):
    spec = finetune_spec()
    assert results.obtain(spec, full_store).cached
    losses = results.epoch_losses(spec, full_store)
    assert losses["epoch"].tolist() == [1, 2]
    assert losses[["train_loss", "test_loss"]].notna().all(axis=None)
    assert losses["train_loss"].is_monotonic_decreasing
    first, second = (
        results.load_finetuned(spec, epoch, full_store).model for epoch in (1, 2)
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_parameters_are_counted_once(full_store):
    model = load_language_model("tiny:random").model
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert results.parameter_count(finetune_spec(), full_store) == expected


def test_interrupted_finetuning_goes_on_to_the_same_weights(
    store, full_store, monkeypatch
):
    note = making._note_losses

    def interrupt(path, epoch, *losses):
        note(path, epoch, *losses)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(making, "_note_losses", interrupt)
    with pytest.raises(KeyboardInterrupt):
        results.obtain(finetune_spec(), store)
    monkeypatch.undo()
    spec = finetune_spec()
    resumed = results.load_finetuned(spec, 2, store).model.state_dict()
    whole = results.load_finetuned(spec, 2, full_store).model.state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert results.epoch_losses(spec, store).equals(
        results.epoch_losses(spec, full_store)
    )


def test_completions_are_labelled_rows(full_store):
    table = results.sample(sample_spec(), full_store)
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
    spec, label, made = sample_spec(), making._label, []

    def count(completion, problem):
        made.append(completion)
        if len(made) == 4:
            raise KeyboardInterrupt
        return label(completion, problem)

    monkeypatch.setattr(parts, "SAVE_SECONDS", 0)
    monkeypatch.setattr(making, "_label", count)
    with pytest.raises(KeyboardInterrupt):
        results.sample(spec, store)
    resumed = results.sample(spec, store)
    assert len(made) == 1 + spec.n_problems * spec.n  # the one in the making was lost
    whole = results.sample(spec, full_store)
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(list(stages.folder_of(spec, store).iterdir())) == 2


def test_interrupted_scoring_makes_only_what_is_missing(store, full_store, monkeypatch):
    spec, made, score = score_spec(), [], making.score_completions

    def count(*arguments, **more):
        made.append(arguments)
        if len(made) == 2:
            raise KeyboardInterrupt
        return score(*arguments, **more)

    monkeypatch.setattr(parts, "SAVE_SECONDS", 0)
    monkeypatch.setitem(making.TOGETHER, type(spec), 1)
    whole = results.score(spec, store)
    shutil.rmtree(stages.folder_of(spec, store))
    monkeypatch.setattr(making, "score_completions", count)
    with pytest.raises(KeyboardInterrupt):
        results.score(spec, Store(store.root))
    resumed = results.score(spec, Store(store.root))
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    groups = len(making.groups_of(spec))
    assert len(made) == groups + 1 > 2  # only the one in the making was lost
    assert len(list(stages.folder_of(spec, store).iterdir())) == 2


def test_scores_fit_the_completions(full_store):
    spec = score_spec()
    scores = results.score(spec, full_store)
    completions = results.sample(spec.completions, full_store)
    assert scores["problem"].tolist() == completions["problem"].tolist()
    assert scores["token_scores"].map(len).equals(completions["tokens"].map(len))
    last = scores["token_scores"].map(lambda values: values[-1])
    assert np.allclose(scores["last"], last)
    assert set(AGGREGATIONS) < set(scores.columns)


def test_a_verifier_may_start_from_the_pretrained_model(full_store):
    spec = score_spec().verifier.model_copy(update={"init": "pretrained"})
    assert not results.obtain(spec, full_store).cached
    start = making._verifier_start(spec, full_store).model.state_dict()
    pretrained = load_language_model("tiny:random").model.state_dict()
    assert all(torch.equal(start[name], pretrained[name]) for name in pretrained)


def test_finetuning_goes_on_from_additional_pretraining(full_store):
    spec = finetune_spec(pretraining=pretrain_spec())
    results.obtain(spec.pretraining, full_store)
    start = making.load_start(spec, 0.0, full_store)
    plain = load_language_model("tiny:random").model.state_dict()
    assert differ(start.model.state_dict(), plain)
    after, before = (
        results.load_finetuned(s, 1, full_store) for s in (spec, finetune_spec())
    )
    assert differ(after.model.state_dict(), before.model.state_dict())


def differ(weights, others):
    return any(not torch.equal(weights[name], others[name]) for name in weights)


def test_more_texts_are_none_of_those_pretrained_on():
    tokenizer = load_language_model("tiny:random").tokenizer
    known = {tuple(row.tokens) for row in Passages(tokenizer, 300)}
    more = [tuple(r.tokens) for r in more_text_rows(tokenizer, "minigsm", 300, 0)]
    assert len(more) == 300 and not known & set(more)


def test_direct_answers_have_no_steps(full_store):
    data = finetune_spec().data.replace(answers_only=True)
    problems = stages.training_problems(data, 6)
    whole = stages.training_problems(finetune_spec().data, 6)
    assert all(p.solution.startswith("####") for p in problems)
    assert [p.question for p in problems] == [p.question for p in whole]
    assert all(
        is_correct(a.solution, b.solution) for a, b in zip(problems, whole, strict=True)
    )
    direct = results.epoch_losses(finetune_spec(data=data), full_store)
    steps = results.epoch_losses(finetune_spec(), full_store)
    assert not np.allclose(direct["test_loss"], steps["test_loss"])


def rows_of(verifier, store):
    lm = making._verifier_start(verifier, store)
    rows = making.verifier_rows(verifier, lm, store)
    return rows, making._joint_rows(verifier, lm, rows)


def test_a_verifier_learns_from_what_it_is_told(full_store):
    verifier = score_spec().verifier
    rows, joint = rows_of(verifier, full_store)
    assert len(rows) == 8 and len(joint) == 6  # as many as training problems
    first, _ = rows_of(verifier.replace(per_problem=1), full_store)
    assert first == rows[::2]
    _, samples = rows_of(verifier.replace(language_rows="samples"), full_store)
    assert [r.tokens for r in samples] == [r.tokens for r in rows]
    assert all(np.isnan(row.label) for row in samples)


def test_equal_completions_are_learnt_once_where_so_asked(full_store, monkeypatch):
    verifier = score_spec().verifier
    table = results.sample(verifier.completions, full_store)
    table.loc[1, ["tokens", "correct"]] = table.loc[0, ["tokens", "correct"]]
    table.loc[2, "tokens"] = table.loc[0, "tokens"]  # of another problem
    monkeypatch.setattr(pd, "read_parquet", lambda *_, **__: table)
    everything, _ = rows_of(verifier, full_store)
    distinct, _ = rows_of(verifier.replace(deduplicate=True), full_store)
    assert everything[:1] + everything[2:] == distinct


def test_a_verifier_may_be_of_another_size_than_its_generator(full_store):
    start = finetune_spec(model="mini-0.2m:random", keep_epochs=(2,))
    spec = score_spec().verifier.replace(start=start)
    results.obtain(spec, full_store)
    saved, _ = load_saved_verifier(
        stages.folder_of(spec, full_store) / stages.verifier_name()
    )
    expected = load_language_model("mini-0.2m:random").model.num_parameters()
    assert saved.language_model.num_parameters() == expected
    _, joint = rows_of(spec, full_store)
    assert len(joint) == 6


def test_a_verifier_with_other_tokens_is_refused(full_store, monkeypatch):
    start = finetune_spec(model="mini-0.2m:random", keep_epochs=(2,))
    spec = score_spec().verifier.replace(start=start)
    load = making.models.load_saved_language_model

    def load_with_one_more(folder, dropout=0.0):
        lm = load(folder, dropout=dropout)
        if folder == stages.epoch_folder(start, 2, full_store):
            lm.tokenizer.add_tokens(["unheard"])
        return lm

    monkeypatch.setattr(making.models, "load_saved_language_model", load_with_one_more)
    results.obtain(start, full_store)
    with pytest.raises(ValueError, match="cannot verify"):
        making._verifier_start(spec, full_store)


def test_one_model_may_do_both_jobs(full_store):
    spec = score_spec()
    own = spec.completions.replace(sampler=spec.verifier)
    sampled = results.sample(own, full_store)
    by_generator = results.sample(spec.completions, full_store)
    assert len(sampled) == len(by_generator)
    assert not sampled["text"].equals(by_generator["text"])
    scores = results.score(spec.replace(completions=own), full_store)
    assert len(scores) == len(sampled)


def test_checkpoints_are_looked_at_one_by_one(full_store):
    training = score_spec().verifier.training.replace(epochs=2)
    verifier = score_spec().verifier.replace(checkpoints=2, training=training)
    spec = score_spec().replace(verifier=verifier)
    first, second, last = (
        results.score(spec.replace(checkpoint=number), full_store)["last"]
        for number in (1, 2, None)
    )
    assert not np.allclose(first, second) and np.allclose(second, last)
    with pytest.raises(ValueError, match="checkpoint 3 was not kept"):
        spec.replace(checkpoint=3)


def test_everything_is_cached_the_second_time(full_store, capsys):
    results.score(score_spec(), Store(full_store.root))
    assert capsys.readouterr().out == ""  # what is read says nothing


def test_a_corrupt_artifact_is_named_and_made_again(full_store, capsys):
    spec = sample_spec()
    file = stages.folder_of(spec, full_store) / stages.COMPLETIONS
    before = results.sample(spec, full_store)
    file.write_bytes(file.read_bytes()[:-1])
    after = results.sample(spec, Store(full_store.root))
    assert str(file) in capsys.readouterr().out
    pd.testing.assert_frame_equal(before, after)


def test_test_problems_are_the_same_for_every_seed():
    data = DataSpec(dataset="minigsm", n_train=6, n_test=3, seed=5)
    spec = sample_spec(generator=finetune_spec(data=data))
    test = spec.model_copy(update={"split": "test"})
    assert stages.sampled_problems(test) == load_problems("minigsm", "test", 4, 0)
    assert stages.sampled_problems(spec) == load_problems("minigsm", "train", 4, 5)
    assert stages.sampled_problems(spec) == stages.training_problems(data, 6)[:4]


def test_the_manifest_holds_the_parents_versions(full_store):
    folder = stages.folder_of(score_spec(), full_store)
    known = json.loads((folder / "manifest.json").read_text())["identity"]
    assert known["version"] == stages.STAGES[ScoreSpec][1]
    generator = known["verifier"]["completions"]["generator"]
    assert generator["stage"] == "finetune" and generator["weights"]


def test_per_problem_sorts_and_unpacks():
    table = pd.DataFrame({"problem": [1, 0, 0], "sample": [0, 1, 0]})
    table["tokens"] = [np.array([5]), np.array([3, 4]), np.array([1])]
    assert per_problem(table, "tokens") == [[[1], [3, 4]], [[5]]]
