"""A folder has one writer at a time: a second run there would remove files that the first is about to rename."""

import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detinv.errors import OutputError

if sys.platform != "win32":
    import fcntl

LOCK = ".detinv.lock"
"""The file in a folder that its writer holds; it names the writer. Other programs leave a .lock of their own."""

# Of lockf: what another process holds. With anything else the file system says that it has no locks.
_HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold an existing folder against other processes within the block, on this machine or others that share it.

    The lock is the system's: it ends with the process, however that dies. Nothing is held where there are no locks.

    Raises:
        OutputError: when another process holds the folder, naming it; when the file cannot be opened.
    """
    path = folder / LOCK
    file = _locked(path)
    try:
        yield
    finally:
        if file is not None:
            # Where the folder has been removed or replaced meanwhile, the file there may be that of another run.
            with suppress(OSError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    path.unlink()
            os.close(file)


def _locked(path: Path) -> int | None:
    """Create and lock a file; None where the file system has no locks."""
    if sys.platform == "win32":
        return None
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            # As one that another user's run left when it died.
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"{path} cannot be opened: {reason}; remove it, or choose another out_dir") from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 200).decode(errors="replace") or "another process"
            os.close(file)
            if error.errno not in _HELD:
                with suppress(OSError):
                    path.unlink()
                return None
            raise OutputError(
                f"out_dir {path.parent} is in use by {holder}; wait until that has ended, or choose another out_dir"
            ) from error
        # Its last holder may have removed it in between.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                with suppress(OSError):
                    os.truncate(file, 0)
                    os.write(file, f"process {os.getpid()} of {platform.node()}".encode())
                return file
        os.close(file)
