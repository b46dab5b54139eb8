"""MiniGSM: its problems and knobs, the checker that reads them, and the text."""

import hashlib
import re
import zlib
from collections import Counter

import pytest

from gsmlib.data import Problem, call, checker, family, load_problems, worlds
from gsmlib.data.checker import ERRORS, PLANNING, check_solution, read_fact
from gsmlib.data.kinds import KINDS, LINES, NAMES, QUESTIONS, THINGS
from gsmlib.data.schoolwork import TextKnobs, make_passage
from gsmlib.data.worlds import DEFAULT, Knobs, knobs_of, make_problem, name_of
from gsmlib.method.answers import extract_answer
from gsmlib.method.calculator import evaluate, find_annotations
from gsmlib.method.tokenizer import load_tokenizer
from gsmlib.study.stages import problems_fingerprint

NARROW = Knobs(
    steps=(1, 3, 3, 2),
    decoys=(3, 5),
    largest=99,
    kinds=("count", "packs", "times", "more", "fewer", "sum", "difference"),
    questions=("own", "total", "gap", "money"),
    phrasings=2,
    names=16,
    things=8,
)
QUESTION = (
    "Sam owns 9 pears. Ben has 3 more pears than Ada. Zoe owns 40 pears. "
    "Ada has 4 packs of 5 pears each. How many pears do Ben and Ada have together?"
)
# Of the text that the shipped weights were trained on; other text needs new weights.
DIGEST = "243cb76e5b1b06481fc45fd66d5135d66757c2f22dfc5436ce27f18e8238c0d2"
# A value other than the usual one for every knob.
CHANGES = {
    "steps": (0, 0, 1),
    "decoys": (0, 0),
    "roots": 0.5,
    "largest": 99,
    "kinds": ("count", "more", "times"),
    "questions": ("own",),
    "phrasings": 1,
    "names": 16,
    "things": 1,
    "quoted": False,
}
SENTENCE = re.compile(r"(?<=\.) ")
SOLUTION = (
    "Ada has 4 packs of 5 pears each. So Ada has <<4*5=20>>20 pears.\n"
    "Ben has 3 more pears than Ada. Ben owns <<20+3=23>>23 pears.\n"
    "Ben and Ada have <<23+20=43>>43 pears together.\n#### 43"
)


def problems(n, split="train", knobs=DEFAULT):
    return load_problems(name_of(knobs), split, n)


# ------------------------------------------------------------------------- the problems


@pytest.mark.parametrize("split", worlds.SPLITS)
def test_a_problem_is_a_function_of_its_address(split):
    first = problems(9, split)
    assert first == problems(9, split) and first[:5] == problems(5, split)
    assert first[7] == make_problem(split, 7)
    others = load_problems("minigsm", split, 9, seed=1)
    assert others[7] == make_problem(split, 7, 1)
    assert not set(first) & set(others)


def test_no_question_is_in_two_splits():
    asked = [{p.question for p in problems(150, split)} for split in worlds.SPLITS]
    assert not (asked[0] & asked[1] or asked[0] & asked[2] or asked[1] & asked[2])
    for split, questions in zip(worlds.SPLITS, asked, strict=True):
        rests = {zlib.crc32(question.encode()) % 4 for question in questions}
        assert rests == set(worlds.SPLITS[split]) and len(questions) == 150


def test_rows_have_the_format_of_gsm8k():
    for problem in problems(200):
        assert isinstance(problem, Problem)
        assert re.search(r"\?$|Find how many [^?]*\.$", problem.question)
        *lines, last = problem.solution.split("\n")
        found = [a for line in lines for a in find_annotations(line)]
        assert all(len(find_annotations(line)) <= 1 for line in lines)
        assert all(evaluate(a.expression) == evaluate(a.value) for a in found)
        assert last == f"#### {found[-1].value}"
        assert extract_answer(problem.solution) == found[-1].value


def test_the_text_of_the_shipped_weights_has_not_changed():
    texts = ["\n".join(problem) for problem in problems(300)]
    texts += [make_passage(1, index).text for index in range(300)]
    assert hashlib.sha256("\n\n".join(texts).encode()).hexdigest() == DIGEST


def test_a_change_of_the_grammar_is_noticed(monkeypatch):
    before = [problems_fingerprint.__wrapped__("minigsm", seed) for seed in range(3)]
    assert len(set(before)) == 3
    more = KINDS["more"]
    changed = more._replace(phrasings=("{a} has {k} {t} above {b}.",) * 4)
    monkeypatch.setitem(KINDS, "more", changed)
    after = [problems_fingerprint.__wrapped__("minigsm", seed) for seed in range(3)]
    assert not set(before) & set(after)


