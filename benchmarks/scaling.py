"""How throughput moves with the batch, the number of clients, the size of the films and the cores."""

from collections.abc import Callable, Sequence
from typing import Literal

from app.engine.model_file import FLOAT_FILE, INT8_FILE
from benchmarks import bare
from benchmarks.campaign import Campaign
from benchmarks.compare import WARM_SECONDS, patient
from benchmarks.cores import all_cores, pinned
from benchmarks.films import resized
from benchmarks.load import Closed
from benchmarks.measure import Part, measure
from benchmarks.server import Setup, running
from benchmarks.targets import OWN, TARGETS

PART = "scaling"
BATCHES = (1, 2, 4, 8, 16, 32)
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
WIDTHS = (400, 800, 1200, 1800, 2700)
CLIENTS_A_CORE = 8
SHARE_OF_SECONDS = 0.5
FILMS_RESIZED = 16

Against = Literal["batch", "clients", "width", "cores"]


class Point(Part):
    """Films a second of `series` where `against` is `at`; the latencies, in seconds, where there are requests."""

    against: Against
    series: str
    at: int
    throughput: float
    p50: float | None = None
    p99: float | None = None


class Points(Part):
    """What was measured together."""

    points: list[Point]


def scale(campaign: Campaign, setup: Setup, films: Sequence[bytes]) -> list[Point]:
    """Every point; those that were measured before are not measured again."""
    seconds = SHARE_OF_SECONDS * campaign.conditions.seconds
    measures: dict[str, Callable[[], Points]] = {
        "batch": lambda: _batches(setup, seconds),
        "clients": lambda: _clients(setup, films, seconds),
        "width": lambda: _widths(setup, films, seconds),
        "cores": lambda: _cores(setup, films, seconds),
    }
    parts = [campaign.row(Points, PART, name, measured) for name, measured in measures.items()]
    return [point for part in parts for point in part.points]


def _batches(setup: Setup, seconds: float) -> Points:
    models = [setup.model.parent / name for name in (FLOAT_FILE, INT8_FILE)]
    models = [model for model in models if model.is_file()]
    points = []
    for batch in BATCHES:
        taken = bare.in_own_process(bare.sessions, models, batch, seconds, device=setup.device)
        points += [
            Point(against="batch", series=model.name, at=batch, throughput=1000 * batch / milliseconds)
            for model, milliseconds in zip(models, taken, strict=True)
        ]
    return Points(points=points)


def _served(
    at: tuple[Against, int],
    setup: Setup,
    films: Sequence[bytes],
    load: Closed,
    cores: Sequence[int] | None = None,
) -> Point:
    target = TARGETS[OWN]
    with running(target, setup, films[0], settings=patient(), cores=cores) as server:
        found = measure(load, server, [target.request(film) for film in films])
    return Point(
        against=at[0], series="service", at=at[1], throughput=found.throughput, p50=found.p50, p99=found.p99
    )


def _clients(setup: Setup, films: Sequence[bytes], seconds: float) -> Points:
    loads = [Closed(clients, seconds, WARM_SECONDS) for clients in CLIENTS]
    return Points(points=[_served(("clients", load.concurrency), setup, films, load) for load in loads])


def _widths(setup: Setup, films: Sequence[bytes], seconds: float) -> Points:
    load = Closed(CLIENTS_A_CORE, seconds, WARM_SECONDS)
    points = []
    for width in WIDTHS:
        shown = [resized(film, width) for film in films[:FILMS_RESIZED]]
        points.append(_served(("width", width), setup, shown, load))
    return Points(points=points)


def _cores(setup: Setup, films: Sequence[bytes], seconds: float) -> Points:
    cores = all_cores()
    counts = sorted(
        {2**power for power in range(len(cores).bit_length()) if 2**power <= len(cores)} | {len(cores)}
    )
    points = []
    for count in counts:
        some = cores[:count]
        load = Closed(CLIENTS_A_CORE * count, seconds, WARM_SECONDS)
        points.append(_served(("cores", count), setup, films, load, some))
        with pinned(some):
            rates = bare.loops(setup.model, films, seconds, setup.device)
        fastest = max(rate.films_a_second for rate in rates.values())
        points.append(Point(against="cores", series="bare loop", at=count, throughput=fastest))
    return Points(points=points)


def _doubling(most: int) -> list[int]:
    """1, 2, 4 and so on up to `most`, and `most` itself."""
    return sorted({2**power for power in range(most.bit_length())} | {most})
