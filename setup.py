"""Builds matfac's two extension modules; everything static is in pyproject.toml.

Switches, all environment variables:

``MATFAC_OPENMP``    ``0`` builds without threads, ``1`` fails where OpenMP is not found
``MATFAC_NATIVE``    ``1`` compiles for this machine's CPU; the result may not run on another
``MATFAC_SANITIZE``  sanitizers, such as ``address,undefined`` or ``thread``
``MATFAC_COVERAGE``  ``1`` instruments for gcov
``MATFAC_WERROR``    ``1`` makes compiler warnings errors
``MATFAC_BUILD_JOBS``  files compiled at once (default: the number of CPUs)
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError, CompileError, LinkError

INCLUDE_DIR = "cpp/include"
SDIST_DIRS = ("benchmarks", "cpp", "docs", "examples", "tests")
SDIST_SUFFIXES = (
    *(
        ".py",
        ".pyi",
        ".pyx",
        ".hpp",
        ".inl",
        ".cpp",
        ".sh",
        ".supp",
        ".md",
        ".txt",
        ".ipynb",
        ".svg",
        ".png",
    ),
    *(".csv", ".tsv", ".json", ".npz", ".safetensors"),
)

OPENMP_PROBE = """\
#include <omp.h>
int main() {
    int n = 0;
#pragma omp parallel num_threads(2) reduction(+ : n)
    n += 1;
    return n >= 1 && omp_get_max_threads() >= 1 ? 0 : 1;
}
"""


@dataclass(frozen=True)
class Flags:
    """Arguments for the compiler, for the linker, and macros."""

    compile: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    macros: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Flags) -> Flags:
        return Flags(
            self.compile + other.compile, self.link + other.link, self.macros + other.macros
        )


def switch(name: str, env: Mapping[str, str]) -> bool | None:
    """Return the on/off environment variable `name`, None where it is unset."""
    value = env.get(name, "")
    if value not in ("", "0", "1"):
        raise BaseError(f"{name}={value!r} is not understood: set it to 0 or 1, or unset it")
    return None if value == "" else value == "1"


def base_flags(env: Mapping[str, str]) -> Flags:
    """Return the flags of the core that need no probe.

    Never -ffast-math: the code relies on NaN and on the order of sums.
    """
    sanitizers = env.get("MATFAC_SANITIZE", "")
    coverage = switch("MATFAC_COVERAGE", env)
    native = switch("MATFAC_NATIVE", env)
    werror = switch("MATFAC_WERROR", env)
    if not re.fullmatch(r"([a-z-]+(,[a-z-]+)*)?", sanitizers):
        raise BaseError(
            f"MATFAC_SANITIZE={sanitizers!r} is not understood: give sanitizer names with commas "
            "between them, such as address,undefined"
        )
    flags = Flags(("-O3", "-fno-math-errno", "-ffp-contract=fast", "-Wall", "-Wextra"))
    flags += Flags(("-pthread",), ("-pthread",))  # without OpenMP too: see aside.cpp
    if werror:
        flags += Flags(("-Werror",))
    if native:
        flags += Flags(("-march=native",), macros=(("MATFAC_NATIVE", "1"),))
    if sanitizers:
        chosen = f"-fsanitize={sanitizers}"
        flags += Flags((chosen, "-O1", "-g1", "-fno-omit-frame-pointer"), (chosen,))
    if coverage:
        flags += Flags(("--coverage", "-O0", "-g", "-fprofile-update=atomic"), ("--coverage",))
    return flags


def openmp_candidates() -> list[Flags]:
    """Return the ways to ask this platform's compilers for OpenMP, likeliest first."""
    plain = Flags(("-fopenmp",), ("-fopenmp",))
    if sys.platform != "darwin":
        return [plain]
    # Apple's clang has OpenMP but neither its header nor its library; those come from elsewhere.
    apple = Flags(("-Xpreprocessor", "-fopenmp"), ("-lomp",))
    prefixes = [sys.prefix, "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"]
    try:
        brew = subprocess.run(
            ["brew", "--prefix", "libomp"], check=False, capture_output=True, text=True
        )
        prefixes.insert(0, brew.stdout.strip())
    except OSError:
        pass
    found = [
        apple + Flags((f"-I{prefix}/include",), (f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib"))
        for prefix in dict.fromkeys(prefixes)
        if prefix and Path(prefix, "include", "omp.h").exists()
    ]
    return [*found, apple, plain]


def works(compiler: Any, source: str, flags: Flags) -> bool:
    """Tell whether the compiler makes a program of `source` that runs and returns 0."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.cpp")
        probe.write_text(source, encoding="utf-8")
        try:
            objects = compiler.compile(
                [str(probe)], output_dir=folder, extra_postargs=list(flags.compile)
            )
            compiler.link_executable(
                objects,
                "probe",
                output_dir=folder,
                extra_postargs=list(flags.link),
                target_lang="c++",
            )
        except (CompileError, LinkError):
            return False
        program = Path(folder, compiler.executable_filename("probe"))
        try:
            return subprocess.run([program], check=False, timeout=60).returncode == 0
        except subprocess.TimeoutExpired:
            return False
        except OSError:
            return True  # built for another machine: that it links has to do


def find_openmp(compiler: Any, base: Flags, env: Mapping[str, str]) -> Flags | None:
    """Return the flags that give OpenMP, None where it is switched off or not found."""
    wanted = switch("MATFAC_OPENMP", env)
    if wanted is False:
        return None
    for candidate in openmp_candidates():
        if works(compiler, OPENMP_PROBE, base + candidate):
            return candidate
    if wanted:
        raise BaseError(
            "MATFAC_OPENMP=1, but no program with OpenMP could be compiled, linked and run: "
            "install the compiler's OpenMP runtime (libgomp1, libomp-dev or Homebrew's libomp)"
        )
    return None


def included(source: Path) -> set[Path]:
    """Return the project's files that `source` includes, directly or not."""
    found: set[Path] = set()
    todo = [source]
    while todo:
        path = todo.pop()
        text = path.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE):
            near = (path.parent / name, Path(INCLUDE_DIR, name))
            file = next((file for file in near if file.exists()), None)
            if file and file not in found:
                found.add(file)
                todo.append(file)
    return found


def is_older(target: Path, files: Iterable[Path]) -> bool:
    """Tell whether `target` is missing or older than any of `files`."""
    if not target.exists():
        return True
    made = target.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns > made for file in files)


