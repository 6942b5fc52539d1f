"""What the initialization study found: numbers with their spread, and which claims held.

The unit of repetition is the seed: a seed's settings share data, head and order of batches, and
differ in nothing but the setting, so differences are taken within a seed and the bootstrap draws
seeds. A claim is judged on the mean difference over all its shapes, and the shapes are counted in
which its interval lies on either side of zero.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.benchmarks.study import meanfield
from lstm_oracle.benchmarks.study.report import Number, Report, Table, _plain, interval, versions
from lstm_oracle.benchmarks.study.settings import BIASES, INITIALIZERS, SETTINGS, Setting
from lstm_oracle.diagnosis.findings import Figure

Array = np.ndarray

RESULT = Path(__file__).resolve().parents[1] / "results" / "initialization_study.json"
SENSIBLE = ("glorot", "he", "lecun", "orthogonal", "orthogonal fused", "identity", "uniform")
REAL = ("Japanese Vowels", "digits")
_INDEX = {setting: n for n, setting in enumerate(SETTINGS)}


class Claim(NamedTuple):
    """What the literature says: one group of settings is better than another, somewhere."""

    name: str
    source: str
    better: Callable[[Setting], bool]
    worse: Callable[[Setting], bool]
    where: Callable[[Any], bool]  # of a shape
    measure: str = "speed"


def _bias(value: str) -> Callable[[Setting], bool]:
    return lambda s: s.bias == value and s.initializer in SENSIBLE


def _start(*names: str) -> Callable[[Setting], bool]:
    return lambda s: s.initializer in names


def _anywhere(shape: Any) -> bool:
    return True


CLAIMS = (
    Claim("forget bias 1 learns faster than 0", "Jozefowicz et al. 2015, section 4",
          _bias("1"), _bias("0"), _anywhere),
    Claim("forget bias 1 keeps more gradient at the start than 0",
          "Gers et al. 2000; Jozefowicz et al. 2015", _bias("1"), _bias("0"), _anywhere, "kept"),
    Claim("chrono learns faster than forget bias 1 where memory is long",
          "Tallec & Ollivier 2018, section 4",
          _bias("chrono"), _bias("1"), lambda s: s.task not in REAL),
    Claim("chrono learns faster than forget bias 1 on the real sets", "not claimed; for contrast",
          _bias("chrono"), _bias("1"), lambda s: s.task in REAL),
    Claim("chrono keeps more gradient at the start than bias 1", "Tallec & Ollivier 2018",
          _bias("chrono"), _bias("1"), _anywhere, "kept"),
    Claim("orthogonal U learns faster than Glorot U", "Saxe et al. 2014; Henaff et al. 2016",
          _start("orthogonal"), _start("glorot"), _anywhere),
    Claim("orthogonal per gate learns faster than of the fused block", "Saxe et al. 2014, applied "
          "to each gate; Keras draws the fused block",
          _start("orthogonal"), _start("orthogonal fused"), _anywhere),
    Claim("identity U learns faster than orthogonal U", "Le et al. 2015 (for ReLU RNNs)",
          _start("identity"), _start("orthogonal"), _anywhere),
    Claim("Glorot learns faster than He", "Glorot & Bengio 2010: tanh; He et al. 2015: ReLU",
          _start("glorot"), _start("he"), _anywhere),
    Claim("Glorot learns faster than a hundredth of it", "Glorot & Bengio 2010",
          _start("glorot"), _start("too small"), _anywhere),
    Claim("Glorot learns faster than eight times it", "Glorot & Bengio 2010",
          _start("glorot"), _start("too large"), _anywhere),
    Claim("zero weights learn more slowly than Glorot", "symmetry; Goodfellow et al. 2016, 8.4",
          _start("glorot"), _start("zeros"), _anywhere),
    Claim("Glorot learns faster than U(+-1/sqrt(H))", "PyTorch's default",
          _start("glorot"), _start("uniform"), _anywhere),
)  # fmt: skip


def _speed(found: dict[str, Array]) -> Array:
    """(settings, seeds) mean skill over the training, at least -1; a run that broke counts -1."""
    return np.clip(np.nan_to_num(found["skill"][..., 1:], nan=-1.0), -1, 1).mean(axis=-1)


def _kept(found: dict[str, Array]) -> Array:
    """(settings, seeds) log10 |dL/dc| of the first step over the largest, lowest layer."""
    d_c = np.maximum(found["d_c"][:, :, 0].astype(float), 1e-30)
    return np.log10(d_c[..., 0] / d_c.max(axis=-1))


_MEASURES = {"speed": _speed, "kept": _kept}


# --- the summary ----------------------------------------------------------------------------------


def summary(found: dict[Any, dict[str, Array]], recipe: Any, seeds: int) -> dict[str, Any]:
    """All that is kept: claims, every setting of every shape, cost, machine."""
    trainings = sum(int(f["trainings"]) for f in found.values())
    seconds = sum(float(f["seconds"]) for f in found.values())
    compiling = sum(float(f["compile_seconds"]) for f in found.values())
    return _plain(
        {
            "script": "python -m lstm_oracle.benchmarks.study.initialization",
            "recipe": {**recipe.__dict__, "hidden_size": 16, "optimizer": "Adam, clipped to 1"},
            "seeds": seeds,
            "trainings": trainings,
            "seconds": seconds,
            "compile_seconds": compiling,
            "ms_per_training": 1e3 * seconds / trainings,
            "claims": [judged(claim, found) for claim in CLAIMS],
            "ranking": ranking(found),
            "variance": [row for shape, f in found.items() for row in meanfield.compare(shape, f)],
            "shapes": [_shape(shape, f) for shape, f in found.items()],
            "machine": machine(),
        }
    )


def judged(claim: Claim, found: dict[Any, dict[str, Array]]) -> dict[str, Any]:
    """A claim's mean difference over its shapes, and by shape, paired within seeds."""
    better = [n for setting, n in _INDEX.items() if claim.better(setting)]
    worse = [n for setting, n in _INDEX.items() if claim.worse(setting)]
    by_shape = {}
    for shape, f in found.items():
        if claim.where(shape):
            values = _MEASURES[claim.measure](f)
            by_shape[shape] = values[better].mean(axis=0) - values[worse].mean(axis=0)
    if not by_shape:
        return {"claim": claim.name, "source": claim.source, "verdict": "not tested"}
    difference = Number.of(np.mean(list(by_shape.values()), axis=0))
    ends = [interval(values) for values in by_shape.values()]
    above, below = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    signs = np.concatenate(list(by_shape.values())) > 0
    return {
        "claim": claim.name,
        "source": claim.source,
        "measure": {"speed": "mean skill over the training", "kept": "log10 of |dL/dc| kept"}[
            claim.measure
        ],
        "difference": vars(difference),
        "shapes": len(by_shape),
        "shapes_for": above,
        "shapes_against": below,
        "pairs_for": float(signs.mean()),
        "verdict": verdict(difference, above, below),
    }


