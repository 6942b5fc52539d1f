"""Write the measured figures into README.md from the kept results; nothing there is typed by hand.

    python docs/update_readme.py            # rewrite the blocks
    python docs/update_readme.py --check    # exit 1 where a block is not what the results say

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`; the functions below are its NAMEs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def oracle_speed() -> str:
    kept = result("oracle_speed")
    case, both = kept["case"], kept["results"]["forward and backward"]["wall"]
    shape = ", ".join(f"{k} {case[k]}" for k in "BTIH")
    return (
        f"Forward and backward at ({shape}), {case['dtype']}: {both['ratio']:.1f} times an ideal "
        f"hand-fused NumPy LSTM without variants or masks (median of {kept['rounds']} alternating "
        f"pairs, {kept['threads']} thread, {kept['processor']}, "
        f"[`oracle_speed.json`](benchmarks/results/oracle_speed.json))."
    )


def verify() -> str:
    kept = result("verify")
    head = ["| implementation | agree | disagree | worst float64 error | worst ratio | seconds |"]
    head.append("| --- | --: | --: | --: | --: | --: |")
    return "\n".join(head + [_row(row) for row in kept["implementations"]])


def _row(row: dict[str, Any]) -> str:
    if row["unavailable"]:
        return f"| {row['implementation']} | not run: {row['unavailable']} | | | | |"
    cases = row["cases"]
    agree = [case for case in cases if case["status"] == "agree"]
    wrong = sum(case["status"] in ("disagree", "error") for case in cases)
    blocks = [block for case in agree for block in case["blocks"]]
    ratio = max((float(block["ratio"]) for block in blocks), default=0.0)
    float64 = [
        float(block["error"])
        for case in agree
        if case["dtype"] == "float64"
        for block in case["blocks"]
    ]
    worst = f"{max(float64):.1e}" if float64 else "-"
    return (
        f"| {row['implementation']} | {len(agree)} | {wrong} | {worst} | {ratio:.2f} | "
        f"{row['seconds']:.0f} |"
    )


BLOCKS = {"oracle-speed": oracle_speed, "verify": verify}


def updated(text: str) -> str:
    for name, block in BLOCKS.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        if marks.search(text):
            body = block()
            text = marks.sub(lambda found, body=body: found[1] + body + found[2], text)
    return text


def main() -> int:
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = updated(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("README.md is not what the results say; run python docs/update_readme.py")
        return int(before != after)
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
