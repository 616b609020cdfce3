"""The bridge with an Orthanc and a service that misbehave as real ones seldom do."""

import gzip
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.reporting.notes import DONE, FAILED, Notes
from app.reporting.orthanc import FILM_CLASSES, MOST_TRIES, Away, Bridge, Orthanc, Reader

MAX_BYTES = 1_000_000
Answer = Callable[[httpx.Request], httpx.Response]


def answer(status: int = 200, **content: Any) -> Answer:
    return lambda request: httpx.Response(status, **content)


def raising(error: BaseException) -> Answer:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    return fail


class Two:
    """An Orthanc with the films `bad` and `good`, and a service; `special` answers stand in for usual ones."""

    def __init__(self, notes: Path, **special: Answer) -> None:
        self.special = special
        self.asked: list[str] = []
        self.notes = Notes(notes)
        self.start()

    def start(self) -> None:
        transport = httpx.MockTransport(self.respond)
        client = httpx.Client(base_url="http://nowhere", transport=transport)
        self.bridge = Bridge(Orthanc(client), Reader(client), self.notes, MAX_BYTES)

    def respond(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        for key, special in self.special.items():
            place, _, word = key.partition("__")
            if place in path and word.encode() in request.content:
                return special(request)
        if path == "/changes":
            since = int(request.url.params["since"])
            entries = [
                {"ChangeType": "NewInstance", "ID": name, "Seq": seq, "Date": ""}
                for seq, name in ((1, "bad"), (2, "good"))
                if seq > since
            ]
            limit = int(request.url.params["limit"])
            return httpx.Response(200, json={"Changes": entries[:limit], "Last": 2, "Done": True})
        if path == "/instances":
            return httpx.Response(200, json={"Status": "Success", "ID": "result"})
        if path.endswith("SopClassUid"):
            return httpx.Response(200, text=min(FILM_CLASSES))
        if path.endswith("0008-0070"):
            return httpx.Response(404)
        if path.endswith("/file"):
            return httpx.Response(200, content=path.encode())
        return httpx.Response(200, content=b"result", headers={"content-type": "application/dicom"})

    def steps(self) -> int:
        """Step until all is seen to; how often somebody was away."""
        for away in itertools.count():
            assert away < 3 * MOST_TRIES, "it is never passed by"
            try:
                self.bridge.step(threading.Event())
            except Away:
                continue
            return away
        raise AssertionError

    def outcomes(self) -> tuple[str | None, str | None]:
        return self.notes.outcome("bad"), self.notes.outcome("good")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Callable[..., Two]]:
    made = []

    def make(**special: Answer) -> Two:
        made.append(Two(tmp_path / "notes", **special))
        return made[-1]

    yield make
    for each in made:
        each.notes.close()


@pytest.mark.parametrize(
    "special",
    [
        {"bad/file": answer(500)},
        {"bad/metadata": answer(500)},
        {"bad/file": raising(httpx.ReadTimeout(""))},
        {"bad/file": answer(content=b"no gzip", headers={"content-encoding": "gzip"})},
        {"predict__bad": answer(408, json={"code": "upload-too-slow"})},
        {"predict__bad": raising(httpx.ReadTimeout(""))},
        {"predict__bad": answer(content=b"no gzip", headers={"content-encoding": "gzip"})},
    ],
    ids=["file 500", "metadata 500", "file late", "file no gzip", "408", "service late", "service no gzip"],
)
def test_a_film_that_fails_again_and_again_is_passed_by(two: Callable[..., Two], special: Any) -> None:
    both = two(**special)
    assert both.steps() == MOST_TRIES - 1
    assert both.outcomes() == (FAILED, DONE)


@pytest.mark.parametrize(
    "special",
    [
        {"bad/file": answer(503)},
        {"bad/file": answer(401)},
        {"bad/file": raising(httpx.ConnectError(""))},
        {"predict": raising(httpx.ConnectTimeout(""))},
        {"predict": answer(503, json={"code": "draining"})},
    ],
    ids=["503", "401", "connect", "service connect", "draining"],
)
def test_who_is_away_is_waited_for(two: Callable[..., Two], special: Any) -> None:
    both = two(**special)
    for _ in range(3 * MOST_TRIES):
        with pytest.raises(Away):
            both.bridge.step(threading.Event())
    both.special.clear()
    assert both.steps() == 0
    assert both.outcomes() == (DONE, DONE)


def test_a_film_that_ends_the_process_again_and_again_is_passed_by(two: Callable[..., Two]) -> None:
    both = two(predict__bad=raising(MemoryError()))
    for _ in range(MOST_TRIES):
        with pytest.raises(MemoryError):
            both.bridge.step(threading.Event())
        both.start()
    assert both.steps() == 0
    assert both.outcomes() == (FAILED, DONE)


def test_a_film_that_failed_is_tried_again_when_it_comes_anew(two: Callable[..., Two]) -> None:
    both = two(**{"bad/file": answer(500)})
    both.steps()
    both.special = {}
    both.bridge._see_to("bad")
    assert both.outcomes() == (DONE, DONE)


def test_a_film_that_is_too_large_is_refused_before_it_is_read(two: Callable[..., Two]) -> None:
    given = 0

    def pieces() -> Iterator[bytes]:
        nonlocal given
        for _ in range(400):
            given += 1_000_000
            yield bytes(1_000_000)

    both = two(**{"bad/file": lambda request: httpx.Response(200, content=pieces())})
    assert both.steps() == 0
    assert both.outcomes() == ("body-too-large", DONE)
    assert given <= 3_000_000


def test_a_film_that_unpacks_to_too_much_is_refused(two: Callable[..., Two]) -> None:
    packed = gzip.compress(bytes(10 * MAX_BYTES))
    both = two(**{"bad/file": answer(content=packed, headers={"content-encoding": "gzip"})})
    assert both.steps() == 0
    assert both.outcomes() == ("body-too-large", DONE)


@pytest.mark.parametrize(
    "body",
    [
        {"Changes": [], "Done": True},
        {"Changes": [{"ChangeType": "NewInstance", "ID": "x", "Date": ""}], "Last": 1, "Done": True},
        {"Changes": None, "Last": 1, "Done": True},
        {"Changes": ["x"], "Last": 1, "Done": True},
        {"Changes": [], "Last": "x", "Done": True},
    ],
    ids=["no last", "no seq", "null", "text", "last is text"],
)
def test_changes_that_make_no_sense_are_waited_over(two: Callable[..., Two], body: Any) -> None:
    both = two(changes=answer(json=body))
    with pytest.raises(Away, match="list of changes"):
        both.bridge.step(threading.Event())
    both.special.clear()
    assert both.steps() == 0


def test_changes_that_cannot_be_unpacked_are_waited_over(two: Callable[..., Two]) -> None:
    both = two(changes=answer(content=b"no gzip", headers={"content-encoding": "gzip"}))
    with pytest.raises(Away, match="DecodingError"):
        both.bridge.step(threading.Event())
