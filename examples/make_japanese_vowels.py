"""Make `japanese_vowels.npz` from the `.ts` files that aeon and sktime carry.

    pip download --no-deps --dest wheels "aeon==1.6.0"
    python examples/make_japanese_vowels.py wheels/aeon-1.6.0-py3-none-any.whl

The argument is a wheel of aeon or sktime, or a folder somewhere under which
`JapaneseVowels_TRAIN.ts` and `JapaneseVowels_TEST.ts` lie. What is in the file that comes out, and
whose work it is, stands in `README.md` beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

FEATURES = 12
STEPS = 29
TRAINING_COUNTS = (30,) * 9
TEST_COUNTS = (31, 35, 88, 44, 29, 24, 40, 50, 29)
# Over the arrays below in this order; zlib's version may change the bytes of the .npz, never these.
CONTENT_SHA256 = "9f637473a96d323682f3c78a128cc1013fef6be33848f586fbc9a73af6581af3"
ARRAYS = ("x", "y", "lengths", "x_train", "y_train", "lengths_train")


def read_texts(source: Path) -> dict[str, str]:
    """The two `.ts` files of a wheel or a folder, by "TRAIN" and "TEST"."""
    wanted = {part: f"JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST")}
    texts = {}
    if source.is_dir():
        for part, name in wanted.items():
            for path in sorted(source.rglob(name))[:1]:
                texts[part] = path.read_text(encoding="ascii")
    else:
        with zipfile.ZipFile(source) as wheel:
            for part, name in wanted.items():
                for member in sorted(m for m in wheel.namelist() if m.endswith("/" + name))[:1]:
                    texts[part] = wheel.read(member).decode("ascii")
    missing = [name for part, name in wanted.items() if part not in texts]
    if missing:
        raise FileNotFoundError(
            f"{source}: {' and '.join(missing)} not found. Pass a wheel of aeon or sktime, or a "
            "folder with the two files."
        )
    return texts


def parse(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Padded x (N, 29, 12) float32, speaker (N,) int32 and length (N,) int32 of one `.ts` file."""
    lines = text.split("@data", 1)[1].split()
    x = np.zeros((len(lines), STEPS, FEATURES), np.float32)
    y = np.empty(len(lines), np.int32)
    lengths = np.empty(len(lines), np.int32)
    for n, line in enumerate(lines):
        *series, speaker = line.split(":")
        values = np.array([row.split(",") for row in series], np.float64).T
        lengths[n] = len(values)
        x[n, : lengths[n]] = values
        y[n] = int(speaker) - 1
    return x, y, lengths


def check(name: str, x: np.ndarray, y: np.ndarray, lengths: np.ndarray, counts: tuple[int, ...]):
    """Raise ValueError unless the arrays are the published set, padded as documented."""
    found = tuple(int(count) for count in np.bincount(y, minlength=9))
    if found != counts:
        raise ValueError(f"{name}: utterances per speaker are {found}, expected {counts}.")
    if lengths.min() < 7 or lengths.max() > STEPS:
        raise ValueError(
            f"{name}: lengths run from {lengths.min()} to {lengths.max()}, expected 7 to 29."
        )
    # keras.layers.Masking(0.0) finds the padding by its value alone.
    real = (x != 0).any(axis=-1)
    if not np.array_equal(real, np.arange(STEPS) < lengths[:, None]):
        raise ValueError(f"{name}: a real step is all zero; zero cannot mark the padding.")


def content_sha256(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and values, independent of compression."""
    digest = hashlib.sha256()
    for name in ARRAYS:
        array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"))
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a wheel of aeon or sktime, or a folder")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("japanese_vowels.npz"), metavar="NPZ"
    )
    options = parser.parse_args(argv)
    try:
        texts = read_texts(options.source)
        train, test = parse(texts["TRAIN"]), parse(texts["TEST"])
        check("training", *train, TRAINING_COUNTS)
        check("test", *test, TEST_COUNTS)
    except (OSError, ValueError, IndexError, zipfile.BadZipFile) as error:
        print(f"make_japanese_vowels: {error}", file=sys.stderr)
        return 2
    arrays = dict(zip(ARRAYS, (*test, *train), strict=True))
    digest = content_sha256(arrays)
    if digest != CONTENT_SHA256:
        print(
            f"make_japanese_vowels: content is {digest}, expected {CONTENT_SHA256}. "
            "The package carries other values than aeon 1.6.0 and sktime 1.2.0 did.",
            file=sys.stderr,
        )
        return 1
    temporary = options.out.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes, content {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
