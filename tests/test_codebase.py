"""The project's own rules, read off its sources: who may know whom, sizes, stubs, versions."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import matfac
from matfac import _core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "matfac"
CPP = ROOT / "cpp"

pytestmark = pytest.mark.skipif(not CPP.is_dir(), reason="needs the project's sources")

# Estimators and metrics; cli, datasets, files, interactions and plots reach the core through them.
MAY_IMPORT_CORE = {
    "_als", "_cores", "_dense_als", "_engine", "_evaluate", "_features", "_pairwise",
    "_ranking_metric", "_serving", "_sgd", "explicit",
}  # fmt: skip
TOP_LEVEL = {
    "setup.py", "pyproject.toml", "src", "cpp", "tests", "benchmarks", "README.md", "LICENSE",
    "docs", "examples",
}  # fmt: skip


def native_files(*suffixes: str) -> list[Path]:
    return sorted(path for path in CPP.rglob("*") if path.suffix in suffixes)


def python_files() -> list[Path]:
    folders = ("src", "tests", "benchmarks", "examples", "docs")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*found, ROOT / "setup.py"])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def includes(path: Path) -> list[str]:
    """Return what `path` includes, with its brackets or quotes."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r'^\s*#\s*include\s*([<"][^>"]+[>"])', text, re.MULTILINE)


def code(path: Path) -> str:
    """Return native source without its comments."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a module of the package imports, by their full names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = path.parent.relative_to(PACKAGE.parent).parts
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


# ---------------------------------------------------------------- directions in C++


def test_there_are_sources_to_check() -> None:
    assert native_files(".cpp")
    assert native_files(".hpp")
    assert native_files(".inl")
    assert list(PACKAGE.glob("*.py"))


def test_python_is_known_to_the_bindings_only() -> None:
    offenders = [
        name_of(path)
        for path in native_files(".cpp", ".hpp", ".inl")
        if path.parent != CPP / "bindings"
        and any(re.match(r'[<"](pybind11/|Python\.h)', name) for name in includes(path))
    ]
    assert not offenders


def test_only_parallel_hpp_includes_omp() -> None:
    knows = {name_of(path) for path in native_files(".cpp", ".hpp", ".inl")
             if "omp.h" in " ".join(includes(path))}  # fmt: skip
    assert knows == {"cpp/include/matfac/parallel.hpp"}


def test_vectors_stay_in_simd() -> None:
    vectors = re.compile(r"intrin\.h|arm_neon\.h|vector_size|\b_mm\d*_|\b__m\d+|__builtin_ia32_")
    offenders = [
        name_of(path)
        for path in native_files(".cpp", ".hpp", ".inl")
        if path.parent != CPP / "src" / "simd" and vectors.search(code(path))
    ]
    assert not offenders


def test_threads_stay_out_of_simd() -> None:
    # Under clang the body of a parallel region does not inherit the target region's features.
    offenders = [
        name_of(path)
        for path in (CPP / "src" / "simd").iterdir()
        if re.search(r"#\s*pragma\s+omp\b(?!\s+simd)|parallel\.hpp", path.read_text("utf-8"))
    ]
    assert not offenders


def test_headers_of_the_core_include_std_and_matfac_only() -> None:
    allowed = re.compile(r'<[a-z_]+>|"matfac/[a-z_]+\.hpp"')
    offenders = [
        (name_of(path), name)
        for path in (CPP / "include").rglob("*.hpp")
        for name in includes(path)
        if not allowed.fullmatch(name) and (path.name, name) != ("parallel.hpp", "<omp.h>")
    ]
    assert not offenders


def test_kernel_bodies_include_only_bodies() -> None:
    # Whatever they included would be compiled for one instruction set and shared by all.
    offenders = [
        (name_of(path), name)
        for path in native_files(".inl")
        for name in includes(path)
        if not re.fullmatch(r'"[a-z_]+\.inl"', name)
    ]
    assert not offenders


# ---------------------------------------------------------------- directions in Python


def test_core_is_imported_by_few() -> None:
    users = {path.stem for path in PACKAGE.rglob("*.py") if "matfac._core" in set(imports(path))}
    assert users <= MAY_IMPORT_CORE


def test_reference_knows_numpy_only() -> None:
    for path in (PACKAGE / "reference.py", *PACKAGE.glob("_reference*.py")):
        for module in imports(path):
            top = module.split(".")[0]
            twin = re.match(r"matfac\.(_reference|reference)", module)
            assert top == "numpy" or top in sys.stdlib_module_names or module == "matfac" or twin, (
                f"{name_of(path)} imports {module}"
            )


def test_models_are_never_pickled() -> None:
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    for path in PACKAGE.rglob("*.py"):
        tops = {module.split(".")[0] for module in imports(path)}
        assert not tops & unsafe, name_of(path)
        assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), name_of(path)


def test_init_has_names_and_no_logic() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    assert not [ast.unparse(node) for node in tree.body if not isinstance(node, allowed)]
    assert sorted(set(matfac.__all__)) == sorted(matfac.__all__)
    assert all(hasattr(matfac, name) for name in matfac.__all__)


# ---------------------------------------------------------------- sizes and words


def test_files_are_short() -> None:
    native = native_files(".cpp", ".hpp", ".inl")
    limits = [(path, 400) for path in python_files()] + [(path, 500) for path in native]
    lengths = [(name_of(path), len(path.read_text("utf-8").splitlines()), most)
               for path, most in limits]  # fmt: skip
    assert not [entry for entry in lengths if entry[1] > entry[2]]


def test_no_registry_is_named() -> None:
    hosts = [".".join(parts) for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("debian", "org"), ("anaconda", "org"),
        ("npmjs", "com"), ("crates", "io"),
    )]  # fmt: skip
    texts = [*python_files(), *native_files(".cpp", ".hpp", ".inl"), ROOT / "pyproject.toml"]
    texts += [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PACKAGE.glob("*.py?")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not [host for host in hosts if host in text], name_of(path)


def test_top_level_names() -> None:
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout")
    names = {line.split("/")[0] for line in listed.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_one_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert declared is not None
    assert matfac.__version__ == importlib.metadata.version("matfac") == declared[1]
    for path in [*PACKAGE.rglob("*.py"), ROOT / "setup.py", *native_files(".cpp", ".hpp")]:
        assert f'"{declared[1]}"' not in path.read_text(encoding="utf-8"), name_of(path)


# ---------------------------------------------------------------- the stub of the core


def split_arguments(text: str) -> list[str]:
    """Split at the commas that are in no bracket or quotation."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if char == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def compiled_signatures(name: str, doc: str) -> set[tuple[str, ...]]:
    """Return the parameter names of each overload, read from pybind11's docstring."""
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) -> .*$", doc, re.MULTILINE)
    return {
        tuple(
            re.split(r"[:=]", argument)[0].strip()
            for argument in split_arguments(line)
            if argument not in ("*", "/")
        )
        for line in lines
    }


