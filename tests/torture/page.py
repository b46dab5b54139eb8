"""The record's totals, and the page that is written from the record."""

from typing import Any

HEAD = """# What was tried against the store, the stages and the calculator

`make torture` runs everything on this page again (`--minutes`, `--seed` and `--only` of
`python -m torture`; seeds are printed); `make test` runs seconds of each campaign. The
figures below are those of [torture.json](torture.json), counts of what really ran.
"""
WORDS = {
    "kill": """## Killed

A study (two-layer model: finetuning, sampling, a verifier, scores, Fig 5) in a child
process that SIGKILL ends at a random moment, up to three times, and that is then
resumed. At the end table and figures must be byte for byte those of the uninterrupted
run, and the store must hold no unfinished folder or file. Work lost is what had to be
done again: every optimizer step and completion is noted with its time. It may be no
more than the checkpoint interval, set to {interval} s here, and twice the longest pause
between two of them. By default the interval is a minute for training and half a minute
for sampling and scoring, plus the completions in the making.

{runs} runs killed, {kills} kills ({places}); at most {lost_seconds} s of work lost.
""",
    "corrupt": """## Corrupted

Any file of any artifact: a bit flipped, cut off, emptied, deleted, another artifact's
file or whole content in its place, a file added. Asking for the artifact must name what
is wrong in one sentence and build it again to the same bytes. One case in 40 is left to
the study itself: half of the other artifacts are deleted too, so that stages read what
is damaged, and table and figures must come out the same.

{cases} cases ({by_damage}), {recomputed} of them recomputed by the stages.
""",
    "race": """## Raced

{race_processes} processes on one store: two of four run the whole study (and export the
same figure), one asks for its stages from last to first, one for another model's. The
first that is seen building is killed with its lock in hand. Every artifact must be
built once, every process end well, and the figures be those of one process alone.

{artifacts} artifacts, {built_twice} built twice, {killed} process killed.
""",
    "expressions": """## Attacked

The calculator on expressions grown together with their exact values, on the same with
characters changed (digits and signs of other scripts, powers, calls, control
characters), and on extremes (deep, long, huge, tiny, divided by zero). Values must be
exact (known by construction, or by a shunting yard on fractions), nothing else may be
evaluated, no exception escape, and none take over 10 ms. Answers are taken from random
text and compared with a reader that goes letter by letter. The decoder completes the
scripts of a model that says triggers everywhere, in tokens cut at random, up to the
length limit: what is forced must be the value of the expression before it.

{expressions:,} expressions ({evaluated:,} evaluated, {refused:,} refused), the slowest
{slowest_ms} ms; {texts:,} texts, the slowest {slowest_text_ms} ms; {scripts:,} scripts.
""",
    "inputs": """## Mistyped

{bad_inputs} mistakes, each with what the user is told before anything is computed; DIR
stands for a folder. A model without a padding token is no mistake: its end token pads.
papermill itself only warns of a parameter that the notebook does not have; the notebook
refuses it.
""",
}


def totals(campaigns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the record's first lines: one figure for each campaign that ran."""
    sources = {
        "kills": ("kill", "kills"),
        "corruptions": ("corrupt", "cases"),
        "expressions": ("expressions", "expressions"),
        "bad_inputs": ("inputs", "bad_inputs"),
        "race_processes": ("race", "race_processes"),
    }
    return {
        **{
            name: campaigns.get(campaign, {}).get(figure, 0)
            for name, (campaign, figure) in sources.items()
        },
        "failures": sum(len(part["failures"]) for part in campaigns.values()),
        "seeds": {name: part["seed"] for name, part in campaigns.items()},
        "date": max(part["date"] for part in campaigns.values()),
    }


def write_page(record: dict[str, Any]) -> str:
    """Return docs/torture.md: what each campaign does and what it found."""
    parts = [HEAD]
    for name, part in record["campaigns"].items():
        values = part | {
            key: ", ".join(f"{v} {k}" for k, v in part[key].items())
            for key in ("by_damage", "killed_in")
            if key in part
        }
        values["places"] = values.get("killed_in", "")
        parts.append(WORDS[name].format(**values))
        parts.append(f"Seed {part['seed']}, {part['date']}, {part['seconds']} s. ")
        parts[-1] += _failures(part["failures"])
    return "\n".join([*parts, _table(record["campaigns"].get("inputs", {}))])


def _failures(sentences: list[str]) -> str:
    if not sentences:
        return "Failures: none.\n"
    return "Failures:\n\n" + "\n".join(f"- {text}" for text in sentences) + "\n"


def _table(part: dict[str, Any]) -> str:
    """The mistakes and their sentences as a table of Markdown."""
    lines = ["| Where | Mistake | What is said |", "|---|---|---|"]
    for cells in part.get("table", []):
        plain = (" ".join(c.replace("|", "\\|").split()) for c in cells)
        lines.append("| " + " | ".join(plain) + " |")
    return "\n".join(lines) + "\n" if part else ""
