"""Which case is for development and which is only measured on: drawn once, kept in `parts.json`.

python benchmarks/faults/parts.py        # gives new names a part; never moves an old one
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

PARTS = Path(__file__).with_name("parts.json")


def order(name: str) -> str:
    return hashlib.sha256(f"fault bench 1: {name}".encode()).hexdigest()


def assign(kept: dict[str, str], strata: dict[str, list[str]]) -> dict[str, str]:
    """New names go, in the order of their hash, to the part that their stratum has less of."""
    present = {name for names in strata.values() for name in names}
    parts = {name: part for name, part in kept.items() if name in present}
    for stratum, names in strata.items():
        counts = Counter(parts[name] for name in names if name in parts)
        for name in sorted((n for n in names if n not in parts), key=order):
            tie = counts["develop"] == counts["measure"]
            flip = int(order(stratum), 16) % 2
            less = "develop" if counts["develop"] < counts["measure"] else "measure"
            parts[name] = ("develop", "measure")[flip] if tie else less
            counts[parts[name]] += 1
    return parts


def strata() -> dict[str, list[str]]:
    from faults import CASES
    from healthy import HEALTHY, NOT_A_BUG

    groups: dict[str, list[str]] = {}
    for case in CASES:
        groups.setdefault(case.cause, []).append(case.name)
    for run in (*HEALTHY, *NOT_A_BUG):
        groups.setdefault(f"healthy {run.task}", []).append(run.name)
    return groups


def drawn() -> dict[str, str]:
    """What was drawn, once."""
    return json.loads(PARTS.read_text(encoding="utf-8"))


def load() -> dict[str, str]:
    """The part of every case and run; those of `later.py` are for development."""
    from later import LATER, LATER_HEALTHY

    return drawn() | {item.name: "develop" for item in (*LATER, *LATER_HEALTHY)}


def main() -> int:
    kept = drawn() if PARTS.exists() else {}
    parts = assign(kept, strata())
    PARTS.write_text(json.dumps(parts, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(len(parts), Counter(parts.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
