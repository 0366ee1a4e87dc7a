"""Breaks every solver, filter and metric in one place (mutants*.py): a
test has to fail.

python tests/mutations.py [NAME]...     (default: all; some minutes on two cores)

Works on a copy. Native mutants are compiled into one build, each behind its number in the
environment variable MATFAC_MUTANT; Python mutants each get a copy of the package. The tests that
failed are then run once more without any mutant: there they have to pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants import SOLVERS, Mutant
from mutants_lists import FILTERS, LIST_METRICS
from mutants_reading import HARD_ROWS, READING, REMEMBERED

MUTANTS = (*SOLVERS, *FILTERS, *LIST_METRICS, *READING, *REMEMBERED, *HARD_ROWS)
ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
#pragma once
#include <cstdlib>
inline const int matfac_mutant = [] {
    const char* number = std::getenv("MATFAC_MUTANT");
    return number != nullptr ? std::atoi(number) : 0;
}();
"""
COPIED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "src", "cpp", "tests")


def broken(text: str, mutant: Mutant, number: int | None) -> str:
    """Return the source with the mutant in it; a native one sleeps until its number is given."""
    before, old, after = re.split("[«»]", mutant.line)
    line = before + old + after
    if text.count(line) != 1:
        raise SystemExit(f"{mutant.name}: {line!r} is {text.count(line)} times in {mutant.file}")
    new = mutant.new
    if number is not None:
        new = f"(matfac_mutant == {number} ? ({new}) : ({old}))"
    return text.replace(line, before + new + after)


def build(tree: Path, chosen: Iterable[tuple[int, Mutant]]) -> None:
    """Build the core with all native mutants asleep in it."""
    with_header = {tree / "cpp/src/simd/targets.cpp"}
    texts: dict[Path, str] = {}
    for number, mutant in chosen:
        path = tree / mutant.file
        texts[path] = broken(texts.get(path) or path.read_text("utf-8"), mutant, number)
        if path.suffix != ".inl":
            with_header.add(path)
    for path in with_header | texts.keys():
        text = texts.get(path) or path.read_text("utf-8")
        first = '#include "matfac/mutant.hpp"\n' if path in with_header else ""
        path.write_text(first + text, encoding="utf-8")
    (tree / "cpp/include/matfac/mutant.hpp").write_text(HEADER, encoding="utf-8")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=tree, check=True)


def run_tests(tree: Path, package: Path, tests: Iterable[str], number: int) -> tuple[int, str]:
    """Run tests on the package folder until one fails; return pytest's status and output."""
    env = os.environ | {"PYTHONPATH": str(package), "MATFAC_MUTANT": str(number)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", *tests],
        cwd=tree,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def killer(tree: Path, number: int, mutant: Mutant) -> str:
    """Return the test that fails on the mutant, or an empty text."""
    package = tree / "src"
    if mutant.file.endswith(".py"):
        package = tree / "mutants" / str(number)
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(tree / "src", package, ignore=ignored)
        for native in (tree / "src/matfac").glob("*.so"):
            (package / "matfac" / native.name).symlink_to(native)
        path = package.parent / str(number) / Path(mutant.file).relative_to("src")
        path.write_text(broken(path.read_text("utf-8"), mutant, None), encoding="utf-8")
    status, out = run_tests(
        tree, package, [f"tests/test_{name}.py" for name in mutant.tests.split()], number
    )
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", out, re.MULTILINE)
    if status != 1 or failed is None:
        print(f"{mutant.name}: pytest ended with {status}\n{out[-2000:]}", flush=True)
        return ""
    print(f"{mutant.name}: {failed[1]}", flush=True)
    return failed[1]


def main() -> int:
    """Run the mutants; 1 where one of them lives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="of tests/mutants.py (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tested at once")
    parser.add_argument("--tree", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    unknown = set(args.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}")
    numbered = list(enumerate(MUTANTS, 1))
    with tempfile.TemporaryDirectory() as folder:
        tree = args.tree or Path(folder)
        tree.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, tree / name)
        for old in (tree / "src/matfac").glob("*.so"):
            old.unlink()
        build(tree, [(n, mutant) for n, mutant in numbered if mutant.file.startswith("cpp/")])
        chosen = [
            (n, mutant) for n, mutant in numbered if not args.names or mutant.name in args.names
        ]
        with ThreadPoolExecutor(args.jobs) as pool:
            killers = list(pool.map(lambda pair: killer(tree, *pair), chosen))
        status, out = run_tests(tree, tree / "src", sorted({k for k in killers if k}), 0)
    alive = [mutant.name for (_, mutant), found in zip(chosen, killers, strict=True) if not found]
    print(*re.findall("^FAILED .*", out, re.MULTILINE), sep="\n")
    print(out.splitlines()[-1], "without a mutant")
    print(f"{len(chosen) - len(alive)} of {len(chosen)} mutants failed a test", end="")
    print(f"; alive: {', '.join(alive)}" if alive else "")
    return 1 if alive or status else 0


if __name__ == "__main__":
    sys.exit(main())
