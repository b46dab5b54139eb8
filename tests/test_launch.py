"""Two processes by `accelerate launch` and one process: the same curves and rows."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from test_stages import finetune_spec, score_spec

from gsmlib.data import load_problems
from gsmlib.method.batching import encode
from gsmlib.method.recipe import TrainSettings
from gsmlib.method.training import _own_share, _random_numbers, add_gradients, new_run
from gsmlib.study import making, results, stages
from gsmlib.study.store import Store

# A sum over processes adds float32 numbers in another order; steps carry it on.
TOLERANCE = 1e-4
# `accelerate launch --cpu` starts one process, however many are asked for
LAUNCH = "-m torch.distributed.run --standalone --nproc_per_node 2"
COMPUTE = """
import sys
from gsmlib.method.training import launched
from gsmlib.study import results, stages
from gsmlib.study.specs import ScoreSpec
from gsmlib.study.store import Store
results.obtain(ScoreSpec.model_validate_json(sys.argv[1]), Store(sys.argv[2]))
print(f"one of {launched().num_processes}\\n", end="")  # one write: two print at once
"""


def compute_by_two(spec, store, tmp_path):
    """Compute all of a score's stages by two processes; return what they printed."""
    script = tmp_path / "compute.py"
    script.write_text(COMPUTE)
    command = [sys.executable, *LAUNCH.split(), str(script)]
    done = subprocess.run(
        [*command, spec.model_dump_json(), str(store.root)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("one of 2") == 2
    return done.stdout


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One process's store; two's, that went on with one's interrupted finetuning."""
    folder = tmp_path_factory.mktemp("launch")
    one, two = Store(folder / "one"), Store(folder / "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "_note_losses", interrupt)
        with pytest.raises(KeyboardInterrupt):
            results.obtain(finetune_spec(), two)
    printed = compute_by_two(score_spec(), two, folder)
    results.score(score_spec(), one)
    return one, two, printed


NOTE = making._note_losses


def interrupt(path, epoch, *losses):
    NOTE(path, epoch, *losses)
    if epoch == 1:
        raise KeyboardInterrupt


def history(spec, store):
    table = pd.read_csv(stages.folder_of(spec, store) / stages.HISTORY)
    return table.drop(columns="seconds")


@pytest.mark.parametrize("spec", [finetune_spec(), score_spec().verifier])
def test_two_processes_have_the_loss_curve_of_one(stores, spec):
    one, two, _ = stores
    pd.testing.assert_frame_equal(
        history(spec, one), history(spec, two), rtol=TOLERANCE, atol=1e-6
    )


def test_what_two_processes_wrote_is_read_alike(stores):
    one, two, printed = stores
    assert printed.count("computed in") == 5  # the first alone speaks
    assert not list(two.root.glob("*/*.work"))
    for spec in (finetune_spec(), score_spec().verifier, score_spec()):
        files = [
            sorted(path.name for path in stages.folder_of(spec, s).rglob("*"))
            for s in (one, two)
        ]
        assert files[0] == files[1]
    losses = [results.epoch_losses(finetune_spec(), s) for s in (one, two)]
    pd.testing.assert_frame_equal(*losses, rtol=TOLERANCE)
    weights = [
        results.load_finetuned(finetune_spec(), 2, s).model.state_dict()
        for s in (one, two)
    ]
    assert all(
        torch.allclose(weights[0][name], weights[1][name], atol=1e-4)
        for name in weights[0]
    )


def test_two_processes_sample_and_score_the_rows_of_one(stores, tmp_path):
    one, _, _ = stores
    mixed = Store(tmp_path / "mixed")
    for spec in (finetune_spec(), score_spec().verifier):
        folder = stages.folder_of(spec, mixed)
        shutil.copytree(stages.folder_of(spec, one), folder)
    compute_by_two(score_spec(), mixed, tmp_path)
    spec = score_spec()
    drawn = [results.sample(spec.completions, store) for store in (one, mixed)]
    pd.testing.assert_frame_equal(*drawn, rtol=1e-4)
    scored = [results.score(spec, store) for store in (one, mixed)]
    pd.testing.assert_frame_equal(*scored, rtol=1e-3, atol=1e-5)


class Share:
    """An accelerator's place among several processes, and nothing to sum with."""

    def __init__(self, process_index, num_processes):
        self.process_index, self.num_processes = process_index, num_processes


@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_the_shares_of_a_batch_are_the_batch(byte_tokenizer, processes):
    problems = load_problems("minigsm", "train", 12, 0)
    rows = [encode(byte_tokenizer, *problem, 800) for problem in problems]
    counts = list(range(12))
    shares = [_own_share(Share(i, processes), rows, counts) for i in range(processes)]
    assert [row for share, _ in shares for row in share] == rows
    assert [count for _, share in shares for count in share] == counts
    tokens = [sum(len(row.tokens) for row in share) for share, _ in shares]
    if processes == 2:
        assert abs(np.diff(tokens)[0]) <= max(len(row.tokens) for row in rows)


def test_a_process_without_rows_adds_nothing(tiny_gpt2, monkeypatch):
    rows = [encode(tiny_gpt2.tokenizer, "2+3?", "<<2+3=5>>5\n#### 5", 400)]
    settings = TrainSettings(epochs=1, learning_rate=1e-3)
    run = new_run(tiny_gpt2.model, rows, settings, (), 0)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    monkeypatch.setattr(Accelerator, "reduce", lambda self, values, how: values)
    assert add_gradients(run, rows)["loss"] == 0
    assert all(not p.grad.any() for p in tiny_gpt2.model.parameters())


def test_dropout_differs_between_processes():
    drawn = []
    for process in (0, 1, 0):
        with _random_numbers(3, 7, process):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_the_manifest_knows_nothing_of_processes(stores):
    one, two, _ = stores
    texts = [
        (stages.folder_of(score_spec(), s) / "manifest.json").read_text()
        for s in (one, two)
    ]
    one_identity, two_identity = (json.loads(text)["identity"] for text in texts)
    assert one_identity == two_identity
