"""Every target under the same loads, in rounds, so that a noisy moment hurts them all alike.

A visit is one target in one round: started anew, then closed loops of 1, 8 and 32 clients, then open arrivals at
nine tenths of what it just carried, and at ten times that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import psutil
from pydantic import Field

from app.engine.classifier import Classifier
from app.imaging import read
from app.settings import Settings
from benchmarks import bare
from benchmarks.campaign import Campaign
from benchmarks.load import Closed, Open
from benchmarks.measure import Measured, Part, measure
from benchmarks.server import DidNotStart, Running, Setup, running
from benchmarks.targets import BARE, OWN, TARGETS

PART = "compare"
CONCURRENCIES = (1, 8, 32)
NEAR_CAPACITY, OVERLOAD = 0.9, 10.0
WARM_SECONDS = 2.0
OPEN_SHARE = 1.2
"""Open loads last this many times the closed ones: percentiles of arrivals at random need more of them."""
FILMS_COMPARED = 8


class Visit(Part):
    """One target in one round.

    `start_seconds`: from the start of its process to its first answer. `difference`: the greatest between its
    probabilities and those of the service's own decoder and engine, None where it serves another network.
    `loads`: by their names. `limits`: instead of loads, the bare
    loops.
    """

    target: str
    round: int
    start_seconds: float | None = None
    difference: float | None = None
    loads: dict[str, Measured] = Field(default_factory=dict)
    limits: dict[str, bare.Rate] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A peer that did not start, or died, in one round."""

    target: str
    round: int
    words: str


def closed_name(concurrency: int) -> str:
    """The name of a closed loop among a visit's loads."""
    return f"closed-{concurrency}"


def open_name(share: float) -> str:
    """The name of an open load at so many times the capacity."""
    return f"open-{share:g}"


def patient() -> dict[str, Any]:
    """Settings of the service under which closed loops measure capacity, and not what it refuses."""
    wanted = {"max_queue": 1024, "max_wait_s": 60}
    return {name: value for name, value in wanted.items() if name in Settings.model_fields}


def compare(
    campaign: Campaign, setup: Setup, films: Sequence[bytes], names: Sequence[str], rounds: int
) -> Iterator[Visit | Failure]:
    """Visit each target in each round; a visit that was made before is not made again.

    A peer that fails leaves no row, so that the next run tries it again, and does not end the comparison.

    Raises:
        DidNotStart: the service itself did not start.
    """
    for turn in range(rounds):
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            visit = partial(_visit, name, turn, setup, films, campaign.conditions.seconds)
            try:
                yield campaign.row(Visit, PART, f"{turn}-{name}", visit)
            except (DidNotStart, httpx.HTTPError, psutil.Error) as error:
                if name in (OWN, BARE):
                    raise
                yield Failure(name, turn, str(error))


def _visit(name: str, turn: int, setup: Setup, films: Sequence[bytes], seconds: float) -> Visit:
    if name == BARE:
        return Visit(target=BARE, round=turn, limits=bare.loops(setup.model, films, seconds, setup.device))
    target = TARGETS[name]
    requests = [target.request(film) for film in films]
    loads = {}
    settings = patient() if name == OWN else {}
    with running(target, setup, films[0], settings=settings) as server:
        start_seconds, difference = server.start_seconds, _difference(server, setup, films)
        for concurrency in CONCURRENCIES:
            load = Closed(concurrency, seconds, WARM_SECONDS)
            loads[closed_name(concurrency)] = measure(load, server, requests)
        # Under open arrivals the service refuses as it would in use; a peer has nothing to set and runs on.
        if not settings:
            loads |= _open_loads(server, loads, requests, seconds)
    if settings:
        with running(target, setup, films[0]) as server:
            measure(Closed(8, WARM_SECONDS), server, requests)
            loads |= _open_loads(server, loads, requests, seconds)
    return Visit(target=name, round=turn, start_seconds=start_seconds, difference=difference, loads=loads)


def _open_loads(
    server: Running, closed: dict[str, Measured], requests: Any, seconds: float
) -> dict[str, Measured]:
    capacity = max(each.throughput for each in closed.values())
    return {
        open_name(share): measure(Open(max(1.0, share * capacity), OPEN_SHARE * seconds), server, requests)
        for share in (NEAR_CAPACITY, OVERLOAD)
    }


def _difference(server: Running, setup: Setup, films: Sequence[bytes]) -> float | None:
    if not server.target.same_model:
        return None
    classifier = Classifier.open_file(setup.model, device=setup.device)
    differences = []
    for film in films[:FILMS_COMPARED]:
        pixels = read(film, size=classifier.input_size).pixels
        own = float(classifier.run(pixels[None]).probability[0])
        differences.append(abs(server.ask(film) - own))
    return max(differences)
