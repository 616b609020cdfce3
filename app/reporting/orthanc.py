"""The bridge: each new chest film of an Orthanc goes to the running service, and its results go back.

Orthanc numbers its changes, and the bridge notes how far it has come, so that it, Orthanc and the service may each
be killed and started again at any time: a film is seen to until its results are stored. Results have derived UIDs,
so that one that is stored a second time is no second one. Nothing of a patient is logged: Orthanc's ids are.
"""

import logging
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from app.reporting import MANUFACTURER
from app.reporting.notes import DONE, FAILED, START, Notes, Position
from app.settings import Settings
from app.telemetry import logs

log = logging.getLogger(__name__)

FILM_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
        "1.2.840.10008.5.1.4.1.1.7.2",  # multi-frame greyscale byte secondary capture
        "1.2.840.10008.5.1.4.1.1.7.3",  # multi-frame greyscale word secondary capture
        "1.2.840.10008.5.1.4.1.1.7.4",  # multi-frame true colour secondary capture
    }
)
"""SOP classes of what may be a film; the service looks closer."""

CHANGES_AT_ONCE = 100
MOST_TRIES = 5
"""So often is a film tried that makes the bridge, the service or Orthanc fail, before it is left."""

TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 60.0
FIRST_WAIT_SECONDS = 0.5

_DICOM = "application/dicom"
_PIECE = 1 << 16
_FILM_IS_TO_BLAME = frozenset({400, 406, 413, 415, 422})
_BUSY = frozenset({429, 503})
_FAILED_ON_FILM = frozenset(
    {"device-failed", "out-of-device-memory", "out-of-memory", "internal", "upload-too-slow"}
)
_NOT_REACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class BridgeRefused(Exception):
    """The bridge does not start. The message is one sentence."""


class Away(Exception):
    """Orthanc or the service is not there or has no time; `retry_after` in seconds, where it is known.

    `film_suspected`: the film at hand may be what makes it fail.
    """

    def __init__(self, words: str, *, retry_after: float | None = None, film_suspected: bool = False) -> None:
        super().__init__(words)
        self.retry_after = retry_after
        self.film_suspected = film_suspected


class FilmRefused(Exception):
    """The service does not judge this film, and never will; the message is the code of its problem."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of Orthanc's list of changes."""

    kind: str
    resource: str
    position: Position


@dataclass(frozen=True, slots=True)
class Changes:
    """A piece of that list; `last`: number of its last entry, or of the whole list's where the piece is empty."""

    entries: list[Change]
    last: int
    complete: bool


class Orthanc:
    """What the bridge asks of Orthanc's REST API. Every method raises `Away`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def changes(self, since: int, limit: int = CHANGES_AT_ONCE) -> Changes:
        """Up to `limit` changes after number `since`, in order."""
        answer = self._ask("GET", "/changes", params={"since": since, "limit": limit})
        body = _object(answer)
        if "Changes" not in body:
            raise Away("no Orthanc answers at its address")
        try:
            entries = [
                Change(
                    kind=entry["ChangeType"],
                    resource=entry["ID"],
                    position=Position(
                        int(entry["Seq"]), f"{entry['ChangeType']} {entry['ID']} {entry['Date']}"
                    ),
                )
                for entry in body["Changes"]
            ]
            return Changes(entries, last=int(body["Last"]), complete=bool(body["Done"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Away("Orthanc's list of changes cannot be read") from error

    def has(self, instance: str) -> bool:
        """Whether the instance is there."""
        return self._ask("GET", f"/instances/{instance}") is not None

    def sop_class(self, instance: str) -> str:
        """The instance's SOP class UID, empty if the instance is not there."""
        answer = self._ask("GET", f"/instances/{instance}/metadata/SopClassUid")
        return "" if answer is None else answer.text.strip()

    def manufacturer(self, instance: str) -> str:
        """The instance's manufacturer, empty if it has none."""
        answer = self._ask("GET", f"/instances/{instance}/content/0008-0070")
        return "" if answer is None else answer.text.strip(" \0")

    def file(self, instance: str, max_bytes: int) -> bytes | None:
        """The instance as a DICOM file, None if it is not there.

        Raises:
            FilmRefused: it is larger than that; no more of it is read.
        """
        with self._asking(f"/instances/{instance}/file") as answer:
            if answer is None:
                return None
            film = bytearray()
            for piece in answer.iter_bytes(_PIECE):
                film += piece
                if len(film) > max_bytes:
                    raise FilmRefused("body-too-large")
            return bytes(film)

    def store(self, file: bytes) -> str:
        """Store a DICOM file, which may be there already; its Orthanc id."""
        answer = self._ask("POST", "/instances", content=file, headers={"Content-Type": _DICOM})
        body = _object(answer)
        if body.get("Status") not in ("Success", "AlreadyStored") or "ID" not in body:
            raise Away("Orthanc does not store the result", film_suspected=True)
        return str(body["ID"])

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        with self._asking(path, method, **options) as answer:
            if answer is not None:
                answer.read()
            return answer

    @contextmanager
    def _asking(self, path: str, method: str = "GET", **options: Any) -> Iterator[httpx.Response | None]:
        """An answer that is still to be read, None where there is no such thing."""
        suspected = path.startswith("/instances")
        try:
            with self._client.stream(method, path, **options) as answer:
                if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                    raise Away("Orthanc refuses the bridge's user or password")
                if not answer.is_success and answer.status_code != httpx.codes.NOT_FOUND:
                    raise Away(
                        f"Orthanc answers with {answer.status_code}",
                        film_suspected=suspected and answer.status_code not in _BUSY,
                    )
                yield None if answer.status_code == httpx.codes.NOT_FOUND else answer
        except httpx.RequestError as error:
            suspected = suspected and not isinstance(error, _NOT_REACHED)
            words = f"Orthanc does not answer: {type(error).__name__}"
            raise Away(words, film_suspected=suspected) from error


