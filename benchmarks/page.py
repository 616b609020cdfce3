"""The results as Markdown, for the blocks of a page.

A block begins with the mark `<!-- benchmark:NAME -->` and ends with `<!-- /benchmark:NAME -->`.
"""

import re
from collections.abc import Iterable, Sequence

from benchmarks.campaign import Campaign
from benchmarks.compare import CONCURRENCIES, NEAR_CAPACITY, OVERLOAD, Visit, closed_name, open_name
from benchmarks.environments import versions
from benchmarks.limits import Limits
from benchmarks.measure import Measured
from benchmarks.scaling import Point
from benchmarks.soak import Soak
from benchmarks.stages import CONCURRENCIES as PROFILED
from benchmarks.stages import Profile
from benchmarks.statistics import Spread
from benchmarks.targets import BARE, OWN, TARGETS
from benchmarks.verdicts import Verdict, capacity, paired

NAMES = ("targets", "compare", "bare", "stages", "scaling", "soak")
NOTHING = "–"


class NoBlock(ValueError):
    """The page has no such block, or more than one."""


def fill(page: str, name: str, content: str) -> str:
    """The page with the block `name` holding `content` and nothing else.

    Raises:
        NoBlock: the marks are not there exactly once.
    """
    begin, end = (re.escape(f"<!-- {mark}benchmark:{name} -->") for mark in ("", "/"))
    block = re.compile(f"({begin}\n).*?({end})", flags=re.DOTALL)
    if len(block.findall(page)) != 1:
        raise NoBlock(f"The page needs the marks of the block '{name}' exactly once.")
    return block.sub(lambda marks: f"{marks[1]}\n{content.strip()}\n\n{marks[2]}", page)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(spread: Spread | None, factor: float = 1.0) -> str:
    """Median and, where there are several rounds, least and greatest; three significant digits."""
    if spread is None:
        return NOTHING
    median, low, high = (_digits(factor * value) for value in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low}–{high})"


def _digits(value: float) -> str:
    return (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 or not value else "0"
    )


def provenance(campaign: Campaign, part: str, rounds: int = 1) -> str:
    """Command, date, machine and versions of a part of the campaign."""
    told, machine = campaign.conditions, campaign.conditions.machine
    packages = ", ".join(f"{name} {version}" for name, version in told.versions.items())
    spread = f" {rounds} rounds: median (least–greatest)." if rounds > 1 else ""
    return (
        f"`{campaign.command_of(part)}`, {campaign.started:%Y-%m-%d}, on {machine.processor}, "
        f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}. {told.films}; {told.model} "
        f"(`{told.model_sha256[:8]}…`) on {told.device}; {packages}.{spread}"
    )


def targets(verdicts: Sequence[Verdict]) -> str:
    """Each target and whether it is met."""
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = [[each.asked, number(each.measured) + _unit(each), words[each.met]] for each in verdicts]
    return table(["asked", "measured", ""], rows)


def _unit(verdict: Verdict) -> str:
    if verdict.measured is None or not verdict.unit:
        return ""
    return verdict.unit if verdict.unit == "×" else f" {verdict.unit}"


def compare(visits: Sequence[Visit], folder: str) -> str:
    """The targets under each load."""
    names = [name for name in (*TARGETS, BARE) if any(visit.target == name for visit in visits)]
    of = {name: [visit for visit in visits if visit.target == name] for name in names}
    servers = [name for name in names if name != BARE]
    parts = [f"![capacity, processor time and overload of each server]({folder}/compare.png)"]
    if BARE in of:
        parts.append(_loops(of[BARE]))
    parts += ["### Capacity and cost", _overview(of, servers)]
    for concurrency in CONCURRENCIES:
        clients = "client" if concurrency == 1 else "clients"
        parts += [f"### {concurrency} {clients}", _load_table(of, servers, closed_name(concurrency))]
    parts += [
        f"### Open arrivals at {NEAR_CAPACITY:.0%} of each server's own capacity".replace("%", " %"),
        _load_table(of, servers, open_name(NEAR_CAPACITY), offered=True),
        f"### Overload: open arrivals at {OVERLOAD:g} times each server's own capacity",
        _load_table(of, servers, open_name(OVERLOAD), offered=True),
    ]
    return "\n\n".join(parts)


