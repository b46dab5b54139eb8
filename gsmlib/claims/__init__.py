"""Each claim's test on our tables: a module per notebook, thresholds in `rules`."""

from pathlib import Path

import pandas as pd

from gsmlib.claims.epochs import judge_test_at_n
from gsmlib.claims.rules import Verdict, describe, ledger_row
from gsmlib.claims.verification import judge_verification

__all__ = [
    "JUDGES",
    "Verdict",
    "describe",
    "judge_test_at_n",
    "judge_verification",
    "ledger_row",
    "print_verdicts",
]

JUDGES = {"fig3": judge_test_at_n, "fig5": judge_verification}  # by figure


def print_verdicts(folder: Path) -> None:
    """Print the verdicts that the exported tables of one scale allow.

    Raises ValueError when the folder holds none of them.
    """
    tables = [
        (judge, csv)
        for figure, judge in JUDGES.items()
        for csv in sorted(folder.glob(f"{figure}_*.csv"))
    ]
    if not tables:
        raise ValueError(f"{folder} holds no tables of Fig 3 or Fig 5: run the report.")
    for judge, csv in tables:
        for verdict in judge(pd.read_csv(csv)):
            print(describe(verdict), end="\n\n")
