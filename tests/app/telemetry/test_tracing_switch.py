"""When traces are made, and what happens where they cannot be sent."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.telemetry.tracing import TracingRefused, open_tracing
from tests.app.command_line import environment
from tests.app.live import PATIENCE_SECONDS, ROOT, process, wait_until
from tests.app.telemetry.collector import ENDPOINT, SOON, collecting

COLLECTOR = {ENDPOINT: "http://localhost:4318"}


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
)
def test_traces_are_off_where_no_collector_is_named_or_they_are_switched_off(
    variables: dict[str, str],
) -> None:
    assert open_tracing(variables) is None


@pytest.mark.parametrize(
    "variables",
    [COLLECTOR, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"},
     {"OTEL_TRACES_EXPORTER": "otlp"}],
    ids=str,
)  # fmt: skip
def test_traces_are_on_where_a_collector_is_named_or_they_are_switched_on(variables: dict[str, str]) -> None:
    tracing = open_tracing(variables)
    assert tracing is not None
    tracing.stop(PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({**COLLECTOR, "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "max_queue_size"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TracingRefused, match=named):
        open_tracing()


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


def test_a_collector_that_is_gone_costs_no_answer_and_no_stop(
    tiny_folder: Path, tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name, value in {**SOON, ENDPOINT: nowhere}.items():
        monkeypatch.setenv(name, value)
    with process(tiny_folder, tmp_path / "log") as service:
        for _ in range(20):
            assert service.client.post("/predict", files={"file": film}).status_code == 200
        wait_until(
            lambda: any("exporting spans" in line["message"] for line in service.lines()), "the log tells"
        )
        service.terminate()
        assert service.process.wait(PATIENCE_SECONDS) == 0


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
