"""A campaign's rows, made up."""

from pathlib import Path

from benchmarks.bare import Decoding, Engine, Rate
from benchmarks.campaign import Campaign, Conditions, Machine
from benchmarks.compare import CONCURRENCIES, Visit, closed_name, open_name
from benchmarks.limits import Limits
from benchmarks.measure import Measured
from benchmarks.scaling import Point, Points
from benchmarks.soak import Soak
from benchmarks.stages import Profile
from benchmarks.targets import BARE, OWN, TARGETS

MACHINE = Machine(processor="a processor", cores=2, memory_gib=23.5, system="Linux 6, Python 3.11.7")
CONDITIONS = Conditions(
    films="4 films",
    films_sha256="ab" * 32,
    model="model.int8.onnx",
    model_sha256="cd" * 32,
    device="cpu",
    keras=False,
    workers=2,
    seconds=10,
    machine=MACHINE,
    versions={"onnxruntime": "1.31.1"},
    sources_sha256="ef" * 32,
)


def measured(
    throughput: float, *, p99: float = 0.2, processor_seconds: float = 0.04, refused: float | None = None
) -> Measured:
    """One load of a well-behaved server."""
    return Measured(
        offered=None,
        throughput=throughput,
        p50=p99 / 2,
        p95=p99 * 0.9,
        p99=p99,
        refused_p99=refused,
        statuses={"200": 90, **({"429": 10} if refused else {})},
        processor_seconds=processor_seconds,
        busy=0.98,
        generator=0.03,
        resident=250_000_000,
        proportional=200_000_000,
        late=0.001,
    )


def visit(name: str, turn: int, throughput: float, processor_seconds: float = 0.04) -> Visit:
    """One target in one round."""
    loads = {
        closed_name(each): measured(throughput, processor_seconds=processor_seconds) for each in CONCURRENCIES
    }
    loads |= {open_name(0.9): measured(0.9 * throughput, p99=0.1)}
    loads |= {open_name(10): measured(throughput, p99=0.15, refused=0.02)}
    return Visit(target=name, round=turn, start_seconds=2.0, difference=0.01, loads=loads)


def visits() -> list[Visit]:
    """Two rounds in which the service does 40 and 44 films a second, a peer half of that."""
    found = []
    for turn, throughput in enumerate((40.0, 44.0)):
        rates = {"one loop": Rate(films_a_second=45, processor_seconds=0.04)}
        found.append(Visit(target=BARE, round=turn, limits=rates))
        for name in TARGETS:
            found.append(visit(name, turn, throughput if name == OWN else throughput / 2))
    return found


def campaign(folder: Path) -> Campaign:
    """A campaign in `folder` with a row of every kind."""
    made = Campaign(folder, CONDITIONS)
    for part in ("compare", "bare", "stages", "scaling", "soak"):
        made.begin(part, f"python -m benchmarks --films PATH {part}")
    for each in visits():
        made.row(Visit, "compare", f"{each.round}-{each.target}", lambda each=each: each)  # type: ignore[misc]
    limits = Limits(
        round=0,
        loops={"one loop": Rate(films_a_second=45, processor_seconds=0.04)},
        decoding=Decoding(service=7.3, scaled=7.0, resized=7.2, full=17),
        precision={"model.onnx": 50, "model.int8.onnx": 20},
        one_film=Engine(batch=1, session=46, beside=48, engine=47),
        batches=Engine(batch=2, session=50, beside=None, engine=49),
    )
    made.row(Limits, "bare", "0", lambda: limits)
    stages = {"decode": 7.0, "queue": 0.5, "inference": 20.0, "encode": 0.5}
    for clients in (1, 8):
        profile = Profile(concurrency=clients, round=0, stages=stages, request=29.0, client=30.0)
        made.row(Profile, "stages", f"0-{clients}", lambda profile=profile: profile)  # type: ignore[misc]
    points = [
        Point(against="batch", series="model.int8.onnx", at=1, throughput=48),
        Point(against="batch", series="model.int8.onnx", at=2, throughput=50),
        Point(against="clients", series="service", at=8, throughput=40, p50=0.2, p99=0.3),
        Point(against="width", series="service", at=400, throughput=45, p50=0.2, p99=0.3),
        Point(against="cores", series="service", at=1, throughput=20, p50=0.4, p99=0.5),
        Point(against="cores", series="bare loop", at=1, throughput=22),
    ]
    made.row(Points, "scaling", "all", lambda: Points(points=points))
    soak = Soak(
        requests=1000,
        seconds=10,
        throughput=100,
        statuses={"200": 1000},
        p99_first=0.02,
        p99_last=0.021,
        memory=[(0.0, 150_000_000), (5.0, 151_000_000), (10.0, 151_000_000)],
        growth=1000.0,
    )
    made.row(Soak, "soak", "000001000", lambda: soak)
    return made
