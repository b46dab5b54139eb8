"""GSM8K's loader: the right rows, and one clear sentence for everything else."""

import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest

from gsmlib import progress
from gsmlib.data import DEV_PROBLEMS, Problem, gsm8k, load_problems
from gsmlib.data.gsm8k import (
    FILES,
    SOLUTIONS_FILE,
    SYSTEMS,
    DataFile,
    load_gsm8k,
    load_released_solutions,
    with_answer_mark,
)
from gsmlib.method.answers import is_correct

needs_gsm8k = pytest.mark.skipif(
    not os.environ.get("GSM8K_DIR"),
    reason="set GSM8K_DIR to the folder with GSM8K's files to check the real rows",
)

# The first rows of GSM8K's train.jsonl and test.jsonl (MIT), whole.
NATALIA = {
    "question": "Natalia sold clips to 48 of her friends in April, and then she sold "
    "half as many clips in May. How many clips did Natalia sell altogether in April "
    "and May?",
    "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = "
    "<<48+24=72>>72 clips altogether in April and May.\n#### 72",
}
ROBE = {
    "question": "A robe takes 2 bolts of blue fiber and half that much white fiber.  "
    "How many bolts in total does it take?",
    "answer": "It takes 2/2=<<2/2=1>>1 bolt of white fiber\nSo the total amount of "
    "fabric is 2+1=<<2+1=3>>3 bolts of fabric\n#### 3",
}
SOLVED = {
    "question": ROBE["question"],
    "ground_truth": ROBE["answer"].replace("####", "A:"),
    **{
        system: {"solution": f"Job A: 9 is out.\nA: {answer}", "is_correct": correct}
        for system, answer, correct in zip(
            SYSTEMS, ["3", "3.0", "9", "none"], [True, True, False, False], strict=True
        )
    },
}


def as_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def release(monkeypatch):
    """Pretend that `data` is what was released under `name`."""

    def set_release(name, data, rows=None):
        count = data.count(b"\n") if rows is None else rows
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        monkeypatch.setitem(FILES, name, DataFile(count, digest, FILES[name].keys))

    return set_release


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty GSM8K_DIR, with a cache that must not be touched."""
    path = tmp_path / "gsm8k"
    path.mkdir()
    monkeypatch.setenv("GSM8K_DIR", str(path))
    monkeypatch.setenv("GSMLIB_CACHE", str(tmp_path / "no-cache"))
    yield path
    assert not (tmp_path / "no-cache").exists()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that stands for the public repository; returns it and the cache."""
    source, cache = tmp_path / "public", tmp_path / "cache"
    source.mkdir()
    monkeypatch.delenv("GSM8K_DIR", raising=False)
    monkeypatch.setenv("GSMLIB_CACHE", str(cache))
    monkeypatch.setattr(gsm8k, "SOURCE", source.as_uri())
    return source, cache / "gsm8k"


def message_of(error_type, load, *arguments):
    with pytest.raises(error_type) as caught:
        load(*arguments)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_a_folder_is_read(folder, release):
    data = as_lines(NATALIA, ROBE)
    (folder / "train.jsonl").write_bytes(data)
    release("train.jsonl", data)
    assert load_gsm8k("train") == [
        Problem(NATALIA["question"], NATALIA["answer"]),
        Problem(ROBE["question"], ROBE["answer"]),
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_variants_are_files_of_their_own(folder, release, split):
    for name, row in [(f"{split}.jsonl", ROBE), (f"{split}_socratic.jsonl", NATALIA)]:
        (folder / name).write_bytes(as_lines(row))
        release(name, as_lines(row))
    assert load_gsm8k(split, "main")[0].solution == ROBE["answer"]
    assert load_gsm8k(split, "socratic")[0].solution == NATALIA["answer"]


def test_missing_file_and_folder(folder, monkeypatch):
    message = message_of(FileNotFoundError, load_gsm8k, "test")
    assert str(folder / "test.jsonl") in message and "unset GSM8K_DIR" in message
    monkeypatch.setenv("GSM8K_DIR", str(folder / "nowhere"))
    message = message_of(FileNotFoundError, load_gsm8k, "test")
    assert f"{folder / 'nowhere'} does not exist" in message and "test.jsonl" in message


def test_a_folder_in_place_of_the_file(folder):
    (folder / "test.jsonl").mkdir()
    assert "cannot be read" in message_of(OSError, load_gsm8k, "test")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (as_lines(NATALIA, ROBE)[:-40], "line 2 is truncated or broken"),
        (as_lines(NATALIA) + b"\xff\xfe\n", "line 2 is truncated or broken"),
        (as_lines(NATALIA) + b"[" * 10**5 + b"\n", "line 2 is truncated or broken"),
        (as_lines(NATALIA) + b"\n" + as_lines(ROBE), "line 2 is truncated or broken"),
        (as_lines([1]), "line 1 is truncated or broken"),
        (b"", "line 1 is truncated or broken"),
        (as_lines(NATALIA, {"question": "?"}), "line 2 has no 'answer'"),
        (as_lines({"question": 5, "answer": "x"}), "line 1 has nothing usable in"),
        (as_lines(NATALIA), "1 rows where the release has 2"),
        (as_lines(NATALIA, NATALIA), "differs from the released file (sha256:"),
    ],
)
def test_a_broken_file_is_named(folder, release, data, fault):
    path = folder / "test.jsonl"
    path.write_bytes(data)
    release("test.jsonl", as_lines(NATALIA, ROBE))
    message = message_of(ValueError, load_gsm8k, "test")
    assert fault in message and str(path) in message
    assert gsm8k.SOURCE in message and "unset GSM8K_DIR" in message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(as_lines(NATALIA)), "it is gzipped"),
        (as_lines(NATALIA).decode().encode("utf-16"), "it is text in UTF-16"),
        (as_lines(NATALIA).decode().encode("utf-8-sig"), "a byte order mark"),
        (json.dumps([NATALIA], indent=1).encode(), "it is one JSON list"),
        (b"PAR1 and so on", "it is parquet"),
        (as_lines(NATALIA).replace(b"\n", b"\r\n"), "lines end in CRLF"),
    ],
)
def test_problems_of_ones_own_are_not_called_gsm8k(folder, release, data, what):
    (folder / "train.jsonl").write_bytes(data)
    release("train.jsonl", as_lines(NATALIA))
    message = message_of(ValueError, load_gsm8k, "train")
    assert what in message and f"-p dataset {folder}" in message
    (folder / "train.jsonl").unlink()
    message = message_of(FileNotFoundError, load_gsm8k, "train")
    assert f"-p dataset {folder}" in message


