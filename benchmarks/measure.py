"""One load on one server, in numbers."""

from collections.abc import Sequence

import psutil
from pydantic import BaseModel, ConfigDict

from benchmarks import statistics
from benchmarks.cores import all_cores
from benchmarks.load import Closed, Open, Request, own_process
from benchmarks.server import Running
from benchmarks.watch import proportional_bytes, watching


class Part(BaseModel):
    """A frozen piece of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(Part):
    """One load. Latencies in seconds, memory in bytes.

    `offered`: requests a second of the open model. `throughput`: films answered with 200 a second.
    `processor_seconds`: of the server's whole tree, for each of those films. `busy`: the share of all cores'
    time that server and generator used. `generator`: the generator's part of it. `resident`: the most that
    the tree's processes had resident, shared pages counted in each; `proportional`: shared pages counted once.
    `late`: p99 of how late the generator sent.
    """

    offered: float | None
    throughput: float
    p50: float | None
    p95: float | None
    p99: float | None
    refused_p99: float | None
    statuses: dict[str, int]
    processor_seconds: float | None
    busy: float
    generator: float
    resident: int
    proportional: int
    late: float


def measure(load: Closed | Open, server: Running, requests: Sequence[Request]) -> Measured:
    """Put `load` on a running server, from a process of its own."""
    with own_process() as generate, watching(server.pid) as watch:
        outcome = generate(load, server.url, requests)
        proportional = proportional_bytes(psutil.Process(server.pid))
    found = statistics.figures(outcome)
    used = watch.processor_seconds(outcome.began, outcome.ended)
    available = outcome.seconds * len(all_cores())
    return Measured(
        offered=load.rate if isinstance(load, Open) else None,
        throughput=found.throughput,
        p50=found.latency and found.latency.p50,
        p95=found.latency and found.latency.p95,
        p99=found.latency and found.latency.p99,
        refused_p99=found.refused and found.refused.p99,
        statuses=found.statuses,
        processor_seconds=used / found.films if found.films else None,
        busy=(used + outcome.processor_seconds) / available,
        generator=outcome.processor_seconds / available,
        resident=watch.peak_resident_bytes(),
        proportional=proportional,
        late=found.late,
    )
