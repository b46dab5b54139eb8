"""A study on three Ray nodes of one machine, one of which dies on the way."""

import socket
import threading
import time

import pandas as pd
import pytest
from test_stages import finetune_spec, sample_spec, score_spec

from gsmlib.records import SettingsError
from gsmlib.study import cluster, results
from gsmlib.study.cluster import count_shards, prepare_on_ray
from gsmlib.study.estimates import estimate_seconds
from gsmlib.study.pool import Task, list_tasks, needed_tasks
from gsmlib.study.specs import ReleasedSpec, SearchSpec
from gsmlib.study.stages import locate, work_of
from gsmlib.study.store import Store

ray = pytest.importorskip("ray", reason="Ray, an extra, is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

NODE = dict(num_cpus=1, num_gpus=0, object_store_memory=80 * 2**20, memory=4 * 2**30)
QUICK = dict(health_check_period_ms=500, health_check_failure_threshold=6)
PATIENT = dict(agent_register_timeout_ms=120_000)  # where the cores are busy


@pytest.fixture(scope="module")
def machines():
    """A cluster of three nodes and its address."""
    nodes = Cluster(
        initialize_head=True,
        head_node_args=dict(
            NODE, include_dashboard=False, _system_config=QUICK | PATIENT
        ),
    )
    for _ in range(2):
        nodes.add_node(**NODE)
    nodes.wait_for_nodes()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def specs():
    """The last stages of a small study; sampling is most of it."""
    spec = score_spec()
    many = spec.completions.replace(n=24)
    return [spec.replace(completions=many), spec]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("local"))
    for spec in specs():
        results.score(spec, store)
    return store


@pytest.fixture(scope="module")
def filled(machines, tmp_path_factory):
    """A store that the cluster filled, a node of which was killed on the way."""
    store = Store(tmp_path_factory.mktemp("cluster"))
    victim = machines.list_all_nodes()[-1]
    killed = []

    def kill():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(store.root.glob("sample/*")):
            time.sleep(0.1)
        machines.remove_node(victim, allow_graceful=False)
        killed.append(bool(needed_tasks(list_tasks(specs(), Store(store.root)))))

    killer = threading.Thread(target=kill)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "SHARD_SECONDS", 0.01)
        killer.start()
        failed = prepare_on_ray(specs(), store, machines.address)
        killer.join()
    assert not failed and killed == [True], "the node was to die in the middle"
    return store


def test_a_node_that_dies_changes_no_row(filled, local):
    assert not needed_tasks(list_tasks(specs(), filled))
    assert not list(filled.root.glob("*/*.work"))
    for spec in specs():
        drawn = [results.sample(spec.completions, store) for store in (filled, local)]
        pd.testing.assert_frame_equal(*drawn, rtol=1e-5)
        scores = [results.score(spec, store) for store in (filled, local)]
        pd.testing.assert_frame_equal(*scores, rtol=1e-4, atol=1e-6)


def test_ray_train_trains_a_stage_by_two_processes(
    filled, local, machines, tmp_path, monkeypatch
):
    monkeypatch.setenv("GSMLIB_TRAIN_PROCESSES", "2")
    store, spec = Store(tmp_path), finetune_spec()
    assert prepare_on_ray([spec], store, machines.address) == []
    both = [results.epoch_losses(spec, s) for s in (store, local)]
    pd.testing.assert_frame_equal(*both, rtol=1e-4)
    assert not both[0].equals(both[1])  # two processes sum in another order


@pytest.mark.parametrize("given", ["0", "two"])
def test_a_number_of_processes_that_is_none_is_refused(tmp_path, monkeypatch, given):
    monkeypatch.setenv("GSMLIB_TRAIN_PROCESSES", given)
    with pytest.raises(SettingsError, match=f"TRAIN_PROCESSES is '{given}'"):
        prepare_on_ray(specs(), Store(tmp_path), "auto")


def test_a_second_run_does_nothing(filled, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was asked"))
    assert prepare_on_ray(specs(), filled, "auto") == []


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ray", None)
    with pytest.raises(SettingsError, match="pip install"):
        prepare_on_ray(specs(), Store(tmp_path), "auto")


def test_an_address_that_nobody_answers_at_is_refused_at_once(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(OSError, match=f"{address}.*--ray"):
            prepare_on_ray(specs(), Store(tmp_path), address)


def test_a_stage_has_as_many_shards_as_it_is_worth(monkeypatch):
    def shards(spec, workers=100, on_gpu=False):
        work = work_of(spec)
        about = locate(spec), work, estimate_seconds(work)
        task = Task(spec, *about, done=False, asked=True)
        return count_shards(task, workers, on_gpu)

    monkeypatch.setattr(cluster, "SHARD_SECONDS", 3)
    long = sample_spec(generator=finetune_spec(model="gpt2-xl"), n=500)
    assert shards(long) == long.n_problems and shards(long, workers=3) == 3
    assert shards(long, on_gpu=True) < shards(long)
    monkeypatch.setattr(cluster, "SHARD_SECONDS", 1)
    assert shards(score_spec().replace(completions=long)) == long.n_problems
    assert shards(sample_spec(n=1)) == 1
    search = SearchSpec(
        verifier=score_spec(completions=long).verifier,
        split="test",
        n_problems=4,
        width=9,
        branching=9,
        temperature=0.7,
    )
    assert shards(search) == search.n_problems
    data = long.generator.data.replace(dataset="gsm8k")
    generator = long.generator.replace(data=data)
    released = ReleasedSpec(generator=generator, half="odd", n_problems=600)
    assert shards(released) == 1 and estimate_seconds(work_of(released)) > 9
    assert shards(long.generator) == 1 and estimate_seconds(work_of(long.generator)) > 1
