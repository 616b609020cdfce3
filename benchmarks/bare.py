"""The limits without a service: a bare loop, the decoder, the session, and the engine without HTTP."""

import asyncio
import functools
import io
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.engine.batcher import Batcher
from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.model_file import read_file
from app.engine.providers import Device, choose_provider, open_session
from app.imaging import read
from app.imaging.raster import DRAFT_FACTOR
from benchmarks.measure import Part

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Rate(Part):
    """Films a second, and the processor seconds that each took."""

    films_a_second: float
    processor_seconds: float


class Decoding(Part):
    """Median milliseconds a film, one thread: the service's decoder, and what bounds it.

    `scaled`: libjpeg-turbo's scaled decode of the same bytes, nothing after it; `resized`: that, and one resize to
    the model's square. `full`: the whole film decoded and resized, as the obvious service does.
    """

    service: float
    scaled: float
    resized: float
    full: float


class Engine(Part):
    """Films a second with batches of `batch`: the session in bare loops, and through the service's engine.

    `session`: one run at a time, on all cores or the GPU. `beside`: a run a core, side by side; None on a GPU.
    """

    batch: int
    session: float
    beside: float | None
    engine: float

    @property
    def limit(self) -> float:
        """What the better of the bare loops does."""
        return max(self.session, self.beside or 0.0)


