"""The `matfac` command: one function per subcommand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matfac import ExplicitMF, ImplicitMF, Interactions, __version__, load, metrics, show_config
from matfac._cli_compress import add_compress
from matfac._cli_export import add_files
from matfac._cli_paths import check_target
from matfac._cli_words import in_options
from matfac._evaluate import overlap
from matfac._model import FactorModel
from matfac._text_layout import DEFAULTS, find_layout
from matfac._titles import add_titles, given_titles


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        sys.stderr.close()
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        text = in_options(str(error))
        if isinstance(error, FileNotFoundError) and error.filename is not None:
            text = f"{error.filename} does not exist: check the path"
        print(f"matfac: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="matfac", description="Matrix factorization of ratings and clicks."
    )
    parser.add_argument("--version", action="version", version=f"matfac {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="fit planted data and show what comes out")
    demo.add_argument("--threads", type=int, help="(default: OMP_NUM_THREADS, or every core)")
    demo.set_defaults(run=run_demo)

    fit = commands.add_parser("fit", help="fit a model to a file of interactions")
    _add_file(fit)
    fit.add_argument("--out", required=True, type=Path, help="model file to write (safetensors)")
    fit.add_argument("--implicit", action="store_true", help="clicks rather than ratings")
    fit.add_argument("--solver", choices=("als", "sgd"), help="of ratings (default: als)")
    fit.add_argument("--factors", type=int, help="length of the factors (default: 64)")
    ridges = f"{ExplicitMF().reg}, implicit: {ImplicitMF().reg}"
    fit.add_argument("--reg", type=float, help=f"ridge (default: {ridges})")
    fit.add_argument("--reg-exponent", type=float, help="its growth with a row's count")
    fit.add_argument("--alpha0", type=float, help="implicit: weight of unobserved cells (iALS)")
    fit.add_argument("--alpha", type=float, help="implicit: confidence per unit (Hu and Koren)")
    fit.add_argument("--iter", type=int, help="epochs (default: 15)")
    fit.add_argument("--early-stopping", action="store_true", help="hold out a tenth and watch it")
    fit.add_argument(
        "--checkpoint",
        type=Path,
        help="keeps every epoch; a fit that finds it goes on there",
    )
    fit.add_argument("--threads", type=int, help="(default: OMP_NUM_THREADS, or every core)")
    fit.add_argument("--seed", type=int, default=0, help="of the start (default: %(default)s)")
    fit.set_defaults(run=run_fit)

    update = commands.add_parser("update", help="store new and changed users and items in a model")
    update.add_argument("model", type=Path)
    _add_file(update, "the whole history of the users in it, and of items new to the model")
    update.add_argument("--out", type=Path, help="model file to write (default: the model itself)")
    update.set_defaults(run=run_update)

    recommend = commands.add_parser("recommend", help="the best items for users")
    recommend.add_argument("model", type=Path)
    recommend.add_argument("--user", required=True, action="append", help="repeat for several")
    recommend.add_argument("--include-seen", action="store_true", help="items of training too")
    for option, text in (
        ("--items", "list these items alone"),
        ("--exclude-items", "list none of these items"),
    ):
        recommend.add_argument(
            option, nargs="+", metavar="ID", help=f"{text}; @FILE: the ids in a file, one a line"
        )
    explain = commands.add_parser("explain", help="which of a user's entries make an item's score")
    explain.add_argument("model", type=Path)
    explain.add_argument("--user", required=True)
    explain.add_argument("--item", required=True)
    _add_file(explain, "interactions with the user's own, such as those of the fit")
    similar = commands.add_parser("similar", help="items most similar to given items")
    similar.add_argument("model", type=Path)
    similar.add_argument("--item", required=True, action="append", help="repeat for several")
    for command, run in (
        (recommend, run_recommend), (explain, run_explain), (similar, run_similar),
    ):  # fmt: skip
        command.add_argument(
            "-k", type=int, default=10, help="length of each list (default: %(default)s)"
        )
        add_titles(command)
        command.set_defaults(run=run)

    evaluate = commands.add_parser("evaluate", help="score a model on held-out interactions")
    evaluate.add_argument("model", type=Path)
    _add_file(evaluate)
    evaluate.add_argument(
        "-k", type=int, default=10, help="length of the lists (default: %(default)s)"
    )
    evaluate.set_defaults(run=run_evaluate)

    add_files(commands)
    add_compress(commands)

    info = commands.add_parser("info", help="describe a model file, or this installation")
    info.add_argument("model", type=Path, nargs="?")
    info.set_defaults(run=run_info)
    return parser


def _add_file(parser: argparse.ArgumentParser, what: str = "") -> None:
    kinds = ".csv, .tsv, .dat (user::item::value) or .parquet"
    parser.add_argument("file", type=Path, help=f"{what}: {kinds}" if what else kinds)
    column = "name, or in text number from 0"
    for name, default in (
        ("user", "the first; of Parquet user"),
        ("item", "the second; of Parquet item"),
        ("value", "the third; of Parquet rating"),
    ):
        parser.add_argument(
            f"--{name}-column", help=f"{column} (default: by a usual name, else {default})"
        )
    parser.add_argument("--timestamp-column", help=f"{column}; orders repeated pairs")
    parser.add_argument("--no-value", action="store_true", help="each line is one event")
    parser.add_argument("--sep", help="separator of the columns (default: detected)")
    parser.add_argument(
        "--duplicates",
        help="repeated pairs: last, first, sum, mean, max or error (default: last; with "
        "--no-value sum)",
    )


def _column(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdigit() else text


def _columns(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `Interactions.read` is told of the columns."""
    options: dict[str, Any] = {}
    for name in ("user", "item", "value", "timestamp"):
        column = _column(getattr(args, f"{name}_column"))
        if column is not None:
            options[name] = column
    if args.no_value:
        if args.value_column is not None:
            raise ValueError("--no-value and --value-column exclude each other: give one")
        options["value"] = None
    if args.sep is not None:
        options["sep"] = args.sep.encode().decode("unicode_escape")
    return options


