"""Compile cython_twin.pyx into a temporary folder and import it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

NAME = "cython_twin"
# More than packages on an index dare: this machine's own vectors, and sums in any order.
UNIX = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-w"]
MACOS = ["-O3", "-ffast-math", "-Xpreprocessor", "-fopenmp", "-w"]


@dataclass(frozen=True)
class Twin:
    """The compiled module and how it was compiled."""

    module: ModuleType
    flags: str


def build() -> Twin:
    """Compile and import; the folder goes away with the process, nothing enters the source tree."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    folder = Path(tempfile.mkdtemp(prefix="matfac-bench-"))
    source = Path(shutil.copy(Path(__file__).with_name(f"{NAME}.pyx"), folder))
    mac = sys.platform == "darwin"
    flags, link = (MACOS, ["-lomp"]) if mac else (UNIX, ["-fopenmp"])
    extension = Extension(NAME, [str(source)], extra_compile_args=flags, extra_link_args=link)
    try:
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet):
            modules = cythonize(  # type: ignore[no-untyped-call]
                [extension], quiet=True, build_dir=str(folder)
            )
            command = Distribution({"name": NAME, "ext_modules": modules}).get_command_obj(
                "build_ext"
            )
            command.build_temp = command.build_lib = str(folder)
            command.ensure_finalized()
            command.run()
        module = _load(Path(command.get_ext_fullpath(NAME)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a loaded module outlives its file
    return Twin(module, " ".join(flags))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
