"""`matfac export`: a model's vectors for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matfac import embeddings
from matfac._atomic import replacing
from matfac._persistence import load
from matfac._titles import add_titles, given_titles


def add_export(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of all."""
    export = commands.add_parser("export", help="the model's vectors for other programs")
    export.add_argument("model", type=Path)
    export.add_argument(
        "--out",
        required=True,
        type=Path,
        help="file; .npy, .parquet or .safetensors: vectors with ids; "
        ".usearch: vector index of the items; .onnx: graph from user vectors to the best items",
    )
    export.add_argument("--side", choices=("items", "users"), default="items")
    export.add_argument("-k", type=int, default=10, help="length of the lists of an .onnx file")
    add_titles(export)
    export.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> None:
    """Write the file."""
    suffix = args.out.suffix.lower()
    graph = suffix in (".usearch", ".onnx")
    if graph and (args.side == "users" or args.titles is not None):
        raise ValueError(f"{suffix} files hold items without titles: leave out --side and --titles")
    model = load(args.model)
    titles = given_titles(args)
    if suffix == ".usearch":
        index = embeddings.to_index(model)
        with replacing(args.out) as new:
            index.save(str(new))
    elif suffix == ".onnx":
        embeddings.to_onnx(model, args.out, k=args.k)
    else:
        embeddings.export(model, args.out, side=args.side, titles=titles)
    factors = model.user_factors_ if args.side == "users" else model.item_factors_
    print(f"{args.out}: {len(factors)} {args.side} of {type(model).__name__}")
