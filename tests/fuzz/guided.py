"""Coverage-guided fuzzing of the file readers: `python tests/fuzz/guided.py model|table [SECONDS]`.

Needs `pip install atheris`. Starts from tests/fuzz/corpus/TARGET and prints what libFuzzer reports;
an unsound table, an unexpected error, a crash or a hang ends it and is written down.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["matfac"]):
    import files

    from matfac import model_io

CORPUS = Path(__file__).parent / "corpus"
FOLDER = Path(tempfile.mkdtemp())


def model(data: bytes) -> None:
    """Read a model file."""
    path = FOLDER / "model"
    path.write_bytes(data)
    try:
        model_io.read(path, mmap=False)
    except ValueError:
        return


def table(data: bytes) -> None:
    """Read a text file, the first byte choosing how it is named."""
    path = FOLDER / ("table.csv", "table.tsv", "table.dat")[data[0] % 3 if data else 0]
    path.write_bytes(data[1:])
    files.read_table(path)


def main() -> None:
    target, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    warnings.simplefilter("ignore")
    found = FOLDER / "found"
    found.mkdir()
    arguments = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=10",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *arguments, str(found), str(CORPUS / target)],
        {"model": model, "table": table}[target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
