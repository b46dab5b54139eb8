"""Problems of one's own: formats, parts, faults by number, keys by content."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsmlib import cli
from gsmlib.chapters import find, resolve
from gsmlib.data import call, count_problems, load_problems, worlds
from gsmlib.data.own import read_own
from gsmlib.method.calculator import find_annotations
from gsmlib.method.inspection import _miscount, check_rows, find_faults
from gsmlib.records import SettingsError
from gsmlib.report.run import notebook_parameters
from gsmlib.study import specs
from gsmlib.study.stages import identity, locate, problems_fingerprint

KNOBS = worlds.Knobs(steps=(1, 3, 3, 2, 1))  # rows that stay, whatever the usual knobs
PROBLEMS = [worlds.make_problem("train", index, 7, KNOBS) for index in range(40)]
ROWS = [{"question": p.question, "answer": p.solution} for p in PROBLEMS]


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(rows):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue().to_pybytes()


LINES = as_lines(ROWS)
SAME = {  # one file in the ways people have it
    "lines.jsonl": LINES.encode(),
    "blank.jsonl": LINES.replace("\n", "\n\n").encode(),
    "no-end.jsonl": LINES.strip().encode(),
    "crlf.jsonl": LINES.replace("\n", "\r\n").encode(),
    "bom.jsonl": LINES.encode("utf-8-sig"),
    "utf16.jsonl": LINES.encode("utf-16"),
    "utf16le.json": json.dumps(ROWS).encode("utf-16-le"),
    "list.json": json.dumps(ROWS, indent=2).encode(),
    "lines.jsonl.gz": gzip.compress(LINES.encode()),
    "no-ending": gzip.compress(json.dumps(ROWS).encode()),
    "rows.parquet": as_parquet(ROWS),
    "rows.parquet.gz": gzip.compress(as_parquet(ROWS)),
    "more-columns.jsonl": as_lines([{"id": 1, **row} for row in ROWS]).encode(),
    "crlf-inside.jsonl": as_lines(
        [
            {**row, "answer": row["answer"].replace("\n", "\r\n") + "\r\n"}
            for row in ROWS
        ]
    ).encode(),
}


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def refusal(dataset, read=read_own):
    with pytest.raises(SettingsError) as caught:
        read(str(dataset))
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and str(dataset) in message
    return message


@pytest.mark.parametrize("name", SAME)
def test_one_file_is_the_same_in_every_format(tmp_path, name):
    write(tmp_path, {name: SAME[name]})
    own = read_own(str(tmp_path / name))
    check_rows(own.name)
    assert own.digest == "12718027783e"
    assert [len(own.rows[part]) for part in ("train", "test")] == [32, 8]
    assert {row.problem for part in own.rows.values() for row in part} == set(PROBLEMS)


def test_a_file_is_divided_by_its_questions_alone(tmp_path):
    files = {"a.jsonl": LINES, "turned.jsonl": as_lines(ROWS[::-1])}
    write(tmp_path, files | {"ten.jsonl": as_lines(ROWS[:10])})
    names = ("a", "turned", "ten")
    parts = {name: read_own(str(tmp_path / f"{name}.jsonl")).rows for name in names}
    tests = {name: {r.problem for r in rows["test"]} for name, rows in parts.items()}
    assert tests["a"] == tests["turned"] and len(tests["ten"]) == 2
    assert not tests["a"] & {row.problem for row in parts["a"]["train"]}


TRAIN, TEST = ROWS[:30], ROWS[30:]
FOLDERS = {  # the same two parts in the ways people have them
    "plain": {"train.jsonl": as_lines(TRAIN), "test.jsonl": as_lines(TEST)},
    "mixed": {"train.json.gz": gzip.compress(json.dumps(TRAIN).encode())}
    | {"test.parquet": as_parquet(TEST)},
    "hub": {
        f"{config}/{part}-00000-of-00001.parquet": as_parquet(rows)
        for config in ("main", "socratic")
        for part, rows in (("train", TRAIN), ("test", TEST))
    },
    "shards": {
        "data/train-00000-of-00002-a1b2.parquet": as_parquet(TRAIN[:9]),
        "data/train-00001-of-00002-c3d4.parquet": as_parquet(TRAIN[9:]),
        "data/test-00000-of-00001.parquet": as_parquet(TEST),
        "README.md": "about",
    },
    "converted": {
        "default/train/0000.parquet": as_parquet(TRAIN),
        "default/test/0000.parquet": as_parquet(TEST),
    },
    "gsm8k": {
        "train.jsonl": as_lines(TRAIN),
        "train_socratic.jsonl": as_lines(ROWS),
        "test.jsonl": as_lines(TEST),
        "validation.jsonl": "not read",
    },
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_has_two_parts(tmp_path, name):
    write(tmp_path / "my data", FOLDERS[name])
    own = read_own(str(tmp_path / "my data"))
    check_rows(own.name)
    read = {part: [row.problem for row in rows] for part, rows in own.rows.items()}
    assert read == {"train": PROBLEMS[:30], "test": PROBLEMS[30:]}
    write(tmp_path, {"plain.json": json.dumps({"train": TRAIN, "test": TEST})})
    named = [{**row, "split": "train"} for row in TRAIN]
    named += [{**row, "split": "test"} for row in TEST]
    write(tmp_path, {"named.jsonl": as_lines(named)})
    for file in ("plain.json", "named.jsonl"):
        assert read_own(str(tmp_path / file)).digest == own.digest


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.jsonl": LINES}, ["has no test file (but train.jsonl)", "name one"]),
        ({"my.jsonl": LINES}, ["has no train and no test file (but my.jsonl)"]),
        ({}, ["has no train and no test file (but nothing)"]),
        (
            {"train.jsonl": LINES, "train.json": LINES, "test.jsonl": LINES},
            ["has train.json and train.jsonl; leave one"],
        ),
        (
            {"train-00000-of-00003.parquet": b"", "test.jsonl": LINES},
            ["has 1 of 3 train files"],
        ),
        (
            {
                f"{name}/{part}.jsonl": LINES
                for name in "ab"
                for part in ("train", "test")
            },
            ["several data sets; name one: a, b"],
        ),
    ],
)
def test_folders_that_cannot_be_read(tmp_path, files, words):
    write(tmp_path, files)
    message = refusal(tmp_path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["has no rows; give JSON lines"]),
        (b"[]", ["give", "has no rows"]),
        (
            b"question,answer\nq,#### 1\n",
            ["begins with 'question,answer'", "JSON lines"],
        ),
        ('{"question": "O\u00f9?"}'.encode("latin-1"), ["UTF-8", "byte 15"]),
        (gzip.compress(LINES.encode())[:-20], ["gzipped, and cut off"]),
        (as_parquet(ROWS)[:-20], ["parquet, and cut off"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["git lfs pull"]),
        (as_lines([{**ROWS[0], "split": "dev"}]).encode(), ["names dev in its column"]),
    ],
)
def test_files_that_cannot_be_read(tmp_path, data, words):
    write(tmp_path, {"my.jsonl": data})
    message = refusal(tmp_path / "my.jsonl")
    assert all(word in message for word in words), message


def test_a_name_that_is_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal("gsm9k")
    assert "minigsm and gsm8k" in message and str(tmp_path / "gsm9k") in message


NONE = "no last line `#### answer`"
NO_NUMBER, WRONG = (
    "an answer that is not one number",
    "an annotation that does not compute",
)
FAULTY = [
    (["question", "answer"], "broken, or no JSON object"),
    ({"question": "?"}, "no column 'answer' (it has question)"),
    (
        {"Question": "?", "Answer": "!"},
        "no column 'question' (it has Answer, Question)",
    ),
    ({"question": None, "answer": "#### 1"}, "no text in 'question'"),
    ({"question": "?", "answer": 18}, "no text in 'answer'"),
    ({"question": "\ud800", "answer": "#### 1"}, "no text in 'question'"),
    ({"question": " ", "answer": "#### 1"}, "an empty question"),
    ({"question": "?", "answer": ""}, "an empty answer"),
    ({"question": "?", "answer": "It is 1."}, NONE),
    ({"question": "?", "answer": "####1"}, NONE),
    ({"question": "?", "answer": "#### 1\nDone."}, NONE),
    ({"question": "?", "answer": "#### 2\n#### 1"}, "an earlier line `#### answer`"),
    ({"question": "?", "answer": "#### 18 cm"}, f"{NO_NUMBER} | '18 cm'"),
    ({"question": "?", "answer": "<<x=5>>\n#### 1"}, f"{WRONG} | <<x=5>>"),
    ({"question": "?", "answer": "<<4=4 cm>>\n#### 1"}, f"{WRONG} | <<4=4 cm>>"),
    (
        {"question": "?", "answer": "<<2+2=5>>\n#### 1"},
        f"{WRONG} | <<2+2=5>>, which is 4",
    ),
    (
        {"question": "?", "answer": "<<7/2=3.4>>\n#### 1"},
        f"{WRONG} | <<7/2=3.4>>, which is 3.5",
    ),
    (
        {"question": "?", "answer": "<<2/3=0.6>><<2/3=0.5>>\n#### 1"},
        f"{WRONG} | <<2/3=0.5>>, which is 0.667",
    ),
    (
        {"question": "?", "answer": "<<1+1=2>1\n#### 1"},
        "an annotation that is not <<expression=value>>",
    ),
]


@pytest.mark.parametrize(("row", "fault"), FAULTY)
def test_a_faulty_row_is_named(tmp_path, capsys, row, fault):
    write(tmp_path, {"my.jsonl": as_lines([*ROWS[:5], row])})
    what, _, detail = fault.partition(" | ")
    detail = f" ({detail})" if detail else ""
    message = refusal(tmp_path / "my.jsonl", check_rows)
    assert f"cannot be used: {what}: line 6{detail};" in message
    with pytest.raises(SystemExit) as ended:
        run(["data", str(tmp_path / "my.jsonl")])
    assert ended.value.code == 1
    assert f"\nline 6: {what}{detail}\n1 faults" in capsys.readouterr().out


def run(arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gsmlib", *arguments])
        cli.main()


RIGHT = (
    *("#### 18.0", "#### $1,000", "#### -5", "#### 3/4", "<<100/3=33.33>>\n#### 1"),
    *("<<2/3=0.66>><<2/3=0.67>>\n#### 1", "<<3/4=.75>><<1,000*2=2,000>>\n#### 1"),
    *("<<10/3=3>>\n#### 1", "<<3/4=3/4>><<6*2=12.00>>\n#### 12"),
)


@pytest.mark.parametrize("answer", RIGHT)
def test_what_the_calculator_can_read_is_right(tmp_path, answer):
    write(tmp_path, {"my.jsonl": as_lines([{"question": "?", "answer": answer}])})
    assert find_faults(read_own(str(tmp_path / "my.jsonl")).name) == ()


def test_all_faults_are_told_at_once_and_the_first_rows_of_each(tmp_path, capsys):
    rows = [{"question": f"{n}?", "answer": "None."} for n in range(9)]
    parts = {"train.jsonl": as_lines(rows) + "{cut", "test.jsonl": as_lines(ROWS)}
    write(tmp_path, parts)
    message = refusal(tmp_path, check_rows)
    assert "broken, or no JSON object: train.jsonl line 10" in message
    assert "train.jsonl line 5, 4 more" in message
    with pytest.raises(SystemExit):
        run(["data", str(tmp_path)])
    told = capsys.readouterr().out
    assert told.index("train.jsonl line 9:") < told.index("train.jsonl line 10: broken")
    assert "10 faults" in told


def test_train_and_test_share_no_question(tmp_path):
    write(tmp_path, {"train.json": json.dumps(ROWS), "test.jsonl": as_lines(ROWS[3:4])})
    assert "test.jsonl line 1 (as in train.json row 4)" in refusal(tmp_path, check_rows)


def test_loading_is_seeded_nested_and_keeps_the_parts_apart(tmp_path):
    write(tmp_path, {"my.jsonl": LINES})
    own = str(tmp_path / "my.jsonl")
    assert count_problems(own) == {"train": 32, "test": 8, "dev": 3}
    many = load_problems(own, "train", 32, seed=1)
    assert load_problems(own, "train", 5, seed=1) == many[:5]
    assert load_problems(own, "train", 32, seed=2) != many
    test, dev = load_problems(own, "test", 8), load_problems(own, "dev", 3)
    assert not set(many) & set(test) and set(many[-3:]) == set(dev)
    with pytest.raises(
        ValueError, match=r"my\.jsonl's test split has 8 problems, not 9"
    ):
        load_problems(own, "test", 9)


# ------------------------------------------------------------------ settings and keys


def test_paths_mean_the_callers(tmp_path, monkeypatch):
    write(tmp_path, {"my data/all.jsonl": LINES})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = resolve("03_verification", scale="smoke", dataset="my data/all.jsonl")
    assert whole.dataset == f"{tmp_path}/my data/all.jsonl#12718027783e"
    for same in ("~/my data/all.jsonl", whole.dataset, tmp_path / "my data/all.jsonl"):
        assert resolve("03_verification", scale="smoke", dataset=same) == whole
    assert call(whole.dataset) == "all.jsonl"
    given = {"dataset": "my data/all.jsonl"}  # a kernel may have another folder
    injected = notebook_parameters("03_verification", "smoke", given)
    assert injected == {"scale": "smoke", "dataset": whole.dataset}


def spec_of(dataset, **changes):
    fields = {"dataset": str(dataset), "n_train": 4, "n_test": 2} | changes
    return specs.DataSpec(**fields)


def key_of(dataset, chapter="02_test_at_n"):
    chapter = find(chapter)
    settings = chapter.resolve(scale="smoke", dataset=str(dataset))
    return [locate(spec).key for spec in chapter.stages(settings)]


def test_keys_follow_the_rows_and_not_their_place(tmp_path):
    write(tmp_path, {"a.jsonl": LINES, "b/c.json": json.dumps(ROWS)})
    assert key_of(tmp_path / "a.jsonl") == key_of(tmp_path / "b" / "c.json")
    before = key_of(tmp_path / "a.jsonl")
    changed = [*ROWS[:-1], {**ROWS[-1], "answer": "#### 1"}]
    write(tmp_path, {"a.jsonl": as_lines(changed)})
    assert not set(before) & set(key_of(tmp_path / "a.jsonl"))  # in the same process
    assert not set(before) & set(key_of("minigsm"))


def test_rows_that_changed_under_a_run_are_refused(tmp_path):
    write(tmp_path, {"a.jsonl": LINES})
    spec = spec_of(tmp_path / "a.jsonl")
    write(tmp_path, {"a.jsonl": as_lines(ROWS[::-1])})
    with pytest.raises(SettingsError, match="has changed: its problems were 12718027"):
        load_problems(spec.dataset, "train", 4)


def test_known_data_sets_keep_their_keys(tmp_path):
    write(tmp_path, {"my.jsonl": LINES})
    counts = {"n_train": 4, "n_test": 2}
    ours = ("minigsm", 'minigsm {"decoys": [0, 0]}')
    told = {n: {"dataset": n, "problems": problems_fingerprint(n, 0)} for n in ours}
    told |= {"gsm8k": {"dataset": "gsm8k"}}
    told |= {tmp_path / "my.jsonl": {"dataset": "own", "problems": "12718027783e"}}
    for dataset, expected in told.items():
        assert identity(spec_of(dataset), "finetune") == expected | counts


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["8 training and 2 test", "sizes asks for 24", "-p sizes 8"]),
        ({"sizes": 8}, ["test_problems asks for 6", "-p test_problems 2"]),
    ],
)
def test_too_few_problems_are_refused_before_computing(tmp_path, given, words):
    write(tmp_path, {"ten.jsonl": as_lines(ROWS[:10])})
    own = str(tmp_path / "ten.jsonl")
    with pytest.raises(SettingsError) as caught:
        resolve("03_verification", scale="smoke", dataset=own, **given)
    assert all(word in str(caught.value) for word in words), caught.value
    enough = {"sizes": 8, "test_problems": 2, "dataset": own}
    chapter = find("03_verification")
    settings = chapter.resolve(scale="smoke", **enough)
    tests = {s.data.n_test for s in walk(chapter.stages(settings))}
    assert tests == {2}, "the test loss is taken over what there is"


def walk(stages):
    for stage in stages:
        score = isinstance(stage, specs.ScoreSpec)
        yield (stage.completions if score else stage).generator


def test_additional_pretraining_asks_for_training_problems(tmp_path):
    write(tmp_path, {"my.jsonl": LINES})
    with pytest.raises(SettingsError, match="pretraining_texts asks for 40"):
        resolve("07_dropout", scale="smoke", dataset=str(tmp_path / "my.jsonl"))


def test_gsmlib_data_prints_what_there_is(tmp_path, capsys):
    write(tmp_path, {"my.jsonl": LINES})
    with pytest.raises(SystemExit) as ended:
        run(["data", str(tmp_path / "my.jsonl")])
    told = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "one in 5 is for testing" in told and "No faults" in told
    assert any(line.split()[:2] == ["train", "32"] for line in told.splitlines())
    assert os.fspath(tmp_path / "my.jsonl") in told


def test_a_run_says_how_a_file_is_divided(tmp_path, capsys):
    write(tmp_path, {"my.jsonl": LINES})
    find("02_test_at_n").settings(scale="smoke", dataset=str(tmp_path / "my.jsonl"))
    assert "32 problems to train, 8 to test: one in 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("annotation", "sound"),
    [
        *(
            (text, True)
            for text in ("4/2=2", "2/3=0.67", "2/3=.66", "2/3=1", "3/4=3/4")
        ),
        *((text, False) for text in ("7/3=3", "99/100=0", "1/2=1", "5/2=3", "1/8=.13")),
        *((text, False) for text in ("1/3=0.34", "3/4=1/2", "2/3=1/2", "2+2=5")),
    ],
)
def test_a_value_is_exact_or_rounded_where_its_decimals_never_end(annotation, sound):
    (found,) = find_annotations(f"<<{annotation}>>")
    assert (_miscount(found) == "") is sound


def test_a_name_that_reads_as_a_number_is_refused():
    """papermill would make 2 of 2.0, and so another name."""
    for name in ("2.0", "007", "2024_01_01", 7):
        for setting in ({"model": name}, {"dataset": name}):
            with pytest.raises(SettingsError, match="reads as a number"):
                resolve("02_test_at_n", scale="smoke", **setting)
    with pytest.raises(SettingsError, match="reads as a number"):
        resolve("03_verification", scale="smoke", models="tiny:random,1e3")
