"""Where a request's time goes: the service's own stages, and what is left between them and its client."""

from collections.abc import Mapping, Sequence
from functools import partial

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.campaign import Campaign
from benchmarks.compare import WARM_SECONDS, patient
from benchmarks.load import Closed, own_process
from benchmarks.measure import Part
from benchmarks.server import Setup, running
from benchmarks.targets import OWN, TARGETS

PART = "stages"
CONCURRENCIES = (1, 8)
ROUTE = "/predict"
Totals = Mapping[str, tuple[float, float]]


class Profile(Part):
    """Mean milliseconds a film with so many clients.

    `stages`: those that the service exports, in its order. `request`: from a request's headers to the end of its
    answer, by the service. `client`: from sending to the whole answer, by the client.
    """

    concurrency: int
    round: int
    stages: dict[str, float]
    request: float
    client: float

    @property
    def rest_of_request(self) -> float:
        """What the service does outside its stages: receive the body, parse the form, log, count."""
        return self.request - sum(self.stages.values())

    @property
    def outside(self) -> float:
        """What passes outside the application: the connection, the server's HTTP, the client itself."""
        return self.client - self.request

    @property
    def added(self) -> float:
        """What the client waits beyond decoding and inference."""
        return self.client - self.stages.get("decode", 0.0) - self.stages.get("inference", 0.0)


def profile(campaign: Campaign, setup: Setup, films: Sequence[bytes], rounds: int) -> list[Profile]:
    """A profile with one client and with eight, in each round."""
    found = []
    for turn in range(rounds):
        for concurrency in CONCURRENCIES:
            measured = partial(_profile, setup, films, concurrency, turn, campaign.conditions.seconds)
            found.append(campaign.row(Profile, PART, f"{turn}-{concurrency}", measured))
    return found


def _profile(setup: Setup, films: Sequence[bytes], concurrency: int, turn: int, seconds: float) -> Profile:
    target = TARGETS[OWN]
    requests = [target.request(film) for film in films]
    with running(target, setup, films[0], settings=patient()) as server, own_process() as generate:
        warm = generate(Closed(concurrency, WARM_SECONDS), server.url, requests)
        # A number of requests, not of seconds: the same ones are then in the metrics and in the client's times.
        count = max(2 * concurrency, round(len(warm.meant) / WARM_SECONDS * seconds))
        before = totals(_scrape(server.url))
        outcome = generate(Closed(concurrency, requests=count), server.url, requests)
        means = mean_milliseconds(before, totals(_scrape(server.url)))
    return Profile(
        concurrency=concurrency,
        round=turn,
        request=means.pop(ROUTE),
        stages=means,
        client=1000 * float(np.mean(outcome.latency[outcome.status == 200])),
    )


def totals(exposition: str) -> Totals:
    """Sum in seconds and count of each stage and of the answered requests to /predict, by `/metrics`' text."""
    found: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            kind = sample.name.rpartition("_")[2]
            if kind not in ("sum", "count"):
                continue
            if family.name == "pneumoscope_stage_seconds":
                name = sample.labels["stage"]
            elif family.name == "pneumoscope_request_seconds" and sample.labels == {
                "route": ROUTE,
                "status": "200",
            }:
                name = ROUTE
            else:
                continue
            found.setdefault(name, [0.0, 0.0])[kind == "count"] = sample.value
    return {name: (seconds, count) for name, (seconds, count) in found.items()}


def mean_milliseconds(before: Totals, after: Totals) -> dict[str, float]:
    """The mean of each between two scrapes, in milliseconds; what did not happen is left out."""
    means = {}
    for name, (seconds, count) in after.items():
        seconds_before, count_before = before.get(name, (0.0, 0.0))
        if count > count_before:
            means[name] = 1000 * (seconds - seconds_before) / (count - count_before)
    return means


def _scrape(url: str) -> str:
    return httpx.get(url + "/metrics", trust_env=False).raise_for_status().text
