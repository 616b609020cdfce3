"""Where films lie and findings go: a folder, or a prefix of an object store.

Names inside a place are relative, parted by slashes. A local name that is not UTF-8 keeps its bytes as surrogates
(PEP 383), so `os.fsencode` gives them back.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from bulk.errors import ArchiveRefused, BulkError, NoRegularFile
from bulk.urls import reason, without_password

_WHOLE_OBJECTS = (fs.S3FileSystem, fs.GcsFileSystem)
"""Stores in which an object is there whole or not at all, so that it needs no other name while it is written."""


@dataclass(frozen=True, slots=True)
class File:
    """A file inside a place: its name there, bytes, and modification time in seconds since 1970.

    `unopened`: it is a folder that could not be looked through, which may hold films whatever its name.
    """

    name: str
    size: int
    modified: float
    unopened: bool = False


class Place(Protocol):
    """A folder or a prefix. `url` opens it again elsewhere; `shown` is the same without a password."""

    url: str
    shown: str

    def files(self) -> Iterator[File]:
        """Every file at any depth, hidden ones left out, in the order of `order`. Holds one folder at a time.

        Raises:
            ArchiveRefused: a folder cannot be looked through.
        """

    def require(self) -> None:
        """Look whether the place is there and has something in it, as a folder has not whose disk is away.

        Raises:
            ArchiveRefused: it is not, or has nothing.
        """

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes, but no more than `limit`. Raises OSError."""

    def open(self, name: str) -> pa.NativeFile:
        """A file for random access. Raises OSError."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file: whatever ends this midway, it is there whole or not at all. Raises OSError."""

    def names(self, folder: str) -> set[str]:
        """The files directly in a folder of this place; none where there is no such folder. Raises OSError."""

    def remove(self, name: str) -> None:
        """Delete a file if it is there; a folder stays. Raises OSError."""


def open_place(url: str) -> Place:
    """The place that `url` means: a path, or a URL such as file:///films or s3://bucket/films.

    Raises:
        BulkError: no such kind of URL can be opened here.
    """
    if "://" not in url:
        return Folder(Path(url).absolute())
    try:
        filesystem, path = fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        filesystem, path = _by_fsspec(url)
    except OSError as error:
        raise BulkError(f"{without_password(url)} cannot be opened: {reason(error, url)}") from error
    if isinstance(filesystem, fs.LocalFileSystem):
        return Folder(Path(path))
    return Bucket(url, filesystem, path)


def inside(place: Place, outer: Place, folder: str) -> bool:
    """Whether a place is, or lies in, a folder of another one."""
    if isinstance(place, Folder) and isinstance(outer, Folder):
        return Path(place.url).resolve().is_relative_to((Path(outer.url) / folder).resolve())
    return f"{place.shown}/".startswith(f"{outer.shown}/{folder}/")


def order(name: str) -> tuple[str, ...]:
    """By what `Place.files` sorts: folder by folder."""
    return tuple(name.split("/"))


