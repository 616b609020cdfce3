"""When traces are made, and what happens where they cannot be sent."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.engine.errors import ModelFileError
from app.main import create_app
from app.settings import Settings
from app.telemetry.tracing import destination, open_tracing
from app.telemetry.variables import TracingRefused
from tests.app.command_line import environment, run_in
from tests.app.live import PATIENCE_SECONDS, ROOT, process, wait_until
from tests.app.telemetry.collector import ENDPOINT, SOON, collecting

COLLECTOR = {ENDPOINT: "http://localhost:4318"}
RATIO = {**COLLECTOR, "OTEL_TRACES_SAMPLER": "traceidratio"}
SENDING = "OtelBatchSpanRecordProcessor"


@pytest.fixture
def variables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """OpenTelemetry's variables, set."""
    chosen: dict[str, str] = request.param
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return chosen


def sending_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == SENDING]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: ""},
        {"OTEL_SERVICE_NAME": "x-ray"},
        {**COLLECTOR, "OTEL_SDK_DISABLED": "true"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=str,
    indirect=True,
)
@pytest.mark.usefixtures("variables")
def test_traces_are_off_where_no_collector_is_named_or_they_are_switched_off() -> None:
    assert open_tracing() is None
    assert destination() == "off"


@pytest.mark.parametrize(
    "variables",
    [
        COLLECTOR,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://user:key-secret@localhost:4318/v1/traces?key-secret"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {**COLLECTOR, "OTEL_EXPORTER_OTLP_CERTIFICATE": __file__, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
        {**RATIO, "OTEL_TRACES_SAMPLER_ARG": "0.1"},
        {**COLLECTOR, "OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_TRACES_SAMPLER_ARG": "unread"},
    ],
    ids=str,
    indirect=True,
)
@pytest.mark.usefixtures("variables")
def test_traces_are_on_where_a_collector_is_named_or_they_are_switched_on() -> None:
    assert open_tracing() is not None
    assert destination() == "sent to http://localhost:4318 by http/protobuf"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({ENDPOINT: "key-secret:4318"}, ENDPOINT),
        ({ENDPOINT: "grpc://key-secret:4317"}, ENDPOINT),
        ({ENDPOINT: "http://"}, ENDPOINT),
        ({ENDPOINT: "http://collector:key-secret"}, ENDPOINT),
        (
            {**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "key-secret"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ),
        *[
            ({**COLLECTOR, name: value}, name)
            for name, value in {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/authority.pem",
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/nowhere/key-secret.pem",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
                "OTEL_TRACES_SAMPLER": "sometimes",
                "OTEL_BSP_MAX_QUEUE_SIZE": "0",
                "OTEL_BSP_SCHEDULE_DELAY": "5s",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096",
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many",
            }.items()
        ],
        *[
            ({**RATIO, "OTEL_TRACES_SAMPLER_ARG": share}, "OTEL_TRACES_SAMPLER_ARG")
            for share in ("a tenth", "10", "-0.1", "nan")
        ],
    ],
    ids=str,
    indirect=["variables"],
)
@pytest.mark.usefixtures("variables")
def test_what_cannot_be_had_is_refused_by_name_and_not_quoted(named: str) -> None:
    with pytest.raises(TracingRefused, match=named) as refused:
        open_tracing()
    assert "key-secret" not in str(refused.value)


def test_the_command_line_refuses_it_in_one_line_before_the_model_is_read() -> None:
    for command in ((), ("check",)):
        ended = run_in(environment(MODEL_DIR="/nowhere") | {ENDPOINT: "collector:4318"}, *command)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"pneumoscope does not start: {ENDPOINT}: ")
        assert ended.stderr.count("\n") == 1


def test_check_says_where_traces_go_without_the_keys(tiny_folder: Path) -> None:
    surroundings = environment(MODEL_DIR=str(tiny_folder), MAX_BATCH="1")
    collector = {ENDPOINT: "https://user:key-secret@collector:4318/path?key-secret"}
    told = run_in(surroundings | collector, "check", "--runs", "1").stdout
    assert "\ntraces       sent to https://collector:4318 by http/protobuf\n" in told