def in_own_process(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call `function` in a fresh process, so that nothing that ran before is measured with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(functools.partial(function, *arguments, **options)).result()


def loop(
    model: Path, films: Sequence[bytes], seconds: float, *, device: Device = "cpu", loops: int = 1
) -> Rate:
    """Decode a film, run the session on it, and again: what the cores can do without any service.

    Args:
        model: the ONNX file.
        films: uploads, taken in turn.
        seconds: how long, after one second of the same that does not count.
        device: where the session runs.
        loops: so many loops side by side, each with a session and its share of the cores.
    """
    threads = max(1, usable_cores() // loops)
    classifiers = [Classifier.open_file(model, device=device, threads=threads) for _ in range(loops)]
    began = time.perf_counter() + 1.0
    ended = began + seconds

    def one(classifier: Classifier, start: int) -> int:
        counted = 0
        for film in itertools.cycle([*films[start:], *films[:start]]):
            radiograph = read(film, size=classifier.input_size)
            classifier.run(radiograph.pixels[None])
            now = time.perf_counter()
            if now >= ended:
                return counted
            counted += now >= began
        raise AssertionError("a cycle does not end")

    with ThreadPoolExecutor(loops) as pool:
        running = [
            pool.submit(one, classifier, place % len(films)) for place, classifier in enumerate(classifiers)
        ]
        time.sleep(max(0.0, began - time.perf_counter()))
        used = time.process_time()
        time.sleep(max(0.0, ended - time.perf_counter()))
        used = time.process_time() - used
        counted = sum(each.result() for each in running)
    return Rate(films_a_second=counted / seconds, processor_seconds=used / max(1, counted))


def loops(model: Path, films: Sequence[bytes], seconds: float, device: Device) -> dict[str, Rate]:
    """One loop with all cores in its session, and a loop for each core, each in a process of its own."""
    kinds = {"one loop": 1, "a loop a core": usable_cores()}
    return {
        words: in_own_process(loop, model, films, seconds, device=device, loops=count)
        for words, count in kinds.items()
    }


def decoding(films: Sequence[bytes], size: int, rounds: int) -> Decoding:
    """Time the decoders on each film in turn, `rounds` times; the figure is the mean over films of the medians.

    Args:
        films: uploads; those that are no JPEG are left out.
        size: side of the square in pixels.
        rounds: how often each film is decoded each way.
    """
    decoders = (
        functools.partial(_service, size=size),
        functools.partial(_scaled, size=size),
        functools.partial(_resized, size=size),
        functools.partial(_full, size=size),
    )
    jpegs = [film for film in films if film.startswith(b"\xff\xd8")]
    taken = np.zeros((len(decoders), len(jpegs), rounds))
    for turn, (place, film) in itertools.product(range(rounds), enumerate(jpegs)):
        for row, decode in enumerate(decoders):
            started = time.perf_counter()
            decode(film)
            taken[row, place, turn] = time.perf_counter() - started
    service, scaled, resized, full = 1000 * np.median(taken, axis=2).mean(axis=1)
    return Decoding(service=float(service), scaled=float(scaled), resized=float(resized), full=float(full))


def _service(film: bytes, *, size: int) -> None:
    read(film, size=size)


def _scaled(film: bytes, *, size: int) -> None:
    with Image.open(io.BytesIO(film)) as image:
        image.draft("L", (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
        image.load()


def _resized(film: bytes, *, size: int) -> None:
    with Image.open(io.BytesIO(film)) as image:
        image.draft("L", (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
        image.resize((size, size), Image.Resampling.BILINEAR)


def _full(film: bytes, *, size: int) -> None:
    with Image.open(io.BytesIO(film)) as image:
        np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))


def sessions(models: Sequence[Path], batch: int, seconds: float, *, device: Device = "cpu") -> list[float]:
    """Median milliseconds of a run with `batch` films, of each model, run in turns for `seconds` altogether."""
    classifiers = [Classifier.open_file(model, device=device) for model in models]
    pixels = [_films(batch, classifier.input_size) for classifier in classifiers]
    taken: list[list[float]] = [[] for _ in models]
    ended = time.perf_counter() + seconds
    while time.perf_counter() < ended or len(taken[0]) < 4:
        for classifier, films, row in zip(classifiers, pixels, taken, strict=True):
            started = time.perf_counter()
            classifier.run(films)
            row.append(time.perf_counter() - started)
    return [1000 * float(np.median(row[1:])) for row in taken]


def engine(model: Path, batch: int, seconds: float, *, device: Device = "cpu") -> Engine:
    """The session in bare loops, then behind the service's queue and lanes; decoded films, no HTTP.

    On CUDA the bare loop binds its input and outputs once and copies the input anew for each run.
    """
    return Engine(
        batch=batch,
        session=_bare_session(model, batch, seconds, device),
        beside=_side_by_side(model, batch, seconds) if device == "cpu" else None,
        engine=asyncio.run(_through_batcher(model, batch, seconds, device)),
    )


def _bare_session(model: Path, batch: int, seconds: float, device: Device) -> float:
    provider = choose_provider(device)
    session = open_session(read_file(model).content, provider, threads=usable_cores())
    (size,) = set(session.get_inputs()[0].shape[1:])
    pixels = _films(batch, size)
    binding = session.io_binding()
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")

    def run() -> None:
        binding.bind_cpu_input("pixels", pixels)
        session.run_with_iobinding(binding)

    for _ in range(3):
        run()
    return _rate(run, batch, seconds)


def _side_by_side(model: Path, batch: int, seconds: float) -> float:
    """Films a second of a loop a core, all on one session whose runs have one thread each."""
    loops = usable_cores()
    classifier = Classifier.open_file(model, threads=1)
    pixels = _films(batch, classifier.input_size)
    with ThreadPoolExecutor(loops) as pool:
        rates = [pool.submit(_rate, lambda: classifier.run(pixels), batch, seconds) for _ in range(loops)]
        return sum(rate.result() for rate in rates)


def _rate(run: Callable[[], object], films: int, seconds: float) -> float:
    started, runs = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        run()
        runs += 1
    return runs * films / passed


async def _through_batcher(model: Path, batch: int, seconds: float, device: Device) -> float:
    classifier = Classifier.open_file(model, device=device, lanes=usable_cores())
    waiting = 2 * batch * classifier.lanes
    batcher = Batcher(
        classifier, max_batch=batch, max_queue=waiting, wait_seconds=0.002 if device == "cuda" else 0.0
    )
    batcher.start()
    while not batcher.ready:
        await asyncio.sleep(0.01)
    films = list(_films(waiting, classifier.input_size))
    answered = 0
    started = time.perf_counter()

    async def one(film: npt.NDArray[np.uint8]) -> None:
        nonlocal answered
        while time.perf_counter() - started < seconds:
            await batcher.submit(film)
            answered += 1

    # Two batches' worth for each lane, so that one can wait while the other runs.
    await asyncio.gather(*(one(film) for film in films))
    passed = time.perf_counter() - started
    batcher.stop()
    return answered / passed


def _films(batch: int, size: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (batch, size, size), np.uint8)
