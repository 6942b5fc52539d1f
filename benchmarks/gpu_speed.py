"""One command for a machine with a GPU: the kernels there are verified, then measured.

    python benchmarks/gpu_speed.py            # writes results/speed_gpu.json and speed_gpu.html
    python benchmarks/gpu_speed.py --quick    # two small shapes, a minute or two

Every contender on the CPU and on the GPU, in float32 (no TF32) and bfloat16, at the shapes by which
this project judges itself, at widths of 64 to 1024 with batches of 16 and 64 for the comparison
with cuDNN and FlashRNN, and along T, B and H for the size from which the GPU is worth while. Before
that the properties are checked on the GPU: gradient flow, gates, effects of initialization. Where
there is no GPU it says so and measures nothing.

It needs JAX and PyTorch with CUDA, and what of the peers is to be compared (benchmarks/peers.txt);
FlashRNN is `pip install flashrnn`, and compiles itself with nvcc.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lstm_oracle.benchmarks.speed import machine

RESULTS = Path(__file__).parent / "results"
WIDTHS = (64, 128, 256, 512, 1024)
BATCHES = (16, 64)
ISSUE = (
    "25,4,16,32", "200,1,64,128", "100,32,64,128", "1000,8,32,64", "100,32,256,256",
    "50,64,128,512", "100,128,512,512",
)  # fmt: skip
STEPS, BASE_BATCH = (25, 50, 100, 200, 500, 1000), (1, 4, 32, 128, 512)


def shapes(quick: bool) -> list[str]:
    """As `--shape` takes them."""
    if quick:
        return ["25,4,16,32", "50,16,32,64"]
    found = [*ISSUE, *(f"100,{b},{h},{h}" for h in WIDTHS for b in BATCHES)]
    found += [f"{t},32,64,128" for t in STEPS] + [f"100,{b},64,128" for b in BASE_BATCH]
    found += [f"100,32,64,{h}" for h in WIDTHS]
    return list(dict.fromkeys(found))


def lstm_oracle(*words: str) -> int:
    """The exit status of `lstm-oracle WORDS`, of this Python's installation."""
    run = "import sys; from lstm_oracle.cli.main import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", run, *words], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if not machine.gpu():
        print("no GPU here (nvidia-smi finds none): nothing of a GPU was measured", file=sys.stderr)
        return 2
    sizes = [word for shape in shapes(quick) for word in ("--shape", shape)]
    json, page = RESULTS / "speed_gpu.json", RESULTS / "speed_gpu.html"
    check = lstm_oracle("bench", "--check", "--device", "gpu", "--progress")
    speed = lstm_oracle(
        "bench", *sizes, "--dtype", "float32", "--dtype", "bfloat16", "--device", "all",
        "--keep", str(json), "--progress",
    )  # fmt: skip
    lstm_oracle("bench", "--from", str(json), "--format", "html", "--output", str(page))
    return max(check, speed)


if __name__ == "__main__":
    sys.exit(main())