@pytest.mark.parametrize("value", ["tracecontext,b3", "jaeger", "Mustermann"])
def test_propagators_that_a_platform_asks_for_do_not_stop_the_service(tiny_folder: Path, value: str) -> None:
    surroundings = environment(MODEL_DIR=str(tiny_folder), MAX_BATCH="1")
    ended = run_in(surroundings | {"OTEL_PROPAGATORS": value}, "check", "--runs", "1")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("variables", [COLLECTOR], indirect=True)
@pytest.mark.usefixtures("variables")
def test_an_application_sends_nothing_before_it_starts_or_after_it_failed_to(tmp_path: Path) -> None:
    before = sending_threads()
    app = create_app(Settings(model_dir=tmp_path))
    app.openapi()
    assert sending_threads() == before

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("there is no model")

    with pytest.raises(ModelFileError):
        asyncio.run(start())
    assert sending_threads() == before


@pytest.mark.parametrize(
    ("variables", "path", "recorded"),
    [
        ({**RATIO, "OTEL_TRACES_SAMPLER_ARG": "0"}, "/model", False),
        ({**COLLECTOR, "OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "/model", True),
        (COLLECTOR, "/metrics", None),
        (COLLECTOR, "/health/ready", None),
        (COLLECTOR, "/metricsMustermann", True),
        (COLLECTOR, "/health/Mustermann", True),
    ],
    indirect=["variables"],
)
@pytest.mark.usefixtures("variables")
def test_who_decides_what_is_recorded(path: str, recorded: bool | None) -> None:
    tracing = open_tracing()
    assert tracing is not None
    sampled = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    scope = {"type": "http", "method": "GET", "path": path, "headers": [sampled]}
    span = tracing.request(scope, "x")
    assert (span and span.recorded) == recorded


def test_without_the_extra_the_service_does_not_start_and_says_what_to_install(tiny_folder: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.shipping.runtime_only"],
        cwd=ROOT,
        env=environment(MODEL_DIR=str(tiny_folder), PORT="0") | COLLECTOR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    last = told.stderr.splitlines()[-1]
    assert last.startswith("pneumoscope does not start: ")
    assert last.endswith("pip install 'pneumoscope[tracing]'")


def test_the_sdk_is_not_even_imported_while_traces_are_off() -> None:
    program = (
        "import sys, app.cli; from app.main import create_app; from app.settings import Settings;"
        "create_app(Settings()); print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "[]"


def test_a_collector_that_is_gone_costs_no_answer_and_no_stop_and_its_keys_are_not_logged(
    tiny_folder: Path, tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://user:key-secret@127.0.0.1:{free.getsockname()[1]}/?api_key=key-secret"
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization Bearer key-secret"}
    for name, value in {**SOON, **headers, ENDPOINT: nowhere}.items():
        monkeypatch.setenv(name, value)
    with process(tiny_folder, tmp_path / "log") as service:
        for _ in range(20):
            assert service.client.post("/predict", files={"file": film}).status_code == 200
        wait_until(
            lambda: any("did not take traces" in line["message"] for line in service.lines()), "the log tells"
        )
        service.terminate()
        assert service.process.wait(PATIENCE_SECONDS) == 0
        assert any("OTEL_EXPORTER_OTLP_HEADERS" in line["message"] for line in service.lines())
        assert "key-secret" not in service.log.read_text()


def test_a_collector_that_never_answers_costs_no_answer_and_no_stop(
    tiny_folder: Path, tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        # Longer than any stop may take: were it waited for, the process would not end in time.
        patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_BSP_MAX_QUEUE_SIZE": "8"}
        few = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        for name, value in {**SOON, **patient, **few, ENDPOINT: collector.url}.items():
            monkeypatch.setenv(name, value)
        collector.answering.clear()
        with process(tiny_folder, tmp_path / "log") as service:
            for _ in range(20):  # more spans than have room to wait
                assert service.client.post("/predict", files={"file": film}).status_code == 200
            service.terminate()
            assert service.process.wait(PATIENCE_SECONDS) == 0
            said = [line["message"] for line in service.lines()]
        assert "the last traces were not taken within 2 s" in said
