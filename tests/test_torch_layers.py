"""A compressed file in a PyTorch model. Skipped where torch is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from matfac import compress_model
from matfac.torch_layers import input_statistics, load_compressed

torch: Any = pytest.importorskip("torch", reason="needs torch")


class Network(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 24, padding_idx=0)
        self.body = torch.nn.Sequential(
            torch.nn.Linear(24, 40), torch.nn.ReLU(), torch.nn.Linear(40, 30, bias=False)
        )
        self.norm = torch.nn.LayerNorm(30)

    def forward(self, ids: Any) -> Any:
        return self.norm(self.body(self.words(ids)))


def stored(model: Any, path: Path) -> Path:
    save_file(
        {name: np.ascontiguousarray(t.numpy()) for name, t in model.state_dict().items()}, path
    )
    return path


def test_the_thin_model_answers_as_its_factors_multiplied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = stored(Network(), tmp_path / "net.safetensors")
    target = tmp_path / "small.safetensors"
    report = compress_model(source, target, budget=0.4)
    thin = load_compressed(Network().eval(), target)
    assert sum(p.numel() for p in thin.parameters()) == report.parameters_after
    new, whole = load_file(target), Network().eval()
    state = {}
    for name in whole.state_dict():
        value = new[name] if name in new else new[f"{name}.A"] @ new[f"{name}.B"]
        state[name] = torch.from_numpy(value)
    whole.load_state_dict(state)
    ids = torch.randint(0, 50, (3, 7))
    assert thin(ids).detach().numpy() == pytest.approx(whole(ids).detach().numpy(), abs=1e-5)
    assert isinstance(thin.words, torch.nn.Sequential)
    assert not thin.words.training


def test_statistics_are_sums_over_inputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Network()
    batches = [torch.randint(0, 50, (4, 6)) for _ in range(3)]
    found = input_statistics(model, [batches[0], (batches[1],), {"ids": batches[2]}])
    ids = torch.cat(batches)
    x = model.words(ids).reshape(-1, 24).detach().double().numpy()
    assert found["body.0.weight.input_cov"] == pytest.approx(x.T @ x, rel=1e-6)
    counts = np.bincount(ids.reshape(-1).numpy(), minlength=50)
    assert (found["words.weight.row_weights"] == counts + 1).all()
    assert set(found) == {
        "words.weight.row_weights", "body.0.weight.input_cov", "body.2.weight.input_cov"
    }  # fmt: skip
    source = stored(model, tmp_path / "net.safetensors")
    outputs = model(ids)
    errors = []
    for statistics in (None, found):
        target = tmp_path / "small.safetensors"
        compress_model(source, target, budget=0.5, statistics=statistics)
        thin = load_compressed(Network(), target)
        errors.append(float(((thin(ids) - outputs) ** 2).sum().detach()))
    assert errors[1] < errors[0]
    assert not model.body[0]._forward_pre_hooks


def test_every_other_tensor_is_loaded_as_it_is(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    buffers = {
        "steps": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "brief": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "none": torch.zeros(0),
    }
    network, other = Network(), Network()
    for name, value in buffers.items():
        network.register_buffer(name, value)
        other.register_buffer(name, torch.zeros_like(value))
    source, target = tmp_path / "net.safetensors", tmp_path / "small.safetensors"
    save_file(network.state_dict(), source)
    compress_model(source, target, budget=0.4)
    load_compressed(other, target)
    for name, value in buffers.items():
        assert torch.equal(getattr(other, name), value), name
    without = Network()
    before = without.norm.weight.clone()
    with pytest.raises(ValueError, match=r"has a tensor '[a-z]+', which the model has not"):
        load_compressed(without, target)
    assert isinstance(without.words, torch.nn.Embedding)
    assert torch.equal(without.norm.weight, before)


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    source = stored(Network(), tmp_path / "net.safetensors")
    target = tmp_path / "small.safetensors"
    compress_model(source, target, budget=0.4)
    other = torch.nn.Sequential(torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="which the model has not"):
        load_compressed(other, target)
    wrong = Network()
    wrong.body[0] = torch.nn.Linear(24, 41)
    before = {name: value.clone() for name, value in wrong.state_dict().items()}
    with pytest.raises(ValueError, match="has shape"):
        load_compressed(wrong, target)
    after = wrong.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
