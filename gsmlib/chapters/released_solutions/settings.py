"""The settings of 12_released_solutions."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gsmlib.chapters.study_settings import OneModel, VerifierSettings
from gsmlib.paper import TEST_PROBLEMS, TRAIN_PROBLEMS
from gsmlib.records import Count
from gsmlib.settings import SOME

Level = Literal["token", "solution"]
Objective = Literal["joint", "verification only"]


class ReleasedSettings(OneModel, VerifierSettings):
    """Verifiers of the released solutions; at scales without GSM8K there are none."""

    released_problems: Annotated[int, Field(ge=4, le=TEST_PROBLEMS)] = TEST_PROBLEMS
    """how many of GSM8K's test problems, from the first, both halves together"""
    released_length: Count = 600
    """longest released solution with its question, in tokens; the rest is cut"""
    levels: Annotated[tuple[Level, ...], *SOME] = ("token", "solution")
    """verifiers to train: scores of every token or of the last alone; the first also
    votes, and learns planted errors"""
    objectives: Annotated[tuple[Objective, ...], *SOME] = ("joint", "verification only")
    """and with the language objective or without it; the first also votes, the last
    learns planted errors"""
    planted: bool = True
    """a control beside them: errors planted in the problems' own solutions"""

    @model_validator(mode="after")
    def _of_the_test_set(self) -> Self:
        if self.split != "test":
            raise ValueError(
                f"split {self.split} cannot be judged here: the released solutions are "
                "of the test problems; leave split out"
            )
        return self


SCALES = {
    "smollm2": dict(n_train=TRAIN_PROBLEMS, verifier_epochs=2),
    "smollm2-full": dict(verifier_epochs=2),
}