@pytest.mark.parametrize("knobs", [DEFAULT, NARROW, Knobs(quoted=False)])
def test_steps_decoys_and_values_are_as_the_knobs_say(knobs):
    counts = Counter()
    for problem in problems(200, knobs=knobs):
        told = checker.read_question(problem.question)
        decoys = len(told.facts) - len(told.needed)
        assert knobs.decoys[0] <= decoys <= knobs.decoys[1]
        assert {fact.kind for fact in told.facts.values()} <= set(knobs.kinds)
        assert told.asked.kind in knobs.questions
        numbers = re.findall(r"\d+", " ".join(problem))
        assert max(map(int, numbers)) <= knobs.largest
        counts[problem.solution.count("<<")] += 1
    assert set(counts) <= set(range(2, 2 + len(knobs.steps)))
    commonest = counts.most_common(1)[0][0]
    assert knobs.steps[commonest - 2] == max(knobs.steps)


def test_worlds_branch():
    """More than one person is referred to by several, in most of the problems."""
    branching = 0
    for problem in problems(100):
        facts = checker.read_question(problem.question).facts.values()
        referred = Counter(name for f in facts for name in (f.b, f.c) if name)
        branching += max(referred.values(), default=0) > 1
    assert branching > 50


def test_the_shipped_tokenizer_knows_every_word():
    tokenizer = load_tokenizer()
    words = {
        word
        for problem in problems(300)
        for word in re.findall(r" [A-Za-z]+", " ".join(problem))
    }
    split = {w for w in words if len(tokenizer.encode(w, add_special_tokens=False)) > 1}
    assert not split


# ------------------------------------------------------------------------- the checker


def test_every_sentence_has_one_reading():
    for name, kind in KINDS.items():
        for phrasing in kind.phrasings:
            text = phrasing.format(a="Ada", b="Ben", c="Cara", k=3, m=7, t="pears")
            fits = [
                (other, p)
                for other in KINDS
                for p in KINDS[other].phrasings
                if checker._pattern(p).fullmatch(text)
            ]
            assert fits == [(name, phrasing)]


@pytest.mark.parametrize("knobs", [DEFAULT, NARROW, Knobs(quoted=False)])
def test_every_reference_solution_is_right(knobs):
    for problem in problems(300, "dev", knobs):
        verdict = check_solution(*problem)
        assert verdict.error == "", (problem, verdict)


@pytest.mark.parametrize(
    ("old", "new", "error", "line"),
    [
        ("Ben has 3 more", "Ben has 4 more", "misquote", 1),
        (
            "Ben has 3 more pears than Ada",
            "Ben has 3 more pears than Sam",
            "misquote",
            1,
        ),
        ("<<20+3=23>>23", "<<20-3=17>>17", "wrong expression", 1),
        ("So Ada has", "So Ben has", "wrong expression", 0),
        ("Ada has 4 packs", "Sam owns 9 pears.\nAda has 4 packs", "not needed", 0),
        (
            "Ben and Ada have <<23+20=43>>43",
            "Ben and Ada have <<23+9=32>>32",
            "wrong question step",
            2,
        ),
        ("#### 43", "#### 23", "wrong question step", 3),
        ("\n#### 43", "", "wrong question step", 2),
        ("So Ada has", "Perhaps Ada has", "wrong expression", 0),
        ("23 pears.", "23 plums.", "wrong expression", 1),
        ("43>>43 pears", "43>>43 plums", "wrong question step", 2),
        ("of 5 pears each", "of 5 plums each", "misquote", 0),
        ("of 5 pears each", "of 05 pears each", "misquote", 0),
    ],
)
def test_the_first_error_is_named(old, new, error, line):
    assert check_solution(QUESTION, SOLUTION) == ("", 3)
    wrong = SOLUTION.replace(old, new)
    assert wrong != SOLUTION
    assert check_solution(QUESTION, wrong) == (error, line)


def test_errors_of_planning_are_named():
    first, second, third, answer = SOLUTION.split("\n")
    assert check_solution(QUESTION, "\n".join([second, first, third, answer])) == (
        "not ready",
        0,
    )
    assert check_solution(QUESTION, "\n".join([first, third, answer])).error == (
        "stopped early"
    )
    assert check_solution(QUESTION, "\n".join([first, second, answer])).error == (
        "wrong question step"
    )
    assert check_solution(QUESTION, "I do not know.").error == "unreadable"
    assert set(PLANNING) < set(ERRORS)


