"""Many requests in a row to the service with a tiny model: does its memory stay flat, and its answers quick?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks import tiny
from benchmarks.campaign import Campaign
from benchmarks.compare import patient
from benchmarks.films import draw
from benchmarks.load import Closed, own_process
from benchmarks.measure import Part
from benchmarks.server import Setup, running
from benchmarks.statistics import figures, percentiles, slope
from benchmarks.targets import OWN, TARGETS
from benchmarks.watch import Sample, watching

PART = "soak"
CONCURRENCY = 8
WIDTH, HEIGHT, FILMS = 480, 400, 8
WARM_REQUESTS_SHARE = 0.02
SAMPLES_SHOWN = 200
SETTLED = 0.25
"""The first quarter, in which pools and caches fill, does not count for the slope."""


class Soak(Part):
    """One soak.

    `memory`: seconds since the beginning, and resident bytes. `growth`: bytes for each 10,000 requests, by least
    squares over the last three quarters. `p99_first`, `p99_last`: seconds, of the first and the last tenth.
    """

    requests: int
    seconds: float
    throughput: float
    statuses: dict[str, int]
    p99_first: float
    p99_last: float
    memory: list[tuple[float, int]]
    growth: float


def soak(campaign: Campaign, setup: Setup, requests: int) -> Soak:
    """Send `requests` films; a soak of as many that was done before is not done again."""
    return campaign.row(Soak, PART, f"{requests:09}", lambda: _soak(setup, requests))


def _soak(setup: Setup, count: int) -> Soak:
    own = replace(setup, model=tiny.write(setup.folder / "tiny"), input_size=tiny.SIZE, device="cpu")
    films = [draw(WIDTH, HEIGHT, seed=seed) for seed in range(FILMS)]
    target = TARGETS[OWN]
    requests = [target.request(film) for film in films]
    with (
        running(target, own, films[0], settings=patient()) as server,
        own_process() as generate,
        watching(server.pid) as watch,
    ):
        generate(
            Closed(CONCURRENCY, requests=max(CONCURRENCY, int(WARM_REQUESTS_SHARE * count))),
            server.url,
            requests,
        )
        outcome = generate(Closed(CONCURRENCY, requests=count), server.url, requests)
    found = figures(outcome)
    tenth = max(1, len(outcome.meant) // 10)
    order = np.argsort(outcome.meant)
    first, last = (percentiles(outcome.latency[part]) for part in (order[:tenth], order[-tenth:]))
    if first is None or last is None:
        raise ValueError("a soak needs requests")
    memory = _memory(watch.samples, outcome.began, outcome.ended)
    return Soak(
        requests=count,
        seconds=outcome.seconds,
        throughput=found.throughput,
        statuses=found.statuses,
        p99_first=first.p99,
        p99_last=last.p99,
        memory=memory[:: max(1, len(memory) // SAMPLES_SHOWN)],
        growth=growth(memory, outcome.seconds, count),
    )


def _memory(samples: Sequence[Sample], began: float, ended: float) -> list[tuple[float, int]]:
    return [(each.at - began, each.resident_bytes) for each in samples if began <= each.at <= ended]


def growth(memory: Sequence[tuple[float, int]], seconds: float, requests: int) -> float:
    """Bytes by which memory grows for each 10,000 requests, once it has settled."""
    settled = [(at, resident) for at, resident in memory if at >= SETTLED * seconds]
    a_second = slope([at for at, _ in settled], [float(resident) for _, resident in settled])
    return 10_000 * a_second * seconds / requests
