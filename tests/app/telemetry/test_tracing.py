"""Traces, as a collector gets them."""

import math
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app import __version__
from app.settings import Settings
from tests import dicom_films, radiographs
from tests.app.live import ROOT, Process, gated, process, running, wait_until
from tests.app.telemetry.collector import ENDPOINT, SOON, Collector, attributes, collecting

STAGES = ["receive", "decode", "queue", "inference", "encode"]
SECRETS = ("Mustermann", "Erika^1964", "MRN-0815", "ward-secret", "key-secret")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(
    collector: Collector, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """A service of its own that sends its traces to the collector."""
    with pytest.MonkeyPatch.context() as patch:
        # FastAPI's own telemetry holds paths and messages: not even when asked for is it to send any.
        for name, value in {**SOON, ENDPOINT: collector.url, "FASTAPI_OTEL_AUTO_CONFIGURE": "true"}.items():
            patch.setenv(name, value)
        with process(tiny_folder, tmp_path_factory.mktemp("traced") / "log") as service:
            yield service


class Caller:
    """Somebody in whose trace a request is made."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.trace_id = secrets.token_hex(16)
        self.span_id = secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{int(sampled):02}"}


def sent(collector: Collector, caller: Caller) -> dict[str, Span]:
    """The spans of the caller's trace by name, once all are there."""
    wait_until(lambda: collector.whole(caller.trace_id), "the trace is sent")
    return collector.trace(caller.trace_id)


def test_a_prediction_is_a_span_with_one_for_each_stage_in_the_callers_trace(
    traced: Process, collector: Collector, film: bytes
) -> None:
    caller = Caller()
    answer = traced.client.post("/predict", files={"file": film}, headers=caller.headers)
    spans = sent(collector, caller)
    server = spans.pop("POST /predict")
    assert (server.kind, server.parent_span_id.hex()) == (Span.SPAN_KIND_SERVER, caller.span_id)
    assert attributes(server) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "pneumoscope.request_id": answer.headers["x-request-id"],
    }
    assert list(spans) == STAGES
    assert {span.parent_span_id for span in spans.values()} == {server.span_id}
    moments = [server.start_time_unix_nano]
    for name in STAGES:
        moments += [spans[name].start_time_unix_nano, spans[name].end_time_unix_nano]
    moments.append(server.end_time_unix_nano)
    assert moments == sorted(moments)
    assert attributes(spans["decode"]) == {
        "pneumoscope.bytes": len(film),
        "pneumoscope.format": "JPEG",
        "pneumoscope.width": 480,
        "pneumoscope.height": 400,
    }
    assert attributes(spans["inference"]) == {
        "pneumoscope.batch_size": 1,
        "pneumoscope.model_version": answer.json()["model"]["version"],
        "pneumoscope.precision": "float16",
        "pneumoscope.provider": "cpu",
    }


def test_the_stages_last_as_long_as_the_answer_says(
    traced: Process, collector: Collector, film: bytes
) -> None:
    caller = Caller()
    timing = traced.client.post("/predict", files={"file": film}, headers=caller.headers).json()["timing_ms"]
    spans = sent(collector, caller)
    for stage in ("queue", "inference"):
        took = (spans[stage].end_time_unix_nano - spans[stage].start_time_unix_nano) / 1e6
        assert took == pytest.approx(timing[stage], abs=0.002)


def test_the_log_has_the_ids_of_the_trace(traced: Process, collector: Collector, film: bytes) -> None:
    caller = Caller()
    headers = {**caller.headers, "X-Request-ID": "ward-7"}
    traced.client.post("/predict", files={"file": film}, headers=headers)
    server = sent(collector, caller)["POST /predict"]
    wait_until(
        lambda: any(line.get("request_id") == "ward-7" for line in traced.lines()), "the line is written"
    )
    (line,) = [line for line in traced.lines() if line.get("request_id") == "ward-7"]
    assert (line["trace_id"], line["span_id"]) == (caller.trace_id, server.span_id.hex())


def test_a_request_without_a_caller_begins_a_trace_of_its_own(
    traced: Process, collector: Collector, film: bytes
) -> None:
    headers = {"X-Request-ID": "ward-8", "traceparent": "00-this-is-none-01"}
    traced.client.post("/predict", files={"file": film}, headers=headers)
    wait_until(
        lambda: any(line.get("request_id") == "ward-8" for line in traced.lines()), "the line is written"
    )
    (line,) = [line for line in traced.lines() if line.get("request_id") == "ward-8"]
    wait_until(lambda: collector.whole(line["trace_id"]), "the trace is sent")
    assert collector.trace(line["trace_id"])["POST /predict"].parent_span_id == b""