def needs_recompile(obj: str, src: str) -> bool:
    """Tell whether `obj` is older than `src` or than any file that `src` includes.

    The build also drops all objects when the flags change (see `flag_stamp`).
    """
    source = Path(src)
    return is_older(Path(obj), {source, *included(source)})


def flag_stamp(compiler: Any, extensions: Iterable[Extension]) -> str:
    """Return all that objects depend on beside their sources, one item a line."""
    lines = [f"{key}={value}" for key, value in sorted(compiler.executables.items()) if value]
    for key in ("compiler_so", "compiler_so_cxx", "linker_so"):  # by CC, CFLAGS, CXX, CXXFLAGS ...
        lines += [f"{key}={getattr(compiler, key, None)}"]
    lines += [f"python={sys.version}", f"platform={sysconfig.get_platform()}"]
    # Versions, not folders: an isolated build has its requirements in another folder every time.
    for name in ("setuptools", "pybind11", "Cython", "scipy"):
        try:
            lines.append(f"{name}={version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name}=")
    for ext in extensions:
        lines += [f"{ext.name}: {ext.extra_compile_args} {ext.extra_link_args}"]
        lines += [f"{ext.name}: {ext.define_macros}"]
    return "\n".join(lines) + "\n"


def drop_unless_same(stamp: Path, text: str, outputs: Iterable[Path]) -> None:
    """Remove `outputs` unless the file `stamp`, written with them, says `text`."""
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != text:
        for path in outputs:
            path.unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(text, encoding="utf-8")


