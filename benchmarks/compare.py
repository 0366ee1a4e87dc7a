"""Tell whether one state of the code is slower than another, on one machine.

    python benchmarks/compare.py v0.1.0                # that revision against the working tree
    python benchmarks/compare.py main~3 main --repeats 9 --cases als sgd

Each side is built in a folder of its own and kept in a process of its own (compare_child.py); the
two are timed in turn, A B A B, through the public calls alone. A case is slower where the median
of the pairs' ratios is above 1 + --relative and the medians differ by more than --absolute
seconds: the one keeps the noise of long cases out, the other that of short ones. Returns 1 where a
case is slower, or where the two sides do not give the same answer.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare_child import CASES
from matfac._cores import default_threads

ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("compare_child.py")
ANSWER = 1e-3  # relative; threads that race in SGD differ by less


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], stdout=-1, check=True).stdout


def build(revision: str | None, folder: Path) -> Path:
    """Install a revision, or the working tree, into a folder; return the folder to import from."""
    source, target = folder / "source", folder / "installed"
    if revision is None:
        names = git("ls-files", "-co", "--exclude-standard", "-z").decode().split("\0")[:-1]
        for name in names:
            if (ROOT / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes((ROOT / name).read_bytes())
    else:
        with tarfile.open(fileobj=io.BytesIO(git("archive", revision))) as archive:
            archive.extractall(source, filter="data")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


class Side:
    """A built state, in a process that times what it is told to."""

    def __init__(self, name: str, target: Path, threads: int) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=-1, stdout=-1, text=True, env=environment
        )

    def run(self, case: str, n: int) -> tuple[float, float]:
        """Return the seconds of a case and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"case": case, "nnz": n}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended while it ran {case}")
        told: dict[str, float] = json.loads(line)
        return told["seconds"], told["answer"]

    def close(self) -> None:
        self._process.communicate()


@dataclass(frozen=True)
class Verdict:
    """Both sides of a case."""

    case: str
    base: list[float]
    head: list[float]
    answers: tuple[float, float]

    @property
    def ratio(self) -> float:
        return statistics.median(h / b for b, h in zip(self.base, self.head, strict=True))

    def told(self, relative: float, absolute: float) -> str:
        """Say slower, faster, same, or that the answers differ."""
        if abs(self.answers[0] - self.answers[1]) > ANSWER * abs(self.answers[0]):
            return "ANSWERS DIFFER"
        difference = statistics.median(self.head) - statistics.median(self.base)
        if self.ratio > 1 + relative and difference > absolute:
            return "SLOWER"
        if self.ratio < 1 / (1 + relative) and -difference > absolute:
            return "faster"
        return "same"


def race(base: Side, head: Side, case: str, chosen: argparse.Namespace) -> Verdict:
    """Time a case on both sides in turn, after one run that warms up."""
    answers = base.run(case, chosen.nnz)[1], head.run(case, chosen.nnz)[1]
    pairs = [
        (base.run(case, chosen.nnz)[0], head.run(case, chosen.nnz)[0])
        for _ in range(chosen.repeats)
    ]
    return Verdict(case, [b for b, _ in pairs], [h for _, h in pairs], answers)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a revision")
    parser.add_argument("head", nargs="?", help="a revision; the working tree by default")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--nnz", type=int, default=300_000, help="entries")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--relative", type=float, default=0.1, help="of the base's time")
    parser.add_argument("--absolute", type=float, default=0.002, help="seconds")
    chosen: Any = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        revisions = {"base": chosen.base, "head": chosen.head}
        base, head = (
            Side(name, build(revision, Path(folder) / name), chosen.threads)
            for name, revision in revisions.items()
        )
        verdicts = [race(base, head, case, chosen) for case in chosen.cases]
        base.close()
        head.close()
    print("| case | base s | head s | ratio | verdict |\n|---|---|---|---|---|")
    bad = False
    for v in verdicts:
        told = v.told(chosen.relative, chosen.absolute)
        bad |= told.isupper()
        medians = statistics.median(v.base), statistics.median(v.head)
        print(f"| {v.case} | {medians[0]:.4g} | {medians[1]:.4g} | {v.ratio:.3f} | {told} |")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
