"""The application: `create_app` builds it, its lifespan owns everything that runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.lowlevel import checkpoint
from fastapi import FastAPI

from app import __version__
from app.api import (
    cross_origin,
    explain,
    film,
    health,
    model,
    observation,
    open_inference,
    pages,
    predict,
    problems,
    reference,
)
from app.api.admission import FILM_ROUTES, Admission, AdmissionGate
from app.api.decoding import DecodingPool
from app.api.errors import ALL_KINDS
from app.api.head import HeadAsGet
from app.api.limits import AddressLimit, BodyLimit, HeadLimit, HostLimit
from app.api.rates import Rates
from app.api.requests import RequestRecorder
from app.api.service import Service, expected_wait
from app.engine.batcher import Batcher
from app.engine.classifier import Classifier
from app.engine.cores import lanes_for, usable_cores
from app.engine.runs import BatchRun
from app.imaging import prepare
from app.keys import KeyRing
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import open_tracing, sending

DESCRIPTION = (
    "Reads a chest radiograph and answers with the probability of pneumonia, a label at a threshold tuned "
    "for sensitivity, and where the evidence lies. For research; a reader decides."
)

COUNTED_STATUSES = sorted(
    {200, *(kind.status for kind in ALL_KINDS.values() if kind.status == 429 or kind.status >= 500)}
)
"""What the alerts count of the requests with films."""

MOST_LANES = 16
"""By default no more runs go side by side than this, since each needs memory of its own."""

MAX_WAIT_FILMS, LEAST_MAX_WAIT_SECONDS = 15, 0.25
"""By default a film waits no longer than so many take, or so long: about the wait at nine tenths of capacity."""

LAST_SPANS_SECONDS = 2.0
"""How long a collector of traces may take for the last ones."""

LAST_BATCH_SECONDS = 2.0
"""How long the device may take for the batch that it is at when everything else has ended."""


def open_classifier(settings: Settings) -> Classifier:
    """The model that `settings` ask for. Raises as `Classifier.open` does."""
    return Classifier.open(
        settings.model_dir,
        device=settings.device,
        precision=settings.precision,
        threshold=settings.threshold,
        expected_sha256=settings.model_sha256,
        cuda_device_id=settings.cuda_device_id,
        cuda_memory_mb=settings.cuda_memory_mb,
        lanes=lanes_for(usable_cores(), MOST_LANES) if settings.lanes == "auto" else settings.lanes,
    )


def create_app(settings: Settings, classifier: Classifier | None = None) -> FastAPI:
    """The application. As many as wanted can live in one process; each opens its own model when it starts.

    Args:
        settings: how it runs.
        classifier: a model that is open already, instead of the one that `settings` ask for.

    Raises:
        InvalidKeys: the file of keys holds none.
        TracingRefused: OpenTelemetry's variables ask for traces that cannot be had.
    """
    metrics = Metrics()
    metrics.expect(reasons=ALL_KINDS, routes=FILM_ROUTES, statuses=COUNTED_STATUSES)
    keys = KeyRing(settings.api_keys, settings.api_keys_file)
    tracing = open_tracing()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with sending(tracing, LAST_SPANS_SECONDS):
            service = build_service(settings, classifier or open_classifier(settings), metrics, keys)
            service.batcher.start()
            await asyncio.to_thread(prepare)  # while the batcher's own thread warms the model
            await checkpoint()  # which loads AnyIO's backend: later there may be no file handle for that
            app.state.service = service
            watching = asyncio.create_task(service.watch_device())
            yield
            watching.cancel()
            service.draining = True
            await asyncio.to_thread(service.batcher.stop, LAST_BATCH_SECONDS)
            service.decoders.stop()

    app = FastAPI(
        title="Pneumoscope",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Its own spans hold raw paths, and its logs the messages of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        license_info={"name": "Apache-2.0"},
    )
    # The last one added sees a request first.
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_upload_bytes, timeout_seconds=settings.upload_timeout_s
    )
    app.add_middleware(AdmissionGate, max_bytes=settings.max_upload_bytes)
    app.add_middleware(AddressLimit)
    app.add_middleware(HostLimit, hosts=settings.trusted_hosts)
    app.add_middleware(HeadAsGet)
    cross_origin.install(app, settings.cors_origins, metrics)
    app.add_middleware(HeadLimit)
    app.add_middleware(RequestRecorder, metrics=metrics, tracing=tracing)
    problems.install(app, metrics)
    for resource in (predict, explain, film, model, open_inference, health, observation, reference):
        app.include_router(resource.router)
    pages.install(app)
    return app


def build_service(
    settings: Settings, classifier: Classifier, metrics: Metrics, keys: KeyRing | None = None
) -> Service:
    """What the application owns; the batcher is not started yet."""
    on_cuda = classifier.provider.name == "cuda"
    max_batch = (32 if on_cuda else 2) if settings.max_batch == "auto" else settings.max_batch
    wait_ms = (2.0 if on_cuda else 0.0) if settings.batch_wait_ms == "auto" else settings.batch_wait_ms
    workers = usable_cores() if settings.decode_workers == "auto" else settings.decode_workers

    def on_batch(run: BatchRun) -> None:
        metrics.batch_size.observe(run.films)

    batcher = Batcher(
        classifier,
        max_batch=max_batch,
        max_queue=settings.max_queue,
        wait_seconds=wait_ms / 1000,
        on_batch=on_batch,
    )
    decoders = DecodingPool(workers)

    def wait() -> float:
        return expected_wait(decoders, batcher)

    def max_wait() -> float:
        if settings.max_wait_s != "auto":
            return settings.max_wait_s
        return max(LEAST_MAX_WAIT_SECONDS, MAX_WAIT_FILMS * batcher.film_seconds)

    admission = Admission(settings.max_queue, max_wait=max_wait, expected_wait=wait)
    metrics.queue_limit.set(settings.max_queue)
    metrics.threshold.set(classifier.threshold)
    metrics.threshold_overridden.set(classifier.threshold_overridden)
    metrics.provider_fell_back.set(classifier.provider.fell_back)
    metrics.reference.reference = classifier.manifest.reference
    metrics.model.info(
        {
            "name": classifier.manifest.name,
            "version": classifier.manifest.version,
            "sha256": classifier.sha256,
            "provider": classifier.provider.name,
            "precision": classifier.precision,
        }
    )
    service = Service(
        settings=settings,
        classifier=classifier,
        batcher=batcher,
        decoders=decoders,
        metrics=metrics,
        admission=admission,
        keys=keys or KeyRing(),
        rates=Rates(settings.rate_limit) if settings.rate_limit else None,
    )
    metrics.watch(
        queue_depth=lambda: batcher.depth,
        uploads=lambda: admission.taken,
        expected_wait=wait,
        max_wait=max_wait,
        ready=lambda: service.ready,
    )
    return service
