"""Write the measured figures into README.md from the kept results; nothing there is typed by hand.

    python docs/update_readme.py            # rewrite the blocks
    python docs/update_readme.py --check    # exit 1 where a block is not what the results say

A result that is missing leaves its block as it is, says so, and exits 1. That of `verify`:

    lstm-oracle verify --format json --output benchmarks/results/verify.json

A block stands between `<!-- NAME -->` and `<!-- /NAME -->`; the functions below are its NAMEs.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

OPTIONS = ("layers", "directions", "masked")
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
    return "\n".join(head + [_row(row) for row in kept["implementations"] if row["cases"]])


def _row(row: dict[str, Any]) -> str:
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


def speed() -> str:
    """Forward and backward at every shape: ours, and the fastest peer; what is promised."""
    from lstm_oracle.benchmarks.speed import summary
    from lstm_oracle.benchmarks.speed.workload import Workload

    kept = result("speed_cpu")
    head = ["| T, B, I, H | fused | native | auto | fastest peer | auto is faster | auto / floor |"]
    head.append("| --- | --: | --: | --: | --: | --: | --: |")
    for case in summary.cases_of(kept, "cpu", "training"):
        rows = {row["contender"]: row for row in summary.right(case)}
        workload = Workload.from_json(case["workload"])
        sizes = ", ".join(str(getattr(workload, k)) for k in "TBIH")
        times = [_milliseconds(rows.get(f"jax_impl {n}")) for n in ("fused", "native", "auto")]
        best = summary.versus([case], ["jax_impl auto"], summary.is_peer(kept))
        auto, floor = rows.get("jax_impl auto"), case["floor"]["ms"]
        rival = f"{_milliseconds(rows[best[0].rival])} {best[0].rival}" if best else "-"
        ratio = f"{best[0].ratio:.2f}x" if best else "-"
        over = f"{auto['median_ms'] / floor:.1f}" if auto and floor else "-"
        head.append(f"| {sizes} | {' | '.join(times)} | {rival} | {ratio} | {over} |")
    goals = [
        f"- {goal.text}: **{goal.mean:.2f}x** (geometric mean of {goal.shapes} shapes; "
        f"{goal.least:.2f}x at the worst)"
        for goal in summary.goals(kept)
    ]
    over = summary.over_products(kept, "jax_impl auto")
    if over is not None:
        sizes = ", ".join(str(getattr(summary.FRONTIER, k)) for k in "TBIH")
        goals.append(f"- auto at ({sizes}), forward and backward: **{over:.2f}x** the floor of its "
                     "products")  # fmt: skip
    processor = kept["devices"]["cpu"]
    foot = (
        f"Milliseconds, forward and backward, float32, {kept['threads']} threads for everyone, "
        f"{processor}, medians of rounds; ratios are medians over the rounds "
        "([`speed_cpu.json`](benchmarks/results/speed_cpu.json), commit "
        f"{kept['commit'][:9]})."
    )
    return "\n".join([*head, "", *goals, "", foot])


def speed_grid() -> str:
    """Along each size: auto against the fastest peer."""
    from lstm_oracle.benchmarks.speed import summary
    from lstm_oracle.benchmarks.speed.workload import AXES, BASE

    kept = result("speed_grid_cpu")
    found = summary.versus(
        summary.cases_of(kept, "cpu", "training"), ["jax_impl auto"], summary.is_peer(kept)
    )
    ratios = {one.workload: one.ratio for one in found}
    lines = [f"| around {BASE.name} | auto against the fastest peer |", "| --- | --- |"]
    for axis, values in AXES.items():
        along = [ratios.get(replace(BASE, **{axis: value})) for value in values]
        lines.append(f"| {axis} {', '.join(map(str, values))} | {', '.join(map(_times, along))} |")
    for workload, ratio in ratios.items():
        if any(getattr(workload, option) != getattr(BASE, option) for option in OPTIONS):
            option = workload.name.removeprefix(f"{BASE.name}, ")
            lines.append(f"| {option} | {_times(ratio)} |")
    mean = summary.geometric_mean([one.ratio for one in found])
    worst = min(found, key=lambda one: one.ratio)
    foot = (
        f"Forward and backward, float32: {mean:.2f}x in the geometric mean of {len(found)} cases, "
        f"{worst.ratio:.2f}x at the worst ({worst.workload.name}, {worst.rival}); "
        f"{kept['threads']} threads, {kept['devices']['cpu']} "
        "([`speed_grid_cpu.json`](benchmarks/results/speed_grid_cpu.json), `make bench-grid`)."
    )
    return "\n".join([*lines, "", foot])


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _milliseconds(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['median_ms']:.3g}"


def vowels() -> str:
    """An epoch of Japanese Vowels in each setting of `fit`: our layer on JAX, and Keras' best."""
    kept = result("vowels_speed")
    head = [
        '| batch size, batches per execution | `LSTM(implementation="auto")` | `keras.layers.LSTM` '
        "| faster | a model without LSTM |",
        "| --- | --: | --: | --: | --: |",
    ]
    for setting in kept["settings"].values():
        rows, best = setting["contenders"], setting["best_rival"]
        ours, rival, empty = (
            f"{1e3 * rows[name]['epoch_seconds']:.1f}"
            for name in (next(iter(rows)), best, list(rows)[-1])
        )
        backend = best.rpartition(" ")[2]
        head.append(
            f"| {setting['batch_size']}, {setting['steps_per_execution']} | {ours} | {rival} on "
            f"{backend} | {setting['times_faster']:.2f}x | {empty} |"
        )
    foot = (
        f"Milliseconds of an epoch of the example's model, float32, {setting['threads']} threads, "
        f"{setting['machine']['processor']}, medians; of Keras' backends the fastest "
        "([`vowels_speed.json`](benchmarks/results/vowels_speed.json)). The goal, "
        f"{kept['goal']:g}x at the example's own batches of 32, is "
        f"{'reached' if setting_of_example(kept)['times_faster'] >= kept['goal'] else 'missed'}."
    )
    return "\n".join([*head, "", foot])


