"""OpenTelemetry's standard variables: what they ask for, and what of it cannot be had.

The SDK reads most of them itself, and where a value makes no sense it takes the default or fails at each batch.
Here that is refused before the service starts. No value is quoted: an address may hold a password.
See https://opentelemetry.io/docs/languages/sdk-configuration/.
"""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HTTP = "http/protobuf"

_SAMPLERS = ("always_on", "always_off", "traceidratio")
_RATIO = "traceidratio"
_QUEUE, _BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_DEFAULT_QUEUE, _DEFAULT_BATCH = "2048", "512"


class TracingRefused(RuntimeError):
    """Traces are asked for, and cannot be had."""


def wanted() -> bool:
    """Whether the variables ask for traces.

    Raises:
        TracingRefused: they ask for something that is not there.
    """
    exporter = _value("OTEL_TRACES_EXPORTER").lower()
    disabled = _value("OTEL_SDK_DISABLED").lower() == "true"
    if disabled or exporter == "none" or not (exporter or any(map(_value, ENDPOINTS))):
        return False
    if exporter not in ("", "otlp"):
        raise TracingRefused(
            "OTEL_TRACES_EXPORTER: this service sends traces by otlp, or with none not at all."
        )
    for names, is_right, words in _RULES:
        for name in names:
            if os.environ.get(name) and not is_right(os.environ[name]):
                raise TracingRefused(f"{name}: {words}.")
    if int(_value(_BATCH) or _DEFAULT_BATCH) > int(_value(_QUEUE) or _DEFAULT_QUEUE):
        raise TracingRefused(f"{_BATCH}: no more than {_QUEUE}.")
    return True


def collector() -> str:
    """The collector's scheme, host and port: the part of its address that holds no key."""
    address = urlsplit(
        next((os.environ[name] for name in ENDPOINTS if _value(name)), "http://localhost:4318")
    )
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()


def _is_address(value: str) -> bool:
    try:
        address = urlsplit(value)
        _ = address.port  # raises where it is no number
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)


def _is_file(value: str) -> bool:
    return Path(value).is_file() and os.access(value, os.R_OK)


def _is_sampler(value: str) -> bool:
    return value.lower().removeprefix("parentbased_") in _SAMPLERS


def _is_share(value: str) -> bool:
    if not _value("OTEL_TRACES_SAMPLER").lower().endswith(_RATIO):
        return True  # nobody reads it
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def _is_compression(value: str) -> bool:
    return value.strip().lower() in ("none", "gzip", "deflate")


def _is_time(value: str) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except ValueError:
        return False


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value) > 0


def _of_traces(*ends: str) -> tuple[str, ...]:
    """The variables of OTLP with these ends, those for traces alone and those for all signals."""
    return tuple(f"OTEL_EXPORTER_OTLP_{signal}{end}" for end in ends for signal in ("TRACES_", ""))


_RULES: tuple[tuple[tuple[str, ...], Callable[[str], bool], str], ...] = (
    (_of_traces("PROTOCOL"), lambda value: value == HTTP, f"traces are sent by {HTTP} alone"),
    (ENDPOINTS, _is_address, "write the collector's address with its scheme, such as http://collector:4318"),
    (
        _of_traces("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"),
        _is_file,
        "there is no such readable file",
    ),
    (_of_traces("COMPRESSION"), _is_compression, "none, gzip or deflate"),
    (_of_traces("TIMEOUT"), _is_time, "seconds, more than 0"),
    (
        ("OTEL_TRACES_SAMPLER",),
        _is_sampler,
        f"one of {', '.join(_SAMPLERS)}, or parentbased_ and one of these",
    ),
    (("OTEL_TRACES_SAMPLER_ARG",), _is_share, "a share from 0 to 1"),
    ((_QUEUE, _BATCH), _is_count, "a whole number, at least 1"),
    (("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT"), _is_count, "whole milliseconds, at least 1"),
)
"""Which variables, what is right for them, and what to say of them where they are wrong."""
