"""The store: built once, resumed, checked, rebuilt; clear words when it cannot be."""

import errno
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from gsmlib.files import check_folder, file_sha256, in_words, write_file
from gsmlib.study import store as store_module
from gsmlib.study.store import MANIFEST, RESUME, SPENT, Place, Store, StoreError, key_of

IDENTITY = {"n": 3, "parent": {"version": 1}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class Maker:
    """Writes two files and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, work):
        self.calls += 1
        (work / "deep").mkdir(exist_ok=True)
        (work / "deep" / "a.txt").write_text("a")
        (work / "b.txt").write_text(f"call {self.calls}")


def test_an_artifact_is_built_once(store):
    make = Maker()
    first = store.get(Place("stage", IDENTITY), make)
    second = store.get(Place("stage", IDENTITY), make)
    other_process = Store(store.root).get(Place("stage", IDENTITY), make)
    assert make.calls == 1
    assert not first.cached and second.cached and other_process.cached
    assert first.folder == store.root / "stage" / key_of(IDENTITY)


def test_the_manifest_names_every_file(store):
    folder = store.get(Place("stage", IDENTITY), Maker()).folder
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["identity"] == IDENTITY
    assert set(manifest["files"]) == {"deep/a.txt", "b.txt"}
    assert manifest["files"]["b.txt"] == file_sha256(folder / "b.txt")
    assert manifest["seconds"] >= 0 and manifest["created"]


def test_the_key_follows_values_not_their_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2}) != key_of({"a": 2.5})
    with pytest.raises(ValueError, match="JSON"):
        key_of({"a": float("nan")})


def test_an_interrupted_build_is_resumed(store):
    def interrupted(work):
        (work / RESUME).mkdir()
        (work / RESUME / "half").write_text("so far")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(Place("stage", IDENTITY), interrupted)
    assert not store.has(Place("stage", IDENTITY))

    def resumed(work):
        (work / "whole").write_text((work / RESUME / "half").read_text() + ", all")

    folder = store.get(Place("stage", IDENTITY), resumed).folder
    assert (folder / "whole").read_text() == "so far, all"
    assert not (folder / RESUME).exists()
    assert not folder.with_suffix(".work").exists()


def test_what_a_resumed_build_took_is_noted_by_processor(store, monkeypatch):
    place = Place("stage", IDENTITY)
    work = store.folder(place).with_suffix(".work")

    def killed(work):  # ten seconds after it began, four after its last checkpoint
        (work / RESUME).mkdir(exist_ok=True)
        (work / RESUME / "half").write_text("so far")
        now = time.time()
        os.utime(work / SPENT, (now - 10, now - 10))
        os.utime(work / RESUME / "half", (now - 4, now - 4))
        os.utime(work / RESUME, (now - 4, now - 4))
        os.utime(work, (now - 4, now - 4))
        raise KeyboardInterrupt

    for name in ("first", "second", "first"):
        monkeypatch.setattr(store_module, "processor_name", lambda name=name: name)
        with pytest.raises(KeyboardInterrupt):
            store.get(place, killed)
    monkeypatch.setattr(store_module, "processor_name", lambda: "third")
    folder = store.get(place, Maker()).folder
    assert not (folder / SPENT).exists() and not work.exists()
    spent = store.spent(place)
    assert list(spent) == ["first", "second", "third"] and spent["third"] < 3
    assert abs(spent["first"] - 12) < 1 and abs(spent["second"] - 6) < 1
    assert store.seconds(place) == pytest.approx(sum(spent.values()))


@pytest.mark.parametrize("note", ["", "{", "[]", '{"spent": 3, "processor": "Z80"}'])
def test_a_note_that_cannot_be_read_counts_for_nothing(store, note):
    def killed(work):
        (work / SPENT).write_text(note)
        raise KeyboardInterrupt

    place = Place("stage", IDENTITY)
    with pytest.raises(KeyboardInterrupt):
        store.get(place, killed)
    store.get(place, Maker())
    assert list(store.spent(place)) == [store_module.processor_name()]


def test_what_was_built_before_processors_were_noted_is_whole(store):
    place = Place("stage", IDENTITY)
    manifest = store.get(place, Maker()).folder / MANIFEST
    values = json.loads(manifest.read_text()) | {"seconds": 90.0}
    del values["spent"], values["sha256"]
    manifest.write_text(store_module.manifest_text(values))
    assert Store(store.root).has(place) and store.spent(place) == {"": 90.0}


@pytest.mark.parametrize("damage", ["change", "remove", "manifest", "no manifest"])
def test_a_damaged_artifact_is_named_and_rebuilt(store, damage, capsys):
    make = Maker()
    folder = store.get(Place("stage", IDENTITY), make).folder
    victim = folder / (MANIFEST if "manifest" in damage else "b.txt")
    if damage in ("change", "manifest"):
        victim.write_text("{")
    else:
        victim.unlink()
    again = Store(store.root).get(Place("stage", IDENTITY), make)
    assert not again.cached and make.calls == 2
    assert (folder / "b.txt").read_text() == "call 2"
    printed = capsys.readouterr().out
    assert str(victim) in printed and printed.count("\n") == 1


def refuse(number):
    def make(work):
        raise OSError(number, "refused", str(work / "file"))

    return make


def test_a_full_disk_is_one_sentence_and_leaves_the_rest(store):
    kept = store.get(Place("stage", {"n": 1}), Maker()).folder
    with pytest.raises(StoreError, match="The disk is full") as refusal:
        store.get(Place("stage", IDENTITY), refuse(errno.ENOSPC))
    assert "\n" not in str(refusal.value)
    assert store_module.find_fault(kept) is None
    assert not store.get(Place("stage", IDENTITY), Maker()).cached


def test_a_full_disk_reported_by_safetensors_is_understood(store):
    def make(work):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(StoreError, match="The disk is full"):
        store.get(Place("stage", IDENTITY), make)


def test_a_read_only_store_is_read_but_not_written(store, monkeypatch):
    store.get(Place("stage", IDENTITY), Maker())
    monkeypatch.setattr(store_module.FileLock, "acquire", refuse_lock)
    reader = Store(store.root)
    assert reader.get(Place("stage", IDENTITY), Maker()).cached
    with pytest.raises(StoreError, match="cannot be written; set GSMLIB_CACHE"):
        reader.get(Place("stage", {"n": 4}), Maker())


def refuse_lock(self, timeout=None):
    raise OSError(errno.EROFS, "Read-only file system", self.lock_file)


def test_a_store_that_cannot_exist_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "store").get(Place("stage", IDENTITY), Maker())


def test_a_store_that_cannot_be_written_is_refused_before_computing(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/store cannot be written; set GSMLIB"):
        Store(tmp_path / "file" / "store").check_writable()
    Store(tmp_path / "new" / "store").check_writable()
    monkeypatch.setattr(store_module.os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot be written; set GSMLIB_CACHE"):
        Store(tmp_path / "new" / "store").check_writable()


def test_other_errors_pass_unchanged(store):
    def make(work):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/model.safetensors")

    with pytest.raises(PermissionError, match="elsewhere"):
        store.get(Place("stage", IDENTITY), make)


def slow_make(work):
    time.sleep(0.3)
    (work / "file").write_text("once")
    with open(work.parent / "calls", "a") as calls:
        calls.write("x")


def build(root):
    Store(root).get(Place("stage", IDENTITY), slow_make)


def test_two_processes_build_once(store):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=build, args=(store.root,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (store.root / "stage" / "calls").read_text() == "x"


def test_a_deleted_store_is_built_again(store):
    make = Maker()
    store.get(Place("stage", IDENTITY), make)
    shutil.rmtree(store.root)
    Store(store.root).get(Place("stage", IDENTITY), make)
    assert make.calls == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_manifest_that_cannot_be_written_is_the_stores_sentence(
    tmp_path, monkeypatch, number
):
    def refuse(*_):
        raise OSError(number, "whatever the system says")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    words = "cannot be written; set GSMLIB_CACHE" if number == errno.EROFS else "full"
    with pytest.raises(StoreError, match=words):
        Store(tmp_path / "store").get(Place("stage", {"n": 1}), lambda _: None)


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    def half(path, data):
        path.open("wb").write(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "figures" / "fig3.csv"
    write_file(file, "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(
            OSError, match="fig3.csv cannot be written .*free"
        ) as refusal:
            write_file(file, "other")
    assert refusal.value.errno == errno.ENOSPC
    assert file.read_text() == "whole" and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("what", ["folder", MANIFEST, "b.txt"])
def test_what_may_not_be_read_is_said_and_never_rebuilt(store, monkeypatch, what):
    make = Maker()
    folder = store.get(Place("stage", IDENTITY), make).folder
    closed = folder if what == "folder" else folder / what

    def guarded(method):
        def call(path, *arguments, **named):
            if path == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return method(path, *arguments, **named)

        return call

    for name in ("exists", "is_file", "read_text"):
        monkeypatch.setattr(Path, name, guarded(getattr(Path, name)))
    reader = Store(store.root)
    words = f"{closed} is there but may not be read.*chmod -R a\\+rX.*GSMLIB_CACHE"
    for ask in (reader.has, lambda place: reader.get(place, make)):
        with pytest.raises(StoreError, match=words):
            ask(Place("stage", IDENTITY))
    monkeypatch.undo()
    assert make.calls == 1 and store_module.find_fault(folder) is None


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EROFS, "see that you may read and write there"),
        (errno.EACCES, "see that you may read and write there"),
        (errno.ENOTDIR, "move the file that stands where a folder has to be"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
    ],
)
def test_an_error_of_the_file_system_names_place_and_remedy(number, remedy, tmp_path):
    error = OSError(number, "why", str(tmp_path / "a"))
    end = ", or set GSMLIB_RUNS to another folder."
    assert in_words(error) == f"{tmp_path}/a cannot be used (why); {remedy}."
    assert in_words(error, setting="GSMLIB_RUNS").endswith(remedy + end)
    bare = OSError(number, "why")  # as a full disk says it
    assert str(tmp_path) in in_words(bare, tmp_path) and remedy in in_words(
        bare, tmp_path
    )


def test_other_errors_keep_their_words():
    assert in_words(OSError("It is said already.")) == "It is said already."
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert in_words(refused) == "[Errno 111] Connection refused"


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be written .Not a dir.*GSMLIB_RUNS"):
        check_folder(tmp_path / "file" / "smoke", "GSMLIB_RUNS")
    check_folder(tmp_path / "new" / "smoke", "GSMLIB_RUNS")
    assert not (tmp_path / "new").exists()