def setting_of_example(kept: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = kept["settings"]["the example's"]
    return found


def study() -> str:
    """What the initialization study did, and which claims of the literature held in it."""
    kept = result("initialization_study")
    minutes = (kept["seconds"] + kept["compile_seconds"]) / 60
    head = (
        f"{kept['trainings']:,} trainings, {kept['seeds']} seeds of each setting, {minutes:.0f} "
        f"minutes on {kept['machine']['cores']} cores ({kept['machine']['processor']}, "
        "[`initialization_study.json`](benchmarks/results/initialization_study.json)). Differences "
        "are in mean skill over the training, or in decades of the gradient's norm, with 95 % "
        "intervals over seeds."
    )
    rows = ["| claim | difference | in it |", "| --- | --: | --- |"]
    for claim in kept["claims"]:
        gain, unit = claim["difference"], " decades" * claim["measure"].startswith("log10")
        interval = f"[{gain['low']:+.3f}, {gain['high']:+.3f}]"
        rows.append(
            f"| {claim['claim']} | {gain['mean']:+.3f} {interval}{unit} | {claim['verdict']} |"
        )
    return "\n".join([head, "", *rows])


_CHECKS = {
    "oracle": "this oracle",
    "torch": "`torch.autograd.gradcheck`",
    "jax-x64": "`jax.test_util.check_grads` in x64",
    "jax-float32": "`jax.test_util.check_grads` in float32, its default",
    "keras": "Keras' own LSTM tests (forward only)",
    "onnx": "the ONNX node tests (forward only)",
}


def zoo() -> str:
    """How many of the seeded bugs each check lets through."""
    kept = result("zoo_survivors")
    rows, named = kept["bugs"].values(), result("check_naming")
    lines = [f"| of {len(rows)} seeded bugs | caught | survive | cannot be asked |"]
    lines.append("| --- | --: | --: | --: |")
    for name, title in _CHECKS.items():
        fates = [row[name] for row in rows]
        counts = [str(fates.count(f)) for f in ("caught", "survives", "cannot be asked")]
        lines.append(f"| {title} | {' | '.join(counts)} |")
    orders = kept["gate_orders"]
    lines += [
        "",
        f"Of {orders['onnx']['of']} wrong orders of the gates, {orders['onnx']['survive']} pass "
        f"the ONNX node tests and {orders['keras']['survive']} Keras' own; none passes the oracle. "
        f"Handed to `check` as a stranger's function, {named['seen']} of {named['of']} bugs and "
        f"orders are seen, and {named['named']} called by their names "
        "([`check_naming.json`](benchmarks/results/check_naming.json)).",
    ]
    return "\n".join(lines)


_NAMERS = {
    "diagnose quick": '`diagnose`, `budget="quick"`',
    "defaults": "a defaults fixer (Adam 1e-3, standardize, the right head)",
    "autotrainer": "AutoTrainer's rules",
    "random": "a remedy at random",
}
_COUNTED = {
    "cause first": "right cause first",
    "cause among three": "among three",
    "alarm on a healthy run": "alarm on a healthy run",
    "not a bug, recognized": "no bug, and said so",
}


def fault_bench() -> str:
    """How often the cause that is named is the right one, on the part that is only measured on."""
    kept = result("fault_bench_measure_tensorflow")
    rows = kept["rows"]
    lines = [f"| names the cause | {' | '.join(_COUNTED.values())} |"]
    lines.append("| --- |" + " --: |" * len(_COUNTED))
    for name, title in _NAMERS.items():
        if name in rows:
            cells = [_share(rows[name]["table"][key]) for key in _COUNTED]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    ours = rows["diagnose quick"]
    what = {"cpu": "processor seconds of one thread", "wall": "seconds of the wall clock"}
    regained = ours["table"].get("remedied: 90 % of the fix's gain")
    if regained:
        lines += [
            "",
            "The remedied model, trained as the diagnosis says, regains at least nine tenths of "
            f"the skill that the reference fix regains in {_share(regained)}.",
        ]
    lines += _on_other_backends(ours["lines"])
    lines += [
        "",
        f"{ours['cases']} of the {ours['cases_in_part']} set-ups of the part of the bench that is "
        "only measured on, the rivals on a subset of them by the hash of their names; Wilson's "
        "95 % intervals. "
        f"`diagnose` took {ours['seconds']['median']:.0f} {what[ours['clock']]} (median; at most "
        f"{ours['seconds']['worst']:.0f}), from which its budget was read "
        f"(TensorFlow {kept['versions']['tensorflow-cpu']}, Keras {kept['versions']['keras']}, "
        "[`fault_bench_measure_tensorflow.json`](benchmarks/results/"
        "fault_bench_measure_tensorflow.json)).",
    ]
    return "\n".join(lines)


def _on_other_backends(lines: list[dict[str, Any]]) -> list[str]:
    """Whether Keras' other backends give the same first finding, on what was run on both."""
    here = {line["name"]: _first_named(line) for line in lines}
    said = []
    for backend, title in (("jax", "JAX"), ("torch", "PyTorch")):
        if (RESULTS / f"fault_bench_measure_{backend}.json").exists():
            rows = result(f"fault_bench_measure_{backend}")["rows"]["diagnose quick"]["lines"]
            same = sum(here[line["name"]] == _first_named(line) for line in rows)
            said.append(f"on {title} it is the same in {same} of {len(rows)}")
    if not said:
        return []
    return ["", f"Of the first finding on Keras' other backends: {', '.join(said)}."]


def _first_named(line: dict[str, Any]) -> str | None:
    named = [f["cause"] for f in line.get("findings", []) if f["severity"] != "info"]
    return named[0] if named else line.get("raises")


def _share(row: dict[str, Any]) -> str:
    if not row["of"]:
        return "-"
    interval = f"[{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
    return f"{row['hits']} of {row['of']}, {100 * row['share']:.0f} % {interval}"


def mutation() -> str:
    """How many small changes of the oracle and of the checks a test sees."""
    from lstm_oracle.benchmarks import mutation as run

    passes, every = run.score(run.PASSES), run.score(run.TESTS)
    parts = [module for module in run.TESTS if not run.is_whole(module)]
    low, high = run.score(parts).interval()
    return (
        f"Of {every.run:,} small changes (another operator, number or condition, a dropped "
        f"statement) in {len(run.TESTS)} modules of `reference/` and `conformance/`, "
        f"{every.killed:,} are seen by a test ({every.value:.1%}), and of those in the forward and "
        "backward passes "
        f"{passes.killed:,} of {passes.run:,}; {every.equivalent} more change nothing, each for a "
        "reason that stands in [`explained.json`](benchmarks/results/mutation/explained.json). "
        f"Of {len(parts)} of the modules a sample was run; of all their changes {low:.0%} to "
        f"{high:.0%} are seen (95 %). What is left out stands with its reasons in "
        "[`mutation.py`](benchmarks/mutation.py)."
    )


def false_alarms() -> str:
    """Verdicts on right answers, and the smallest defects that are found."""
    kept = result("no_false_alarms")["summary"]
    lines = [
        f"Of {kept['configurations']:,} random configurations of "
        f"{len(kept['of_implementation'])} implementations, none with anything wrong in it, "
        f"{_called_wrong(kept)} "
        "([`no_false_alarms.json`](benchmarks/results/no_false_alarms.json)).",
        "",
        "| dtype | configurations | false alarms | worst ratio | 64 u | one entry, 90 % | 99 % "
        "| one block, 90 % | 99 % |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for dtype, own in kept["dtypes"].items():
        found = " | ".join(
            f"{own[kind][f'found_with_{percent}_percent']:.0e}"
            for kind in ("entry", "block")
            for percent in (90, 99)
        )
        small = own["entry"]["probability_by_log2_of_unit_roundoffs"]["6"]
        lines.append(
            f"| {dtype} | {own['configurations']:,} | {own['false_alarms']} "
            f"| {own['ratio']['largest']:.2f} | {small:.0%} | {found} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            "64 u: how often one entry is seen to be off by 64 unit roundoffs of its block's "
            "largest. The last four columns: the smallest defect that is found with that "
            "probability, in one entry and in a whole block (times 1 plus that). Some of these "
            "problems are so ill-conditioned that 16 bits leave an answer no digit: they make the "
            "99 %.",
        ]
    )


def _called_wrong(kept: dict[str, Any]) -> str:
    alarms = kept["false_alarms"]
    if not alarms:
        return "none was called wrong"
    cases = len({alarm.partition(":")[0] for alarm in alarms})
    worst = max(own["ratio"]["largest"] for own in kept["dtypes"].values())
    return (
        f"{len(alarms)} were called wrong, in {cases} case{'s' if cases > 1 else ''}, by at most "
        f"{worst:.2f} times what is allowed"
    )


def check_speed() -> str:
    """How long `check` takes."""
    kept = result("check_speed")
    rows = kept["rows"]
    names = dict.fromkeys(row["subject"] for row in rows)
    seconds = {name: [row["seconds"] for row in rows if row["subject"] == name] for name in names}
    each = "; ".join(f"{name} {' and '.join(f'{s:.1f}' for s in seconds[name])}" for name in names)
    return (
        f"At I 32, H 64, seconds from the call to the verdict, right and wrong: {each} "
        f"({kept['machine']['processors']} cores of an {kept['machine']['processor']}, "
        "[`check_speed.json`](benchmarks/results/check_speed.json))."
    )


def demo() -> str:
    """What `make demo` printed, kept by `make demo-transcript`."""
    text = (RESULTS / "demo.txt").read_text(encoding="utf-8").rstrip()
    head = "<details><summary>What <code>make demo</code> prints</summary>"
    return f"{head}\n\n```text\n{text}\n```\n\n</details>"


BLOCKS = {
    "check-speed": check_speed,
    "demo": demo,
    "false-alarms": false_alarms,
    "fault-bench": fault_bench,
    "mutation": mutation,
    "oracle-speed": oracle_speed,
    "speed": speed,
    "speed-grid": speed_grid,
    "study": study,
    "verify": verify,
    "vowels": vowels,
    "zoo": zoo,
}


def updated(text: str, name: str) -> str:
    """The text with one block as its result says."""
    body = BLOCKS[name]()
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"README.md has no block {name!r}, expected <!-- {name} --> in it.")
    return marks.sub(lambda found: f"{found[1]}{body}\n{found[2]}", text)


def main() -> int:
    readme = ROOT / "README.md"
    before = after = readme.read_text(encoding="utf-8")
    missing = []
    for name in BLOCKS:
        try:
            after = updated(after, name)
        except FileNotFoundError as error:
            missing.append(f"block {name!r} stays as it is: {error.filename} is not there")
    for line in missing:
        print(line, file=sys.stderr)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("README.md is not what the results say; run python docs/update_readme.py")
        return int(before != after or bool(missing))
    readme.write_text(after, encoding="utf-8")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
