"""The command line, run in process; the installed command once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from usearch.index import Index

import matfac
from matfac import _loop, datasets, embeddings
from matfac._als import AlsSolver
from matfac.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ratings.csv (named ids), its held-out part, and titles."""
    data = datasets.planted_ratings(60, 40, 1000, seed=0)
    for name, matrix in (("ratings.csv", data.train), ("test.csv", data.test)):
        users, items = matrix.tocoo().coords
        lines = [f"u{u},{i},{r}" for u, i, r in zip(users, items, matrix.tocoo().data, strict=True)]
        (tmp_path / name).write_text("\n".join(["user,item,rating", *lines]) + "\n")
    titles = "\n".join(f"{i}\tFilm {i}" for i in range(40))
    (tmp_path / "titles.tsv").write_text(f"item\ttitle\n{titles}\n")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_fit_recommend_similar_evaluate_info(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = files / "out" / "m.safetensors"
    out = run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 4, "--reg", 0.1)
    assert "ExplicitMF" in out
    assert "train_rmse" in out
    fitted = matfac.load(model)
    out = run(capsys, "recommend", model, "--user", "u3", "-k", 3, "--titles", files / "titles.tsv")
    items, scores = fitted.recommend(["u3"], k=3)
    assert out.splitlines()[0] == "user u3"
    assert out.splitlines()[1].split(maxsplit=2)[1:] == [
        f"{scores[0, 0]:.4f}",
        f"Film {items[0, 0]}",
    ]
    item = int(items[0, 0])
    out = run(capsys, "similar", model, "--item", item, "-k", 2)
    assert out.startswith(f"like {item}\n")
    assert len(out.splitlines()) == 3
    out = run(capsys, "evaluate", model, files / "test.csv")
    assert "rmse" in out
    out = run(capsys, "info", model)
    assert "60 users" in out
    assert "n_factors = 4" in out
    assert "simd" in run(capsys, "info")


def test_rules_of_recommend(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = files / "m.safetensors"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 4)
    ask = ("recommend", model, "--user", "u3", "--user", "u4", "-k", 40, "--include-seen")
    (files / "sold-out").write_text("1\n2\n\n3\n")
    listed = {line.split()[-1] for line in run(capsys, *ask).splitlines() if "user" not in line}
    assert {"1", "2", "3", "5"} <= listed
    out = run(capsys, *ask, "--exclude-items", 5, f"@{files / 'sold-out'}")
    left = {line.split()[-1] for line in out.splitlines() if "user" not in line}
    assert listed - left == {"1", "2", "3", "5"}
    out = run(capsys, *ask, "--items", f"@{files / 'sold-out'}", "--exclude-items", 2)
    assert sorted(line.split()[-1] for line in out.splitlines() if "user" not in line) == [
        "1", "1", "3", "3",
    ]  # fmt: skip


def test_the_model_may_stand_last(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = files / "m.safetensors"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 4)
    first = run(capsys, "recommend", model, "--user", "u3", "--user", "u4")
    assert run(capsys, "recommend", "--user", "u3", "--user", "u4", model) == first
    assert run(capsys, "similar", "--item", 3, "--item", 4, model).count("like") == 2


def test_explain(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = files / "m.safetensors"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 4)
    ask = ("explain", model, files / "ratings.csv", "--user", "u3", "--item", 7, "-k", 2)
    lines = run(capsys, *ask, "--titles", files / "titles.tsv").splitlines()
    assert lines[0].endswith("Film 7 for u3")
    score = float(matfac.load(model).predict("u3", 7))
    assert float(lines[0].split()[0]) == pytest.approx(score, abs=1e-3)
    assert sum(float(line.split()[0]) for line in lines[1:]) == pytest.approx(score, abs=1e-3)
    assert "other entries" in lines[-1]


def test_update(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, grown = files / "m.safetensors", files / "grown.safetensors"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 4)
    (files / "new.csv").write_text("user,item,rating\nnew,1,5\nnew,2,4\nu3,99,5\n")
    out = run(capsys, "update", model, files / "new.csv", "--out", grown)
    assert "2 users solved, 1 of them new; 1 new items" in out
    assert "99" in run(capsys, "recommend", grown, "--user", "new", "-k", 40)
    assert len(matfac.load(model).user_ids_) == 60
    run(capsys, "update", model, files / "new.csv")
    assert len(matfac.load(model).user_ids_) == 61


