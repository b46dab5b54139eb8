"""Run the campaigns and note their figures: `make torture`, or `python -m torture`.

A campaign's part of docs/torture.json is replaced by each run of it; the page
docs/torture.md is written from that file. Ends with code 1 where anything failed.
"""

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gsmlib.environment import project_root
from torture import page
from torture.campaigns import CAMPAIGNS, FULL, SHARES, SHORT

RECORD = project_root() / "docs" / "torture.json"


def main() -> None:
    """Run what is asked for, print and keep the figures."""
    options = _read_options()
    seed = options.seed if options.seed is not None else int(time.time())
    names = options.only.split(",") if options.only else list(CAMPAIGNS)
    shares = sum(SHARES[name] for name in names)
    record: dict[str, Any] = {}
    for name in names:
        seconds = 60 * options.minutes * SHARES[name] / shares
        print(f"{name}: seed {seed}, at most {seconds / 60:.0f} minutes", flush=True)
        count = (SHORT if options.short else FULL)[name]
        record[name] = run(name, seed, count, seconds)
        print(json.dumps(record[name], indent=1)[:3000], flush=True)
        if not options.dry:
            keep({name: record[name]}, Path(options.record))
    sys.exit(any(part["failures"] for part in record.values()))


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="for all of them")
    parser.add_argument("--seed", type=int, help="default: the time, printed")
    parser.add_argument("--only", default="", help=f"of {','.join(CAMPAIGNS)}")
    parser.add_argument("--record", default=str(RECORD), help="the file to keep it in")
    parser.add_argument("--short", action="store_true", help="as `make test` does")
    parser.add_argument("--dry", action="store_true", help="keep no record")
    options = parser.parse_args()
    unknown = set(filter(None, options.only.split(","))) - set(CAMPAIGNS)
    if unknown:
        parser.error(f"there is no campaign {unknown.pop()!r}")
    return options


def run(name: str, seed: int, count: int, seconds: float) -> dict[str, Any]:
    """Run one campaign in a folder of its own; return its figures and failures."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        place = Path(folder)
        figures, failures = CAMPAIGNS[name](place, seed, count, start + seconds)
    return {
        **figures,
        "failures": failures,
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - start),
    }


def keep(parts: dict[str, Any], file: Path) -> None:
    """Put campaigns' results into the record, with the totals, and write the page."""
    known = json.loads(file.read_text())["campaigns"] if file.exists() else {}
    campaigns = {**known, **parts}
    ordered = {name: campaigns[name] for name in CAMPAIGNS if name in campaigns}
    record = page.totals(ordered) | {"campaigns": ordered}
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    file.with_suffix(".md").write_text(page.write_page(record))


if __name__ == "__main__":
    main()