def test_another_phrasing_of_the_same_fact_is_no_misquote():
    said = SOLUTION.replace(
        "Ben has 3 more pears than Ada.", "Ben beats Ada by 3 pears."
    )
    assert check_solution(QUESTION, said).error == ""


def test_what_is_no_question_of_ours_is_refused():
    with pytest.raises(ValueError, match="No question of MiniGSM's"):
        checker.read_question("Janet's ducks lay 16 eggs per day.")
    with pytest.raises(ValueError, match="No question"):
        checker.read_question(
            "Ada has 3 more pears than Bob. How many pears does Ada have?"
        )


def test_a_wrong_answer_has_an_error_and_most_right_ones_none():
    """Against a slow way: a change of any number in a solution is noticed."""
    for problem in problems(40, "dev"):
        for match in re.finditer(r"\d+", problem.solution):
            start, end = match.span()
            number = str(int(match[0]) + 1)
            changed = problem.solution[:start] + number + problem.solution[end:]
            assert check_solution(problem.question, changed).error


# ----------------------------------------------------------------------------- the text


def test_passages_have_neither_questions_nor_annotations():
    text = "\n".join(make_passage(1, index).text for index in range(200))
    assert "<<" not in text and "####" not in text and "?" not in text


def test_marks_say_what_the_lines_are():
    seen = Counter()
    for index in range(400):
        passage = make_passage(1, index)
        work = passage.text.split("\n")[1:]
        seen[passage.marks] += 1
        errors = [line.error for line in passage.lines]
        assert set(errors) <= {"", *ERRORS}
        if passage.marks == "each line":
            marks = [line.rsplit(" ", 1)[1] for line in work]
            assert marks == ["Wrong." if error else "Right." for error in errors]
        elif passage.marks == "at the end":
            assert work[-1] == ("Not right." if any(errors) else "All right.")
        else:
            assert not any(errors)
    assert min(seen.values()) > 80


def _holds(line, facts, known):
    """What the checker says of a line of work, its expression annotated."""
    annotated = re.sub(r"([0-9*/+-]+)=([0-9]+)", r"<<\1=\2>>\2", line)
    (thing,) = checker._things(line)
    told = checker.Told(facts, thing, None, frozenset(facts))
    return checker._check_line(told, known, annotated)


def test_slips_are_of_the_kinds_that_the_checker_names():
    named = Counter()
    for index in range(600):
        passage = make_passage(2, index)
        quotes = [read_fact(SENTENCE.split(line.text)[0]) for line in passage.lines]
        if passage.marks != "each line" or None in quotes:
            continue
        facts = {fact.a: fact for fact in map(read_fact, SENTENCE.split(passage.told))}
        known = {}
        for line in passage.lines:
            found = _holds(line.text, facts, dict(known) if line.error else known)
            named[line.error, found] += 1
    wrong = Counter({pair: n for pair, n in named.items() if pair[0]})
    assert named["", ""] == sum(n for pair, n in named.items() if not pair[0])
    agree = sum(n for pair, n in wrong.items() if pair[0] == pair[1])
    assert agree == sum(wrong.values()), wrong
    assert {pair[0] for pair in wrong} == {"misquote", "wrong expression", "not ready"}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (dict(in_turn=1.0), lambda p: "\n" not in p.text),
        (dict(quoted=0.0, in_turn=0.0), lambda p: read_fact(_last_quote(p)) is None),
        (dict(marks=(0, 1, 0), in_turn=0.0), lambda p: p.marks == "each line"),
        (dict(slips=(0, 0, 0)), lambda p: not any(x.error for x in p.lines)),
        (dict(people=(3, 3)), lambda p: p.told.count(".") <= 6),
    ],
)
def test_every_knob_of_the_text_does_what_it_says(change, count):
    text = TextKnobs(**change)
    assert all(count(make_passage(1, index, DEFAULT, text)) for index in range(60))
    assert not all(count(make_passage(1, index)) for index in range(60))


def _last_quote(passage):
    lines = [line.text for line in passage.lines if "=" in line.text]
    return re.split(r"(?<=\.) ", lines[-1])[0] if lines else "none"


def test_lines_and_questions_keep_their_forms_apart():
    sentences = [s for asked in QUESTIONS.values() for _, s in asked.steps]
    for line in LINES:
        text = line.format(a="Ada", t="pears", e="<<1+2=3>>3")
        assert not any(checker._pattern(s).fullmatch(text) for s in sentences)