def _title(name: str) -> str:
    target = TARGETS[name]
    pins = versions(target.requirements, target.versions)
    if len(pins) == 1:
        return f"{target.title} {next(iter(pins.values()))}"
    return f"**{target.title}**" if name == OWN else target.title


def _loops(visits: Sequence[Visit]) -> str:
    rows = []
    for words in visits[0].limits:
        rates = [visit.limits[words] for visit in visits if words in visit.limits]
        rows.append(
            [
                words,
                number(Spread.of(rate.films_a_second for rate in rates)),
                number(Spread.of(rate.processor_seconds for rate in rates), 1000),
            ]
        )
    return table(["without any service", "films/s", "processor ms a film"], rows)


def _overview(of: dict[str, list[Visit]], servers: Sequence[str]) -> str:
    rows = []
    for name in servers:
        visits = of[name]
        behind = [capacity(own) / capacity(other) for own, other in paired(of.get(OWN, []), visits)]
        loads = [load for visit in visits for load in visit.loads.values()]
        rows.append(
            [
                _title(name),
                number(Spread.of(map(capacity, visits))),
                NOTHING if name == OWN else number(Spread.of(behind)) + "×",
                number(Spread.of(load.processor_seconds for load in _of(visits, closed_name(32))), 1000),
                number(Spread.of(float(load.proportional) for load in loads), 1e-6),
                number(Spread.of(visit.start_seconds for visit in visits)),
                number(Spread.of(visit.difference for visit in visits)),
            ]
        )
    heads = [
        "server",
        "capacity, films/s",
        "Pneumoscope is",
        "processor ms a film, 32 clients",
        "memory, MB",
        "start to first answer, s",
        "greatest difference of a probability",
    ]
    return table(heads, rows)


def _of(visits: Sequence[Visit], load: str) -> list[Measured]:
    return [visit.loads[load] for visit in visits if load in visit.loads]


def _load_table(
    of: dict[str, list[Visit]], servers: Sequence[str], load: str, *, offered: bool = False
) -> str:
    rows = []
    for name in servers:
        found = _of(of[name], load)
        if not found:
            continue
        row = [_title(name)]
        if offered:
            row.append(number(Spread.of(each.offered for each in found)))
        row += [
            number(Spread.of(each.throughput for each in found)),
            number(Spread.of(each.p50 for each in found), 1000),
            number(Spread.of(each.p95 for each in found), 1000),
            number(Spread.of(each.p99 for each in found), 1000),
            _statuses(found),
            number(Spread.of(each.refused_p99 for each in found), 1000),
            number(Spread.of(each.processor_seconds for each in found), 1000),
        ]
        if offered:
            row.append(number(Spread.of(each.late for each in found), 1000))
        rows.append(row)
    heads = [
        "server",
        *(["offered, requests/s"] if offered else []),
        "films/s",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "answers other than 200",
        "their p99, ms",
        "processor ms a film",
        *(["generator late by, p99, ms"] if offered else []),
    ]
    return table(heads, rows)


def _statuses(found: Sequence[Measured]) -> str:
    total = sum(sum(each.statuses.values()) for each in found)
    counts: dict[str, int] = {}
    for each in found:
        for status, count in each.statuses.items():
            if status != "200":
                counts[status] = counts.get(status, 0) + count
    return ", ".join(f"{100 * count / total:.3g} % {status}" for status, count in counts.items()) or "none"


def bare(limits: Sequence[Limits]) -> str:
    """The limits without a service."""
    loops = [
        [
            words,
            number(Spread.of(each.loops[words].films_a_second for each in limits)),
            number(Spread.of(each.loops[words].processor_seconds for each in limits), 1000),
        ]
        for words in limits[0].loops
    ]
    times = [each.decoding for each in limits]
    decoding = [
        [
            "the service's decoder, to the model's square",
            number(Spread.of(each.service for each in times)),
            "1",
        ],
        [
            "libjpeg-turbo's scaled decode alone",
            number(Spread.of(each.scaled for each in times)),
            number(Spread.of(each.service / each.scaled for each in times)),
        ],
        [
            "libjpeg-turbo's scaled decode and the resize to the square",
            number(Spread.of(each.resized for each in times)),
            number(Spread.of(each.service / each.resized for each in times)),
        ],
        [
            "full decode and resize",
            number(Spread.of(each.full for each in times)),
            number(Spread.of(each.service / each.full for each in times)),
        ],
    ]
    precision = [
        [name, number(Spread.of(each.precision[name] for each in limits))] for name in limits[0].precision
    ]
    engines = [
        [
            str(engines[0].batch),
            number(Spread.of(each.session for each in engines)),
            number(Spread.of(each.beside for each in engines)),
            number(Spread.of(each.engine for each in engines)),
            number(Spread.of(each.engine / each.limit for each in engines)),
        ]
        for engines in ([each.one_film for each in limits], [each.batches for each in limits])
    ]
    parts = [
        table(["decode and session, no service", "films/s", "processor ms a film"], loops),
        table(["decoding, one thread", "ms a film", "the service's, against it"], decoding),
    ]
    if precision:
        parts.append(table(["model file, one film a run", "ms"], precision))
    parts.append(
        table(
            [
                "films a run",
                "one run on all cores, films/s",
                "runs side by side, films/s",
                "through queue and lanes, films/s",
                "share of the better",
            ],
            engines,
        )
    )
    return "\n\n".join(parts)