def test_what_the_caller_does_not_sample_is_not_sent_but_logged_with_its_id(
    traced: Process, collector: Collector, film: bytes
) -> None:
    unsampled, later = Caller(sampled=False), Caller()
    for caller in (unsampled, later):
        traced.client.post("/predict", files={"file": film}, headers=caller.headers)
    sent(collector, later)
    assert collector.spans(unsampled.trace_id) == []
    assert any(line.get("trace_id") == unsampled.trace_id for line in traced.lines())


def test_each_film_of_a_batch_has_a_span_around_its_stages(
    traced: Process, collector: Collector, film: bytes
) -> None:
    caller = Caller()
    files = [("files", film), ("files", b"no film"), ("files", film)]
    traced.client.post("/predict/batch", files=files, headers=caller.headers)
    wait_until(lambda: collector.whole(caller.trace_id), "the trace is sent")
    spans = collector.spans(caller.trace_id)
    films = {attributes(span)["pneumoscope.place"]: span for span in spans if span.name == "film"}
    assert sorted(films) == [0, 1, 2]
    stages = {
        place: [span.name for span in spans if span.parent_span_id == film.span_id]
        for place, film in films.items()
    }
    assert stages == {0: STAGES[1:], 1: ["decode"], 2: STAGES[1:]}
    assert attributes(films[1])["pneumoscope.problem"] == "unsupported-image"


