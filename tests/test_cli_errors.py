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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit d.csv --out new --threads 0", "--threads must not be 0: leave it out for"),
        ("fit d.csv --out new --seed -1", "--seed must be an integer from 0 to 2**32 - 1, got -1"),
        ("fit d.csv --out new --factors 0", "--factors must be at least 1, got 0"),
        ("fit d.csv --out new --iter 0", "--iter must be at least 1"),
        ("fit d.csv --out new --reg -1", "--reg must be finite"),
        ("fit d.csv --out new --implicit --alpha 1 --alpha0 1", "--alpha=1.0 and --alpha0=1.0"),
        ("fit d.csv --out new --no-value --value-column 2", "--no-value and --value-column excl"),
        ("fit d.csv --out new --value-column 9", "--value-column=9, but"),
        ("fit d.csv --out new --duplicates best", "--duplicates must be one of"),
        ("fit head.csv --out new", "head.csv has a header and no rows\n"),
        ("fit d.csv --out new --checkpoint old", "--factors=3, not 64: give the fit"),
        ("fit d.csv --out new --checkpoint old --seed 1", "that wrote it, or another --checkpoint"),
        ("fit wild.csv --out new", "is not text in utf-8"),
        ("fit two.csv --out new", "give --value-column or --sep, or --no-value where"),
        ("evaluate m.safetensors d.csv", "has to be held out of training\n"),
        ("fit - --out new", "standard input is not read: write the table to a file"),
        ("fit d.jsonl --out new", ".data (with or without .gz)\n"),
        ("fit comma.csv --out new", "'5,0' has a decimal comma: write numbers with a point\n"),
        ("fit empty --out new", "empty holds no Parquet file\n"),
        ("export m.safetensors --out u.csv", "--out must end in .npy, .parquet, .safetensors, "),
        ("evaluate m.safetensors apart.csv", "no entry of apart.csv has both a user and an item"),
        ("evaluate bare.safetensors other.csv", "save the model with its training entries"),
        ("recommend bare.safetensors --user u1", "saved without: give --include-seen"),
        ("recommend m.safetensors --user u1 -k 0", "matfac: -k must be at least 1"),
        ("export bare.safetensors --out gone/a.npy", "cannot be written: there is no directory"),
        ("fit gone.csv --out new", "gone.csv does not exist: check the path"),
        ("demo --threads 0", "--threads must not be 0"),
    ],
)  # fmt: skip
def test_errors_speak_of_options(
    files: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    (files / "empty").mkdir()
    (files / "comma.csv").write_text("user;item;rating\na;1;5,0\n")
    (files / "head.csv").write_text("user,item,rating\n")
    (files / "two.csv").write_text("user,item\nu1,i1\n")
    (files / "wild.csv").write_bytes(b"user,item,rating\nu\xff,i1,1\n")
    (files / "apart.csv").write_text("user,item,rating\nu1,i77,1\nu77,i1,1\n")
    (files / "other.csv").write_text("user,item,rating\nu1,i2,1\n")
    data = matfac.Interactions.read("d.csv")
    clicks = matfac.ImplicitMF(n_factors=2, n_iter=1, random_state=0).fit(data)
    if words.startswith("evaluate"):  # lists, rather than ratings
        clicks.save("m.safetensors")
    clicks.save("bare.safetensors", with_seen=False)
    matfac.ExplicitMF(n_factors=3, n_iter=1, random_state=0).fit(data, checkpoint="old")
    found = refused(capsys, *words.split())
    assert message in found
    for name in ("n_factors", "n_threads", "random_state", "exclude_seen", "None", "encoding="):
        assert name not in found
    assert not (files / "new").exists()


def test_ratings_of_training_are_no_test(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "evaluate", "m.safetensors", "d.csv")
    assert "d.csv holds entries of training alone: what is scored has to be held out" in message
    (files / "mixed.csv").write_text("user,item,rating\nu1,i0,1\nu1,i2,1\nu2,i1,3\n")
    assert main(["evaluate", "m.safetensors", "mixed.csv"]) == 0
    assert "\n1 of them are entries of training\nrmse" in capsys.readouterr().out


def test_a_path_keeps_its_words(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "reg=1,k=2").mkdir()
    (files / "reg=1,k=2" / "alpha=3.csv").write_text("u,i,x\nu,j,y\n")
    message = refused(capsys, "fit", "reg=1,k=2/alpha=3.csv", "--out", "new")
    assert "/alpha=3.csv" in message
    assert "--alpha" not in message


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["describe a model file, or this installation", "most similar to given items"]),
        ("fit", [
            "(default: 64)", "ridge (default: 0.08, implicit: 0.005)", "start (default: 0)",
            "(default: OMP_NUM_THREADS, or every core)", "(default: detected)",
            "(default: last; with --no-value sum)",
        ]),
        ("recommend", ["length of each list (default: 10)"]),
        ("evaluate", ["length of the lists (default: 10)"]),
    ],
)  # fmt: skip
def test_help_tells_the_defaults(
    capsys: pytest.CaptureFixture[str], command: str, words: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert not [word for word in words if word not in text]