def _read(args: argparse.Namespace) -> Interactions:
    if args.file == Path("-"):
        raise ValueError("standard input is not read: write the table to a file and name that")
    return Interactions.read(args.file, duplicates=args.duplicates, **_columns(args))


def _fields(args: argparse.Namespace) -> str:
    """Tell which fields of a text file were read."""
    if args.file.is_dir() or args.file.suffix.lower() in (".parquet", ".pq"):
        return ""
    columns = _columns(args)
    labels = find_layout(
        str(args.file), columns.pop("sep", None), None, {**DEFAULTS, **columns}, "utf-8"
    ).labels
    return f" ({', '.join(f'{name} {label}' for name, label in labels.items())})"


def run_fit(args: argparse.Namespace) -> None:
    """Fit a model and save it."""
    given = {
        "n_factors": args.factors,
        "reg": args.reg,
        "reg_exponent": args.reg_exponent,
        "n_iter": args.iter,
        "alpha0": args.alpha0,
        "alpha": args.alpha,
        "solver": args.solver,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    refused = ("solver",) if args.implicit else ("alpha0", "alpha")
    for name in refused:
        if name in parameters:
            kind = "ratings" if args.implicit else "--implicit"
            raise ValueError(f"--{name} goes with {kind} alone")
    check_target("--out", args.out, args.file, args.checkpoint)
    cls: type[FactorModel] = ImplicitMF if args.implicit else ExplicitMF
    model = cls(
        **parameters,
        early_stopping=args.early_stopping,
        n_threads=args.threads,
        random_state=args.seed,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    data = _read(args)
    sizes = f"{data.shape[0]} users, {data.shape[1]} items, {data.nnz} entries"
    print(f"{args.file}: {sizes}{_fields(args)}")
    keeping: dict[str, Any] = {"checkpoint": args.checkpoint, "resume": args.checkpoint is not None}
    stopped = ""
    try:
        model.fit(data, **keeping)
    except KeyboardInterrupt:
        if not hasattr(model, "history_"):
            raise
        stopped = "stopped after "
    model.save(args.out)
    last = model.history_[-1]
    figures = ", ".join(f"{name} {value:.5g}" for name, value in last.items() if name != "epoch")
    print(f"{args.out}: {type(model).__name__}, {stopped}{model.n_iter_} epochs, {figures}")
    if stopped:
        raise KeyboardInterrupt


def _ids_of(texts: Sequence[str], ids: np.ndarray[Any, Any] | None, option: str) -> Any:
    """Read ids from the command line as the model's own kind."""
    if ids is not None and ids.dtype.kind == "U":
        return list(texts)
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise ValueError(f"{option} must be an integer for this model, got {texts}") from None


def _print_lists(
    heads: Sequence[str],
    lists: np.ndarray[Any, Any],
    scores: np.ndarray[Any, Any],
    titles: dict[str, str],
) -> None:
    for head, items, values in zip(heads, lists, scores, strict=True):
        print(head)
        for rank, (item, value) in enumerate(zip(items, values, strict=True), 1):
            if np.isneginf(value):
                break
            print(f"{rank:4d}  {value:8.4f}  {titles.get(str(item), item)}")


def run_update(args: argparse.Namespace) -> None:
    """Store new and changed rows in a model and save it."""
    out = args.out or args.model
    check_target("--out", out, args.file)
    model = load(args.model)
    before = len(model.user_factors_), len(model.item_factors_)
    data = _read(args)
    model.partial_fit(data)
    model.save(out)
    grown = len(model.user_factors_) - before[0], len(model.item_factors_) - before[1]
    print(f"{out}: {data.shape[0]} users solved, {grown[0]} of them new; {grown[1]} new items")


def _listed(texts: Sequence[str] | None, ids: np.ndarray[Any, Any] | None, option: str) -> Any:
    """Read a list of ids, of which some may be given as the name of a file with a @ before it."""
    if texts is None:
        return None
    flat: list[str] = []
    for text in texts:
        if text.startswith("@"):
            flat += Path(text[1:]).read_text(encoding="utf-8").split("\n")
        else:
            flat.append(text)
    return _ids_of([text.strip() for text in flat if text.strip()], ids, option)


def run_recommend(args: argparse.Namespace) -> None:
    """Print lists for known users."""
    model = load(args.model)
    users = _ids_of(args.user, model.user_ids_, "--user")
    lists, scores = model.recommend(
        users,
        args.k,
        exclude_seen=not args.include_seen,
        items=_listed(args.items, model.item_ids_, "--items"),
        exclude_items=_listed(args.exclude_items, model.item_ids_, "--exclude-items"),
    )
    _print_lists([f"user {user}" for user in users], lists, scores, given_titles(args) or {})


def run_explain(args: argparse.Namespace) -> None:
    """Print which of a user's entries make an item's score."""
    model = load(args.model)
    user = _ids_of([args.user], model.user_ids_, "--user")[0]
    item = _ids_of([args.item], model.item_ids_, "--item")[0]
    why = model.explain(user, item, _read(args))
    print(why.text(given_titles(args), args.k))


def run_similar(args: argparse.Namespace) -> None:
    """Print the neighbours of items."""
    model = load(args.model)
    titles = given_titles(args) or {}
    items = _ids_of(args.item, model.item_ids_, "--item")
    lists, scores = model.similar_items(items, args.k)
    _print_lists([f"like {titles.get(str(item), item)}" for item in items], lists, scores, titles)


def run_evaluate(args: argparse.Namespace) -> None:
    """Print metrics on held-out interactions of the model's own users and items."""
    model = load(args.model)
    data = _read(args)
    if model.user_ids_ is None or model.item_ids_ is None:
        raise ValueError(f"{args.model} has no ids: it was fitted on a bare matrix")
    matrix = data.aligned(model.user_ids_, model.item_ids_)
    known = matrix.tocoo()
    print(f"{known.nnz} of {data.nnz} entries have a user and an item that the model knows")
    if not known.nnz:
        raise ValueError(
            f"no entry of {args.file} has both a user and an item that {args.model} knows"
        )
    seen = 0
    if model._seen is not None:
        own = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        seen = overlap(own, model._seen, matrix.shape[1])
    if seen == known.nnz:
        raise ValueError(
            f"{args.file} holds entries of training alone: what is scored has to be held out of "
            "training"
        )
    if seen:
        print(f"{seen} of them are entries of training")
    if isinstance(model, ExplicitMF):
        users, items = known.coords
        predicted = model.predict(model.user_ids_[users], model.item_ids_[items])
        print(f"rmse  {metrics.rmse(known.data, predicted):.5f}")
        print(f"mae   {metrics.mae(known.data, predicted):.5f}")
        return
    found = metrics.evaluate(model, data, k=args.k, metrics=("recall", "ndcg", "hit_rate"))
    for name in (f"{metric}@{args.k}" for metric in ("recall", "ndcg", "hit_rate")):
        print(f"{name}  {found[name]:.5f}")
    print(f"users  {found['n_users']}")


def run_info(args: argparse.Namespace) -> None:
    """Print a model's description, or the configuration."""
    if args.model is None:
        for name, value in show_config().items():
            print(f"{name:16} {value}")
        return
    model = load(args.model)
    print(f"{type(model).__name__}: {len(model.user_factors_)} users, {model.n_features_in_} items")
    print(
        f"ids: {'yes' if model.user_ids_ is not None else 'no'}, {model.n_iter_} epochs, "
        f"objective {model.objective_:.6g}, dtype {model.item_factors_.dtype}"
    )
    for name, value in sorted(model.get_params().items()):
        print(f"  {name} = {value}")


def run_demo(args: argparse.Namespace) -> None:
    """Fit planted data; see `matfac._demo`."""
    from matfac._demo import demo

    demo(args.threads)


if __name__ == "__main__":
    sys.exit(main())