class Folder:
    """A folder of this machine, or one that all machines of the cluster have mounted at the same path."""

    def __init__(self, path: Path) -> None:
        self._path = _plain(path)
        self.url = self.shown = str(self._path)

    def files(self) -> Iterator[File]:
        """See `Place`. A folder that cannot be opened is told as a file, so that it gets a row that says so."""
        self.require()
        return self._below("")

    def require(self) -> None:
        """See `Place`."""
        try:
            with os.scandir(self._path) as found:
                if any(found):
                    return
        except OSError as error:
            if not self._path.is_dir():
                raise ArchiveRefused(f"{self._path} is no folder.") from error
            raise ArchiveRefused(f"{self._path} cannot be looked through: {error.strerror}.") from error
        raise ArchiveRefused(f"There is nothing in {self._path}, so no film: is its disk away?")

    def _below(self, folder: str) -> Iterator[File]:
        try:
            with os.scandir(self._path / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            yield File(folder.rstrip("/") or ".", 0, 0.0, unopened=True)
            return
        for entry in entries:
            name = folder + entry.name
            if entry.name.startswith("."):
                continue
            # A link to a folder could lead back here; a link to a file is as good as the file.
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(name + "/")
                continue
            try:
                status = entry.stat()
            except OSError:
                yield File(name, 0, 0.0)
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield File(name, status.st_size, status.st_mtime)

    def read(self, name: str, limit: int) -> bytes:
        """See `Place`."""
        path = self._path / name
        # What is opened here cannot make it wait, as a pipe would that nobody writes to.
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise NoRegularFile
        with path.open("rb") as file:
            return file.read(limit)

    def open(self, name: str) -> pa.NativeFile:
        """See `Place`."""
        return pa.OSFile(str(self._path / name), "rb")

    def put(self, name: str, content: bytes) -> None:
        """See `Place`."""
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=".", suffix=f".{path.name}", dir=path.parent)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - it is a handle
                file.write(content)
                file.flush()
                os.fsync(handle)
            Path(unfinished).chmod(0o666 & ~_umask())
            Path(unfinished).replace(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise

    def names(self, folder: str) -> set[str]:
        """See `Place`."""
        try:
            return {entry.name for entry in os.scandir(self._path / folder) if not entry.name.startswith(".")}
        except FileNotFoundError:
            return set()

    def remove(self, name: str) -> None:
        """See `Place`."""
        path = self._path / name
        if not path.is_dir():
            path.unlink(missing_ok=True)


class Bucket:
    """A prefix of an object store, or of any other file system that pyarrow or fsspec can open."""

    def __init__(self, url: str, filesystem: fs.FileSystem, path: str) -> None:
        self.url = url
        self.shown = without_password(url)
        self._filesystem = filesystem
        self._path = path.rstrip("/")

    def files(self) -> Iterator[File]:
        """See `Place`."""
        return self._below("")

    def require(self) -> None:
        """See `Place`."""
        try:
            there = self._filesystem.get_file_info(self._path).type != fs.FileType.NotFound
        except OSError as error:
            raise ArchiveRefused(f"{self.shown} cannot be looked through.") from error
        if not there:
            raise ArchiveRefused(f"There is nothing in {self.shown}, so no film.")

    def _below(self, folder: str) -> Iterator[File]:
        selector = fs.FileSelector(self._at(folder), allow_not_found=False)
        try:
            found = self._filesystem.get_file_info(selector)
        except OSError as error:
            raise ArchiveRefused(f"{self.shown} cannot be looked through.") from error
        for info in sorted(found, key=lambda info: (info.base_name, info.type == fs.FileType.Directory)):
            name = folder + info.base_name
            if info.base_name.startswith("."):
                continue
            if info.type == fs.FileType.Directory:
                yield from self._below(name + "/")
            elif info.type == fs.FileType.File:
                yield File(name, info.size or 0, (info.mtime_ns or 0) / 1e9)

    def read(self, name: str, limit: int) -> bytes:
        """See `Place`."""
        with self._filesystem.open_input_stream(self._at(name), compression=None) as stream:
            content: bytes = stream.read(limit)
            return content

    def open(self, name: str) -> pa.NativeFile:
        """See `Place`."""
        return self._filesystem.open_input_file(self._at(name))

    def put(self, name: str, content: bytes) -> None:
        """See `Place`."""
        path = self._at(name)
        whole = isinstance(self._filesystem, _WHOLE_OBJECTS)
        folder, _, base = path.rpartition("/")
        written = path if whole else f"{folder}/.{os.urandom(8).hex()}.{base}"
        if not whole:
            self._filesystem.create_dir(folder, recursive=True)
        with self._filesystem.open_output_stream(written, compression=None) as stream:
            stream.write(content)
        if not whole:
            self._filesystem.move(written, path)

    def names(self, folder: str) -> set[str]:
        """See `Place`."""
        selector = fs.FileSelector(self._at(folder), allow_not_found=True)
        found = self._filesystem.get_file_info(selector)
        return {info.base_name for info in found if not info.base_name.startswith(".")}

    def remove(self, name: str) -> None:
        """See `Place`."""
        if self._filesystem.get_file_info(self._at(name)).type == fs.FileType.File:
            self._filesystem.delete_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}".rstrip("/")


def _by_fsspec(url: str) -> tuple[fs.FileSystem, str]:
    import fsspec  # noqa: PLC0415 - few need it

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise BulkError(f"{without_password(url)} cannot be opened: {reason(error, url)}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _plain(path: Path) -> Path:
    """The path without `..`, unless a link before it gives that another meaning."""
    plain = Path(os.path.normpath(path))
    return plain if plain.resolve() == path.resolve() else path


def _umask() -> int:
    """What files of this process are kept from; `mkstemp` lets nobody else read."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