def stub_signature(node: ast.FunctionDef) -> tuple[str, ...]:
    arguments = node.args
    return tuple(
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    )


def declared(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Return what a stub declares, by name, type aliases aside; overloads share one name."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.setdefault(node.name, []).append(node)
        elif (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and ast.unparse(node.annotation) != "TypeAlias"
        ):
            found.setdefault(node.target.id, []).append(node)
    return found


def members(node: ast.ClassDef, nodes: dict[str, list[ast.stmt]]) -> dict[str, list[ast.stmt]]:
    """Return what a class of a stub declares, with what it inherits from the stub's own classes."""
    found: dict[str, list[ast.stmt]] = {}
    for base in node.bases:
        inner = base.value if isinstance(base, ast.Subscript) else base
        for parent in nodes.get(ast.unparse(inner), []):
            if isinstance(parent, ast.ClassDef):
                found |= members(parent, nodes)
    return found | declared(node.body)


def compare_with_stub(
    owner: object, names: set[str], nodes: dict[str, list[ast.stmt]], where: str
) -> None:
    for name in names:
        member, group = getattr(owner, name), nodes[name]
        if isinstance(group[0], ast.ClassDef):
            inner = members(group[0], nodes)
            public = {key for key in vars(member) if not key.startswith("_")}
            stubbed = {key for key in inner if not key.startswith("_")}
            assert public == stubbed, f"{where}.{name}"
            compare_with_stub(
                member, stubbed | ({"__init__"} & set(inner)), inner, f"{where}.{name}"
            )
        elif isinstance(group[0], ast.FunctionDef):
            if isinstance(member, property):
                continue
            stubs = {stub_signature(node) for node in group if isinstance(node, ast.FunctionDef)}
            assert compiled_signatures(name, member.__doc__ or "") == stubs, f"{where}.{name}"


def test_stub_of_the_core_agrees_with_the_module() -> None:
    stub = PACKAGE / "_core.pyi"
    nodes = declared(ast.parse(stub.read_text(encoding="utf-8")).body)
    public = {name for name in dir(_core) if not name.startswith("_")}
    assert public == {name for name in nodes if not name.startswith("_")}
    compare_with_stub(_core, public, nodes, "_core")
