"""How many threads are the default: those that affinity, quotas and the environment allow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from matfac import _core, _cores

PROGRAM = "from matfac._cores import default_threads; print(default_threads())"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in for the kernel's files, on a machine of 64 cores."""
    monkeypatch.setattr(_cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(_cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(_core, "max_threads", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    _cores._least_quota.cache_clear()
    yield tmp_path
    _cores._least_quota.cache_clear()


def put(groups: Path, membership: str, files: dict[str, str]) -> None:
    (groups / "membership").write_text(membership, encoding="utf-8")
    for name, text in files.items():
        path = groups / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # one core and a half: two threads
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 64),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "900000 100000\n"}, 2),
        # A container that sees its own group as the root, under a name from outside.
        ("0::/docker/1f\n", {"cpu.max": "300000 100000\n"}, 3),
        # Version 1: each controller has a tree of its own.
        (
            "3:cpu,cpuacct:/x\n2:memory:/y\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "50000",
            },
            5,
        ),
        (
            "3:cpu,cpuacct:/x\n",
            {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        (
            "3:cpu:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        ("no line of the kernel's\n", {"cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_quotas(groups: Path, membership: str, files: dict[str, str], cores: int) -> None:
    put(groups, membership, files)
    assert _cores.default_threads() == cores


def test_quotas_are_read_again_after_a_second(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [7.25]
    monkeypatch.setattr(_cores.time, "monotonic", lambda: now[0])
    put(groups, "0::/\n", {"cpu.max": "300000 100000"})
    assert _cores.default_threads() == 3
    put(groups, "0::/\n", {"cpu.max": "500000 100000"})
    assert _cores.default_threads() == 3
    now[0] = 8.0
    assert _cores.default_threads() == 5


def test_affinity_and_the_environment(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(groups, "0::/\n", {"cpu.max": "800000 100000\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert _cores.default_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "64")  # the user's word, as OpenMP read it
    assert _cores.default_threads() == 64


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_bound_to_one_core_uses_one_thread() -> None:
    core = min(os.sched_getaffinity(0))
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    bound = f"import os; os.sched_setaffinity(0, {{{core}}})\n"
    for program in (bound + PROGRAM, f"import matfac\n{bound}{PROGRAM}"):
        out = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        ).stdout
        assert int(out) == 1


def test_omp_num_threads_is_the_default() -> None:
    if not _core.build_info()["openmp"]:
        pytest.skip("needs OpenMP")
    for n in (1, 3):
        environment = {**os.environ, "OMP_NUM_THREADS": str(n)}
        out = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        ).stdout
        assert int(out) == n
