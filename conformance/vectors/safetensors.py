"""The safetensors format, written and read with NumPy alone.

A file is the length of a header (8 bytes, little endian), the header (JSON: name, dtype, shape,
and where its bytes are, of every array), and the arrays' bytes, little endian, row by row.

References
----------
https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray

_WRITTEN = {"float64": "F64", "float32": "F32", "float16": "F16", "uint8": "U8"}
# bfloat16 is read as the upper halves of float32 numbers.
_READ = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "BOOL": "u1"}
_LONGEST_HEADER = 100_000_000  # of the format
_ALIGNMENT = 8  # of the first array, and of each, as they come largest numbers first


def write(arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file with these arrays: always the same for the same arrays.

    Examples
    --------
    >>> read(write({"h": np.zeros((2, 3))}))[0]["h"].shape
    (2, 3)
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    parts, offset = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = arrays[name]
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": _WRITTEN[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def read(data: bytes) -> tuple[dict[str, Array], dict[str, str], dict[str, str]]:
    """The arrays (bfloat16 as float32), the format's name of each one's dtype, and the metadata.

    Raises
    ------
    ValueError
        With what is wrong, where the bytes are no such file. Nothing is believed: neither lengths,
        nor shapes, nor offsets.
    """
    header, body = _split(data)
    metadata = header.pop("__metadata__", {})
    arrays, dtypes, taken = {}, {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        begin, end = _offsets(name, entry)
        if begin != taken or end > len(body):
            raise ValueError(f"{name!r} has data_offsets [{begin}, {end}], expected [{taken}, …] "
                             f"within {len(body)} bytes")  # fmt: skip
        arrays[name] = _array(name, entry, body[begin:end])
        dtypes[name], taken = entry["dtype"], end
    if taken != len(body):
        raise ValueError(f"{len(body) - taken} bytes at the end belong to no array")
    return arrays, dtypes, metadata


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_LONGEST_HEADER, len(data) - 8):
        raise ValueError(f"got {len(data)} bytes with a header of {length}, expected safetensors")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict) or not all(isinstance(e, dict) for e in header.values()):
        raise ValueError("its header is not an object of objects")
    return header, data[8 + length :]


def _whole_numbers(name: str, entry: dict[str, Any], field: str) -> list[int]:
    numbers = entry.get(field)
    whole = isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)
    if not whole or not isinstance(numbers, list):
        raise ValueError(f"{name!r} has {field} {numbers!r}, expected a list of whole numbers")
    return numbers


def _offsets(name: str, entry: dict[str, Any]) -> tuple[int, int]:
    offsets = _whole_numbers(name, entry, "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{name!r} has data_offsets {offsets}, expected [begin, end]")
    return offsets[0], offsets[1]


def _array(name: str, entry: dict[str, Any], data: bytes) -> Array:
    dtype, shape = entry.get("dtype"), _whole_numbers(name, entry, "shape")
    if dtype not in _READ:
        raise ValueError(f"{name!r} has dtype {dtype!r}, expected one of {', '.join(_READ)}")
    number = np.dtype(_READ[dtype])
    if math.prod(shape) * number.itemsize != len(data):
        raise ValueError(f"{name!r} has {len(data)} bytes, expected those of {dtype} {shape}")
    array = np.frombuffer(data, number).reshape(shape)
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(number.newbyteorder("="))
