"""The keys that open the service: kept as hashes, several at a time, looked at again when their file changes.

A key is 256 random bits, so that its plain SHA-256 gives nothing away: nobody can guess what it is of. Slow and
salted hashes are for passwords, which people choose and others guess; here they would only be a cheap way to keep
the service busy.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

KEY_BYTES = 32
PREFIX = "pneumoscope_"
"""What every key begins with, so that scanners for leaked secrets can know it."""

MOST_FILE_BYTES = 1024 * 1024
LOOK_AGAIN_SECONDS = 1.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

log = logging.getLogger(__name__)


class InvalidKeys(ValueError):
    """Entries that are none. The message never quotes them: one may be a key."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """Who holds a key, the key's SHA-256, and the last day (UTC) on which it opens; None is for ever."""

    name: str
    digest: bytes = field(repr=False)
    expires: date | None = None

    def __str__(self) -> str:
        last = () if self.expires is None else (self.expires.isoformat(),)
        return ":".join((self.name, self.digest.hex(), *last))


def new_key() -> str:
    """A key that nobody has yet: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def entry_of(name: str, key: str, expires: date | None = None) -> KeyEntry:
    """The entry of a key.

    Raises:
        InvalidKeys: the name is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidKeys("a name is 1 to 64 letters, digits, dots, hyphens and underscores of ASCII")
    return KeyEntry(name, _digest(key), expires)


def parse_entry(text: str) -> KeyEntry:
    """An entry as it is written: NAME:SHA256 or NAME:SHA256:YYYY-MM-DD.

    Raises:
        InvalidKeys: it is none.
    """
    name, _, rest = text.strip().partition(":")
    digest, _, last = rest.partition(":")
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise InvalidKeys(
            "an entry is NAME:SHA256, never the key itself; "
            "`python -m app key NAME` makes a key and prints its entry"
        )
    return KeyEntry(name, bytes.fromhex(digest), None if rest == digest else _day(last))


def read_file(path: Path) -> tuple[KeyEntry, ...]:
    """The entries of a file: one a line; empty lines and those that begin with # are left out.

    Raises:
        InvalidKeys: it cannot be read, has a line that is no entry, or no entry at all.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidKeys("the file of keys is no regular file")
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise InvalidKeys("the file of keys is larger than 1 MiB")
        lines = content.decode().splitlines()
    except OSError as error:
        raise InvalidKeys(f"the file of keys cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidKeys("the file of keys is not UTF-8") from None
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            entries.append(parse_entry(line))
        except InvalidKeys as error:
            raise InvalidKeys(f"line {number} of the file of keys: {error}") from None
    if not entries:
        # A file that is being written is empty for a moment, which must not open the service to everybody.
        raise InvalidKeys("the file of keys has no entry")
    return tuple(entries)


class KeyRing:
    """The keys in force. One event loop uses it."""

    def __init__(self, entries: Iterable[KeyEntry] = (), file: Path | None = None) -> None:
        """The given entries and those of `file`, which is looked at again when it changes.

        Raises:
            InvalidKeys: the file holds no entries.
        """
        self._given = tuple(entries)
        self._file = file
        self._seen = self._signature()
        self._from_file = () if file is None else read_file(file)
        self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS

    @property
    def required(self) -> bool:
        """Whether a key is asked for at all; also where every key has expired."""
        return bool(self._given or self._file)

    def holder(self, key: str | None) -> str | None:
        """The name of the key's holder; None if it opens nothing.

        Every entry is compared, whichever fits, and each in a time that does not depend on where it differs.
        """
        self._look_again()
        digest, today = _digest(key or ""), datetime.now(UTC).date()
        holder = None
        for entry in (*self._given, *self._from_file):
            fits = hmac.compare_digest(digest, entry.digest)
            if fits and (entry.expires is None or today <= entry.expires):
                holder = entry.name
        return holder if key else None

    def _look_again(self) -> None:
        """Take the file's entries anew if it has changed; keep those in force if it cannot be taken."""
        now = time.monotonic()
        if self._file is None or now < self._look_again_at:
            return
        self._look_again_at = now + LOOK_AGAIN_SECONDS
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._from_file = read_file(self._file)
        except InvalidKeys as error:
            log.error("the keys before stay in force: %s", error)
        else:
            log.info("%d keys of the file are in force now", len(self._from_file))

    def _signature(self) -> tuple[int, ...] | None:
        """What differs when the file was written or replaced, as Kubernetes does by a link; None if it is gone."""
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return None
        return status and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as one would for somebody to write into a named pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _day(text: str) -> date:
    with suppress(ValueError):
        if _DATE.fullmatch(text):  # one of the ISO forms that Python takes
            return date.fromisoformat(text)
    raise InvalidKeys("behind an entry's second colon stands its last day as YYYY-MM-DD")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
