"""compress_model: budgets, ranks across layers, dtypes, files that are damaged, memory."""

from __future__ import annotations

import itertools
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from safetensors.numpy import load_file, save_file

from matfac import compress, compress_model
from matfac._allocation import KEEP, allocate, curve_of
from matfac._tensor_file import TensorFile, decode, encode
from matfac.cli import main

RNG = np.random.default_rng(0)


def trained(m: int, n: int, rate: float) -> np.ndarray:
    k = min(m, n)
    left, right = (np.linalg.qr(RNG.normal(size=(side, k)))[0] for side in (m, n))
    return np.ascontiguousarray(((left * rate ** np.arange(k)) @ right.T).astype(np.float32))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    tensors = {
        "first.weight": trained(60, 40, 0.8),
        "second.weight": trained(40, 60, 0.95),
        "first.bias": RNG.normal(size=60).astype(np.float32),
        "kernel": RNG.normal(size=(4, 3, 3)).astype(np.float32),
        "ids": np.arange(40, dtype=np.int64).reshape(1, 40),
        "nothing": np.zeros((30, 20), np.float32),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    return path


# ---------------------------------------------------------------- ranks across layers


def cost_and_error(curves: list[Any], ranks: tuple[int, ...]) -> tuple[int, float]:
    cost = sum(curve.cost(rank) for curve, rank in zip(curves, ranks, strict=True))
    error = sum(
        0.0 if rank == KEEP else curve.tail[rank] for curve, rank in zip(curves, ranks, strict=True)
    )
    return cost, float(error)


@pytest.mark.parametrize("seed", range(5))
def test_allocation_is_near_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(9, 7), (6, 12), (8, 8)]
    curves = [curve_of(m, n, np.sort(rng.exponential(size=min(m, n)))[::-1]) for m, n in shapes]
    for budget in range(60, 200, 7):
        chosen = cost_and_error(curves, tuple(allocate(curves, budget)))
        assert chosen[0] <= budget
        every = itertools.product(*(range(curve.last + 1) for curve in curves))
        within = [
            figures for ranks in every if (figures := cost_and_error(curves, ranks))[0] <= budget
        ]
        best = min(error for _, error in within)
        # Greedy is the best of all at budgets where a step ends; a largest step (a whole matrix)
        # bounds how far below one it can be between.
        below = min(error for cost, error in within if cost <= budget - 40) if budget > 100 else 3
        assert best - 1e-12 <= chosen[1] <= max(best, below) + 1e-12


def test_a_layer_stays_whole_where_ranks_elsewhere_would_take_its_room() -> None:
    curves = [curve_of(512, 512, np.ones(512)), curve_of(128, 256, 1 / np.arange(1, 129))]
    assert allocate(curves, int(0.9 * (512 * 512 + 128 * 256))) == [KEEP, 8]


def test_allocation_is_mostly_the_best_of_all() -> None:
    shapes = [(5, 9), (20, 10), (6, 7), (8, 5)]
    every = list(itertools.product(*(range(curve_of(*s, np.ones(s[0])).last + 1) for s in shapes)))
    excess = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        steep = rng.choice([0.01, 1, 3], size=len(shapes))
        spectra = [
            np.sort(rng.exponential(size=min(shape)) ** power)[::-1]
            for shape, power in zip(shapes, steep, strict=True)
        ]
        curves = [curve_of(*shape, s) for shape, s in zip(shapes, spectra, strict=True)]
        cost, error = np.transpose([cost_and_error(curves, ranks) for ranks in every])
        for budget in range(75, 320, 11):
            spent, chosen = cost_and_error(curves, tuple(allocate(curves, budget)))
            assert spent <= budget
            excess.append(chosen - error[cost <= budget].min())
    assert np.mean(np.array(excess) < 1e-12) > 0.93
    assert np.mean(excess) < 0.003  # of 4, the error of nothing


def test_allocation_needs_room_for_rank_one() -> None:
    with pytest.raises(ValueError, match="takes 16 parameters, the budget is 15"):
        allocate([curve_of(8, 8, np.ones(8))], 15)


# ---------------------------------------------------------------- files


