"""Full disks and read-only folders: an error that names the file; the old files as they were."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import random_ratings
from matfac import Checkpoint, ExplicitMF, Interactions, compress_model, embeddings, model_io
from matfac.cli import make_parser

ROOM = 1 << 16  # bytes: the first writing of each file fits, the second does not
N_USERS, N_ITEMS = 300, 200
MATRIX = random_ratings(N_USERS, N_ITEMS, 0.1, seed=1)
DATA = Interactions(MATRIX, [f"u{i}" for i in range(N_USERS)], [f"i{i}" for i in range(N_ITEMS)])
SMALL, LARGE = (ExplicitMF(n_factors=k, n_iter=1, random_state=0).fit(DATA) for k in (2, 128))
TITLES = {f"i{i}": f"Title {i}" for i in range(N_ITEMS)}


def by_command(file: Path, model: ExplicitMF, *words: str) -> None:
    """Run a command on a model file that lies on another disk."""
    source = file.parent.parent / "model.safetensors"
    model.save(source)
    args = make_parser().parse_args([*words, str(source), "--out", str(file)])
    args.run(args)


def compress(file: Path, model: ExplicitMF) -> None:
    source = file.parent.parent / "net.safetensors"
    model_io.write_safetensors(source, {"a.weight": np.array(model.user_factors_)}, {})
    compress_model(source, file, budget=0.9)


WRITERS: dict[str, Callable[[Path, ExplicitMF], Any]] = {
    "model.safetensors": lambda file, model: model.save(file),
    "run.ckpt": lambda file, model: ExplicitMF(
        n_factors=model.n_factors, n_iter=1, random_state=0
    ).fit(DATA, checkpoint=Checkpoint(file)),
    "items.npy": lambda file, model: embeddings.export(model, file, titles=TITLES),
    "items.parquet": lambda file, model: embeddings.export(model, file, titles=TITLES),
    "items.safetensors": lambda file, model: embeddings.export(model, file, titles=TITLES),
    "items.usearch": lambda file, model: by_command(file, model, "export"),
    "spectrum.svg": lambda file, model: by_command(file, model, "plot", "spectrum"),
    "net.safetensors": compress,
}
OPTIONAL = {
    "items.parquet": "pyarrow",
    "items.usearch": "usearch.index",
    "spectrum.svg": "matplotlib",
}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "matfac-test", str(place)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(folder: Path) -> Callable[[], None]:
    space = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(space.f_bavail * space.f_frsize - ROOM))
    return filler.unlink


def seal(folder: Path) -> Callable[[], None]:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

    remount("ro")
    return lambda: remount("rw")


CONDITIONS = {"full": (fill, errno.ENOSPC), "read-only": (seal, errno.EROFS)}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", WRITERS)
def test_writers(name: str, condition: str, folder: Path) -> None:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    path, write = folder / name, WRITERS[name]
    write(path, SMALL)
    before = contents(folder)
    assert path.name in before
    make, number = CONDITIONS[condition]
    mend = make(folder)
    try:
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write(path, LARGE)
    finally:
        mend()
    assert caught.value.filename.startswith(str(path.with_suffix("")))
    assert caught.value.errno == number
    assert contents(folder) == before
    write(path, LARGE)
    assert len(path.read_bytes()) > len(before[name])
