"""Problems to train and test on: GSM8K as released, our MiniGSM, or a user's own.

A data set is named by text: `gsm8k`, `minigsm` (with other knobs than the usual ones
`minigsm {"decoys": [0, 0]}`), or a path and a digest (`own`).
"""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

from gsmlib.paper import TEST_PROBLEMS, TRAIN_PROBLEMS

NAMES = {"minigsm": "MiniGSM", "gsm8k": "GSM8K"}
GSM8K_PROBLEMS = {"train": TRAIN_PROBLEMS, "test": TEST_PROBLEMS}
MOST_MADE = 1_000_000  # of MiniGSM, in a split: more is a slip of the hand
ANSWERED = {"test": "test", "dev": "development"}  # that are answered, and their names
DEV_PROBLEMS = 500  # held out of GSM8K's training set, which has no dev set


class Problem(NamedTuple):
    """A question and its annotated solution, whose last line is `#### answer`."""

    question: str
    solution: str


def call(dataset: str) -> str:
    """Return what a data set is called: MiniGSM, GSM8K, or a file's or folder's name.

    >>> call('minigsm {"decoys": [0, 0]}'), call("/data/my.jsonl#1a2b3c4d5e6f")
    ('MiniGSM', 'my.jsonl')
    """
    known = NAMES.get(family(dataset))
    return known or Path(dataset.rpartition("#")[0] or dataset).name


def family(dataset: str) -> str:
    """Return minigsm, whatever its knobs, gsm8k, or own."""
    if dataset.startswith("minigsm {"):
        return "minigsm"
    return dataset if dataset in NAMES else "own"


def load_problems(
    dataset: str, split: Literal["train", "dev", "test"], n: int, seed: int = 0
) -> list[Problem]:
    """Return `n` problems in a seeded order; fewer problems are a prefix of more.

    GSM8K's dev problems are 500 training problems, the same for every seed. They come
    last in every order of the training set: up to 6,973 training problems leave them
    out, the full 7,473 take them in. So it is with one's own, a tenth of the training
    problems.
    Raises ValueError when there are not `n`.
    """
    # Imported here because these modules build the Problem defined above.
    from gsmlib.data import worlds

    if split not in ("train", "dev", "test"):
        raise ValueError(f"split must be 'train', 'dev' or 'test', not {split!r}.")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}.")
    if family(dataset) == "minigsm":
        knobs = worlds.knobs_of(dataset)
        return [worlds.make_problem(split, i, seed, knobs) for i in range(n)]
    problems = _load_part(dataset, "test" if split == "test" else "train")
    order = _order(split, len(problems), _count_dev(dataset, len(problems)), seed)
    if n > len(order):
        has = f"{call(dataset)}'s {split} split has {len(order)} problems"
        raise ValueError(f"{has}, not {n}.")
    return [problems[index] for index in order[:n]]


def _load_part(dataset: str, part: Literal["train", "test"]) -> list[Problem]:
    from gsmlib.data import gsm8k, own

    if dataset == "gsm8k":
        return gsm8k.load_gsm8k(part)
    read = own.read_own(dataset)
    own.require_sound(read)
    return [row.problem for row in read.rows[part]]


def _order(split: str, size: int, n_dev: int, seed: int) -> list[int]:
    if split == "test":
        return _shuffled(range(size), f"test {seed}")
    everyone = _shuffled(range(size), "dev")  # the same for every seed
    train, dev = everyone[: size - n_dev], everyone[size - n_dev :]
    dev = _shuffled(dev, f"dev {seed}")
    return dev if split == "dev" else _shuffled(train, f"train {seed}") + dev


def _count_dev(dataset: str, size: int) -> int:
    return DEV_PROBLEMS if dataset == "gsm8k" else min(DEV_PROBLEMS, size // 10)


def _shuffled(indices: range | list[int], key: str) -> list[int]:
    """Order by hash: the same in every version of Python, unlike random.shuffle."""
    return sorted(
        indices, key=lambda index: hashlib.sha256(f"{key} {index}".encode()).digest()
    )


def count_problems(dataset: str) -> dict[str, int]:
    """Return how many problems each split has, or for MiniGSM, how many it makes.

    GSM8K's are known without its files.
    """
    if family(dataset) == "minigsm":
        return dict.fromkeys(("train", "dev", "test"), MOST_MADE)
    counts = GSM8K_PROBLEMS
    if dataset != "gsm8k":
        counts = {part: len(_load_part(dataset, part)) for part in ("train", "test")}
    return counts | {"dev": _count_dev(dataset, counts["train"])}


def count_beside(dataset: str, split: Literal["test", "dev"]) -> tuple[int, int]:
    """Return how many problems there are to train on beside a split, and of the split.

    Development problems are kept from the training problems; MiniGSM makes them apart.
    """
    counts = count_problems(dataset)
    among = split == "dev" and family(dataset) != "minigsm"
    return counts["train"] - among * counts["dev"], counts[split]


def check_problem_counts(dataset: str, **asked: int) -> None:
    """Raise ValueError where a split (train, dev, test) has fewer than asked for."""
    for split, most in count_problems(dataset).items():
        if asked.get(split, 0) > most:
            raise ValueError(
                f"{asked[split]} {split} problems asked for, {call(dataset)} has {most}"
            )