def test_factors_are_within_budget_and_optimal(network: Path, tmp_path: Path) -> None:
    before = network.read_bytes()
    target = tmp_path / "small.safetensors"
    report = compress_model(network, target, budget=0.6)
    assert network.read_bytes() == before
    old, new = load_file(network), load_file(target)
    floats = sum(a.size for a in old.values() if a.dtype == np.float32)
    assert report.parameters_before == floats
    assert report.parameters_after <= 0.6 * floats
    assert report.parameters_after == sum(a.size for a in new.values() if a.dtype == np.float32)
    for name in ("first.weight", "second.weight"):
        layer = next(layer for layer in report.layers if layer.name == name)
        A, B = new[f"{name}.A"], new[f"{name}.B"]
        assert A.shape[1] == B.shape[0] == layer.rank
        optimum = np.sqrt(np.sum(scipy.linalg.svdvals(old[name])[layer.rank :] ** 2))
        assert np.linalg.norm(old[name] - A @ B) == pytest.approx(optimum, rel=1e-4)
        assert layer.relative_error == pytest.approx(optimum / np.linalg.norm(old[name]), rel=1e-4)
        at = layer.ranks.index(layer.rank) if layer.rank in layer.ranks else None
        assert at is None or layer.relative_errors[at] == pytest.approx(layer.relative_error, 1e-3)
        assert layer.singular_values[0] == pytest.approx(1, rel=1e-4)
    for name in ("first.bias", "kernel", "ids", "nothing"):
        assert (new[name] == old[name]).all()
        assert new[name].dtype == old[name].dtype
    kept = {layer.name: layer.kept for layer in report.layers if layer.rank is None}
    assert kept == {
        "first.bias": "1 dimensions",
        "kernel": "3 dimensions",
        "ids": "dtype I64",
        "nothing": "all 0",
    }
    assert TensorFile(target).metadata == {"format": "pt"}
    written = json.loads((tmp_path / "small.json").read_text())
    assert written["parameters_after"] == report.parameters_after
    assert [layer["name"] for layer in written["layers"]] == [layer.name for layer in report.layers]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_steeper_spectrum_gives_more(network: Path, tmp_path: Path) -> None:
    report = compress_model(network, tmp_path / "small.safetensors", budget=0.7)
    ranks = {layer.name: layer.rank for layer in report.layers}
    assert ranks["first.weight"] < 20
    assert ranks["second.weight"] is None or ranks["second.weight"] > ranks["first.weight"]


def test_skipped_tensors_stay(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    report = compress_model(network, target, budget=0.8, skip=["sec*"])
    assert "second.weight" in load_file(target)
    assert {layer.kept for layer in report.layers if layer.name == "second.weight"} == {"skipped"}


def test_statistics_weigh_the_errors(network: Path, tmp_path: Path) -> None:
    W = load_file(network)["first.weight"]
    X = RNG.normal(size=(200, 40)) * 0.8 ** np.arange(40)
    rows = RNG.exponential(size=40)
    given = {"first.weight.input_cov": X.T @ X, "second.weight.row_weights": rows}
    target = tmp_path / "small.safetensors"
    report = compress_model(network, target, budget=0.6, statistics=given)
    new = load_file(target)
    layer = next(layer for layer in report.layers if layer.name == "first.weight")
    best = compress(W, rank=layer.rank, input_cov=X.T @ X)
    assert new["first.weight.A"] @ new["first.weight.B"] == pytest.approx(best.A @ best.B, abs=1e-5)
    assert layer.relative_error == pytest.approx(best.relative_error, rel=1e-3)
    stored = tmp_path / "statistics.safetensors"
    save_file(given, stored)
    again = tmp_path / "again.safetensors"
    compress_model(network, again, budget=0.6, statistics=stored)
    assert again.read_bytes() == target.read_bytes()


def test_statistics_that_fit_nothing(network: Path, tmp_path: Path) -> None:
    for given, message in (
        ({"third.weight.input_cov": np.eye(3)}, "'third.weight.input_cov', which is not"),
        ({"first.weight.inputs": np.eye(3)}, "'first.weight.inputs', which is not"),
        ({"first.weight.input_cov": np.eye(3)}, r"statistics of first.weight: .*\(40, 40\)"),
    ):
        with pytest.raises(ValueError, match=message):
            compress_model(network, tmp_path / "x.safetensors", budget=0.6, statistics=given)
    assert not (tmp_path / "x.safetensors").exists()


def raw_file(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Path:
    header, data = {}, b""
    for name, (code, shape, content) in tensors.items():
        span = [len(data), len(data) + len(content)]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": span}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(("code", "noise"), [("F64", 1e-12), ("F16", 2e-3), ("BF16", 2e-2)])
def test_every_float_keeps_its_dtype(tmp_path: Path, code: str, noise: float) -> None:
    W = trained(40, 30, 0.9)[:, :5].astype(np.float64) @ trained(5, 30, 0.9)
    source = raw_file(
        tmp_path / "w.safetensors", {"w": (code, (40, 30), encode(W, code).tobytes())}
    )
    target = tmp_path / "small.safetensors"
    report = compress_model(source, target, budget=0.3)
    file = TensorFile(target)
    assert {tensor.code for tensor in file.tensors.values()} == {code}
    stored = decode(encode(W, code).tobytes(), code).reshape(W.shape)
    error = np.linalg.norm(stored - file.floats("w.A") @ file.floats("w.B"))
    assert error <= noise * np.linalg.norm(W)
    assert report.layers[0].relative_error == pytest.approx(
        error / np.linalg.norm(stored), abs=1e-6
    )


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -np.inf, np.nan, 3e38])
    rounded = decode(encode(values, "BF16").tobytes(), "BF16")
    assert rounded[:5].tolist() == [1, 1, 1 + 2**-6, 1 + 2**-7, -np.inf]
    assert np.isnan(rounded[5])
    assert rounded[6] == pytest.approx(3e38, rel=2**-8)


