"""`matfac export` and `matfac plot`: vectors and pictures of a model, as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matfac import embeddings, plotting
from matfac._atomic import replacing
from matfac._cli_paths import check_target
from matfac._persistence import load
from matfac._titles import add_titles, given_titles

PLOTS = ("curves", "spectrum", "map", "popularity")


def add_files(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to the parser of all."""
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
    export.add_argument(
        "-k",
        type=int,
        default=10,
        help="length of the lists of an .onnx file (default: %(default)s)",
    )
    add_titles(export)
    export.set_defaults(run=run_export)

    plot = commands.add_parser("plot", help="a picture of a fit or a model")
    plot.add_argument("kind", choices=PLOTS, help="what to draw")
    plot.add_argument("model", type=Path, nargs="+", help="one; for curves, several side by side")
    plot.add_argument("--out", required=True, type=Path, help="file: .png, .svg, .pdf, ...")
    plot.add_argument(
        "-k", type=int, default=10, help="popularity: length of the lists (default: %(default)s)"
    )
    add_titles(plot)
    plot.set_defaults(run=run_plot)


def run_export(args: argparse.Namespace) -> None:
    """Write the file."""
    check_target("--out", args.out, args.model, args.titles)
    suffix = args.out.suffix.lower()
    kinds = (*embeddings.WRITERS, ".usearch", ".onnx")
    if suffix not in kinds:
        raise ValueError(f"--out must end in {', '.join(kinds)}, got {args.out}")
    graph = suffix in (".usearch", ".onnx")
    if graph and (args.side == "users" or args.titles is not None):
        raise ValueError(f"{suffix} files hold items without titles: leave out --side and --titles")
    model = load(args.model)
    titles = given_titles(args)
    if suffix == ".usearch":
        content = embeddings.to_index(model).save()  # not to the file: the error gives no reason
        assert content is not None
        with replacing(args.out) as new:
            new.write_bytes(content)
    elif suffix == ".onnx":
        embeddings.to_onnx(model, args.out, k=args.k)
    else:
        embeddings.export(model, args.out, side=args.side, titles=titles)
    factors = model.user_factors_ if args.side == "users" else model.item_factors_
    print(f"{args.out}: {len(factors)} {args.side} of {type(model).__name__}")


def run_plot(args: argparse.Namespace) -> None:
    """Draw and write the picture."""
    check_target("--out", args.out, *args.model, args.titles)
    if args.kind != "curves" and len(args.model) > 1:
        raise ValueError(f"plot {args.kind} draws one model, got {len(args.model)}")
    if args.kind != "map" and args.titles is not None:
        raise ValueError("--titles goes with plot map alone")
    distinct = len({path.stem for path in args.model}) == len(args.model)
    models = {path.stem if distinct else str(path): load(path) for path in args.model}
    model = next(iter(models.values()))
    if args.kind == "curves":
        ax = plotting.learning_curves(models if len(args.model) > 1 else model)
    elif args.kind == "spectrum":
        ax = plotting.factor_spectrum(model)
    elif args.kind == "map":
        ax = plotting.item_map(model, given_titles(args))
    else:
        ax = plotting.popularity_bias(model, k=args.k)
    figure: Any = ax.get_figure()
    with replacing(args.out) as new:
        figure.savefig(new, format=args.out.suffix[1:] or "png", dpi=150)
    print(args.out)
