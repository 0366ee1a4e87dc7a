"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new, empty file that replaces `path` at the end, once it is on the disk.

    An error inside leaves `path` as it was and nothing beside it. Who has the old file open or
    mapped keeps it.

    Raises
    ------
    IsADirectoryError, FileNotFoundError
        `path` is a directory, or there is no directory to hold it.
    OSError
        It cannot be written: the disk is full, the directory read-only. The error names `path`.
    """
    target = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a directory: give the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no directory {target.parent}")
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = temporary.stat().st_mode  # as the umask has it; some writers allow the owner alone
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, target)
    except OSError as error:
        if error.filename not in (None, os.fspath(temporary)):
            raise  # of another file
        # Not every writer's error has a number, and none has the name that was asked for.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno or errno.EIO, reason, os.fspath(path)) from error
    finally:
        with suppress(OSError):  # renamed, never made, or on what can no longer be written
            temporary.unlink()
    with suppress(OSError):  # not every system can flush a directory
        _sync(target.parent, os.O_RDONLY)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what writers of `path` left that were killed; nobody may be writing it now."""
    target = Path(os.path.realpath(path))
    with suppress(OSError):
        for file in target.parent.iterdir():
            random = file.name.removeprefix(_prefix(target))
            if random != file.name and len(random) == 20 and random.endswith(".tmp"):
                file.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
