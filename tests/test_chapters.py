"""The chapters' tables at scale smoke: rows, columns, and what they are made of."""

import numpy as np
import pandas as pd
import pytest

from gsmlib.chapters import calculator, dataset, resolve, style, test_at_n, verification
from gsmlib.chapters.shared import (
    Base,
    each_model_and_size,
    finetuned,
    matrix,
    verifier,
)
from gsmlib.records import SettingsError
from gsmlib.study import making
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
    table = dataset.table(resolve("00_dataset", scale="smoke"))
    assert set(table["dataset"]) == {"minigsm"}
    assert table["split"].value_counts().to_dict() == {"train": 24, "test": 6}
    assert table["steps"].between(2, 8).all()
    assert (table[["question_words", "solution_words"]] > 0).all(axis=None)


def test_gsm8k_is_at_hand_where_its_files_are(monkeypatch, tmp_path):
    assert not dataset.gsm8k_at_hand("quick")
    assert dataset.gsm8k_at_hand("smollm2")
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").touch()
    assert dataset.gsm8k_at_hand("quick")


def test_test_at_n_curve_has_a_row_per_seed_and_epoch(store):
    settings = resolve("02_test_at_n", seeds=[0, 1], **TINY)
    table = test_at_n.table(settings, store)
    assert table[["seed", "epoch"]].values.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert all(in_order(table, n) for n in ("test_at_1", "test_at_n", "mean_accuracy"))
    assert (table["n"] == 3).all() and (table["n_problems"] == 3).all()
    assert (table["mean_accuracy"] <= table["test_at_n"]).all()
    assert table[["train_loss", "test_loss"]].notna().all(axis=None)


def test_calculator_value_has_a_row_with_and_one_without(store):
    settings = resolve("01_calculator", **TINY)
    table = calculator.table(settings, store)
    assert table["calculator"].tolist() == [True, False]
    assert all(in_order(table, name) for name in ("greedy", "sampled"))


@pytest.fixture(scope="module")
def verified(store):
    settings = resolve("03_verification", models=["tiny:random"], **TINY)
    return settings, verification.table(settings, store)


def test_verification_has_a_row_for_each_choice(verified):
    settings, table = verified
    assert len(table) == 6 * len(settings.sizes)  # four need no verifier
    keys = ["model", "n_train", "seed", "method"]
    assert not table.duplicated(keys).any()
    assert (table["low"] <= table["accuracy"]).all()
    by_method = dict(list(table.groupby("method")))
    chosen, greedy = by_method["verification"], by_method["finetuning"]
    assert in_order(chosen, "gain")
    assert (chosen["n"] == 3).all()
    gain = chosen["accuracy"].to_numpy() - greedy["accuracy"].to_numpy()
    assert np.allclose(chosen["gain"], gain)
    assert (table["parameters"] == 83_328).any() or (table["parameters"] > 0).all()


def test_fewer_completed_problems_than_training_problems_are_said(verified, store):
    settings, table = verified
    fewer = settings.completed_problems
    assert min(settings.sizes) <= fewer < max(settings.sizes)
    assert (table["completed"] == table["n_train"].clip(upper=fewer)).all()
    smallest = settings.replace(sizes=(min(settings.sizes),))
    assert "completed" not in verification.table(smallest, store)  # as many


def test_a_second_call_comes_from_the_store(verified, store, monkeypatch):
    settings, table = verified

    def refuse(*arguments, **settings):
        raise AssertionError("nothing is left to compute")

    for name in ("train", "stream_completions", "score_completions"):
        monkeypatch.setattr(making, name, refuse)
    again = verification.table(settings, Store(store.root))
    pd.testing.assert_frame_equal(table, again)


def test_figures_share_their_generators():
    """02 and 03 ask for one and the same finetuning run where sizes agree."""
    curve = resolve("02_test_at_n", scale="mini")
    compared = resolve("03_verification", scale="mini")
    seed, size = curve.seeds[0], curve.n_train
    assert curve.model in compared.models and size in compared.sizes
    runs = [
        point.specs["greedy"].generator
        for point in verification.grid(compared)
        if point.about["model"] == curve.model
        and (point.about["n_train"], point.about["seed"]) == (size, seed)
    ]
    assert [test_at_n.grid(curve)[0].specs["greedy"].generator] == runs


def test_hub_models_keep_the_last_epoch_only():
    settings = resolve("03_verification", scale="gpt2")
    base = Base("gpt2", 500, 1e-5, seed=0)
    assert finetuned(settings, base, 20).keep_epochs == (20,)
    spec = finetuned(settings, base, 20, keep_all=True)
    assert spec.keep_epochs == tuple(range(1, 21))


def test_verifier_sees_completions_of_its_own_training_problems():
    settings = resolve("03_verification", scale="smollm2")
    generator = finetuned(settings, each_model_and_size(settings)[0], 2)
    spec = verifier(settings, generator)
    assert spec.completions.generator == generator
    assert spec.completions.split == "train"
    assert spec.completions.n_problems == 500 < settings.completed_problems
    assert spec.training.language_weight == 1.0
    assert not spec.training.loss_on_question


def test_dev_problems_are_answered_instead_of_test_problems(store):
    test, dev = (
        resolve("03_verification", **TINY, sizes=8, models="tiny:random", split=split)
        for split in ("test", "dev")
    )
    for one, other in zip(*map(verification.grid, (test, dev)), strict=True):
        assert (one.about | {"split": "dev"}) == other.about
        kept, answered = one.specs["scores"], other.specs["scores"]
        assert kept.verifier == answered.verifier  # it learns the same
        assert kept.completions.replace(split="dev") == answered.completions
        assert one.specs["greedy"].replace(split="dev") == other.specs["greedy"]
    table = test_at_n.table(resolve("02_test_at_n", **TINY, split="dev"), store)
    assert "3 development problems;" in style.measured_on(table)
    plain = test_at_n.table(resolve("02_test_at_n", **TINY), store)
    assert "split" not in plain
    assert "3 test problems;" in style.measured_on(plain)
    assert not plain["test_loss"].isna().any()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"n_train": 7000}, "6973 training and 500 development problems, but n_train"),
        ({"test_problems": 501}, "give at most -p test_problems 500"),
    ],
)
def test_dev_problems_are_none_that_are_learnt(asked, words):
    with pytest.raises(SettingsError, match=words):
        resolve("02_test_at_n", scale="smollm2", split="dev", **asked)
    assert resolve("02_test_at_n", scale="smollm2", **asked)
    asked = {name: value - 100 for name, value in asked.items()}
    assert resolve("02_test_at_n", scale="smollm2", split="dev", **asked)


def test_matrix_refuses_gaps():
    whole = pd.DataFrame({"problem": [0, 0, 1, 1], "sample": [0, 1, 1, 0]})
    whole["value"] = [1, 2, 4, 3]
    assert matrix(whole, "value").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="lacks samples"):
        matrix(whole[:3], "value")