class Reader:
    """What the bridge asks of the service."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def results(self, film: bytes) -> list[bytes]:
        """The DICOM results of a DICOM film: its report, and its heat map where the model has one.

        Raises:
            FilmRefused: the service does not judge it.
            Away: not now.
        """
        answers = [self._result(route, film) for route in ("/predict", "/explain")]
        return [answer for answer in answers if answer is not None]

    def _result(self, route: str, film: bytes) -> bytes | None:
        try:
            answer = self._client.post(
                route, files={"file": ("film", film, _DICOM)}, headers={"Accept": _DICOM}
            )
        except httpx.RequestError as error:
            words = f"the service does not answer: {type(error).__name__}"
            raise Away(words, film_suspected=not isinstance(error, _NOT_REACHED)) from error
        if answer.is_success:
            if answer.headers.get("content-type") != _DICOM:
                raise Away("the service answers with something else than DICOM")
            return answer.content
        code = _code(answer)
        if code == "no-heatmap":
            return None
        if answer.status_code in _FILM_IS_TO_BLAME:
            raise FilmRefused(code)
        raise Away(
            f"the service answers with {answer.status_code} ({code})",
            retry_after=_retry_after(answer) if answer.status_code in _BUSY else None,
            film_suspected=code in _FAILED_ON_FILM,
        )


class Bridge:
    """Films from Orthanc to the service, results back."""

    def __init__(self, orthanc: Orthanc, reader: Reader, notes: Notes, max_bytes: int) -> None:
        """Larger films than `max_bytes` are refused without a look at them."""
        self._orthanc = orthanc
        self._reader = reader
        self._notes = notes
        self._max_bytes = max_bytes
        self._known = False

    def run(self, stopping: threading.Event, poll_seconds: float) -> None:
        """See to every film until told to stop."""
        failures = 0
        while not stopping.is_set():
            try:
                wait = poll_seconds if self.step(stopping) else 0.0
                failures = 0
            except (
                Away,
                sqlite3.OperationalError,
            ) as error:  # the latter where the disk of its notes is full
                wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**failures)
                if isinstance(error, Away) and error.retry_after is not None:
                    wait = min(LONGEST_WAIT_SECONDS, error.retry_after)
                failures = min(failures + 1, 10)
                # Whoever comes back may be another one, with another list of changes.
                self._known = False
                log.warning("%s; trying again", error, extra={logs.FIELDS: {"seconds": wait}})
            stopping.wait(wait)

    def step(self, stopping: threading.Event) -> bool:
        """See to the next changes; whether there are no more for now.

        Raises:
            Away: Orthanc or the service is not there or has no time.
        """
        if not self._known:
            self._recognise()
        position = self._notes.position
        changes = self._orthanc.changes(position.seq)
        if changes.last < position.seq:
            self._start_over()
            return False
        for change in changes.entries:
            if stopping.is_set():
                return True
            if change.kind == "NewInstance":
                self._see_to(change.resource)
            self._notes.move_to(change.position)
        return changes.complete

    def _recognise(self) -> None:
        """Start over unless the list of changes is the one whose place was noted."""
        position = self._notes.position
        if position != START:
            entries = self._orthanc.changes(position.seq - 1, limit=1).entries
            if not entries or entries[0].position != position:
                self._start_over()
        self._known = True

    def _start_over(self) -> None:
        """Go through all changes again; films that are done stay so."""
        log.info("Orthanc's changes are not those that were read before; they are read from the first one")
        self._notes.move_to(START)

    def _see_to(self, instance: str) -> None:
        fields: dict[str, object] = {"instance": instance}
        try:
            with self._patience(instance):
                stored = self._results_stored(instance)
        except FilmRefused as refusal:
            self._notes.finish(instance, str(refusal), [])
            log.info("film refused", extra={logs.FIELDS: {**fields, "code": str(refusal)}})
            return
        if stored:
            self._notes.finish(instance, DONE, stored)
            log.info("results stored", extra={logs.FIELDS: {**fields, "results": stored}})

    def _results_stored(self, instance: str) -> list[str]:
        """Orthanc ids of the film's results, once they are there; none where it is to have none, or has them."""
        outcome = self._notes.outcome(instance)
        if outcome == DONE and all(self._orthanc.has(result) for result in self._notes.results(instance)):
            return []
        if outcome not in (None, DONE, FAILED) or not self._is_film(instance):
            return []
        film = self._orthanc.file(instance, self._max_bytes)
        if film is None:
            return []
        results = self._reader.results(film)
        if not self._orthanc.has(instance):
            return []  # deleted meanwhile: its results would stand alone
        return [self._orthanc.store(result) for result in results]

    def _is_film(self, instance: str) -> bool:
        if self._notes.is_result(instance) or self._orthanc.sop_class(instance) not in FILM_CLASSES:
            return False
        return self._orthanc.manufacturer(instance) != MANUFACTURER

    @contextmanager
    def _patience(self, instance: str) -> Iterator[None]:
        """Leave a film that has made others fail often enough, lest it keep the next ones waiting.

        A try is noted before it is made: one that ends the process counts too.
        """
        if self._notes.tries(instance) >= MOST_TRIES:
            raise FilmRefused(FAILED)
        self._notes.try_once_more(instance)
        try:
            yield
        except Away as error:
            if not error.film_suspected:
                self._notes.forgive(instance)
            elif self._notes.tries(instance) >= MOST_TRIES:
                raise FilmRefused(FAILED) from error
            raise
        self._notes.forget_tries(instance)


