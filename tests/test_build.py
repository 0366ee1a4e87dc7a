"""The build: what is recompiled when, which flags, what the source archive holds."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

import matfac
from matfac import _core

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs a checkout")


@pytest.fixture(scope="module")
def build_script() -> ModuleType:
    pytest.importorskip("setuptools", exc_type=ImportError)
    spec = importlib.util.spec_from_file_location("matfac_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- what is stale


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a.cpp -> matfac/b.hpp -> matfac/c.hpp -> b.hpp, and a.cpp -> d.inl; a.o is newest."""
    sources = {
        "cpp/src/a.cpp": '#include <vector>\n#include "matfac/b.hpp"\n  #  include "d.inl"\n',
        "cpp/src/d.inl": "",
        "cpp/include/matfac/b.hpp": '#include "matfac/c.hpp"\n',
        "cpp/include/matfac/c.hpp": '#include "matfac/b.hpp"\n#include "matfac/missing.hpp"\n',
        "cpp/include/matfac/other.hpp": "",
        "a.o": "",
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (1000, 1000) if name != "a.o" else (2000, 2000))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        (None, False),
        ("cpp/src/a.cpp", True),
        ("cpp/src/d.inl", True),
        ("cpp/include/matfac/b.hpp", True),
        ("cpp/include/matfac/c.hpp", True),
        ("cpp/include/matfac/other.hpp", False),
    ],
)
def test_needs_recompile(
    build_script: ModuleType, tree: Path, changed: str | None, stale: bool
) -> None:
    if changed:
        os.utime(tree / changed, (3000, 3000))
    assert build_script.needs_recompile("a.o", "cpp/src/a.cpp") is stale


def test_a_missing_object_needs_recompile(build_script: ModuleType, tree: Path) -> None:
    (tree / "a.o").unlink()
    assert build_script.needs_recompile("a.o", "cpp/src/a.cpp")


def test_outputs_are_dropped_when_flags_change(build_script: ModuleType, tree: Path) -> None:
    output, stamp = tree / "a.o", tree / "build" / "flags.txt"
    build_script.drop_unless_same(stamp, "-O3", [output])  # an object of unknown flags
    assert not output.exists()
    output.touch()
    build_script.drop_unless_same(stamp, "-O3", [output])
    assert output.exists()
    build_script.drop_unless_same(stamp, "-O2", [output, tree / "never-built.o"])
    assert not output.exists()
    assert stamp.read_text(encoding="utf-8") == "-O2"


# ---------------------------------------------------------------- flags


def test_default_flags_are_portable_and_exact(build_script: ModuleType) -> None:
    flags = build_script.base_flags({})
    text = " ".join(flags.compile)
    assert "-O3" in flags.compile
    assert not re.search(r"fast-math|-Ofast|-march|-mcpu|sanitize|coverage|-Werror", text)
    assert flags.macros == ()


def test_switches_add_flags(build_script: ModuleType) -> None:
    def flags(**env: str) -> tuple[str, ...]:
        return tuple(build_script.base_flags(env).compile)

    assert "-march=native" in flags(MATFAC_NATIVE="1")
    assert "-march=native" not in flags(MATFAC_NATIVE="0")
    assert "-Werror" in flags(MATFAC_WERROR="1")
    assert "--coverage" in flags(MATFAC_COVERAGE="1")
    assert "-fsanitize=address,undefined" in flags(MATFAC_SANITIZE="address,undefined")
    native = build_script.base_flags({"MATFAC_NATIVE": "1"})
    assert native.macros == (("MATFAC_NATIVE", "1"),)


@pytest.mark.parametrize(
    "env",
    [
        {"MATFAC_NATIVE": "yes"},
        {"MATFAC_WERROR": "2"},
        {"MATFAC_COVERAGE": "on"},
        {"MATFAC_SANITIZE": "address -O0"},
    ],
)
def test_a_switch_that_is_not_understood(build_script: ModuleType, env: dict[str, str]) -> None:
    (name,) = env
    with pytest.raises(build_script.BaseError, match=f"{name}=.*not understood"):
        build_script.base_flags(env)


def test_openmp_switches(build_script: ModuleType) -> None:
    base = build_script.Flags()
    assert build_script.find_openmp(None, base, {"MATFAC_OPENMP": "0"}) is None  # asks no compiler
    with pytest.raises(build_script.BaseError, match="MATFAC_OPENMP='auto'"):
        build_script.find_openmp(None, base, {"MATFAC_OPENMP": "auto"})


def test_the_build_knows_its_flags() -> None:
    info = _core.build_info()
    asked_for_openmp = re.search(r"[-/](f?)openmp", info["flags"]) is not None
    assert bool(info["openmp"]) is asked_for_openmp
    assert info["native"] is ("-march=native" in info["flags"])
    assert "-ffast-math" not in info["flags"]
    shown = str(matfac.show_config())
    assert info["compiler"] in shown
    assert info["flags"] in shown


