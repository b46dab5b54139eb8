"""The figures' tables at scale smoke: rows, columns, and what they are made of."""

import numpy as np
import pandas as pd
import pytest

from gsmlib import experiments
from gsmlib.config import resolve
from gsmlib.experiments import basics
from gsmlib.study import stages
from gsmlib.study.store import Store

TINY = dict(scale="smoke", test_problems=3, test_completions=3, max_length=200)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def no_gsm8k(monkeypatch, tmp_path):
    monkeypatch.delenv("GSM8K_DIR", raising=False)
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))


def in_order(table, name):
    low, high = table[f"{name}_low"], table[f"{name}_high"]
    return ((low <= table[name]) & (table[name] <= high)).all()


def test_dataset_table_describes_both_splits():
    table = experiments.dataset_table(resolve("00_dataset", scale="smoke"))
    assert set(table["dataset"]) == {"minigsm"}
    assert table["split"].value_counts().to_dict() == {"train": 24, "test": 6}
    assert table["steps"].between(2, 8).all()
    assert (table[["question_words", "solution_words"]] > 0).all(axis=None)


def test_gsm8k_is_at_hand_where_its_files_are(monkeypatch, tmp_path):
    assert not experiments.gsm8k_at_hand("quick")
    assert experiments.gsm8k_at_hand("smollm2")
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").touch()
    assert experiments.gsm8k_at_hand("quick")


def test_test_at_n_curve_has_a_row_per_seed_and_epoch(store):
    settings = resolve("02_test_at_n", seeds=[0, 1], **TINY)
    table = experiments.test_at_n_curve(settings, store)
    assert table[["seed", "epoch"]].values.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert all(in_order(table, n) for n in ("test_at_1", "test_at_n", "mean_accuracy"))
    assert (table["n"] == 3).all() and (table["n_problems"] == 3).all()
    assert (table["mean_accuracy"] <= table["test_at_n"]).all()
    assert table[["train_loss", "test_loss"]].notna().all(axis=None)


def test_calculator_value_has_a_row_with_and_one_without(store):
    settings = resolve("01_calculator", **TINY)
    table = experiments.calculator_value(settings, store)
    assert table["calculator"].tolist() == [True, False]
    assert all(in_order(table, name) for name in ("greedy", "sampled"))


@pytest.fixture(scope="module")
def verification(store):
    settings = resolve("03_verification", models=["tiny:random"], **TINY)
    return settings, experiments.verification_curve(settings, store)


def test_verification_curve_has_two_rows_a_point(verification):
    settings, table = verification
    assert len(table) == 2 * len(settings.sizes)
    keys = ["model", "n_train", "seed", "method"]
    assert not table.duplicated(keys).any()
    assert (table["low"] <= table["accuracy"]).all()
    verified = table[table["method"] == "verification"]
    assert in_order(verified, "gain")
    assert (verified["n"] == 3).all()
    finetuned = table[table["method"] == "finetuning"]
    gain = verified["accuracy"].to_numpy() - finetuned["accuracy"].to_numpy()
    assert np.allclose(verified["gain"], gain)
    assert (table["parameters"] == 83_328).any() or (table["parameters"] > 0).all()


def test_a_second_call_comes_from_the_store(verification, store, monkeypatch):
    settings, table = verification

    def refuse(*arguments, **settings):
        raise AssertionError("nothing is left to compute")

    for name in ("train", "stream_completions", "score_completions"):
        monkeypatch.setattr(stages, name, refuse)
    again = experiments.verification_curve(settings, Store(store.root))
    pd.testing.assert_frame_equal(table, again)


def test_figures_share_their_generators():
    """02 and 03 ask for one and the same finetuning run where sizes agree."""
    curve = resolve("02_test_at_n", scale="quick")
    verification = resolve("03_verification", scale="quick")
    seed, size = curve.seeds[0], curve.n_train
    assert curve.model in verification.models and size in verification.sizes
    rate = verification.learning_rates[verification.models.index(curve.model)]
    epochs = verification.epochs
    shared = experiments.finetune_spec(
        verification, curve.model, size, rate, epochs=epochs, seed=seed
    )
    assert basics._generator_of(curve, seed) == shared


def test_hub_models_keep_the_last_epoch_only():
    settings = resolve("03_verification", scale="gpt2")
    keep = dict(epochs=20, seed=0)
    spec = experiments.finetune_spec(settings, "gpt2", 500, 1e-5, **keep)
    assert spec.keep_epochs == (20,)
    spec = experiments.finetune_spec(settings, "gpt2", 500, 1e-5, keep_all=True, **keep)
    assert spec.keep_epochs == tuple(range(1, 21))


def test_verifier_sees_completions_of_its_own_training_problems():
    settings = resolve("03_verification", scale="smollm2")
    rate = settings.learning_rates[0]
    generator = experiments.finetune_spec(
        settings, settings.models[0], 300, rate, epochs=2, seed=0
    )
    spec = experiments.verifier_spec(settings, generator)
    assert spec.completions.split == "train"
    assert spec.completions.n_problems == settings.completed_problems < 300
    assert spec.training.language_weight == 1.0
    assert not spec.training.loss_on_question


def test_matrix_refuses_gaps():
    whole = pd.DataFrame({"problem": [0, 0, 1, 1], "sample": [0, 1, 1, 0]})
    whole["value"] = [1, 2, 4, 3]
    assert experiments.matrix(whole, "value").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="lacks samples"):
        experiments.matrix(whole[:3], "value")
