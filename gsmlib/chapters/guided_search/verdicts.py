"""G1 and G2: is search by a verifier worth its tokens, and is it the guidance?"""

import pandas as pd

from gsmlib.chapters import rules
from gsmlib.chapters.guided_search.grid import BEST_OF_N, BY_LINES, ORACLE, SEARCH
from gsmlib.chapters.rules import in_points, over_seeds


@rules.judge
def g1(table: pd.DataFrame) -> rules.Finding:
    """G1: guided search solves more than the best of n of as many tokens.

    Of the widest search that as many tokens of completions were drawn for. Reproduced:
    its gain is surely above 0, and not surely below NEGLIGIBLE. Not reproduced: surely
    below NEGLIGIBLE. Reversed: surely below 0. Not testable: with the checker as its
    guide, where there is one, search does not surely gain either.
    """
    rows = _searches(table)
    by_n = rows.groupby("n")["over_best_of_n"]
    compared = rows[by_n.transform(lambda gains: gains.notna().all())]  # in all seeds
    if compared.empty:
        raise rules.NotTestable("fewer completions were drawn than a search costs")
    widest = compared[compared["n"] == compared["n"].max()]
    gain, vote = (over_seeds(widest, name) for name in ("over_best_of_n", "over_vote"))
    sentence = (
        f"search with {widest['n'].iloc[0]} candidates a line solves "
        f"{100 * widest['accuracy'].mean():.1f} %: minus the best of n of as many "
        f"tokens {in_points(gain)}, minus their vote {in_points(vote)}"
    )
    for guide, words in ((BY_LINES, "a verifier of lines"), (ORACLE, "the checker")):
        other = table[(table["method"] == guide) & table["over_best_of_n"].notna()]
        if other.empty:
            continue
        best = over_seeds(other, "over_best_of_n")
        sentence += f"; guided by {words} {in_points(best)}"
        if guide == ORACLE and not best.low > 0:
            raise rules.NotTestable(f"{sentence}, so that none could be seen to", gain)
    return rules.Finding(rules.better(gain), gain, sentence)


@rules.judge
def g2(table: pd.DataFrame) -> rules.Finding:
    """G2: it is the guidance that helps: with scores shuffled, search solves less.

    Of the widest search. Reproduced, not reproduced and reversed as G1.
    """
    rows = _searches(table)
    widest = rows[rows["n"] == rows["n"].max()]
    gain = over_seeds(widest, "over_shuffled")
    sentence = (
        f"search with {widest['n'].iloc[0]} candidates a line, guided by the verifier "
        f"minus with its scores shuffled: {in_points(gain)}"
    )
    return rules.Finding(rules.better(gain), gain, sentence)


def _searches(table: pd.DataFrame) -> pd.DataFrame:
    """Return the guided searches; their verifier must choose well among completions."""
    chosen = table[table["method"] == BEST_OF_N]
    rules.require_learning(table, chosen["accuracy"].max())
    rules.require_checking(chosen[chosen["n"] > 1], "n")
    return table[table["method"] == SEARCH]