class build_core(build_ext):
    """build_ext that finds OpenMP, compiles in parallel and recompiles what changed."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.cython_c_in_temp = True

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.editable_mode:
            # setuptools gives editable installs temporary folders: all would be rebuilt each time
            build: Any = self.get_finalized_command("build")
            tag = f"{build.plat_name}-{sys.implementation.cache_tag}"
            self.build_temp = os.path.join(build.build_base, f"temp.{tag}")
            self.build_lib = os.path.join(build.build_base, f"editable.{tag}")

    def build_extensions(self) -> None:
        from pybind11.setup_helpers import ParallelCompile

        self._add_flags()
        compiler: Any = self.compiler
        temp = Path(self.build_temp)
        objects = [*temp.rglob("*.o"), *temp.rglob("*.obj")]
        modules = [Path(self.get_ext_fullpath(ext.name)) for ext in self.extensions]
        drop_unless_same(
            temp / "flags.txt", flag_stamp(compiler, self.extensions), objects + modules
        )
        sources = "\n".join(source for ext in self.extensions for source in ext.sources)
        drop_unless_same(temp / "sources.txt", sources, modules)

        def stale(obj: str, src: str) -> bool:
            return bool(self.force) or needs_recompile(obj, src)

        with ParallelCompile("MATFAC_BUILD_JOBS", needs_recompile=stale):
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        # Asked before Cython is, which finds SciPy's files newer in every isolated build.
        files = [Path(name) for name in (*ext.sources, *ext.depends)]
        if self.force or is_older(Path(self.get_ext_fullpath(ext.name)), files):
            super().build_extension(ext)

    def _add_flags(self) -> None:
        compiler: Any = self.compiler
        if compiler.compiler_type == "msvc":
            raise BaseError(
                "the core is written for gcc and clang, whose vectors MSVC has not: on Windows, "
                "install in the Windows Subsystem for Linux"
            )
        base = base_flags(os.environ)
        openmp = find_openmp(compiler, base, os.environ)
        self.announce(
            f"matfac: OpenMP {' '.join(openmp.compile)}"
            if openmp
            else "matfac: building WITHOUT OpenMP, for one thread (switched off or not found)",
            logging.WARNING,
        )
        if switch("MATFAC_NATIVE", os.environ):
            self.announce(
                "matfac: built for this CPU only, not for others (MATFAC_NATIVE=1)", logging.WARNING
            )
        flags = base + (openmp or Flags())
        for ext in self.extensions:
            if ext.name == "matfac._core":
                ext.extra_compile_args += flags.compile
                ext.extra_link_args += flags.link
                ext.define_macros += flags.macros
                told = " ".join(ext.extra_compile_args)
                ext.define_macros.append(("MATFAC_BUILD_FLAGS", f'"{told}"'))


class sdist_all(sdist):
    """sdist with the tests, benchmarks and documents, without a MANIFEST.in."""

    def make_distribution(self) -> None:
        for folder in SDIST_DIRS:
            self.filelist.extend(
                sorted(
                    path.as_posix()
                    for path in Path(folder).rglob("*")
                    if path.is_file() and path.suffix in SDIST_SUFFIXES
                )
            )
        super().make_distribution()


def paths(*patterns: str) -> list[str]:
    """Return the files that match the patterns, sorted so that builds are alike."""
    return sorted(path.as_posix() for pattern in patterns for path in Path().glob(pattern))


def extensions() -> list[Extension]:
    """Return the two modules without the flags that need a compiler to find."""
    from pybind11.setup_helpers import Pybind11Extension

    headers = paths("cpp/**/*.hpp", "cpp/**/*.inl")
    core = Pybind11Extension(
        "matfac._core",
        paths("cpp/src/*.cpp", "cpp/src/simd/*.cpp", "cpp/bindings/*.cpp"),
        include_dirs=[INCLUDE_DIR],
        depends=headers,
        cxx_std=20,
    )
    blas = Extension(
        "matfac._blas",
        ["src/matfac/_blas.pyx"],
        include_dirs=[INCLUDE_DIR],
        depends=[f"{INCLUDE_DIR}/matfac/blas.hpp"],
        language="c++",
        extra_compile_args=["-std=c++20", "-g0"],
    )
    return [core, blas]


if __name__ == "__main__":
    setup(
        ext_modules=extensions(),
        cmdclass={"build_ext": build_core, "sdist": sdist_all},
    )
