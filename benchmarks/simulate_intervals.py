"""How often intervals of method/intervals.py cover, simulated: docs/statistics.md.

`python benchmarks/simulate_intervals.py` prints the page's table, in minutes.
"""

from itertools import product

import numpy as np
from scipy.stats import norm

from gsmlib.method.intervals import mean_interval

RUNS = 1000
SEEDS, PROBLEMS, ACCURACIES = (3, 5), (100, 400), (0.05, 0.3, 0.6)
OF_SEEDS = (0.0, 0.05, 0.1, 0.2, 0.4)  # standard deviations, of a probit model
OF_PROBLEMS = (0.3, 1.0, 2.0)


def simulate(
    rng: np.random.Generator,
    seeds: int,
    problems: int,
    accuracy: float,
    of_seeds: float,
    of_problems: float,
) -> np.ndarray:
    """Return (RUNS, seeds, problems) of 0 and 1: seeds, problems and noise, crossed."""
    ease = of_problems * rng.standard_normal((RUNS, 1, problems))
    luck = of_seeds * rng.standard_normal((RUNS, seeds, 1))
    level = norm.ppf(accuracy) * np.sqrt(1 + of_seeds**2 + of_problems**2)
    noise = rng.standard_normal((RUNS, seeds, problems))
    return (level + ease + luck + noise > 0).astype(float)


def covered(values: np.ndarray, truth: float, share: bool) -> tuple[float, float]:
    """Return how many of the runs' intervals hold the truth, and their median width."""
    found = np.array([mean_interval(run, share=share) for run in values])
    low, high = found[:, 1], found[:, 2]
    return float(np.mean((low <= truth) & (truth <= high))), np.median(high - low)


def main() -> None:
    """Print a row for what is measured, the seeds and how much these differ."""
    rng = np.random.default_rng(0)
    print("| of | seeds | SD of seeds | least | mean | most | 93 to 97 % | width |")
    print("|---|---|---|---|---|---|---|---|")
    inside = cells = 0
    for share, seeds, of_seeds in product((True, False), SEEDS, OF_SEEDS):
        rates, widths = [], []
        for p, accuracy, of_problems in product(PROBLEMS, ACCURACIES, OF_PROBLEMS):
            made = simulate(rng, seeds, p, accuracy, of_seeds, of_problems)
            truth = accuracy
            if not share:  # two methods on the same problems
                made = simulate(rng, seeds, p, 0.5, of_seeds, 0.0) - made
                truth = 0.5 - accuracy
            rate, width = covered(made, truth, share)
            rates.append(rate)
            widths.append(width)
        within = sum(0.93 <= rate <= 0.97 for rate in rates)
        inside, cells = inside + within, cells + len(rates)
        said = f"| {'a share' if share else 'a difference'} | {seeds} | {of_seeds:g} "
        said += "".join(f"| {f(rates):.3f} " for f in (min, np.mean, max))
        print(f"{said}| {within} of {len(rates)} | {np.mean(widths):.3f} |", flush=True)
    print(f"\n{inside} of {cells} cells cover in 93 to 97 % of {RUNS} runs.")


if __name__ == "__main__":
    main()