def test_unknown_names():
    assert "split" in message_of(ValueError, load_gsm8k, "dev")
    assert "variant" in message_of(ValueError, load_gsm8k, "test", "plain")


def test_download_once_then_cache(server, release, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    source, cache = server
    data = as_lines(NATALIA, ROBE)
    (source / "test.jsonl").write_bytes(data)
    release("test.jsonl", data)
    first = load_gsm8k("test")
    assert "test.jsonl" in capsys.readouterr().err  # the progress bar
    assert [path.name for path in cache.iterdir()] == ["test.jsonl"]
    (source / "test.jsonl").unlink()
    assert load_gsm8k("test") == first


def test_an_empty_setting_means_download(server, release, monkeypatch):
    source, cache = server
    monkeypatch.setenv("GSM8K_DIR", "")
    (source / "test.jsonl").write_bytes(as_lines(ROBE))
    release("test.jsonl", as_lines(ROBE))
    assert len(load_gsm8k("test")) == 1 and (cache / "test.jsonl").exists()


def test_a_wrong_download_is_not_kept(server, release):
    source, cache = server
    (source / "test.jsonl").write_bytes(as_lines(NATALIA))
    release("test.jsonl", as_lines(ROBE))
    assert "run again" in message_of(ValueError, load_gsm8k, "test")
    assert not cache.exists()


def test_a_damaged_cache_says_delete(server, release):
    _, cache = server
    cache.mkdir(parents=True)
    (cache / "test.jsonl").write_bytes(as_lines(NATALIA))
    release("test.jsonl", as_lines(ROBE))
    message = message_of(ValueError, load_gsm8k, "test")
    assert str(cache / "test.jsonl") in message and "delete it" in message


def test_no_network(server):
    message = message_of(ConnectionError, load_gsm8k, "test")
    assert gsm8k.SOURCE in message and "set GSM8K_DIR" in message


def test_a_cache_that_cannot_be_written(server, release):
    source, cache = server
    (source / "test.jsonl").write_bytes(as_lines(ROBE))
    release("test.jsonl", as_lines(ROBE))
    cache.parent.write_text("a file where the folder should be")
    message = message_of(OSError, load_gsm8k, "test")
    assert "cannot be written" in message and "GSMLIB_CACHE" in message


def test_a_full_disk_leaves_nothing_behind(server, release, monkeypatch):
    source, cache = server
    (source / "test.jsonl").write_bytes(as_lines(ROBE))
    release("test.jsonl", as_lines(ROBE))

    def fail(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert "No space left" in message_of(OSError, load_gsm8k, "test")
    assert list(cache.iterdir()) == []


def test_git_ids_are_checked_as_git_computes_them(folder, monkeypatch):
    # `printf '{"question":"q","answer":"a"}\n' | git hash-object --stdin`
    data, digest = (
        b'{"question":"q","answer":"a"}\n',
        "28797117ae1ded6f3b827b60518e3977a9ccc002",
    )
    (folder / "train_socratic.jsonl").write_bytes(data)
    monkeypatch.setitem(FILES, "train_socratic.jsonl", DataFile(1, "git:" + digest))
    assert load_gsm8k("train", "socratic") == [Problem("q", "a")]
    monkeypatch.setitem(FILES, "train_socratic.jsonl", DataFile(1, "git:" + "0" * 40))
    assert "differs" in message_of(ValueError, load_gsm8k, "train", "socratic")


def test_released_solutions(folder, release):
    (folder / SOLUTIONS_FILE).write_bytes(as_lines(SOLVED))
    release(SOLUTIONS_FILE, as_lines(SOLVED))
    table = load_released_solutions()
    assert list(table.columns) == [
        *("problem", "system", "solution", "is_correct", "reference")
    ]
    assert tuple(table["system"]) == SYSTEMS and set(table["problem"]) == {0}
    assert table["is_correct"].tolist() == [True, True, False, False]
    assert set(table["reference"]) == {ROBE["answer"]}
    assert table["solution"][0] == "Job A: 9 is out.\nA: 3"
    assert graded(table) == table["is_correct"].tolist()


@pytest.mark.parametrize("broken", [{"solution": "A: 3"}, {"is_correct": True}, "A: 3"])
def test_released_solutions_lacking_a_key(folder, release, broken):
    data = as_lines({**SOLVED, SYSTEMS[2]: broken})
    (folder / SOLUTIONS_FILE).write_bytes(data)
    message = message_of(ValueError, load_released_solutions)
    assert f"line 1 has nothing usable in '{SYSTEMS[2]}'" in message


def test_the_answer_mark_is_set_at_a_lines_start_only():
    assert with_answer_mark("Job A: 2000\nA: 18") == "Job A: 2000\n#### 18"
    assert with_answer_mark("A: 18") == "#### 18"


def graded(table, compare="number"):
    """Our own verdict on released solutions."""
    pairs = zip(table["solution"], table["reference"], strict=True)
    return [is_correct(with_answer_mark(text), gold, compare) for text, gold in pairs]


@pytest.fixture
def numbered_gsm8k(monkeypatch):
    """GSM8K with problems named 0, 1, 2, ... in place of its text."""

    def load(split):
        return [Problem(f"{split} {index}", "#### 1") for index in range(1200)]

    monkeypatch.setattr(gsm8k, "load_gsm8k", load)


def test_subsets_are_nested_and_seeded(numbered_gsm8k):
    for split in ("train", "dev", "test"):
        many = load_problems("gsm8k", split, 400, seed=1)
        assert load_problems("gsm8k", split, 100, seed=1) == many[:100]
        assert load_problems("gsm8k", split, 400, seed=2) != many
        assert len(set(many)) == 400


def test_dev_is_held_out_for_every_seed(numbered_gsm8k):
    dev = set(load_problems("gsm8k", "dev", DEV_PROBLEMS, seed=0))
    for seed in range(3):
        assert set(load_problems("gsm8k", "dev", DEV_PROBLEMS, seed)) == dev
        train = load_problems("gsm8k", "train", 1200, seed)
        assert not dev & set(train[:-DEV_PROBLEMS])
        assert set(train[-DEV_PROBLEMS:]) == dev and len(set(train)) == 1200


def test_the_order_is_the_same_on_every_machine(numbered_gsm8k):
    questions = [row.question for row in load_problems("gsm8k", "train", 3, seed=0)]
    assert questions == ["train 368", "train 335", "train 143"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("gsm9k", "train", 1), "dataset"),
        (("gsm8k", "all", 1), "split"),
        (("gsm8k", "train", 0), "at least 1"),
        (("gsm8k", "train", -3), "at least 1"),
        (("gsm8k", "train", 1201), "1200"),
        (("gsm8k", "dev", 501), "500"),
        (("minigsm", "train", 0), "at least 1"),
    ],
)
def test_load_problems_refuses(numbered_gsm8k, arguments, word):
    assert word in message_of(ValueError, load_problems, *arguments)


