"""Sampling and scoring in shards: any number of them gives the rows of one."""

import shutil

import pandas as pd
import pytest
from test_stages import finetune_spec, sample_spec, score_spec

from gsmlib.chapters import find
from gsmlib.report import run as report
from gsmlib.study import making, results, stages
from gsmlib.study.making import compute_shard
from gsmlib.study.store import Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("whole"))
    results.score(score_spec(), store)
    return store


@pytest.fixture
def parents(whole, tmp_path):
    """A store with everything but the test problems' completions and their scores."""
    spec, store = score_spec(), Store(tmp_path / "store")
    for parent in (finetune_spec(), sample_spec(), spec.verifier):
        folder = stages.folder_of(parent, whole)
        shutil.copytree(folder, stages.folder_of(parent, store))
    return store


@pytest.mark.parametrize("shards", [1, 2, 3, 1000])
def test_any_number_of_shards_gives_the_same_rows(parents, whole, shards, monkeypatch):
    spec = score_spec()
    for stage in (spec.completions, spec):
        for shard in reversed(range(min(shards, 3))):  # the rest have no problem
            compute_shard(stage, parents, shard, shards)
        with monkeypatch.context() as patch:
            patch.setattr(making.models, "load_saved_language_model", no_model)
            patch.setattr(making.models, "load_saved_verifier", no_model)
            results.obtain(stage, parents)
    drawn = [results.sample(spec.completions, store) for store in (parents, whole)]
    pd.testing.assert_frame_equal(*drawn, rtol=1e-5)
    scores = [results.score(spec, store) for store in (parents, whole)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-4, atol=1e-6)


def test_what_is_scored_together_depends_on_no_shards(parents, monkeypatch):
    """Nor on an interruption: in bfloat16 a score depends on what is beside it."""
    spec, together, score = score_spec(), [], making.score_completions
    results.obtain(spec.completions, parents)

    def note(verifier, tokenizer, questions, *rest, **more):
        together.append(tuple(questions))
        return score(verifier, tokenizer, questions, *rest, **more)

    monkeypatch.setattr(making, "score_completions", note)
    monkeypatch.setitem(making.TOGETHER, type(spec), 2)
    for shard in range(3):  # the last has no problem
        compute_shard(spec, parents, shard, 3)
    in_shards = sorted(together)
    assert sorted(map(len, in_shards)) == [1, 2]  # of three problems
    parts = parents.parts(stages.locate(spec))
    lost = min(parts.glob("*.parquet"))
    lost.unlink()
    together.clear()
    results.obtain(spec, parents)
    assert together and set(together) < set(in_shards)


def no_model(*_):
    raise AssertionError("all was to be there")


def test_what_is_missing_or_twice_there_is_put_right(parents, whole):
    spec = score_spec()
    for stage in (spec.completions, spec):
        compute_shard(stage, parents, 0, 2)
        parts = parents.parts(stages.locate(stage))
        (part,) = parts.rglob("*.parquet")
        shutil.copy(
            part, part.with_name("again.parquet")
        )  # of a worker given up too early
        (parts / "unfinished.tmp").write_text("half a part")
        results.obtain(stage, parents)
        compute_shard(stage, parents, 1, 2)  # a straggler: nothing is left to do
    assert not list(parents.root.glob("*/*.work"))
    drawn = [results.sample(spec.completions, store) for store in (parents, whole)]
    pd.testing.assert_frame_equal(*drawn, rtol=1e-5)
    scores = [results.score(spec, store) for store in (parents, whole)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-4, atol=1e-6)


def test_other_shards_take_what_is_done_into_account(parents, monkeypatch):
    spec, made = sample_spec(seed=5), []
    label = making._label
    monkeypatch.setattr(making, "_label", lambda *pair: made.append(1) or label(*pair))
    compute_shard(spec, parents, 0, 2)
    compute_shard(spec, parents, 0, 2)
    for shard in range(3):
        compute_shard(spec, parents, shard, 3)
    assert len(made) == spec.n_problems * spec.n


def test_preparing_fills_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(report, "_report_stages", lambda scale: [score_spec()])
    assert report.fill_store("smoke") == []
    assert stages.is_done(score_spec(), Store())
    monkeypatch.setattr(report, "obtain", no_model)
    assert report.fill_store("smoke") == []


def test_preparing_one_notebook_takes_its_stages_with_the_settings_given(monkeypatch):
    asked = []
    monkeypatch.setattr(report, "prepare", lambda specs, store: asked.append(specs))
    monkeypatch.setattr(report, "needed_tasks", lambda tasks: [])
    for given in ({}, {"epochs": "1"}):
        report.fill_store("smoke", notebook="02", given=given)
        chapter = find("02")
        settings = chapter.resolve(
            scale="smoke", **{k: int(v) for k, v in given.items()}
        )
        assert asked.pop() == chapter.stages(settings)
