"""Make the small `data/*.npz` of the fault bench from wheels of the packages that carry the data.

    pip download --no-deps --dest wheels statsmodels scikit-learn vega_datasets Faker
    python benchmarks/faults/make_data.py wheels

Whose work the data are, and under which licence, stands in `data/README.md`.
"""

from __future__ import annotations

import argparse
import ast
import csv
import gzip
import io
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

OUT = Path(__file__).with_name("data")
LANGUAGES = {"it_IT": "Italian", "fi_FI": "Finnish", "de_DE": "German", "es_ES": "Spanish"}
NAMES_EACH = 380
NAME_LENGTH = 16


def member(wheels: Path, package: str, name: str) -> bytes:
    """One file out of the wheel of `package`."""
    found = sorted(wheels.glob(f"{package}-*.whl"))
    if not found:
        raise FileNotFoundError(f"{wheels}: no wheel of {package}. Download it first (see --help).")
    with zipfile.ZipFile(found[-1]) as wheel:
        return wheel.read(name)


def rows(wheels: Path, package: str, name: str) -> list[dict[str, str]]:
    text = member(wheels, package, name).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def sunspots(wheels: Path) -> dict[str, np.ndarray]:
    table = rows(wheels, "statsmodels", "statsmodels/datasets/sunspots/sunspots.csv")
    return {"number": np.array([float(r["SUNACTIVITY"]) for r in table], np.float32)}


def co2(wheels: Path) -> dict[str, np.ndarray]:
    """Weekly values; the few missing weeks are interpolated linearly."""
    table = rows(wheels, "statsmodels", "statsmodels/datasets/co2/co2.csv")
    values = np.array([float(r["co2"]) if r["co2"] else np.nan for r in table])
    known = np.isfinite(values)
    filled = np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])
    return {"ppm": filled.astype(np.float32)}


def elnino(wheels: Path) -> dict[str, np.ndarray]:
    table = rows(wheels, "statsmodels", "statsmodels/datasets/elnino/elnino.csv")
    months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
    return {"celsius": np.array([float(r[m]) for r in table for m in months], np.float32)}


def weather(wheels: Path) -> dict[str, np.ndarray]:
    table = rows(wheels, "vega_datasets", "vega_datasets/_data/seattle-weather.csv")
    columns = ("precipitation", "temp_max", "temp_min", "wind")
    return {c: np.array([float(r[c]) for r in table], np.float32) for c in columns}


def digits(wheels: Path) -> dict[str, np.ndarray]:
    """8 x 8 images, values 0 to 16, as sequences of 8 rows."""
    text = gzip.decompress(member(wheels, "scikit_learn", "sklearn/datasets/data/digits.csv.gz"))
    table = np.loadtxt(io.BytesIO(text), delimiter=",")
    return {
        "x": table[:, :-1].reshape(-1, 8, 8).astype(np.uint8),
        "y": table[:, -1].astype(np.uint8),
    }


def last_names(source: str) -> list[str]:
    """The value of `last_names` in a Faker locale: a tuple of names or a dict of weights."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "last_names":
            value = node.value
            value = value.args[0] if isinstance(value, ast.Call) else value
            items = ast.literal_eval(value)
            return [item if isinstance(item, str) else item[0] for item in items]
    raise ValueError("no last_names in the locale")


def plain(name: str) -> str:
    """Lower-case a to z only: accents would give the language away."""
    spelled = unicodedata.normalize("NFKD", name.lower().replace("ß", "ss"))
    return "".join(c for c in spelled if "a" <= c <= "z")[:NAME_LENGTH]


def names(wheels: Path) -> dict[str, np.ndarray]:
    """Family names of four languages, letters as 1 to 26, zeros after the last letter."""
    random = np.random.default_rng(0)
    lists = []
    for locale in LANGUAGES:
        source = member(wheels, "faker", f"faker/providers/person/{locale}/__init__.py")
        lists.append(sorted({plain(n) for n in last_names(source.decode("utf-8"))} - {""}))
    seen: dict[str, int] = {}
    for found in lists:
        for name in found:
            seen[name] = seen.get(name, 0) + 1
    x, y = [], []
    for label, found in enumerate(lists):
        own = [name for name in found if seen[name] == 1]
        for name in random.permutation(own)[:NAMES_EACH]:
            x.append([ord(c) - 96 for c in name] + [0] * (NAME_LENGTH - len(name)))
            y.append(label)
    order = random.permutation(len(x))
    return {"x": np.array(x, np.uint8)[order], "y": np.array(y, np.uint8)[order]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, help="a folder with the four wheels")
    options = parser.parse_args(argv)
    OUT.mkdir(exist_ok=True)
    for make in (sunspots, co2, elnino, weather, digits, names):
        try:
            arrays = make(options.wheels)
        except (OSError, KeyError, ValueError) as error:
            print(f"make_data: {make.__name__}: {error}", file=sys.stderr)
            return 2
        path = OUT / f"{make.__name__}.npz"
        np.savez_compressed(path, **arrays)
        print(path.name, path.stat().st_size, {k: v.shape for k, v in arrays.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
