"""Problems to train and test on: GSM8K as released, or our own MiniGSM."""

import hashlib
from typing import Literal, NamedTuple

from gsmlib.paper import TEST_PROBLEMS, TRAIN_PROBLEMS

# How many problems there are to draw from; MiniGSM makes as many as one asks for.
GSM8K_PROBLEMS = {"train": TRAIN_PROBLEMS, "test": TEST_PROBLEMS}
DEV_PROBLEMS = 500  # held out of GSM8K's training set, which has no dev set


class Problem(NamedTuple):
    """A question and its annotated solution, whose last line is `#### answer`."""

    question: str
    solution: str


def load_problems(
    dataset: Literal["minigsm", "gsm8k"],
    split: Literal["train", "dev", "test"],
    n: int,
    seed: int = 0,
) -> list[Problem]:
    """Return `n` problems in a seeded order; fewer problems are a prefix of more.

    GSM8K's dev problems are 500 training problems, the same for every seed. They come
    last in every order of the training set: up to 6,973 training problems leave them
    out, the full 7,473 take them in. Raises ValueError when there are not `n`.
    """
    # Imported here because both modules build the Problem defined above.
    from gsmlib.data import gsm8k, minigsm

    if dataset not in ("minigsm", "gsm8k"):
        raise ValueError(f"dataset must be 'minigsm' or 'gsm8k', not {dataset!r}.")
    if split not in ("train", "dev", "test"):
        raise ValueError(f"split must be 'train', 'dev' or 'test', not {split!r}.")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}.")
    if dataset == "minigsm":
        return minigsm.make_problems(split, n, seed)
    problems = gsm8k.load_gsm8k("test" if split == "test" else "train")
    order = _order(split, len(problems), seed)
    if n > len(order):
        raise ValueError(f"GSM8K's {split} split has {len(order)} problems, not {n}.")
    return [problems[index] for index in order[:n]]


def _order(split: str, size: int, seed: int) -> list[int]:
    if split == "test":
        return _shuffled(range(size), f"test {seed}")
    everyone = _shuffled(range(size), "dev")  # the same for every seed
    train, dev = everyone[:-DEV_PROBLEMS], everyone[-DEV_PROBLEMS:]
    dev = _shuffled(dev, f"dev {seed}")
    return dev if split == "dev" else _shuffled(train, f"train {seed}") + dev


def _shuffled(indices: range | list[int], key: str) -> list[int]:
    """Order by hash: the same in every version of Python, unlike random.shuffle."""
    return sorted(
        indices, key=lambda index: hashlib.sha256(f"{key} {index}".encode()).digest()
    )


def check_problem_counts(dataset: str, n_train: int, n_test: int) -> None:
    """Raise ValueError when GSM8K has fewer problems than asked for."""
    if dataset != "gsm8k":
        return
    for split, asked in (("train", n_train), ("test", n_test)):
        if asked > GSM8K_PROBLEMS[split]:
            raise ValueError(
                f"{asked} {split} problems asked for, GSM8K has {GSM8K_PROBLEMS[split]}"
            )