def test_implicit(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = files / "clicks.safetensors"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--implicit", "--no-value",
        "--factors", 4, "--alpha0", 0.3)  # fmt: skip
    assert isinstance(matfac.load(model), matfac.ImplicitMF)
    out = run(capsys, "evaluate", model, files / "test.csv", "-k", 5)
    figures = {line.split()[0]: float(line.split()[-1]) for line in out.splitlines()[1:]}
    assert 0 < figures["recall@5"] < 1


@pytest.mark.parametrize("epochs", [0, 3])
def test_ctrl_c_stores_the_model_of_the_last_epoch(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    epoch = AlsSolver.epoch

    def interrupted(solver: AlsSolver, number: int) -> Any:
        if number == epochs:
            raise KeyboardInterrupt
        return epoch(solver, number)

    monkeypatch.setattr(AlsSolver, "epoch", interrupted)
    monkeypatch.setattr(_loop, "BRIEF", 0.0)  # else Ctrl-C is a signal that waits
    model = files / "m.safetensors"
    words = ["fit", str(files / "ratings.csv"), "--out", str(model), "--factors", "4"]
    assert main(words) == 130
    if epochs == 0:
        assert not model.exists()
    else:
        assert matfac.load(model).n_iter_ == epochs
        assert "stopped after 3 epochs" in capsys.readouterr().out


def test_export(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = files / "m"
    run(capsys, "fit", files / "ratings.csv", "--out", model, "--factors", 3)
    out = run(capsys, "export", model, "--out", files / "items.npy", "--titles",
              files / "titles.tsv")  # fmt: skip
    assert out == f"{files / 'items.npy'}: 40 items of ExplicitMF\n"
    assert np.load(files / "items.npy").shape == (40, 5)
    assert np.load(files / "items.titles.npy")[7] == "Film 7"
    out = run(capsys, "export", model, "--out", files / "users.parquet", "--side", "users")
    assert "60 users" in out
    run(capsys, "export", model, "--out", files / "items.usearch")
    found = Index.restore(str(files / "items.usearch")).search(
        embeddings.user_vectors(matfac.load(model), ["u3"]), 3
    )
    exact, _ = matfac.load(model).recommend(["u3"], k=3, exclude_seen=False)
    assert found.keys.tolist() == exact[0].tolist()
    assert main(["export", str(model), "--out", "a.onnx", "--side", "users"]) == 2
    assert "leave out --side" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "{dir}/nothing.csv", "--out", "{dir}/m"], "nothing.csv"),
        (["fit", "{dir}/bad.csv", "--out", "{dir}/m"], "line 3"),
        (["fit", "{dir}/bad.csv", "--out", "{dir}/m"], "name the column by --value-column"),
        (
            ["fit", "{dir}/ratings.csv", "--out", "{dir}/m", "--item-column", "film"],
            "give --item-column or --sep",
        ),
        (
            ["fit", "{dir}/bad.csv", "--out", "{dir}/m", "--value-column", "9"],
            "--value-column=9, but",
        ),
        (["fit", "{dir}/ratings.csv", "--out", "{dir}/m", "--reg", "-1"], "reg must be"),
        (["fit", "{dir}/ratings.csv", "--out", "{dir}/m", "--alpha", "1"], "--implicit"),
        (["recommend", "{dir}/ratings.csv", "--user", "1"], "not a matfac model"),
        (["recommend", "{dir}/nothing", "--user", "1"], "nothing"),
    ],
)
def test_errors_are_one_line_and_status_2(
    files: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (files / "bad.csv").write_text("user,item,rating\n1,2,3\n1,3,many\n")
    assert main([word.format(dir=files) for word in words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (files / "m").exists()


def test_unknown_user_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "fit", files / "ratings.csv", "--out", files / "m", "--factors", 2)
    assert main(["recommend", str(files / "m"), "--user", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_version_of_the_installed_command() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "matfac.cli", "--version"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert out.strip() == f"matfac {matfac.__version__}"


@pytest.mark.slow
def test_demo_reaches_the_noise_floor(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "demo")
    floor = float(out.split("held-out ratings: RMSE ")[1].split()[0])
    errors = [float(part.split()[0]) for part in out.split("): RMSE ")[1:]]
    assert len(errors) == 2
    assert max(errors) < 1.2 * floor
    assert np.isfinite(errors).all()
    figures = re.search(r"recall@10 ([\d.]+) \(the most popular items: ([\d.]+)\)", out)
    assert figures is not None
    own, popular = map(float, figures.groups())
    assert own > 2 * popular