def test_bad_numbers_and_skipped_dtypes_are_kept_and_listed(tmp_path: Path) -> None:
    nan = np.full((10, 10), np.nan, np.float32).tobytes()
    source = raw_file(
        tmp_path / "w.safetensors",
        {
            "odd": ("F4_E2M1_X", (20, 20), b"\x07" * 200),
            "nan": ("F32", (10, 10), nan),
            "w": ("F32", (40, 30), trained(40, 30, 0.7).tobytes()),
        },
    )
    target, whole = tmp_path / "small.safetensors", source.read_bytes()
    with pytest.raises(ValueError, match=r"'odd' has the unknown dtype 'F4_E2M1_X'"):
        compress_model(source, target, budget=0.6)
    assert not target.exists()
    assert source.read_bytes() == whole
    report = compress_model(source, target, budget=0.6, skip=["odd"])
    kept = {layer.name: layer.kept for layer in report.layers}
    assert kept == {"w": "", "nan": "holds NaN or infinity", "odd": "skipped"}
    new = TensorFile(tmp_path / "small.safetensors")
    assert b"".join(new.chunks("odd")) == b"\x07" * 200


def test_damaged_files_are_refused(network: Path, tmp_path: Path) -> None:
    whole, target = network.read_bytes(), tmp_path / "small.safetensors"
    broken = tmp_path / "broken.safetensors"
    for content in (b"", whole[:5], whole[:100], whole[:-1], whole + b"x", b"\xff" * 64):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="truncated"):
            compress_model(broken, target, budget=0.5)
    lies = raw_file(broken, {"w": ("F32", (4, 4), b"\0" * 60)})
    with pytest.raises(ValueError, match="does not have the bytes"):
        compress_model(lies, target, budget=0.5)
    assert not target.exists()
    with pytest.raises(FileNotFoundError):
        compress_model(tmp_path / "none.safetensors", target, budget=0.5)


def test_what_cannot_be_done_leaves_no_file(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    for arguments, message in (
        ({"budget": 0.05}, r"too small: 696 of 5496 .* at least 0\.16"),
        ({"budget": 1.0}, "budget must be less than 1"),
        ({"budget": -1.0}, "budget must be finite and greater than 0"),
    ):
        with pytest.raises(ValueError, match=message):
            compress_model(network, target, **arguments)
    with pytest.raises(ValueError, match="target is the source"):
        compress_model(network, network, budget=0.5)
    with pytest.raises(ValueError, match=r"must not end in \.json"):
        compress_model(network, tmp_path / "x.json", budget=0.5)
    with pytest.raises(FileNotFoundError, match="no directory"):
        compress_model(network, tmp_path / "none" / "x.safetensors", budget=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors"]


def test_names_of_factors_that_are_taken(tmp_path: Path) -> None:
    source = tmp_path / "w.safetensors"
    save_file({"w": trained(40, 30, 0.8), "w.A": np.ones(3, np.float32)}, source)
    with pytest.raises(ValueError, match=r"has a tensor 'w.A' already"):
        compress_model(source, tmp_path / "small.safetensors", budget=0.5)


def test_memory_is_that_of_a_layer(tmp_path: Path) -> None:
    source = tmp_path / "net.safetensors"
    layers = 24
    save_file({f"{i}.weight": trained(300, 200, 0.97) for i in range(layers)}, source)
    one = 300 * 200 * 4
    tracemalloc.start()
    compress_model(source, tmp_path / "small.safetensors", budget=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * one < layers * one


def test_on_the_command_line(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(network), "--budget", "0.5", "--skip", "second*"]) == 2
    assert "is too small" in capsys.readouterr().err
    assert main(["compress", str(network), "--budget", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "60 x 40" in printed
    assert "kept  dtype I64" in printed
    assert "net.compressed.safetensors: " in printed
    assert network.with_name("net.compressed.safetensors").exists()
    assert network.with_name("net.compressed.json").exists()


def test_the_picture_shows_what_was_chosen(network: Path, tmp_path: Path) -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    from matfac.plotting import compression_curves

    report = compress_model(network, tmp_path / "small.safetensors", budget=0.5)
    left, right = compression_curves(report)
    layers = [layer for layer in report.layers if layer.ranks]
    curves = [line for line in right.get_lines() if line.get_marker() == "None"][:-1]
    dots = [line for line in right.get_lines() if line.get_marker() == "o"]
    assert len(curves) == len(dots) == len(left.get_lines()) == len(layers) == 2
    drawn = sorted(curve.get_ydata().tolist() for curve in curves)
    assert drawn == sorted(layer.relative_errors for layer in layers)
    sizes = {round(float(dot.get_xdata()[0]), 6) for dot in dots}
    wanted = {round(1.0 if layer.rank is None else layer.rank * 100 / 2400, 6) for layer in layers}
    assert sizes == wanted
    plt.close("all")
    picture = tmp_path / "curves.png"
    assert main(["compress", str(network), "--budget", "0.6", "--plot", str(picture)]) == 0
    assert picture.stat().st_size > 5000
    plt.close("all")
