"""Full disks and vanished stores; same bytes; no network, no stray files."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from test_stages import finetune_spec, score_spec

from gsmlib.data import load_problems
from gsmlib.method.decoding import Rules, sample_completions
from gsmlib.method.models import load_language_model
from gsmlib.report import execute
from gsmlib.study import results, stages
from gsmlib.study import store as store_module
from gsmlib.study.store import MANIFEST, RESUME, Place, Store, StoreError, find_fault


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


# ------------------------------------------------------------------------ the disk


def test_a_stage_on_a_full_disk_is_one_sentence_and_goes_on_later(store):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file is larger
    try:
        with pytest.raises(StoreError, match="The disk is full") as refusal:
            results.obtain(finetune_spec(), store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(refusal.value)
    assert not stages.is_done(finetune_spec(), store)
    assert find_fault(results.obtain(finetune_spec(), store).folder) is None


@pytest.mark.parametrize("error", [FileNotFoundError, RuntimeError])
def test_a_store_that_vanishes_is_one_sentence(store, error):
    def make(work):
        shutil.rmtree(store.root)
        if error is RuntimeError:  # as safetensors has it
            raise RuntimeError("No such file or directory (os error 2)")
        (work / "file").write_text("too late")

    with pytest.raises(StoreError, match="has vanished") as refusal:
        store.get(Place("stage", {"n": 1}), make)
    assert str(store.root) in str(refusal.value) and "\n" not in str(refusal.value)
    artifact = store.get(Place("stage", {"n": 1}), lambda work: (work / "f").touch())
    assert not artifact.cached


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_store_of_somebody_else_is_read_but_not_written(store):
    store.get(Place("stage", {"n": 1}), lambda work: (work / "f").write_text("x"))
    code = (
        "import os, sys; from gsmlib.study.store import *; os.setuid(65534)\n"
        "store = Store(sys.argv[1])\n"
        "print(store.get(Place('stage', {'n': 1}), None).cached)\n"
        "try: store.get(Place('stage', {'n': 2}), None)\n"
        "except StoreError as error: print(error)\n"
    )
    for folder in (store.root, *store.root.parents):
        if folder.owner() == "root" and "pytest" in str(folder):
            folder.chmod(0o755)
    command = [sys.executable, "-c", code, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True", store_module.cannot_write(store.root)]


def test_a_kernel_that_is_killed_is_one_sentence(tmp_path):
    code = "import os\nprint('so far')\nos.kill(os.getpid(), 9)"  # as when memory ends
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    path = tmp_path / "00_dataset.ipynb"
    nbformat.write(notebook, path)
    outcome = execute.execute(path, tmp_path / "runs", {}, quiet=True)
    assert "its kernel died" in outcome.error and "run it again" in outcome.error
    assert (tmp_path / "runs" / "00_dataset.html").exists()


CELL = """
import sys, time
sys.path.insert(0, {tests!r})
from test_stages import finetune_spec
from gsmlib.method import training
from gsmlib.study import results, stages
from gsmlib.study.store import Store
take_step = training.__dict__.setdefault("plain", training.take_step)
training.take_step = lambda run: time.sleep({seconds}) or take_step(run)
print("computed", not results.obtain(finetune_spec(), Store({root!r})).cached)
"""


def test_ctrl_c_in_an_open_notebook_and_the_cell_run_again(store):
    manager, client = start_new_kernel(kernel_name="python3")
    tests, printed = str(Path(__file__).parent), []

    def interrupt():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(store.root.glob("*/*.work")):
            time.sleep(0.1)
        time.sleep(1)
        os.kill(manager.provisioner.pid, signal.SIGINT)

    def run(seconds):
        cell = CELL.format(tests=tests, seconds=seconds, root=str(store.root))
        return client.execute_interactive(
            cell, output_hook=lambda m: printed.append(m["content"]), timeout=120
        )["content"]

    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        stopped = run(20)
        thread.join()
        assert stopped["ename"] == "KeyboardInterrupt"
        assert not stages.is_done(finetune_spec(), store)
        assert run(0)["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert any("computed True" in content.get("text", "") for content in printed)
    assert find_fault(results.obtain(finetune_spec(), store).folder) is None


# ------------------------------------------------------------------ what a store holds


def put(store, n):
    place = Place("stage", {"n": n})
    return store.get(place, lambda work: (work / "f").write_text("x")).folder


def test_another_artifacts_content_is_noticed(store):
    first, second = put(store, 1), put(store, 2)
    shutil.rmtree(first)
    shutil.copytree(second, first)
    assert "is another artifact's" in find_fault(first)
    assert find_fault(second) is None


def test_a_manifests_own_numbers_are_guarded(store):
    manifest = put(store, 1) / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace('"seconds": 0.0', '"seconds": 9.0'))
    assert manifest.read_text() != text
    assert "changed" in find_fault(manifest.parent)


def test_a_manifest_from_before_it_had_a_checksum_is_good(store):
    manifest = put(store, 1) / MANIFEST
    values = json.loads(manifest.read_text())
    del values["sha256"]
    manifest.write_text(json.dumps(values, indent=1))
    assert find_fault(manifest.parent) is None
    manifest.write_text(json.dumps(values | {"more": 1}, indent=1))
    assert find_fault(manifest.parent) is not None


def test_added_files_are_noticed_but_for_those_with_a_dot(store):
    folder = put(store, 1)
    (folder / ".DS_Store").write_text("a desktop's own")
    assert find_fault(folder) is None
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json was not there before" in find_fault(folder)


def test_what_was_ended_but_not_yet_renamed_is_not_made_again(store, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    def make(work):
        (work / RESUME).mkdir()
        (work / "f").write_text("x")

    monkeypatch.setattr(store_module.os, "replace", _fail_to_rename(interrupt))
    with pytest.raises(KeyboardInterrupt):
        store.get(Place("stage", {"n": 1}), make)
    monkeypatch.undo()
    artifact = store.get(Place("stage", {"n": 1}), interrupt)
    assert (artifact.folder / "f").read_text() == "x"
    assert find_fault(artifact.folder) is None


def _fail_to_rename(interrupt):
    replace = os.replace
    return lambda a, b: interrupt() if Path(a).is_dir() else replace(a, b)


@pytest.mark.parametrize("child", ["completions", "verifier"])
def test_a_damaged_parent_is_never_read(store, child, capsys):
    """The generator is damaged while what was made of it is intact or gone."""
    spec = score_spec()
    whole = results.score(spec, store)
    generator = stages.folder_of(finetune_spec(), store)
    weights = generator / "epoch-2" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-4] + b"\x00\x00\x80?")
    gone = spec.verifier if child == "verifier" else spec.completions
    for stage in (gone, spec):
        shutil.rmtree(stages.folder_of(stage, store))
    capsys.readouterr()
    again = results.score(spec, Store(store.root))
    assert f"{weights} has changed" in capsys.readouterr().out
    assert again.equals(whole)


# ------------------------------------------------------------------------- same bytes


def test_the_same_specs_give_the_same_bytes(tmp_path):
    stores = [Store(tmp_path / name) for name in ("first", "second")]
    for store in stores:
        results.score(score_spec(), store)
    first, second = (
        {
            str(path.relative_to(store.root)): path.read_bytes()
            for path in store.root.rglob("*")
            if path.suffix in (".parquet", ".safetensors") or path.name == "losses.json"
        }
        for store in stores
    )
    assert len(first) >= 6 and first == second


def test_samples_are_the_same_for_any_batch_and_any_threads():
    lm = load_language_model("mini-0.2m")
    # few steps: two threads wait for each other long on a machine that is busy
    problems = load_problems("minigsm", "test", 20)
    questions = sorted((p.question for p in problems), key=len)[:4]
    before, drawn = torch.get_num_threads(), []
    try:
        for threads, batch in [(1, 0), (2, 0), (1, 3)]:
            torch.set_num_threads(threads)
            rules = Rules(0.7, seed=1, max_length=110)
            given = (lm, questions, 3, rules)
            drawn.append(sample_completions(*given, batch_size=batch))
    finally:
        torch.set_num_threads(before)
    tokens = [[c.tokens for row in rows for c in row] for rows in drawn]
    assert sum(map(len, tokens[0])) > 100
    assert tokens[0] == tokens[1] == tokens[2]


# ----------------------------------------------------------------------- no surprises

ALONE = """
import os, socket, sys
import torch, pandas, matplotlib, transformers  # they look around when imported
sys.path.insert(0, os.environ["TESTS"])
from torture import study
written = []