# ---------------------------------------------------------------------------- the knobs


@pytest.mark.parametrize(
    ("knobs", "name"),
    [
        (DEFAULT, "minigsm"),
        (Knobs(decoys=(0, 0)), 'minigsm {"decoys": [0, 0]}'),
        (Knobs(quoted=False), 'minigsm {"quoted": false}'),
        (
            Knobs(roots=0.5, kinds=("count", "more")),
            'minigsm {"roots": 0.5, "kinds": ["count", "more"]}',
        ),
    ],
)
def test_knobs_are_told_by_the_name(knobs, name):
    assert name_of(knobs) == name and knobs_of(name) == knobs
    assert (family(name), call(name)) == ("minigsm", "MiniGSM")


@pytest.mark.parametrize("knob", CHANGES)
def test_a_name_keeps_every_knob(knob):
    knobs = Knobs(**{knob: CHANGES[knob]})
    assert knobs_of(name_of(knobs)) == knobs != DEFAULT
    hash(knobs_of(name_of(knobs)))  # with no lists in it


@pytest.mark.parametrize(
    "name", ['minigsm {"wings": 2}', "minigsm {", "minigsm!", 'minigsm {"decoys" 1}']
)
def test_names_of_no_knobs_are_refused(name):
    with pytest.raises(ValueError, match="wings|line 1"):
        knobs_of(name)


def test_every_knob_is_among_the_changes():
    assert set(CHANGES) == set(Knobs._fields)


@pytest.mark.parametrize("knob", CHANGES)
def test_every_knob_changes_the_problems(knob):
    assert problems(50, knobs=Knobs(**{knob: CHANGES[knob]})) != problems(50)


def test_without_decoys_all_facts_are_needed():
    for problem in load_problems('minigsm {"decoys": [0, 0]}', "train", 100):
        told = checker.read_question(problem.question)
        assert set(told.facts) == set(told.needed)


def test_lines_quote_their_facts_or_do_not():
    for problem in load_problems('minigsm {"quoted": false}', "dev", 100):
        told = SENTENCE.split(problem.question)
        computing = [x for x in problem.solution.split("\n") if "<<" in x]
        assert not any(sentence in line for sentence in told for line in computing)
        assert all(read_fact(SENTENCE.split(line)[0]) is None for line in computing)
    for problem in problems(100, "dev"):
        first = problem.solution.split("\n")[0]
        assert SENTENCE.split(first)[0] in problem.question


def test_few_words_are_those_that_come_first():
    few = Knobs(phrasings=1, names=12, things=1)
    for problem in problems(50, knobs=few):
        words = set(re.findall(r"[A-Z]\w+", problem.question)) & set(NAMES)
        assert words <= set(NAMES[:12]) and THINGS[0] in problem.question
        assert not any(thing in problem.question for thing in THINGS[1:])
        assert "<<" in problem.solution and "With that" not in problem.solution


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(steps=()), "steps is"),
        (dict(kinds=("foo",)), "kinds is"),
        (dict(kinds=("sum",)), "kinds is"),
        (dict(phrasings=0), "phrasings is 0"),
        (dict(decoys=(5, 2)), "decoys is"),
        (dict(decoys=(30, 30)), "decoys up to 30"),
        (dict(roots=2), "roots is 2"),
        (dict(names=99), "names is 99"),
        (dict(names=1), "names is 1"),
        (dict(questions=("foo",)), "questions is"),
        (dict(questions=()), "questions is"),
        (dict(things=0), "things is 0"),
        (dict(largest=0), "largest is 0"),
        (dict(steps=(0,) * 10 + (1,)), "beside steps up to 12"),
    ],
)
def test_knobs_that_no_problem_can_have_are_refused(change, sentence, monkeypatch):
    monkeypatch.setattr(worlds, "TRIES", 50)
    with pytest.raises(ValueError, match=sentence):
        make_problem("train", 0, 0, Knobs(**change))


def test_a_question_that_fits_no_world_is_refused():
    """Who is asked about has fewer than all others, never a gap more than one."""
    knobs = Knobs(kinds=("count", "fewer"), questions=("gap",))
    with pytest.raises(ValueError, match="No question of gap was found in 150 worlds"):
        make_problem("train", 0, 0, knobs)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="split is 'valid'"):
        make_problem("valid", 0)
    with pytest.raises(ValueError, match="people is"):
        make_passage(1, 0, DEFAULT, TextKnobs(people=(2, 40)))
