"""The service: an uploaded chest radiograph in, a finding out."""

import os

# FastAPI imports OpenTelemetry, which would end the process for a propagator that is not installed. Platforms set
# this for every container; the service reads `traceparent` alone, see docs/logs_and_traces.md.
os.environ.pop("OTEL_PROPAGATORS", None)

__version__ = "0.1.0"
