"""PyTorch models with compressed weights: two thin layers for a wide one. Needs matfac[torch]."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matfac._engine import Floats
from matfac._tensor_file import TensorFile

__all__ = ["input_statistics", "load_compressed"]

# PyTorch's names of the dtypes of files.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "this needs PyTorch: pip install 'matfac[torch]', or torch itself"
        ) from error
    return torch


def load_compressed(model: Any, path: str | os.PathLike[str]) -> Any:
    """Load a file that `compress_model` wrote into a model of the original shape, in place.

    A `torch.nn.Linear` whose weight W became A and B turns into two: ``Linear(n, rank)`` without
    bias, then ``Linear(rank, m)`` with the old one's. A `torch.nn.Embedding` turns into one of
    length rank and a Linear. Every other tensor of the file is loaded as it is.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters have the names of the source file. Unchanged where an error is raised.
    path : path-like

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ValueError
        The file has tensors that the model has not, of another shape, or of a dtype that PyTorch
        has not.
    """
    torch = _torch()
    file = TensorFile(path)
    modules = dict(model.named_modules())
    pairs: dict[str, Any] = {}
    for name in file.tensors:
        weight = name[:-2]
        if not name.endswith(".A") or f"{weight}.B" not in file.tensors:
            continue
        where = weight.removesuffix(".weight")
        if where == weight or where not in modules:
            raise ValueError(f"{path} has factors of {weight!r}, which the model has not")
        A, B = file.floats(name), file.floats(f"{weight}.B")
        pairs[where] = _thin(torch, modules[where], where, A, B)
    state = model.state_dict()
    factors = {f"{where}.weight.{part}" for where in pairs for part in "AB"}
    plain = {name: tensor for name, tensor in file.tensors.items() if name not in factors}
    for name, tensor in plain.items():
        if name not in state:
            raise ValueError(f"{path} has a tensor {name!r}, which the model has not")
        shape = tuple(state[name].shape)
        if shape != tensor.shape:
            raise ValueError(f"{name} has shape {tensor.shape} in {path}, {shape} in the model")
        if not hasattr(torch, DTYPES.get(tensor.code, tensor.code)):
            raise ValueError(f"{name} in {path} is of {tensor.code}, which this PyTorch has not")
    with torch.no_grad():
        for name, tensor in plain.items():
            if tensor.size:  # PyTorch makes nothing of no bytes
                data = bytearray().join(file.chunks(name))
                kind = getattr(torch, DTYPES[tensor.code])
                state[name].copy_(torch.frombuffer(data, dtype=kind).reshape(tensor.shape))
        for where, layers in pairs.items():
            bias = getattr(modules[where], "bias", None)
            if bias is not None:  # loaded just now, or the model's own
                layers[1].bias.copy_(bias)
            parent, _, leaf = where.rpartition(".")
            setattr(model.get_submodule(parent), leaf, layers)
    return model


def _thin(torch: Any, module: Any, where: str, A: Floats, B: Floats) -> Any:
    """Two layers for one, with the factors in place."""
    (m, rank), n = A.shape, B.shape[1]
    weight = getattr(module, "weight", None)
    if not isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) or weight is None:
        raise ValueError(
            f"{where} is a {type(module).__name__}: only Linear and Embedding can be two layers; "
            f"keep it whole with skip=['{where}.weight']"
        )
    if tuple(weight.shape) != (m, n):
        raise ValueError(f"{where}.weight has shape {tuple(weight.shape)}, its factors {(m, n)}")
    kind = {"dtype": weight.dtype, "device": weight.device}
    if isinstance(module, torch.nn.Linear):
        first = torch.nn.Linear(n, rank, bias=False, **kind)
        second = torch.nn.Linear(rank, m, bias=module.bias is not None, **kind)
        pair = (B, A)
    else:
        first = torch.nn.Embedding(m, rank, padding_idx=module.padding_idx, **kind)
        second = torch.nn.Linear(rank, n, bias=False, **kind)
        pair = (A, B.T)
    with torch.no_grad():
        for layer, factor in zip((first, second), pair, strict=True):
            layer.weight.copy_(torch.from_numpy(np.array(factor)))
    return torch.nn.Sequential(first, second).train(module.training)


def input_statistics(model: Any, batches: Iterable[Any]) -> dict[str, NDArray[np.float64]]:
    """Run a model on calibration batches and return what `compress_model` weighs its errors by.

    Parameters
    ----------
    model : torch.nn.Module
    batches : iterable
        Each is passed to the model: a mapping as keywords, a tuple or list as arguments, anything
        else as the one argument. Some thousand tokens of the kind the model is for will do.

    Returns
    -------
    dict of str to ndarray
        ``NAME.input_cov`` (n, n) for the weight of every `torch.nn.Linear`, the sum of x x' over
        its inputs x; ``NAME.row_weights`` (m,) for every `torch.nn.Embedding`, how often each row
        was looked up, plus one.
    """
    torch = _torch()
    sums: dict[str, Any] = {}

    def hook(name: str, module: Any) -> Any:
        def linear(_: Any, given: Any) -> None:
            x = given[0].detach().reshape(-1, module.in_features).double()
            sums[f"{name}.weight.input_cov"] += x.T @ x

        def embedding(_: Any, given: Any) -> None:
            counts = torch.bincount(given[0].detach().reshape(-1), minlength=module.num_embeddings)
            sums[f"{name}.weight.row_weights"] += counts

        if isinstance(module, torch.nn.Linear):
            side = module.in_features
            start = torch.zeros(side, side, dtype=torch.double, device=module.weight.device)
            sums[f"{name}.weight.input_cov"] = start
            return module.register_forward_pre_hook(linear)
        if isinstance(module, torch.nn.Embedding):
            start = torch.ones(
                module.num_embeddings, dtype=torch.double, device=module.weight.device
            )
            sums[f"{name}.weight.row_weights"] = start
            return module.register_forward_pre_hook(embedding)
        return None

    hooks = [hook(name, module) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            for batch in batches:
                if isinstance(batch, Mapping):
                    model(**batch)
                elif isinstance(batch, (tuple, list)):
                    model(*batch)
                else:
                    model(batch)
    finally:
        for each in hooks:
            if each is not None:
                each.remove()
    # A layer that no batch reached has nothing to weigh by.
    return {name: total.cpu().numpy() for name, total in sums.items() if bool(total.any())}
