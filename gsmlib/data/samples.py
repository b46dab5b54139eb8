"""Files of completions as people have them, each told by its columns.

Logged samples of lm-evaluation-harness, outputs of OVM (Yu et al. 2023), the paper's
released solutions, and plain tables. What cannot be read is refused with the number of
its row and the remedy.
"""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gsmlib.data import Problem
from gsmlib.data.completions import (
    GIVEN,
    Completion,
    Row,
    find_columns,
    flag_of,
    name_of,
    number_of,
    passed_over,
    read_plain,
    score_columns,
    text_of,
)
from gsmlib.data.gsm8k import (
    SOLUTIONS_FILE,
    SYSTEMS,
    load_gsm8k,
    released_rows,
    with_answer_mark,
)
from gsmlib.data.own import PARQUET, parse_json, read_rows
from gsmlib.files import file_sha256
from gsmlib.records import SettingsError

UNANSWERED = "[invalid]"  # OVM's label of a completion without an answer
GSM8K_TEST = "gsm8k-test"  # the gold answers of GSM8K's test problems
ORIGIN = b"gsmlib"  # of a parquet file's metadata: where an export came from
KNOWN = (
    "lm-evaluation-harness' logged samples (doc_id, resps), OVM's outputs (idx, outputs"
    f" or response), the released solutions ({', '.join(SYSTEMS)}) and tables of "
    "problem or question, text or answer"
)


class Samples(NamedTuple):
    """The completions of a file, and what reading it found worth saying."""

    name: str  # the file's, and the system's where it tells several apart
    form: str  # which of the formats it is in
    completions: Sequence[Completion]
    scores: tuple[str, ...] = ()  # names, of every completion's
    notes: tuple[str, ...] = ()
    gold: str = ""  # what right answers came from, if not from the file
    digest: str = ""  # the file's sha256


Rows = Sequence[Row]


def read_samples(
    path: str | Path, scores: Sequence[str] = (), gold: str = ""
) -> Samples:
    """Return the completions of a file; SettingsError names the row and the remedy.

    scores: the columns to rank by, instead of all numeric ones; gold: GSM8K_TEST or a
    file of questions and answers, in the place of the file's own right answers.
    """
    file = Path(os.path.abspath(os.path.expanduser(path)))
    rows, origin = _rows_of(file), _origin(file)
    read = _samples(file.name, rows, scores, gold, origin)
    return read._replace(digest=file_sha256(file))


def released(gold: str = "") -> Samples:
    """Return the paper's released solutions; errors as `gsm8k.load_gsm8k`."""
    rows = [
        Row(SOLUTIONS_FILE, f"line {number}", values)
        for number, values in enumerate(released_rows(), start=1)
    ]
    return _samples(SOLUTIONS_FILE, rows, (), gold, ())


def apart(samples: Samples) -> list[Samples]:
    """Return the completions of each system by themselves, in the file's order."""
    systems = list(dict.fromkeys(each.system for each in samples.completions))
    if len(systems) == 1:
        return [samples]
    return [
        samples._replace(
            name=system or samples.name,
            completions=[c for c in samples.completions if c.system == system],
        )
        for system in systems
    ]


def together(samples: Samples) -> Samples:
    """Return the completions of all systems as if one had made them, renumbered."""
    if len({each.system for each in samples.completions}) == 1:
        return samples
    counts: Counter[str] = Counter()
    merged = []
    for each in samples.completions:
        merged.append(each._replace(sample=counts[each.problem], system=""))
        counts[each.problem] += 1
    return samples._replace(completions=merged)


def _samples(
    name: str, rows: Rows, scores: Sequence[str], gold: str, notes: Sequence[str]
) -> Samples:
    form, read = _format_of(rows[0])
    if form == PLAIN:
        notes = [*notes, *(_no_score(c) for c in passed_over(rows) if not scores)]
        scores = score_columns(rows, scores)
        found = list(read_plain(rows, scores))
    else:
        found = list(read(rows))
        scores = _scores_there(rows[0], found[0], scores)
    found = _numbered(name, found)
    notes = [*notes, *_about_golds(found, gold)]
    if gold:
        found = _with_golds(name, found, gold)
    if not any(c.gold is not None or c.correct for c in found):
        raise SettingsError(
            f"{name}, {found[0].row}: nothing says which answers are right; give a "
            f"column gold or correct, or --gold {GSM8K_TEST} or --gold FILE."
        )
    return Samples(name, form, found, tuple(scores), tuple(notes), gold)


