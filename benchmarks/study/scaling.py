"""The same study on one device, on four forced host devices, and in two processes.

    python -m lstm_oracle.benchmarks.study.scaling     # prints, writes results/study_scaling.json

Each way runs the study's own command on its first shape, in a folder of its own; held-out losses
of every training are compared, and the wall time per training reported. Forced host devices share
the cores that there are: this shows that the results stay the same, not that they come faster.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.study.analysis import machine, write_json

RESULT = Path(__file__).resolve().parents[1] / "results" / "study_scaling.json"
WAYS: dict[str, list[str]] = {
    "one device": [],
    "4 forced host devices": ["--devices", "4"],
    "2 processes": ["--processes", "2"],
}
STUDY = ["--task", "Japanese Vowels", "--shapes", "1"]


def run_way(words: list[str], folder: Path, seeds: int, steps: int) -> dict[str, np.ndarray]:
    """What the study keeps of its first shape when it is run with some options."""
    command = [sys.executable, "-m", "lstm_oracle.benchmarks.study.initialization", *STUDY]
    command += ["--seeds", str(seeds), "--steps", str(steps), "--keep", str(folder), *words]
    command += ["--result", str(folder / "summary.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    kept = list(folder.glob("*.npz"))
    if done.returncode or not kept:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-800:]}"
        )
    with np.load(kept[0], allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def compare(seeds: int = 4, steps: int = 200) -> dict[str, Any]:
    """Every way's cost, and its largest difference from one device."""
    rows: list[dict[str, Any]] = []
    first: np.ndarray | None = None
    for name, words in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = run_way(words, Path(folder), seeds, steps)
        first = found["skill"] if first is None else first
        difference = np.abs(found["skill"] - first)
        rows.append(
            {
                "way": name,
                "trainings": int(found["trainings"]),
                "ms_per_training": round(1e3 * float(found["seconds"] / found["trainings"]), 2),
                "compile_seconds": round(float(found["compile_seconds"]), 1),
                "skill_before_training_off_by": float(difference[..., 0].max()),
                "skill_median_off_by": float(np.median(difference[..., -1])),
                "skill_off_by": float(difference[..., -1].max()),
            }
        )
    script = "python -m lstm_oracle.benchmarks.study.scaling"
    return {"script": script, "steps": steps, "seeds": seeds, "ways": rows, "machine": machine()}


def main() -> int:
    """Compare, print, keep."""
    found = compare()
    write_json(RESULT, found)
    for row in found["ways"]:
        print(
            f"{row['way']:>22}: {row['trainings']} trainings, {row['ms_per_training']:.1f} ms each "
            f"+ {row['compile_seconds']:.1f} s compiling; skill off by "
            f"{row['skill_before_training_off_by']:.1e} before training, {row['skill_off_by']:.1e} "
            f"after (median {row['skill_median_off_by']:.1e})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
