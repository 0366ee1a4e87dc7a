"""Fits that are stopped, killed or out of disk go on from their last whole epoch."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import random_ratings, side_features
from matfac import Checkpoint, ExplicitMF, ImplicitMF, load, model_io

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")

RATINGS = random_ratings(120, 90, 0.25, seed=1)
CLICKS = random_ratings(120, 90, 0.2, seed=2, implicit=True)
WEIGHTS = RATINGS.copy()
WEIGHTS.data = np.random.default_rng(3).random(RATINGS.nnz) + 0.5

CASES: dict[str, Any] = {
    "als": (ExplicitMF, {}, {}),
    "als-exact": (ExplicitMF, {"cg_steps": None, "dtype": "float64"}, {}),
    "als-weights": (ExplicitMF, {}, {"weights": WEIGHTS}),
    "sgd": (ExplicitMF, {"solver": "sgd", "deterministic": True, "n_threads": 2}, {}),
    "ials": (ImplicitMF, {}, {}),
    "hu": (ImplicitMF, {"alpha": 5.0, "reg": 0.5}, {}),
    "features": (ExplicitMF, {}, {"user_features": side_features(120, 5, seed=4)}),
    "clicks-features": (
        ImplicitMF,
        {},
        {
            "user_features": side_features(120, 5, seed=4),
            "item_features": side_features(90, 3, seed=5),
        },
    ),
}


@pytest.fixture(params=CASES)
def fit(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Fit one case's estimator with some more parameters."""
    cls, parameters, keywords = CASES[request.param]

    def run(*, checkpoint: Any = None, resume: bool = False, **more: Any) -> Any:
        given = {"n_factors": 6, "n_iter": 9, "random_state": 0, **parameters, **more}
        data = CLICKS if cls is ImplicitMF else RATINGS
        return cls(**given).fit(data, checkpoint=checkpoint, resume=resume, **keywords)

    return run


def interrupt_at(last: int) -> Callable[[int, Any], None]:
    def callback(epoch: int, record: Any) -> None:
        if epoch == last:
            raise KeyboardInterrupt

    return callback


def assert_same(a: Any, b: Any) -> None:
    for name in ("user_factors_", "item_factors_", "user_bias_", "item_bias_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.n_iter_, a.objective_) == (b.n_iter_, b.objective_)
    histories = [[{**r, "seconds": 0} for r in model.history_] for model in (a, b)]
    assert histories[0] == histories[1]


# ------------------------------------------------------------------ resume


@pytest.mark.parametrize("stop", [1, 4, 8, 9])
def test_a_resumed_fit_ends_in_the_same_bits(fit: Any, stop: int, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=path, callback=interrupt_at(stop))
    seen: list[int] = []
    resumed = fit(checkpoint=path, resume=True, callback=lambda epoch, _: seen.append(epoch))
    assert seen == list(range(stop + 1, 10))
    assert_same(resumed, fit())
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_file_resume_starts_anew(fit: Any, tmp_path: Path) -> None:
    assert_same(fit(checkpoint=tmp_path / "run", resume=True), fit())


@pytest.mark.parametrize("name", ["als", "sgd", "ials"])
def test_early_stopping_resumes_with_its_best_epoch(name: str, tmp_path: Path) -> None:
    cls, parameters, _ = CASES[name]
    data = CLICKS if cls is ImplicitMF else RATINGS
    given = {"n_factors": 6, "n_iter": 40, "reg": 1e-4, "early_stopping": True, "patience": 3,
             "random_state": 0, **parameters}  # fmt: skip
    whole = cls(**given).fit(data)
    assert whole.n_iter_ < len(whole.history_) < 40
    for stop in range(1, len(whole.history_) + 1):
        path = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            cls(**given, callback=interrupt_at(stop)).fit(data, checkpoint=path)
        assert_same(cls(**given).fit(data, checkpoint=path, resume=True), whole)


def test_the_seed_of_a_fit_without_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    kw = {"n_factors": 4, "solver": "sgd", "n_threads": 1, "early_stopping": True, "patience": 99}
    for _ in range(2):
        if not path.exists():
            with pytest.raises(KeyboardInterrupt):
                ExplicitMF(**kw, callback=interrupt_at(3)).fit(RATINGS, checkpoint=path)
    content = path.read_bytes()
    models = []
    for _ in range(2):
        path.write_bytes(content)
        models.append(ExplicitMF(**kw).fit(RATINGS, checkpoint=path, resume=True))
    assert_same(*models)


def test_smaller_steps_stay_small_after_a_resume(tmp_path: Path) -> None:
    kw = {"n_factors": 4, "solver": "sgd", "deterministic": True, "learning_rate": 300.0,
          "random_state": 0, "n_iter": 6}  # fmt: skip
    with pytest.warns(UserWarning, match="diverged"):
        whole = ExplicitMF(**kw).fit(RATINGS)
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="diverged"):
        ExplicitMF(**kw, callback=interrupt_at(4)).fit(RATINGS, checkpoint=path)
    assert_same(ExplicitMF(**kw).fit(RATINGS, checkpoint=path, resume=True), whole)