def stages(profiles: Sequence[Profile], folder: str) -> str:
    """Mean milliseconds of each stage, and what is left, so that the lines add up to the last."""
    names = list(dict.fromkeys(name for profile in profiles for name in profile.stages))
    lines: dict[str, list[float]] = {
        **{name: [each.stages.get(name, 0.0) for each in profiles] for name in names},
        "the rest of the request: receive and parse the body, log, count": [
            each.rest_of_request for each in profiles
        ],
        "outside the application: connection, HTTP, the client": [each.outside for each in profiles],
        "**all, as the client sees it**": [each.client for each in profiles],
        "all but decode and inference": [each.added for each in profiles],
    }
    rows = [
        [
            words,
            *(
                number(
                    Spread.of(
                        value
                        for each, value in zip(profiles, values, strict=True)
                        if each.concurrency == clients
                    )
                )
                for clients in PROFILED
            ),
        ]
        for words, values in lines.items()
    ]
    heads = ["mean ms a film", *(f"{each} client{'s' * (each > 1)}" for each in PROFILED)]
    return f"![stages of a request]({folder}/stages.png)\n\n" + table(heads, rows)


AGAINST = {
    "batch": ("films a run", "the session alone"),
    "clients": ("clients", "the service"),
    "width": ("width of the films, px", "the service, 8 clients"),
    "cores": ("cores", "the service with 8 clients a core, and the faster bare loop"),
}


def scaling(points: Sequence[Point], folder: str) -> str:
    """A table for each thing that was varied."""
    parts = [f"![throughput against batch, clients, size and cores]({folder}/scaling.png)"]
    for against, (head, words) in AGAINST.items():
        some = [point for point in points if point.against == against]
        if not some:
            continue
        series = list(dict.fromkeys(point.series for point in some))
        timed = any(point.p99 is not None for point in some)
        rows = []
        for at in sorted({point.at for point in some}):
            here = {point.series: point for point in some if point.at == at}
            row = [str(at), *(_digits(here[name].throughput) if name in here else NOTHING for name in series)]
            if timed:
                row += [_milliseconds(here["service"].p50), _milliseconds(here["service"].p99)]
            rows.append(row)
        heads = [head, *(f"{name}, films/s" for name in series), *(["p50, ms", "p99, ms"] if timed else [])]
        parts += [f"{words[0].upper()}{words[1:]}:", table(heads, rows)]
    return "\n\n".join(parts)


def _milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else _digits(1000 * seconds)


def soak(found: Soak, folder: str) -> str:
    """Memory and latency over many requests."""
    answers = ", ".join(f"{count:,} × {status}" for status, count in found.statuses.items())
    rows = [
        ["requests", f"{found.requests:,} ({answers})"],
        ["time", f"{found.seconds:,.0f} s, {_digits(found.throughput)} films/s"],
        ["resident memory at the beginning, at the end", _ends(found)],
        ["growth for each 10,000 requests, once settled", f"{found.growth / 1e6:.3f} MB"],
        [
            "p99 of the first and of the last tenth",
            f"{_milliseconds(found.p99_first)} ms, {_milliseconds(found.p99_last)} ms",
        ],
    ]
    return f"![memory over the soak]({folder}/soak.png)\n\n" + table(["", ""], rows)


def _ends(found: Soak) -> str:
    if not found.memory:
        return NOTHING
    return ", ".join(f"{found.memory[place][1] / 1e6:.1f} MB" for place in (0, -1))