# ---------------------------------------------------------------- building for real

MODULE_CPP = """\
#include <pybind11/pybind11.h>
#include "matfac/blas.hpp"
#include "matfac/one.hpp"
PYBIND11_MODULE(_core, m) {
    m.def("answer", &answer);
    m.def("flags", [] { return MATFAC_BUILD_FLAGS; });
}
"""
SMALL_PROJECT = {
    "README.md": "# small\n",
    "src/matfac/__init__.py": "",
    "cpp/include/matfac/one.hpp": "#pragma once\nint answer();\n",
    "cpp/src/one.cpp": '#include "matfac/one.hpp"\n#include "simd/body.inl"\n'
    "int answer() { return kAnswer; }\n",
    "cpp/src/simd/body.inl": "constexpr int kAnswer = 1;\n",
    "cpp/src/simd/other.cpp": "int other() { return 2; }\n",
    "cpp/bindings/module.cpp": MODULE_CPP,
}
ALL = {"one.cpp", "other.cpp", "module.cpp", "_blas.cpp"}


class SmallProject:
    """A copy of the build scripts around a core of a few lines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in SMALL_PROJECT.items():
            self.write(name, text)
        for name in ("setup.py", "pyproject.toml", "LICENSE", "src/matfac/_blas.pyx",
                     "cpp/include/matfac/blas.hpp"):  # fmt: skip
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def run(self, program: str, **env: str) -> str:
        """Run a Python program in the project; return what it printed."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MATFAC_")}
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.root,
            env=kept | env,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def install(self, **env: str) -> set[str]:
        """Do what `pip install -e .` does; return the names of the sources it compiled."""
        out = "from setuptools import build_meta as b; b.build_editable('editable')"
        (self.root / "editable").mkdir(exist_ok=True)
        compiled = re.findall(r" -c (\S+\.cpp) ", self.run(out, **env))
        return {Path(name).name for name in compiled if "probe" not in name}

    def ask(self, function: str) -> str:
        program = (
            f"import sys; sys.path.insert(0, 'src'); from matfac import _core; print({function})"
        )
        return self.run(program).strip()


@pytest.mark.slow
def test_an_editable_install_recompiles_what_changed(tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    pytest.importorskip("Cython")
    project = SmallProject(tmp_path)
    assert project.install() == ALL
    assert project.install() == set()
    assert project.ask("_core.answer()") == "1"

    project.write("cpp/src/simd/body.inl", "constexpr int kAnswer = 3;\n")
    assert project.install() == {"one.cpp"}
    assert project.ask("_core.answer()") == "3"

    project.write("cpp/include/matfac/one.hpp", "#pragma once\nint answer(void);\n")
    assert project.install() == {"one.cpp", "module.cpp"}

    assert project.install(MATFAC_OPENMP="0") == ALL
    assert "openmp" not in project.ask("_core.flags()")
    assert project.install(MATFAC_OPENMP="0") == set()
    assert project.install(MATFAC_OPENMP="0", CFLAGS="-DCHANGED") == ALL

    (tmp_path / "cpp/src/simd/other.cpp").unlink()
    assert project.install(MATFAC_OPENMP="0", CFLAGS="-DCHANGED") == set()
    blas = "from matfac import _blas; print(_blas.table())"
    assert "matfac.BlasTable" in project.run(f"import sys; sys.path.insert(0, 'src'); {blas}")


@pytest.mark.slow
def test_a_missing_openmp(tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    pytest.importorskip("Cython")
    project = SmallProject(tmp_path)
    # An omp.h that does not compile stands for a compiler without OpenMP.
    project.write("broken/omp.h", "#error no OpenMP here\n")
    broken = f"-I{tmp_path / 'broken'}"
    project.install(CFLAGS=broken, CXXFLAGS=broken)
    assert "openmp" not in project.ask("_core.flags()")
    with pytest.raises(AssertionError, match="MATFAC_OPENMP=1, but no program with OpenMP"):
        project.install(CFLAGS=broken, CXXFLAGS=broken, MATFAC_OPENMP="1")


@pytest.mark.slow
def test_the_source_archive_is_complete(tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    pytest.importorskip("Cython")
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout")
    files = {name for name in listed if not name.startswith(".") and (ROOT / name).is_file()}
    copy = tmp_path / "copy"
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    program = f"from setuptools import build_meta as b; b.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, capture_output=True)
    (archive,) = tmp_path.glob("matfac-*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {member.name.split("/", 1)[-1] for member in tar if member.isfile()}
    assert files <= held
