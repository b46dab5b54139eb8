"""The stages of a study as Ray tasks, on as many machines as there are.

Ray starts the tasks where there is room, and again where a machine is lost: a training
goes on from its checkpoint, sampling and scoring from the rows that are saved. All that
passes between machines is in the store, which they must share.
"""

import math
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gsmlib.environment import count_from
from gsmlib.records import SettingsError
from gsmlib.study.checks import check_specs
from gsmlib.study.estimates import estimate_gpu_seconds, estimate_memory
from gsmlib.study.making import SHARDED, compute_shard, groups_of
from gsmlib.study.pool import (
    Submit,
    Task,
    compute_quietly,
    list_tasks,
    needed_tasks,
    work_off,
)
from gsmlib.study.results import obtain
from gsmlib.study.specs import Spec
from gsmlib.study.stages import locate
from gsmlib.study.store import Store

try:
    import ray
except ImportError:  # an extra
    ray = None

TRAIN_PROCESSES = "GSMLIB_TRAIN_PROCESSES"  # that train one stage, else one
SHARD_SECONDS = 300  # a shard of less is not worth loading a model for
ANSWERS_IN = 10  # seconds
PASSED_ON = ("GSMLIB_", "HF_")  # environment variables that tasks see too


def prepare_on_ray(specs: Sequence[Spec], store: Store, address: str) -> list[Spec]:
    """Compute what `specs` need and the store lacks; return the stages that failed.

    `address` is what `ray.init` takes: "auto" for the cluster that this machine belongs
    to, a host and port, "local" for one made here and now. Raises SettingsError where
    Ray is not installed, OSError where no cluster answers.
    """
    if ray is None:
        raise SettingsError("Ray is not installed; run pip install 'gsmlib[ray]'.")
    needed = needed_tasks(list_tasks(specs, store))
    if not needed:
        return []
    count_from(TRAIN_PROCESSES)  # refused here, not on the way
    check_specs(needed)
    _check_address(address)
    passed = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    ray.init(address, runtime_env={"env_vars": passed}, log_to_driver=False)
    try:
        print(f"{len(needed)} stages to compute on {describe_nodes()}", flush=True)
        return work_off(needed, submitter(needed, store.root.absolute()))
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse a host and port that nobody answers at: Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWERS_IN).close()
    except (OSError, OverflowError) as error:
        message = f"No Ray cluster answers at {address} ({error}); give --ray the "
        message += "address that `ray status` shows, or auto."
        raise OSError(message) from None


def submitter(needed: dict[Spec, Task], root: Path) -> Submit:
    """Return what submits a stage to Ray, sampling and scoring in shards."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    workers = gpus or int(ray.cluster_resources()["CPU"])
    whole, part = ray.remote(_compute_stage), ray.remote(_compute_part)
    together = ray.remote(_train_together).options(num_cpus=0)  # its processes have
    room = max(node["Resources"].get("memory", 0) for node in alive_nodes())
    processes = count_from(TRAIN_PROCESSES) or 1

    def submit(spec: Spec, _: bool) -> Future[str]:
        work = needed[spec].work
        if processes > 1 and work.kind == "train":
            return together.remote(spec, root, processes, gpus > 0).future()
        # more than the largest machine has would wait for ever
        memory = min(int(estimate_memory(work)), int(room))
        needs = dict(num_cpus=1, num_gpus=min(1, gpus), memory=memory)
        shards = count_shards(needed[spec], workers, on_gpu=gpus > 0)
        parts = []
        if shards > 1:
            task = part.options(**needs)
            parts = [task.remote(spec, root, i, shards) for i in range(shards)]
        return whole.options(**needs).remote(spec, root, *parts).future()

    return submit


def count_shards(task: Task, workers: int, on_gpu: bool) -> int:
    """Return into how many parts to split a stage's problems; 1 for most kinds."""
    if type(task.spec) not in SHARDED:
        return 1
    seconds = estimate_gpu_seconds(task.work) if on_gpu else task.seconds
    shards = math.ceil(seconds / SHARD_SECONDS)
    return max(1, min(shards, workers, len(groups_of(task.spec))))


def alive_nodes() -> list[dict]:
    """Return what Ray says of the machines that answer."""
    return [node for node in ray.nodes() if node["Alive"]]


def describe_nodes() -> str:
    """Return how many machines, cores and GPUs there are."""
    cores, gpus = (int(ray.cluster_resources().get(k, 0)) for k in ("CPU", "GPU"))
    return f"{len(alive_nodes())} machines, {cores} cores and {gpus} GPUs"


def _compute_stage(spec: Spec, root: Path, *parts: None) -> str:
    """Compute a stage once its `parts` are done; return what it had to say."""
    return compute_quietly(spec, root)


def _compute_part(spec: Spec, root: Path, shard: int, shards: int) -> None:
    compute_shard(spec, Store(root), shard, shards)


def _train_together(spec: Spec, root: Path, processes: int, on_gpu: bool) -> str:
    """Train a stage by several processes that Ray Train starts; return what it said."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as notes:  # Ray Train's own
        TorchTrainer(
            _train_as_one,
            train_loop_config={"spec": spec, "root": root, "on_gpu": on_gpu},
            scaling_config=ScalingConfig(num_workers=processes, use_gpu=on_gpu),
            run_config=RunConfig(
                storage_path=notes, failure_config=FailureConfig(max_failures=3)
            ),
        ).fit()
    seconds = time.perf_counter() - began
    return f"{locate(spec).stage:<14} by {processes} processes in {seconds:.1f} s"


def _train_as_one(config: dict[str, Any]) -> None:
    """What each of the processes does: the same as under `accelerate launch`."""
    if not config["on_gpu"]:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    obtain(config["spec"], Store(config["root"]))