def test_minigsm_comes_through_the_same_door():
    problems = load_problems("minigsm", "train", 3)
    assert len(problems) == 3 and isinstance(problems[0], Problem)


@needs_gsm8k
def test_real_sizes_and_first_rows():
    train, test = load_gsm8k("train"), load_gsm8k("test")
    assert (len(train), len(test)) == (7473, 1319)
    assert train[0] == Problem(NATALIA["question"], NATALIA["answer"])
    assert test[1] == Problem(ROBE["question"], ROBE["answer"])
    socratic = load_gsm8k("test", "socratic")
    assert [row.question for row in socratic] == [row.question for row in test]
    assert " ** " in socratic[0].solution


@needs_gsm8k
def test_real_subsets_do_not_share_problems():
    train = load_problems("gsm8k", "train", 7473 - DEV_PROBLEMS, seed=5)
    held_out = load_problems("gsm8k", "dev", 500) + load_problems("gsm8k", "test", 1319)
    assert not set(train) & set(held_out)


@needs_gsm8k
def test_released_accuracies_and_verdicts_are_reproduced():
    table = load_released_solutions()
    assert len(table) == 4 * 1319
    means = table.groupby("system")["is_correct"].mean()
    percent = [round(100 * means[system], 2) for system in SYSTEMS]
    assert percent == [21.68, 39.04, 34.72, 56.25]
    for compare in ("string", "number"):
        assert graded(table, compare) == table["is_correct"].tolist()
    references = [problem.solution for problem in load_gsm8k("test")]
    assert table["reference"][::4].tolist() == references
