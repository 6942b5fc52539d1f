"""How often `check` calls a bug by its name: every bug of the zoo as a stranger's function.

Each bug is handed to `check` as one function with its gradients, as layer after layer until it
shows. It is named rightly where it is among the bugs that fit best: those that give the very same
answers in these cases cannot be told apart. Of the others it is kept what they were taken for.

    python benchmarks/check_naming.py          # resumes; writes results/check_naming.json
    python benchmarks/check_naming.py --anew
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.speed import machine
from lstm_oracle.benchmarks.zoo_functions import first_wrong, named
from lstm_oracle.conformance.zoo import BUGS, Bug, gate_orders

HERE = Path(__file__).parent
RESULT = HERE / "results" / "check_naming.json"


def main() -> int:
    """Check every bug; 1 where one is not seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--anew", action="store_true", help="forget what is kept")
    anew = parser.parse_args().anew
    rows = {} if anew else _kept()
    bugs = (*BUGS, *gate_orders())
    for n, one in enumerate(bugs, 1):
        if one.id in rows:
            continue
        rows[one.id] = _row(one)
        print(f"{n}/{len(bugs)} {one.id}: {rows[one.id]}", flush=True)
        _keep([rows[bug.id] for bug in bugs if bug.id in rows])
    found = list(rows.values())
    print(f"seen {sum(row['seen'] for row in found)}, named {sum(row['named'] for row in found)}")
    return 0 if all(row["seen"] for row in found) else 1


def _row(one: Bug) -> dict[str, Any]:
    start = time.perf_counter()
    verdict = first_wrong(one)
    row: dict[str, Any] = {"bug": one.id, "seen": verdict is not None, "named": False}
    row["seconds"] = round(time.perf_counter() - start, 1)
    if verdict is None:
        return row
    fits = [near.id for near in verdict.nearest if near.fits]
    row |= {"named": named(one, verdict), "taken_for": fits}
    if not row["named"]:
        row |= {"cases": [case.name for case in verdict.cases if case.status == "disagree"]}
        row |= {"nearest": [[near.id, near.distance] for near in verdict.nearest]}
    return row


def _kept() -> dict[str, dict[str, Any]]:
    if not RESULT.exists():
        return {}
    return {row["bug"]: row for row in json.loads(RESULT.read_text())["bugs"]}


def _keep(rows: list[dict[str, Any]]) -> None:
    document = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "seen": sum(row["seen"] for row in rows),
        "named": sum(row["named"] for row in rows),
        "of": len(rows),
        "bugs": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
