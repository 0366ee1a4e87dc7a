"""What the command line refuses, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import matfac
from matfac.cli import main


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """d.csv, a model m.safetensors of it, titles and a network, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = [f"u{u},i{i},{(u * i) % 5 + 1}" for u in range(8) for i in range(6) if (u + i) % 3]
    (tmp_path / "d.csv").write_text("\n".join(["user,item,rating", *rows]) + "\n")
    data = matfac.Interactions.read("d.csv")
    matfac.ExplicitMF(n_factors=2, n_iter=2, random_state=0).fit(data).save("m.safetensors")
    (tmp_path / "t.csv").write_text("item,title\ni1,One\n")
    save_file({"a": np.random.default_rng(0).normal(size=(20, 20))}, "net.safetensors")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that fails; return its one line."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("words", "source", "option"),
    [
        ("export m.safetensors --out {}", "m.safetensors", "--out"),
        ("export m.safetensors --titles t.csv --out {}", "t.csv", "--out"),
        ("plot spectrum m.safetensors --out {}", "m.safetensors", "--out"),
        ("fit d.csv --out {}", "d.csv", "--out"),
        ("update m.safetensors d.csv --out {}", "d.csv", "--out"),
        ("compress net.safetensors --budget 0.5 --out {}", "net.safetensors", "--out"),
        ("compress net.safetensors --budget 0.5 --plot {}", "net.safetensors", "--plot"),
    ],
)
@pytest.mark.parametrize("alias", ["itself", "relative", "symlink", "link"])
def test_no_command_writes_over_what_it_reads(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    words: str,
    source: str,
    option: str,
    alias: str,
) -> None:
    before = (files / source).read_bytes()
    names = {"itself": source, "relative": f"../{files.name}/{source}"}
    target = names.get(alias, f"also.{source}")
    if alias == "symlink":
        os.symlink(files / source, target)
    elif alias == "link":
        os.link(source, target)
    message = refused(capsys, *words.format(target).split())
    assert f"{option} {target} is the file {source}, which is read: give another" in message
    assert (files / source).read_bytes() == before


def test_a_checkpoint_is_no_place_for_the_model(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--out new is the file" in refused(
        capsys, "fit", "d.csv", "--out", "new", "--checkpoint", files / "new"
    )
    assert not (files / "new").exists()


def test_update_may_replace_its_model(files: Path) -> None:
    (files / "new.csv").write_text("user,item,rating\nnew,i1,5\nnew,i2,4\n")
    assert main(["update", "m.safetensors", "new.csv", "--out", "m.safetensors"]) == 0
    assert "new" in matfac.load("m.safetensors").user_ids_
