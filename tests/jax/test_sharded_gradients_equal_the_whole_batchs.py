"""Data-parallel gradients, on 4 devices and on 2 processes, are the oracle's on the whole batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_oracle.jax_impl import sharding
from lstm_oracle.reference.spec import Spec

SCRIPT = Path(__file__).parent / "sharded_gradients.py"
SPEC = Spec(input_size=3, hidden_size=4)


@pytest.fixture
def problem(room, tmp_path):
    problem = room.random_problem(SPEC, B=8, T=5, mask="holes")
    np.savez(
        tmp_path / "problem.npz",
        x=problem.x,
        mask=problem.mask,
        h0=problem.state.h,
        c0=problem.state.c,
        d_y=problem.d_y,
        d_h=problem.d_state.h,
        d_c=problem.d_state.c,
        **{f"p.{name}": p for name, p in problem.params.items()},
    )
    return problem


def start(folder, answer, implementation, *distributed, devices=1):
    flag = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
    command = [sys.executable, SCRIPT, folder / "problem.npz", folder / answer, implementation]
    return subprocess.Popen(
        [*map(str, command), *map(str, distributed)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def check(room, problem, path, devices):
    answer = np.load(path)
    oracle = room.oracle_answer(problem)
    value = np.vdot(problem.d_y, oracle["y"]) + sum(
        np.vdot(d, a) for d, a in zip(problem.d_state, oracle["state"], strict=True)
    )
    np.testing.assert_allclose(answer["value"], value, rtol=1e-13)
    assert (answer["devices"], answer["count"]) == (devices, 1)
    for name, expected in oracle["d_params"].items():
        assert room.relative_error(answer[f"d.{name}"], expected) <= 1e-13
        stepped = problem.params[name] - 0.125 * expected
        assert room.relative_error(answer[f"s.{name}"], stepped) <= 1e-13


@pytest.mark.parametrize("implementation", ["scan", "fused"])
def test_on_four_devices(room, problem, tmp_path, implementation):
    finish(start(tmp_path, "answer.npz", implementation, devices=4))
    check(room, problem, tmp_path / "answer.npz", devices=4)


def test_on_two_processes_of_two_devices(room, problem, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        start(tmp_path, f"{rank}.npz", "fused", rank, 2, port, devices=2) for rank in (0, 1)
    ]
    for process in processes:
        finish(process)
    for rank in (0, 1):
        check(room, problem, tmp_path / f"{rank}.npz", devices=4)


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    class TwoDevices:
        local_devices = (None, None)

    with pytest.raises(ValueError, match="batch size 3, expected a multiple of the 2 devices"):
        sharding.split({"x": np.zeros((3, 2))}, TwoDevices())