def verdict(difference: Number, above: int, below: int) -> str:
    """In words: the overall interval decides, and shapes against it are said."""
    if difference.low > 0:
        return "held" if below == 0 else f"held overall, not in {below} shapes"
    if difference.high < 0:
        return "the contrary held" if above == 0 else f"contrary overall, held in {above} shapes"
    return "undecided" if not (above or below) else f"mixed: {above} shapes for, {below} against"


def ranking(found: dict[Any, dict[str, Array]]) -> list[dict[str, Any]]:
    """Every setting's mean skill over the training, over all shapes, the fastest first."""
    each = np.stack([_speed(f) for f in found.values()]).mean(axis=0)  # (settings, seeds)
    final = np.stack([np.clip(np.nan_to_num(f["skill"][..., -1], nan=-1), -1, 1)
                      for f in found.values()]).mean(axis=0)  # fmt: skip
    rows = [
        {
            "setting": setting.name,
            "speed": vars(Number.of(each[n])),
            "final": vars(Number.of(final[n])),
        }
        for setting, n in _INDEX.items()
    ]
    return sorted(rows, key=lambda row: -row["speed"]["mean"])


def _shape(shape: Any, f: dict[str, Array]) -> dict[str, Any]:
    speed, kept = _speed(f), _kept(f)
    skill = np.clip(np.nan_to_num(f["skill"], nan=-1.0), -1, 1)
    settings = {}
    for setting, n in _INDEX.items():
        low, high = zip(*(interval(column) for column in skill[n].T), strict=True)
        settings[setting.name] = {
            "speed": vars(Number.of(speed[n])),
            "final": vars(Number.of(skill[n, :, -1])),
            "kept": vars(Number.of(kept[n])),
            "curve": {"mean": skill[n].mean(axis=0), "low": low, "high": high},
            "gates": {
                name: vars(Number.of(f[name][n, :, 0]))
                for name in ("mean_i", "mean_f", "mean_o", "saturated_f", "saturated_i")
            },
            "flow": np.exp(np.log(np.maximum(f["d_c"][n, :, 0], 1e-30)).mean(axis=0)),
            "flow_cell": np.exp(np.log(np.maximum(f["d_c_cell"][n, :, 0], 1e-30)).mean(axis=0)),
        }
    return {
        "task": shape.task, "length": shape.length, "depth": shape.depth,
        "trainings": int(f["trainings"]), "seconds": float(f["seconds"]),
        "compile_seconds": float(f["compile_seconds"]), "settings": settings,
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    import jax

    device = jax.devices()[0]
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "device": device.device_kind,
        "devices": len(jax.devices()),
        "processes": jax.process_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "commit": done.stdout.strip() or "unknown",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")
    part.replace(path)


def kept(path: Path = RESULT) -> dict[str, Any]:
    """The kept summary."""
    return json.loads(path.read_text(encoding="utf-8"))


def text(data: dict[str, Any]) -> str:
    """The claims, for a terminal."""
    return report(data).to_text()


# --- the report -----------------------------------------------------------------------------------


def _number(part: dict[str, Any]) -> Number:
    values = {
        name: math.nan if part[name] is None else part[name] for name in ("mean", "low", "high")
    }
    return Number(**values, seeds=tuple(math.nan if v is None else v for v in part["seeds"]))


def report(data: dict[str, Any]) -> Report:
    """Tables and figures from the summary, as `make study` left it."""
    recipe, claims = data["recipe"], [c for c in data["claims"] if "difference" in c]
    rows = tuple(
        (
            c["claim"], c["verdict"], _number(c["difference"]),
            f"{c['shapes_for']} for, {c['shapes_against']} against, of {c['shapes']}",
            f"{100 * c['pairs_for']:.0f} %", c["source"],
        )
        for c in claims
    )  # fmt: skip
    columns = ("claim", "verdict", "difference", "shapes", "pairs for it", "source")
    ranked = tuple(
        (row["setting"], _number(row["speed"]), _number(row["final"])) for row in data["ranking"]
    )
    held = sum(c["verdict"] == "held" for c in claims)
    partly = sum(c["verdict"].startswith("held overall") for c in claims)
    cost = f"{data['seconds'] / 60:.1f} min + {data['compile_seconds'] / 60:.1f} min compiling"
    return Report(
        "What initialization does to an LSTM",
        (
            f"Of {len(claims)} claims {held} held, {partly} held overall but not everywhere, "
            f"{len(claims) - held - partly} did not hold. Speed is the mean held-out skill over "
            "the training: 0 is the best constant answer, 1 perfect. Differences are paired within "
            "seeds; intervals are 95 % bootstrap intervals over seeds.",
            "One learning rate for all: a start that would need another one is measured with this "
            "one, as it is in practice.",
        ),
        {
            "trainings": data["trainings"], "seeds": data["seeds"], "hidden size": 16,
            "steps": recipe["steps"], "batch": recipe["batch_size"],
            "learning rate": recipe["learning_rate"], "cost": cost,
            "machine": data["machine"]["processor"], "cores": data["machine"]["cores"],
        },
        (
            Table("Claims of the literature", columns, rows,
                  "A verdict follows the overall interval; shapes are (task, length, depth)."),
            Table("Settings, the fastest first",
                  ("setting", "mean skill over the training", "final skill"), ranked),
            variance_table(data),
        ),
        figures(data),
        data["machine"]["versions"],
    )  # fmt: skip


def variance_table(data: dict[str, Any]) -> Table:
    """Predicted beside measured variance, at the last step of the lowest layer."""
    rows = [
        (
            row["setting"], f"{row['task']} {row['length']}", row["quantity"],
            f"{row['uncorrelated']:.3g}", f"{row['predicted']:.3g}", _number(row["measured"]),
            f"{row['measured']['mean'] / row['predicted']:.2f}" if row["predicted"] else "-",
        )
        for row in data["variance"]
        if row["depth"] == 1 and row["bias"] == "1" and row["length"] in (32, 29)
        and row["task"] in ("adding", "Japanese Vowels")
    ]  # fmt: skip
    return Table(
        "Predicted and measured second moments at the start (forget bias 1)",
        ("setting", "task", "of", "rho = 0", "predicted", "measured", "ratio"),
        tuple(rows),
        "At the last step of the shortest sequence. Mean field, as in Glorot & Bengio 2010 and He "
        "et al. 2015, with the input's correlation through time; rho = 0 leaves that out. It knows "
        "nothing of h being alike from step to step, which an identity U makes it.",
    )


def figures(data: dict[str, Any]) -> tuple[Figure, ...]:
    """Small multiples over all settings, gradient flow at the start, curves with bands."""
    longest = [s for s in data["shapes"] if s["depth"] == 1 and s["length"] >= 29]
    return (
        _multiples(longest, "speed", "How fast training goes: mean skill over the training"),
        _multiples(longest, "kept", "Gradient kept at the start: log10 of |dL/dc| at step 1"),
        *(_curves(shape) for shape in longest),
        *(_flow(shape) for shape in longest[:1]),
    )


def _multiples(shapes: Sequence[dict[str, Any]], measure: str, title: str) -> Figure:
    names = list(INITIALIZERS)
    panels = {}
    for shape in shapes:
        values = [
            [shape["settings"][Setting(name, bias).name][measure]["mean"] for bias in BIASES]
            for name in names
        ]
        panels[f"{shape['task']}, T {shape['length']}"] = {
            "values": [[math.nan if v is None else v for v in row] for row in values],
            "x": [f"bias {bias}" for bias in BIASES],
            "y": names,
        }
    return Figure("heatmap", title, "forget bias", "", panels)


def _curves(shape: dict[str, Any]) -> Figure:
    shown = {
        "orthogonal, bias 0": Setting("orthogonal", "0"),
        "orthogonal, bias 1": Setting("orthogonal", "1"),
        "orthogonal, chrono": Setting("orthogonal", "chrono"),
        "Keras' default": Setting("orthogonal fused", "1"),
        "too large, bias 1": Setting("too large", "1"),
    }
    series = {}
    for name, setting in shown.items():
        curve = shape["settings"][setting.name]["curve"]
        x = np.linspace(0, 1, len(curve["mean"]))[1:] * 100
        series[name] = {"x": x, "y": curve["mean"][1:], "low": curve["low"][1:],
                        "high": curve["high"][1:]}  # fmt: skip
    title = f"Learning curves on {shape['task']}, T {shape['length']} (band: 95 % over seeds)"
    return Figure("curves", title, "training (%)", "held-out skill", series)


def _flow(shape: dict[str, Any]) -> Figure:
    series = {}
    for bias in BIASES:
        found = shape["settings"][Setting("orthogonal", bias).name]
        largest = max(found["flow"])
        steps = np.arange(1, len(found["flow"]) + 1)
        series[f"bias {bias}"] = {"x": steps, "y": np.array(found["flow"]) / largest}
        series[f"bias {bias}, along the cell"] = {
            "x": steps, "y": np.array(found["flow_cell"]) / largest,
        }  # fmt: skip
    title = f"Gradient at the start on {shape['task']}, T {shape['length']}, orthogonal U"
    return Figure("curves", title, "step", "|dL/dc|, relative", series, log_y=True)
