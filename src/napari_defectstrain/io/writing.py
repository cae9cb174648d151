"""Files that appear whole or not at all, and what killed writers leave behind.

Every file is written under a temporary name in its own folder and moved into place, so that no
reader ever meets half a file and a full disk or an interruption leaves what was there before.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..interruptions import put_in_order
from ..types import DefectStrainError

_DAY_S = 86400.0
"""No file takes as long to write: an older temporary one is left over, whoever wrote it [s]."""

_CLOCK_S = 3.0
"""How far the clocks of processes and files may be apart [s]."""

_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part\..+")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder; moved to `path` if the block succeeds, else removed.

    Where `path` is a link, the link is replaced, never the file that it points to.

    Raises
    ------
    DefectStrainError
        If the file can't be written: no such folder, no permission, disk full.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("all or nothing")
    ...     print((Path(folder) / "a.txt").read_text())
    all or nothing
    """
    path = Path(path)
    with put_in_order():
        temporary = _temporary(path)
        try:
            yield temporary
            temporary.replace(path)
        except OSError as error:
            raise DefectStrainError(
                f"{path}: can't be written: {error.strerror or error}; {_advice(error)}"
            ) from error
        except ValueError as error:
            # Python refuses such a name before the system does
            if "null" not in str(error) and not isinstance(error, UnicodeEncodeError):
                raise
            raise DefectStrainError(f"{path}: can't be written: {error}; {_BAD_NAME}") from error
        finally:
            # Also on Ctrl-C. After the move, or in a folder that isn't there, nothing is left over.
            with suppress(OSError, ValueError):
                temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic_path`, for a folder: what has the name is put aside until the new one has it.

    Raises
    ------
    DefectStrainError
        If it can't be written; what was there is there again.
    """
    with put_in_order():
        temporary, aside = _temporary(path), _temporary(path)
        try:
            yield temporary
            there = path.exists() or path.is_symlink()
            if there:
                path.rename(aside)
            try:
                temporary.rename(path)
            except BaseException:
                if there:
                    aside.rename(path)
                raise
            _remove(aside)
        except OSError as error:
            raise DefectStrainError(
                f"{path}: can't be written: {error.strerror or error}; {_advice(error)}"
            ) from error
        finally:
            _remove(temporary)


def _temporary(path: Path) -> Path:
    """A free name beside a file; with its suffix, by which writers of pictures choose formats."""
    return path.with_name(f".{host_id()}-{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError, ValueError):
        path.unlink()


_BAD_NAME = "choose another name"


def _advice(error: OSError) -> str:
    """What to do about an error of writing."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "free some space or choose another folder"
    if error.errno == errno.EFBIG:
        return "choose another disk: this one takes no files as large"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        # Windows says so of a file that is open elsewhere, too
        return "choose another folder, or close the file where it is open"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "make its folder first, or choose another"
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
        return _BAD_NAME
    if error.errno == errno.EISDIR:
        return "a folder has this name: choose another"
    return "choose another folder"


def host_id() -> str:
    """Eight hexadecimal digits that tell this machine from others that share a folder with it."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def is_alive(host: str, pid: int, wrote_s: float) -> bool | None:
    """Whether the process that wrote a file still runs; None where that can't be known.

    Parameters
    ----------
    host : str
        Its `host_id`: of another machine's processes nothing is known.
    pid : int
    wrote_s : float
        When the file was written [s since the epoch]: a younger process has only its number.
    """
    if host != host_id():
        return None
    if os.name == "nt":  # signal 0 would end the process there
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return not _has_ended(pid) and not _began_after(pid, wrote_s)


def _has_ended(pid: int) -> bool:
    """Whether a process has only its number left, which its parent didn't ask after yet.

    A killed one keeps that as long as its parent lives and doesn't wait for it, as in a container
    whose first process is none that waits.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        state = _state_by_ps(pid)
    return state[:1] in ("Z", "X")


def _state_by_ps(pid: int) -> str:
    """State of a process where there is no /proc; empty where nobody tells."""
    try:
        asked = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, timeout=_CLOCK_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def _began_after(pid: int, time_s: float) -> bool:
    """Whether a process is younger than that; False where the system doesn't tell."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
        if boot is None:
            return False
        began_s = int(boot[1]) + int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return False
    return began_s > time_s + _CLOCK_S


def _is_alive_windows(pid: int) -> bool:
    import ctypes

    synchronize, still_running = 0x00100000, 0x00000102
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    running = kernel.WaitForSingleObject(handle, 0) == still_running
    kernel.CloseHandle(handle)
    return bool(running)


def is_left_over(path: Path) -> bool:
    """Whether a file, or folder, is a temporary one of ours whose writer is gone.

    Of another machine's writers nothing is known: their files are left over after a day.
    """
    found = _TEMPORARY.fullmatch(path.name)
    if found is None:
        return False
    try:
        wrote_s = path.lstat().st_mtime
    except OSError:  # moved or removed meanwhile
        return False
    if time.time() - wrote_s > _DAY_S:
        return True
    return is_alive(found[1], int(found[2]), wrote_s) is False


def remove_left_over(folder: Path) -> list[Path]:
    """Remove the temporary files of dead writers from a folder; returns them.

    Nothing else is touched: no file of another name, none that is still being written.
    """
    try:
        found = [path for path in folder.iterdir() if is_left_over(path)]
    except OSError:
        return []
    for path in found:
        _remove(path)
    return found


def check_writable(folder: Path, needed_bytes: int = 0) -> None:
    """See that a file can be written into a folder, or into the nearest one above that exists.

    Parameters
    ----------
    folder : Path
    needed_bytes : int
        Space that must be free.

    Raises
    ------
    DefectStrainError
        If a file can't be created there, or there is less space than that.
    """
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise DefectStrainError(f"{folder}: can't be created: {there} is a file")
    name = there / f".{host_id()}-{os.getpid()}-{secrets.token_hex(4)}.part.check"
    try:
        with put_in_order():
            try:
                # Permissions alone don't tell: the file system may be read-only or full.
                name.write_bytes(b"\0" * 4096)
            finally:
                with suppress(OSError):
                    name.unlink()
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise DefectStrainError(
            f"{there}: can't be written: {error.strerror or error}; choose another folder"
        ) from error
    if free < needed_bytes:
        raise DefectStrainError(
            f"{there}: got {free / 1e6:.0f} MB of free space, expected {needed_bytes / 1e6:.0f} MB "
            "or more; free some, or choose another folder"
        )