def test_a_refused_film_is_told_by_its_problem_and_the_kind_of_its_error(
    traced: Process, collector: Collector, film: bytes
) -> None:
    caller = Caller()
    traced.client.post("/predict", files={"file": film[: len(film) // 2]}, headers=caller.headers)
    spans = sent(collector, caller)
    assert attributes(spans["POST /predict"])["pneumoscope.problem"] == "unreadable-image"
    assert spans["POST /predict"].status.code == Status.STATUS_CODE_UNSET, "it is the client's mistake"
    assert attributes(spans["decode"])["error.type"] == "UnreadableImage"
    assert spans["decode"].status == Status(code=Status.STATUS_CODE_ERROR)


def test_health_checks_and_scrapes_leave_no_trace(traced: Process, collector: Collector, film: bytes) -> None:
    watching, later = Caller(), Caller()
    for path in ("/health/live", "/health/ready", "/metrics", "/v2/health/live"):
        assert traced.client.get(path, headers=watching.headers).status_code == 200
    traced.client.post("/predict", files={"file": film}, headers=later.headers)
    sent(collector, later)
    assert collector.spans(watching.trace_id) == []


@pytest.mark.parametrize(
    ("method", "path", "stages"),
    [
        ("POST", "/explain", STAGES),
        ("POST", "/film", ["receive", "encode"]),
        ("GET", "/model", []),
        ("DELETE", "/model", []),
    ],
)
def test_every_route_is_traced_under_its_template(
    traced: Process, collector: Collector, film: bytes, method: str, path: str, stages: list[str]
) -> None:
    caller = Caller()
    files = {"file": film} if method == "POST" else None
    traced.client.request(method, path, files=files, headers=caller.headers)
    spans = sent(collector, caller)
    assert list(spans) == [f"{method} {path}", *stages]


def test_paths_that_there_are_not_leave_no_trace_but_a_line_in_the_log(
    traced: Process, collector: Collector, film: bytes
) -> None:
    asking, later = Caller(), Caller()
    for path in ("/Mustermann", "/assets/Mustermann", "/health/Mustermann"):
        assert traced.client.get(path, headers=asking.headers).status_code == 404
    traced.client.post("/predict", files={"file": film}, headers=later.headers)
    sent(collector, later)
    assert collector.spans(asking.trace_id) == []
    wait_until(
        lambda: sum(line.get("trace_id") == asking.trace_id for line in traced.lines()) == 3,
        "all are logged",
    )


def infer(traced: Process, caller: Caller) -> None:
    """Have a black film judged by the Open Inference Protocol."""
    (pixels,) = traced.client.get("/v2/models/tiny").json()["inputs"]
    shape = [1, *pixels["shape"][1:]]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": shape, "data": [0] * math.prod(shape)}
    answer = traced.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}, headers=caller.headers)
    assert answer.status_code == 200, answer.text


def test_the_open_inference_protocol_is_traced_too(traced: Process, collector: Collector) -> None:
    caller = Caller()
    infer(traced, caller)
    assert list(sent(collector, caller)) == ["POST /v2/models/{model}/infer", *STAGES]


def test_nothing_of_a_patient_a_file_or_a_path_is_sent(
    traced: Process, collector: Collector, film: bytes
) -> None:
    dataset = dicom_films.film(radiographs.draw(), PatientName="Mustermann^Erika", PatientID="MRN-0815")
    whole = dicom_films.encoded(dataset)
    headers = {
        "X-API-Key": "key-secret",
        "User-Agent": "ward-secret",
        "tracestate": "ward-secret=MRN-0815",
        "baggage": "patient=Mustermann",
    }
    callers: list[Caller] = []
    unmatched: set[str] = set()

    def ask(path: str, data: bytes, field: str = "file") -> None:
        callers.append(Caller())
        files = {field: ("Mustermann_MRN-0815.dcm", data)}
        answer = traced.client.post(path, files=files, headers=headers | callers[-1].headers)
        if answer.status_code == 404 and "/v2/" not in path:
            unmatched.add(callers[-1].trace_id)

    for data in (whole, whole[: len(whole) // 2], b"Erika^1964 Mustermann"):
        for path in (
            "/predict",
            "/explain",
            "/film",
            "/predict?explain=ward-secret",
            "/Mustermann?q=MRN-0815",
        ):
            ask(path, data)
        ask("/predict/batch", data, "files")
        ask("/predict", data, "MRN-0815")
        ask("/v2/models/ward-secret/infer", data)
    callers = [caller for caller in callers if caller.trace_id not in unmatched]
    for caller in callers:
        sent(collector, caller)
    assert {path for path, _ in collector.bodies} == {"/v1/traces"}, "FastAPI's own telemetry stays off"
    everything = b"\n".join(body for _, body in collector.bodies)
    for secret in SECRETS:
        assert secret.encode() not in everything


def test_the_page_names_every_attribute_that_is_sent_and_every_field_that_is_logged(
    traced: Process, collector: Collector, film: bytes
) -> None:
    table = re.findall(
        r"^\| `([a-z_.]+)` \|", (ROOT / "docs" / "logs_and_traces.md").read_text(), re.MULTILINE
    )
    caller, other = Caller(), Caller()
    traced.client.post("/predict/batch", files=[("files", film), ("files", b"?")], headers=caller.headers)
    infer(traced, other)
    sent(collector, caller)
    sent(collector, other)
    spans = [
        span
        for request in collector.requests()
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {name for name in table if "." in name} == {key for span in spans for key in attributes(span)}
    assert {name for line in traced.lines() for name in line} <= set(table)


@pytest.fixture
def tracing_on(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services of this process send their traces to the collector."""
    for name, value in {**SOON, ENDPOINT: collector.url}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("tracing_on")
def test_films_of_one_batch_share_its_run(collector: Collector, tiny_folder: Path, film: bytes) -> None:
    classifier, gate = gated(tiny_folder)
    callers = [Caller() for _ in range(3)]
    settings = Settings(model_dir=tiny_folder, max_batch=2)
    with running(settings, classifier) as live, ThreadPoolExecutor(3) as pool:
        gate.close()
        gate.batches.clear()
        first = pool.submit(live.predict, film, headers=callers[0].headers)
        wait_until(lambda: gate.batches == [1], "the first film is on the device")
        others = [pool.submit(live.predict, film, headers=caller.headers) for caller in callers[1:]]
        wait_until(lambda: live.service.batcher.depth == 2, "two films wait")
        gate.open()
        assert {future.result().status_code for future in (first, *others)} == {200}
        runs = [sent(collector, caller)["inference"] for caller in callers]
    assert [attributes(run)["pneumoscope.batch_size"] for run in runs] == [1, 2, 2]
    lasted = [run.end_time_unix_nano - run.start_time_unix_nano for run in runs[1:]]
    assert lasted[0] == pytest.approx(lasted[1], abs=1000)


@pytest.mark.usefixtures("tracing_on")
def test_a_failing_device_is_told_without_its_words(
    collector: Collector, tiny_folder: Path, film: bytes
) -> None:
    classifier, gate = gated(tiny_folder)
    caller = Caller()
    with running(Settings(model_dir=tiny_folder), classifier) as live:
        gate.broken = True
        assert live.predict(film, headers=caller.headers).status_code == 503
        spans = sent(collector, caller)
    assert attributes(spans["inference"]) == {"error.type": "DeviceFailed"}
    server = spans["POST /predict"]
    assert server.status == Status(code=Status.STATUS_CODE_ERROR)
    assert attributes(server)["pneumoscope.problem"] == "device-failed"


@pytest.mark.usefixtures("tracing_on")
@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "pneumoscope"),
        ({"OTEL_SERVICE_NAME": "x-ray"}, "x-ray"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=reader"}, "reader"),
    ],
)
def test_the_service_is_called_as_the_standard_variables_say(
    collector: Collector,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    name: str,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    caller = Caller()
    with running(Settings(model_dir=tiny_folder)) as live:
        live.client.get("/model", headers=caller.headers)
    # What was left at the stop has been sent by now.
    (resource,) = [
        resource.resource
        for request in collector.requests()
        for resource in request.resource_spans
        for scope in resource.scope_spans
        if any(span.trace_id.hex() == caller.trace_id for span in scope.spans)
    ]
    told = {item.key: item.value.string_value for item in resource.attributes}
    assert (told["service.name"], told["service.version"]) == (name, __version__)