def test_more_epochs_and_other_threads_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run"
    ExplicitMF(n_factors=4, n_iter=3, random_state=0).fit(RATINGS, checkpoint=path)
    more = ExplicitMF(n_factors=4, n_iter=7, n_threads=2, random_state=0, verbose=False)
    wanted = ExplicitMF(n_factors=4, n_iter=7, random_state=0).fit(RATINGS)
    assert_same(more.fit(RATINGS, checkpoint=path, resume=True), wanted)


# ------------------------------------------------------------------ when it is written


def epochs_written(checkpoint: Checkpoint, n_iter: int = 7) -> list[int]:
    written = []

    def note(epoch: int, record: Any) -> None:
        if Path(checkpoint.path).exists():
            written.append(len(model_io.read(checkpoint.path)[1]["history"]))

    ExplicitMF(n_factors=2, n_iter=n_iter, callback=note).fit(RATINGS, checkpoint=checkpoint)
    return written


def test_every_so_many_epochs(tmp_path: Path) -> None:
    assert epochs_written(Checkpoint(tmp_path / "a", epochs=3)) == [3, 3, 3, 6, 6]
    assert epochs_written(Checkpoint(tmp_path / "b", epochs=None, minutes=0)) == [*range(1, 8)]
    assert epochs_written(Checkpoint(tmp_path / "c", epochs=None, minutes=60)) == []


def test_ctrl_c_writes_the_last_whole_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        ExplicitMF(n_factors=2, callback=interrupt_at(5)).fit(
            RATINGS, checkpoint=Checkpoint(path, epochs=None)
        )
    assert len(model_io.read(path)[1]["history"]) == 5


# ------------------------------------------------------------------ clear errors


def test_what_does_not_go_on_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    ExplicitMF(n_factors=4, n_iter=2, random_state=0).fit(RATINGS, checkpoint=path)
    go_on = {"checkpoint": path, "resume": True}
    with pytest.raises(ValueError, match=r"fit with reg=0\.08, not 0\.5"):
        ExplicitMF(n_factors=4, reg=0.5, random_state=0).fit(RATINGS, **go_on)
    with pytest.raises(ValueError, match="a fit to other data"):
        ExplicitMF(n_factors=4, random_state=0).fit(RATINGS * 2, **go_on)
    with pytest.raises(ValueError, match="a fit to other data"):
        ExplicitMF(n_factors=4, random_state=0).fit(RATINGS, weights=WEIGHTS, **go_on)
    with pytest.raises(ValueError, match="a fit to other data"):
        ExplicitMF(n_factors=4, random_state=0).fit(
            RATINGS, user_features=side_features(120, 5, seed=4), **go_on
        )
    with pytest.raises(ValueError, match="a checkpoint of ExplicitMF, not of ImplicitMF"):
        ImplicitMF().fit(CLICKS, **go_on)
    with pytest.raises(ValueError, match="class 'Checkpoint'"):
        load(path)
    model = ExplicitMF(n_factors=4).fit(RATINGS)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="not a checkpoint but a file of 'ExplicitMF'"):
        model.fit(RATINGS, checkpoint=tmp_path / "model", resume=True)
    with pytest.raises(ValueError, match="resume needs checkpoint"):
        model.fit(RATINGS, resume=True)
    with pytest.raises(TypeError, match="checkpoint must be a path or a Checkpoint, got 3"):
        model.fit(RATINGS, checkpoint=3)
    for bad in ({"epochs": 0}, {"minutes": -1}):
        with pytest.raises(ValueError, match="must be"):
            Checkpoint(path, **bad)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    ExplicitMF(n_factors=4, n_iter=2, random_state=0).fit(RATINGS, checkpoint=path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 200):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.integers(8)])
                         + content[at + 1:])  # fmt: skip
        with pytest.raises(ValueError, match="run"):
            ExplicitMF(n_factors=4, random_state=0).fit(RATINGS, checkpoint=path, resume=True)