def run_bridge(settings: Settings) -> None:
    """Run the bridge until a signal ends it.

    Raises:
        BridgeRefused: the file of its notes cannot be used.
    """
    try:
        notes = Notes(settings.orthanc_state)
    except sqlite3.Error as error:
        raise BridgeRefused(f"PNEUMOSCOPE_ORTHANC_STATE: {error}.") from error
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    password = settings.orthanc_password
    user = settings.orthanc_user
    auth = httpx.BasicAuth(user, password.get_secret_value() if password else "") if user else None
    key = settings.orthanc_service_key
    headers = {"X-API-Key": key.get_secret_value()} if key else {}
    # Films go to these two alone: no proxy of the environment is asked.
    options: dict[str, Any] = {
        "timeout": httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS),
        "trust_env": False,
    }
    with (
        httpx.Client(base_url=settings.orthanc_url, auth=auth, **options) as orthanc,
        httpx.Client(base_url=settings.orthanc_service_url, headers=headers, **options) as service,
    ):
        log.info("the bridge runs")
        bridge = Bridge(Orthanc(orthanc), Reader(service), notes, settings.max_upload_bytes)
        bridge.run(stopping, settings.orthanc_poll_s)
    notes.close()


def _object(answer: httpx.Response | None) -> dict[str, Any]:
    """The JSON object in an answer, an empty one where there is something else."""
    try:
        body = None if answer is None else answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _code(answer: httpx.Response) -> str:
    """The code of a problem; of any other answer, its status."""
    code = _object(answer).get("code")
    return code if isinstance(code, str) else str(answer.status_code)


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