def _no_score(column: str) -> str:
    return f"{column} is not taken for a score: some of its cells are no numbers"


def _scores_there(row: Row, first: Completion, asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in first.scores:
            there = ", ".join(first.scores) or "none"
            what = f"no score {name!r} in this format (it has {there})"
            raise row.refusal(what, "leave --scores out")
    return list(asked or first.scores)


def _numbered(name: str, found: Sequence[Completion]) -> list[Completion]:
    """Number the completions of each problem; refuse one that stands twice."""
    questions: dict[str, Completion] = {}
    seen: dict[tuple[str, str, int], str] = {}
    numbered, counts = [], Counter()
    for each in found:
        group = each.problem, each.system
        place = counts[group] if each.sample is None else each.sample
        counts[group] += 1
        if (first := seen.setdefault((*group, place), each.row)) != each.row:
            raise SettingsError(
                f"{name}, {each.row}: sample {place} of problem "
                f"{_short(each.problem)} stands in {first} already; number the "
                "completions of a problem, or leave the column out."
            )
        first = questions.setdefault(each.problem, each)
        if first.question != each.question:
            raise SettingsError(
                f"{name}, {each.row}: problem {_short(each.problem)} has another "
                f"question in {first.row}; give each problem a number of its own."
            )
        numbered.append(each._replace(sample=place))
    return numbered


def _short(text: str) -> str:
    return repr(text if len(text) < 30 else f"{text[:29]}…")


# -------------------------------------------------------------------------------- files


def _rows_of(file: Path, what: str = "samples") -> list[Row]:
    """Return a file's rows; SettingsError where one is broken or there is none."""
    try:
        ending = file.suffix.lower()
        found = _csv_rows(file) if ending in (".csv", ".tsv") else read_rows(file)
        rows = [Row(file.name, name, values) for name, values in found]
    except FileNotFoundError:
        raise SettingsError(f"There is no file {file}; name one of {what}.") from None
    except OSError as error:
        why = f"{file} cannot be read ({error.strerror})"
        raise SettingsError(f"{why}; name a file of {what}.") from None
    for row in rows:
        if not isinstance(row.values, dict):
            row = row._replace(values={})
            raise row.refusal("broken, or no object", "mend it or leave it out")
    if not rows:
        raise SettingsError(f"{file} has no rows; it can hold {KNOWN}.")
    return rows


def _csv_rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a CSV; one with too many or too few cells as None."""
    mark, content = "\t" if file.suffix.lower() == ".tsv" else ",", file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        table = csv.DictReader(io.StringIO(text), delimiter=mark, strict=True)
        for number, row in enumerate(table, start=1):
            for unnamed in ("", "Unnamed: 0"):  # an index that pandas wrote
                row.pop(unnamed, None)
            whole = None not in row and None not in row.values()
            yield f"row {number}", row if whole else None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"line {line} is no UTF-8 ({error.reason}); save the file as UTF-8"
        raise SettingsError(f"{file}, {what}.") from None
    except csv.Error as error:
        raise SettingsError(f"{file} is no CSV: {error}.") from None


def _origin(file: Path) -> list[str]:
    """Say where a file comes from that `gsmlib export` wrote."""
    with open(file, "rb") as opened:
        if opened.read(len(PARQUET)) != PARQUET:
            return []
    from pyarrow.parquet import read_schema  # here: slow to import

    about = parse_json((read_schema(file).metadata or {}).get(ORIGIN, b""))
    if not isinstance(about, dict):
        return []
    made = f"{about.get('stage')} {about.get('key')} ({about.get('describe')})"
    return [f"exported by gsmlib {about.get('gsmlib')}: {made}"]


# ------------------------------------------------------------------------------ formats


def _format_of(row: Row) -> tuple[str, Callable[[Rows], Iterator[Completion]]]:
    """Return the name of a file's format by the columns of its first row."""
    there = set(row.values)
    for name, (fits, read) in FORMATS.items():
        if fits(there):
            return name, read
    if set(find_columns(there)) & {"text", "answer", "problem", "question"}:
        return PLAIN, lambda rows: read_plain(rows, ())
    shown = ", ".join(sorted(there)) or "no columns"
    raise row.refusal(f"{shown}: no format that is known", f"give {KNOWN}")


def _read_harness(rows: Rows) -> Iterator[Completion]:
    """Yield what lm-evaluation-harness logged: a row per problem and filter.

    The texts are `resps`, the same in all filters' rows. A filter's exact_match labels
    the text where there is one of a problem; of several it is a choice's, and left out.
    """
    first: dict[str, Row] = {}
    labels: dict[str, dict[str, float | None]] = {}
    for row in rows:
        problem, filtered = name_of(row.values["doc_id"]), row.values.get("filter")
        if problem is None:
            raise row.refusal("doc_id is empty", "give each row its doc_id")
        before = first.setdefault(problem, row)
        if before is not row and _responses(before) != _responses(row):
            what = f"other resps of doc_id {problem} than in {before.name}"
            raise row.refusal(what, "keep the rows of one task and one run in a file")
        of_problem = labels.setdefault(problem, {})
        name = text_of(filtered) or "none"
        if name in of_problem:
            what = f"doc_id {problem} with filter {name} stands there twice"
            raise row.refusal(what, "keep the rows of one run in a file")
        matched = row.values.get("exact_match")
        of_problem[name] = number_of(matched)
        if matched is not None and of_problem[name] not in (0, 1):
            raise row.refusal(
                f"exact_match is {matched!r}", "give 0 or 1, or leave it out"
            )
    for problem, row in first.items():
        texts, doc = _responses(row), row.values.get("doc")
        doc = doc if isinstance(doc, dict) else {}
        question = doc.get("question") or doc.get("problem")
        matched = labels[problem].items() if len(texts) == 1 else ()
        told = {name: bool(value) for name, value in matched if value is not None}
        for number, text in enumerate(texts):
            gold = text_of(row.values.get("target"))
            about = (problem, text_of(question), number, text, None, gold)
            yield Completion(_part(row, number, texts), *about, correct=told)


def _responses(row: Row) -> list[str]:
    """Return the texts of a logged sample: `resps` holds a list for each request."""
    resps = row.values["resps"]
    flat = resps[0] if isinstance(resps, list) and len(resps) == 1 else resps
    flat = flat if isinstance(flat, list) else [flat]
    if not flat or not all(isinstance(text, str) for text in flat):
        what = "resps hold no texts, as those of a task of choices"
        raise row.refusal(what, "log samples of a task that generates, such as gsm8k")
    return flat


def _part(row: Row, number: int, parts: Sequence[Any]) -> str:
    return row.name if len(parts) == 1 else f"{row.name}, completion {number + 1}"


def _read_ovm(rows: Rows) -> Iterator[Completion]:
    """Yield OVM's completions: of its generator, its verifier, or of its beam search.

    A verifier's score is the last of its `vscores`, one a token, by which OVM chooses.
    """
    scored, whole = None, {}
    for row in rows:
        problem = name_of(row.values.get("idx"))
        before = whole.setdefault(problem, row)
        if before is not row and problem and "outputs" in row.values:
            what = f"problem {problem} stands in {before.name} already"
            raise row.refusal(what, "keep the outputs of one run in a file")
        outputs = row.values.get("outputs", [row.values])
        if not isinstance(outputs, list) or not outputs:
            raise row.refusal("outputs are no list", "leave the problem out")
        for number, output in enumerate(outputs):
            each = row._replace(name=_part(row, number, outputs))
            one = _ovm_output(each, output)
            scored = bool(one.scores) if scored is None else scored
            if bool(one.scores) != scored:
                what = "vscores in some completions and not in others"
                raise each.refusal(what, "score every completion")
            yield one


def _ovm_output(row: Row, output: Any) -> Completion:
    if not isinstance(output, dict) or not isinstance(output.get("response"), str):
        raise row.refusal("no text in response", "mend it or leave it out")
    whole, label = row.values, output.get("label")
    scores = output.get("vscores", [])
    last = number_of(scores[-1]) if isinstance(scores, list) and scores else None
    if "vscores" in output and (last is None or not math.isfinite(last)):
        raise row.refusal("vscores hold no number", "score every completion")
    label = False if label == UNANSWERED else label
    question = text_of(whole.get("question"))
    problem = name_of(whole.get("idx")) or question
    if problem is None:
        raise row.refusal("neither idx nor question", "say what problem it is of")
    return Completion(
        row.name,
        problem,
        question,
        text=output["response"],
        answer=text_of(output.get("response_answer")),
        gold=text_of(whole.get("ground_truth")),
        correct={} if label is None else {GIVEN: flag_of(row, "label", label)},
        scores={} if last is None else {"vscore": last},
    )


def _read_released(rows: Rows) -> Iterator[Completion]:
    """Yield the paper's released solutions: a row per problem, a column per system."""
    for number, row in enumerate(rows):
        systems = [name for name in SYSTEMS if name in row.values]
        gold, question = row.values.get("ground_truth"), row.values.get("question")
        if not isinstance(gold, str) or not isinstance(question, str):
            raise row.refusal("no text in question or ground_truth", "take the release")
        for system in systems:
            said = row.values[system]
            if not isinstance(said, dict) or not isinstance(said.get("solution"), str):
                raise row.refusal(f"no solution in {system}", "take the release")
            right = flag_of(row, f"is_correct of {system}", said.get("is_correct"))
            yield Completion(
                row.name,
                str(number),
                question,
                text=with_answer_mark(said["solution"]),
                gold=with_answer_mark(gold),
                correct={GIVEN: right},
                system=system,
            )


PLAIN = "a plain table"
FORMATS: Mapping[str, tuple[Callable[[set], bool], Callable[[Rows], Any]]] = {
    "lm-evaluation-harness": (
        lambda there: {"doc_id", "resps"} <= there,
        _read_harness,
    ),
    "OVM": (
        lambda there: (
            "outputs" in there or {"response", "response_answer", "label"} <= there
        ),
        _read_ovm,
    ),
    "released solutions": (lambda there: bool(there & set(SYSTEMS)), _read_released),
}


# -------------------------------------------------------------------------------- golds


def _about_golds(found: Sequence[Completion], gold: str) -> list[str]:
    """Say what a reader of right answers from another file must know."""
    there, notes = sum(each.gold is not None for each in found), []
    if gold and there:
        notes.append(f"right answers are those of {gold}, not the file's own {there:,}")
    if gold and any(each.question is None for each in found):
        notes.append(f"right answers are found by the problems' numbers in {gold}")
    return notes


def _with_golds(name: str, found: Sequence[Completion], gold: str) -> list[Completion]:
    """Give every completion the right answer of its problem, by question or number."""
    by_question, by_number = _golds(gold)
    golds = []
    for each in found:
        if each.question is not None:
            right = by_question.get(one_line(each.question))
        else:
            right = by_number.get(each.problem)
        if right is None:
            raise SettingsError(
                f"{name}, {each.row}: {gold} has no problem {_short(each.problem)}; "
                "give the file its questions, or a column gold of its own."
            )
        golds.append(each._replace(gold=right))
    return golds


def _golds(gold: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return right answers by question, and by the problem's number or name."""
    if gold == GSM8K_TEST:
        problems = {str(i): each for i, each in enumerate(load_gsm8k("test"))}
    else:
        file = Path(os.path.expanduser(gold))
        problems = dict(map(_gold_row, _rows_of(file, f"golds, or {GSM8K_TEST}")))
    by_question = {one_line(p.question): p.solution for p in problems.values()}
    return by_question, {name: p.solution for name, p in problems.items()}


def _gold_row(row: Row) -> tuple[str, Problem]:
    columns = find_columns(row.values)
    place = columns.get("gold") or columns.get("answer")
    question = text_of(row.values.get(columns.get("question", "")))
    name = name_of(row.values.get(columns.get("problem", ""))) or question
    answer = text_of(row.values.get(place or ""))
    if name is None or not answer:
        what = "no question or problem with a gold or answer"
        raise row.refusal(what, "give rows of these, as GSM8K's question and answer")
    return name, Problem(question or name, answer)


def one_line(question: str) -> str:
    """Return a question as two files that have it agree on: spaces do not count."""
    return " ".join(question.split())