def in_a_child(work: Callable[[], None]) -> str:
    """Run `work` in a forked child; return what it said of its error."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run"
    ExplicitMF(n_factors=4, n_iter=2, random_state=0).fit(RATINGS, checkpoint=path)
    content = path.read_bytes()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ExplicitMF(n_factors=4, random_state=0).fit(RATINGS, checkpoint=path, resume=True)

    said = in_a_child(work)
    assert said.startswith("OSError")
    assert "run" in said
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "run"
    ExplicitMF(n_factors=4, n_iter=2, random_state=0).fit(RATINGS, checkpoint=path)
    content = path.read_bytes()
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and "pytest" in str(above):
            above.chmod(0o755)
    folder.chmod(0o555)

    def work() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write anywhere
        ExplicitMF(n_factors=4, random_state=0).fit(RATINGS, checkpoint=path, resume=True)

    said = in_a_child(work)
    folder.chmod(0o755)
    assert said.startswith("PermissionError")
    assert str(folder) in said
    assert path.read_bytes() == content


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        ExplicitMF(n_factors=4, n_iter=2).fit(RATINGS, checkpoint=tmp_path / "no" / "run")


# ------------------------------------------------------------------ kill -9


def kill_and_resume(path: Path, n_kills: int, seed: int) -> list[int]:
    """Kill n_kills fits at random moments, each going on from the last; return their epochs.

    A fit that comes to its end is one kill less: the file is then removed, and it starts anew.
    """
    rng = np.random.default_rng(seed)
    kw = {"n_factors": 8, "solver": "sgd", "deterministic": True, "n_iter": 60, "random_state": 0}
    wanted = ExplicitMF(**kw).fit(RATINGS)
    epochs, kills, last = [], 0, 0
    while kills < n_kills:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:

            def tell(epoch: int, record: Any, write: int = write) -> None:
                os.write(write, bytes([epoch]))

            ExplicitMF(**kw, callback=tell).fit(RATINGS, checkpoint=path, resume=True)
            os._exit(0)
        os.close(write)
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)[1] == 0
        with os.fdopen(read, "rb") as pipe:
            told = pipe.read()
        if told:
            assert told[0] == last + 1  # it went on where the one before was
            last = told[-1]
        if path.exists():
            _, meta = model_io.read(path, mmap=False)  # compares every checksum
            written = len(meta["history"])
            assert last <= written <= last + 1  # an epoch is told of once it is written
            last = written
        else:
            assert last == 0
        if ended:
            assert last == 60
            assert_same(ExplicitMF(**kw).fit(RATINGS, checkpoint=path, resume=True), wanted)
            path.unlink()
            last = 0
        else:
            kills += 1
            epochs.append(last)
    if path.exists():
        assert_same(ExplicitMF(**kw).fit(RATINGS, checkpoint=path, resume=True), wanted)
    return epochs


@pytest.mark.slow
def test_kill_9_loses_the_epoch_under_way_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n_kills = int(os.environ.get("MATFAC_KILLS", "40"))
    folder = tmp_path / "folder"
    folder.mkdir()
    epochs = kill_and_resume(folder / "run", n_kills, seed=int(time.time()))
    with capsys.disabled():
        print(f"\n{len(epochs)} kills, at epochs {min(epochs)} to {max(epochs)}: none lost")
    assert len(epochs) == n_kills
    # A writing that was killed leaves files of other names, which the next fit removes.
    assert len(list(folder.iterdir())) <= 3
