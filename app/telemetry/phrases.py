"""What libraries say of a collector, in words that quote nothing.

Their own messages go on to quote addresses, headers and exceptions, in which keys stand, and what others answered.
"""

from collections.abc import Sequence

_EXPORT_REFUSED = "Failed to export %s batch code"

_TRACING = {
    "Transient error": "the collector did not take traces; they are sent again",
    _EXPORT_REFUSED: "traces were lost: the collector did not take them",
    "Failed to export": "traces were lost: the collector did not take them in time",
    "Failed to encode": "traces were lost: they could not be written as OTLP",
    "Dropping span batch": "traces were lost: a batch of them was too large",
    "Exception while exporting": "traces were lost: sending them failed",
    "Queue full": "traces were lost: too many wait for the collector",
    "Shutdown in progress": "the last traces were not sent again, since the service stops",
    "Header format invalid": "OTEL_EXPORTER_OTLP_HEADERS: what is not name=value is left out",
    "Invalid key value resource attribute": "OTEL_RESOURCE_ATTRIBUTES: what is not name=value is left out",
    "Could not convert TRACES_SAMPLER_ARG": "OTEL_TRACES_SAMPLER_ARG is not set: every trace is recorded",
    "traceparent header exceeded": "a traceparent was too long, and not read",
}
"""Our words by the beginning of OpenTelemetry's, the longer beginning first."""


def of_tracing(template: str, arguments: Sequence[object]) -> str:
    """What OpenTelemetry says with `template`, without `arguments` but for a status of the collector's answer."""
    begun = next((words for words in _TRACING if template.startswith(words)), None)
    if begun is None:
        return "OpenTelemetry has trouble with traces"
    statuses = [one for one in arguments if isinstance(one, int)] if begun == _EXPORT_REFUSED else []
    return _TRACING[begun] + (f", status {statuses[0]}" if statuses else "")


def own_words(logger: str, message: str, template: str, arguments: Sequence[object]) -> str:
    """What a line of this logger is to say.

    Args:
        logger: its name.
        message: what was said.
        template: that before its arguments were put in.
        arguments: those.
    """
    match logger.partition(".")[0]:
        case "opentelemetry":
            return of_tracing(template, arguments)
        case "urllib3" | "requests":
            return "a connection to the collector has trouble"
        case "asyncio":  # it goes on to quote exceptions and arguments
            return message.partition("\n")[0].partition("(")[0]
        case _:
            return message
