"""`matfac compress`: a network's weight matrices as factor pairs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from matfac._atomic import replacing
from matfac._cli_paths import check_target
from matfac.compressed_model import ModelReport, compress_model


def add_compress(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of all."""
    compress = commands.add_parser(
        "compress", help="a network's weight matrices (safetensors) as factor pairs"
    )
    compress.add_argument("file", type=Path, help="safetensors file; it is never changed")
    compress.add_argument(
        "--budget", required=True, type=float, help="share of the parameters to keep, as 0.5"
    )
    compress.add_argument(
        "--out", type=Path, help="file to write (default: FILE with .compressed before its suffix)"
    )
    compress.add_argument(
        "--skip", action="append", default=[], help="pattern of tensors to keep whole; repeat"
    )
    compress.add_argument(
        "--statistics", type=Path, help="safetensors file of NAME.input_cov and NAME.row_weights"
    )
    compress.add_argument("--plot", type=Path, help="picture of spectra and errors to write")
    compress.set_defaults(run=run_compress)


def run_compress(args: argparse.Namespace) -> None:
    """Write the factors and print what became of every tensor."""
    out = args.out or args.file.with_suffix(f".compressed{args.file.suffix}")
    check_target("--out", out, args.file, args.statistics)
    if args.plot is not None:
        check_target("--plot", args.plot, args.file, args.statistics)
    report = compress_model(
        args.file, out, budget=args.budget, skip=args.skip, statistics=args.statistics
    )
    width = max((len(layer.name) for layer in report.layers), default=4)
    print(f"{'tensor':{width}}  {'shape':>12}  {'rank':>5}  relative error")
    for layer in report.layers:
        shape = " x ".join(map(str, layer.shape)) or "scalar"
        if layer.rank is None:
            print(f"{layer.name:{width}}  {shape:>12}   kept  {layer.kept}")
        else:
            print(f"{layer.name:{width}}  {shape:>12}  {layer.rank:5}  {layer.relative_error:.4f}")
    before, after = report.parameters_before, report.parameters_after
    if args.plot is not None:
        _picture(report, args.plot)
    print(f"{out}: {after} of {before} parameters ({after / max(before, 1):.1%})")


def _picture(report: ModelReport, path: Path) -> None:
    from matplotlib.figure import Figure

    from matfac.plotting import compression_curves

    figure = compression_curves(report)[0].get_figure()
    assert isinstance(figure, Figure)
    with replacing(path) as new:
        figure.savefig(new, format=path.suffix[1:] or "png", dpi=150)