def refuse(*_, **__):
    raise AssertionError("a socket was asked for")

def note(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if writes or event in ("os.mkdir", "os.rename"):
        written.append(os.path.abspath(os.fsdecode(arguments[0])))

sys.addaudithook(note)
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
study.run_study(Path(os.environ["HERE"]))
print("\\n".join(sorted(set(written))))
"""


def test_stages_ask_for_no_network_and_write_nothing_elsewhere(tmp_path):
    folders = {name: tmp_path / name for name in ("home", "cwd", "temp", "here")}
    for folder in folders.values():
        folder.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG", "HF_"))}
    env |= dict(HOME=str(folders["home"]), TMPDIR=str(folders["temp"]))
    env |= dict(HERE=str(folders["here"]), TESTS=str(Path(__file__).parent))
    env |= dict(MPLCONFIGDIR=str(tmp_path / "matplotlib"))  # its cache of fonts
    command = [sys.executable, "-B", "-c", ALONE]
    done = subprocess.run(
        command, env=env, cwd=folders["cwd"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    places = [line for line in done.stdout.splitlines() if line.startswith("/")]
    mine = (str(folders["here"]), str(tmp_path / "matplotlib"), "/dev/")
    assert not [place for place in places if not place.startswith(mine)]
    others = ("home", "cwd", "temp")
    assert not [path for name in others for path in folders[name].iterdir()]
    assert {path.name for path in folders["here"].iterdir()} == {"store", "figures"}


def test_what_a_model_says_is_shown_not_run(tmp_path):
    said = "<script>alert('model')</script><img src=x onerror=alert(1)>"
    output = [
        nbformat.v4.new_output("stream", name="stdout", text=said),
        nbformat.v4.new_output("execute_result", data={"text/plain": said}),
        nbformat.v4.new_output("error", ename="E", evalue=said, traceback=[said]),
    ]
    cell = nbformat.v4.new_code_cell("print(text)", outputs=output)
    path = tmp_path / "notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    execute.write_notebook(path, title=said)
    text = path.with_suffix(".html").read_text()
    assert "alert(" in text and "<script>alert" not in text
    assert "<img src=x" not in text
