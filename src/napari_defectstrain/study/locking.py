"""One process at a time writes into a study: the others read, and are told who writes."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..io.unfinished import json_object
from ..io.writing import host_id, is_alive
from ..types import DefectStrainError
from .layout import LOCK_FILE

_TRIES = 100
_PAUSE_S = 0.02
"""How often, and how far apart, a lock that is just being taken over is looked at again [s]."""

_STALE_S = 10.0
"""Age from which on a sign that a lock is being taken over is that of a process that died [s]."""


def user_name() -> str:
    """Who works here, as far as the system says."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a name for its user
        return "unknown"


def time_now() -> str:
    """Local time with its offset, ISO 8601, to a second."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True)
class Holder:
    """Who has a study open for writing.

    Parameters
    ----------
    user, host : str
    host_id : str
        Eight hexadecimal digits that tell machines apart.
    pid : int
    since : str
        ISO 8601.
    token : str
        Of this opening: a process may open a study twice.
    """

    user: str
    host: str
    host_id: str
    pid: int
    since: str
    token: str

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, of which is known whether it runs."""
        return self.host_id == host_id()

    def __str__(self) -> str:
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}"


class Lock:
    """The lock of a study's folder, held from `take` to `release`.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self.own: Holder | None = None

    def take(self, force: bool = False) -> Holder | None:
        """Take the lock; where another one has it, who that is, and None where it was taken.

        A lock whose process is gone from this machine is taken over. Of processes of other
        machines nothing is known.

        Parameters
        ----------
        force : bool
            Take over that of another machine, too: the user knows that nobody writes.

        Raises
        ------
        DefectStrainError
            If no lock can be written in that folder.
        """
        own = Holder(
            user_name(),
            socket.gethostname(),
            host_id(),
            os.getpid(),
            time_now(),
            secrets.token_hex(8),
        )
        for _ in range(_TRIES):
            if self._create(own):
                self.own = own
                return None
            other = read_holder(self.path)
            if other is None:  # gone meanwhile
                time.sleep(_PAUSE_S)
                continue
            if not _is_gone(other, self.path) and not (force and other.host_id != own.host_id):
                return other
            self._take_away(other)
        raise DefectStrainError(
            f"{self.path}: the lock can't be taken: other processes are taking it; try again"
        )

    def release(self) -> None:
        """Give the lock back, if it is still this one's; a forked process has none to give."""
        if self.own is not None and self.own.pid == os.getpid():
            self._remove(self.own)
        self.own = None

    @staticmethod
    def held_by(folder: Path) -> Holder | None:
        """Who has a study open for writing; None where nobody has."""
        return read_holder(folder / LOCK_FILE)

    @property
    def is_own(self) -> bool:
        """Whether the lock on the disk is this one's: another machine may have forced it."""
        if self.own is None or self.own.pid != os.getpid():
            return False
        found = read_holder(self.path)
        return found is not None and found.token == self.own.token

    def _create(self, own: Holder) -> bool:
        """Write the lock where there is none: whole, or not at all."""
        name = f".{host_id()}-{os.getpid()}-{secrets.token_hex(4)}.part.{LOCK_FILE}"
        temporary = self.path.with_name(name)
        text = json.dumps(asdict(own), indent=2) + "\n"
        try:
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, self.path)  # fails where there is one, on every system
            except FileExistsError:
                return False
            except OSError:  # a file system without links: then created empty and filled
                return self._create_in_place(text)
            return True
        except OSError as error:
            raise DefectStrainError(
                f"{self.path}: can't be written: {error.strerror or error}; open the study for "
                "reading only, or make its folder writable"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _create_in_place(self, text: str) -> bool:
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True

    def _remove(self, holder: Holder) -> None:
        """Remove the lock if it is that holder's."""
        found = read_holder(self.path)
        if found is not None and found.token == holder.token:
            with suppress(OSError):
                self.path.unlink()

    def _take_away(self, holder: Holder) -> None:
        """Remove a lock whose holder is gone: one at a time, or one would remove the next one's."""
        sign = self.path.with_name(f".{LOCK_FILE}.taking")
        try:
            os.close(os.open(sign, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError:  # another one is at it
            with suppress(OSError):
                if time.time() - sign.stat().st_mtime > _STALE_S:
                    sign.unlink()
            time.sleep(_PAUSE_S)
            return
        try:
            self._remove(holder)
        finally:
            sign.unlink(missing_ok=True)


def read_holder(path: Path) -> Holder | None:
    """Who a lock names; None where there is none. One that can't be read names nobody known."""
    if not path.exists():
        return None
    values: dict[str, Any] = json_object(path)
    texts = {name: str(values.get(name, "unknown")) for name in ("user", "host", "host_id")}
    pid = values.get("pid")
    return Holder(
        **texts,
        pid=pid if isinstance(pid, int) else -1,
        since=str(values.get("since", "an unknown time")),
        token=str(values.get("token", "")),
    )


def _is_gone(holder: Holder, path: Path) -> bool:
    """Whether the process that holds a lock is known to have ended."""
    try:
        wrote_s = path.stat().st_mtime
    except OSError:
        return False
    return holder.pid > 0 and is_alive(holder.host_id, holder.pid, wrote_s) is False
