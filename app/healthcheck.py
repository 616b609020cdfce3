"""`python -m app.healthcheck`: exits with 0 if the service of this container is ready, and with 1 if not.

Docker runs it every few seconds beside the service, so it imports nothing but a few parts of the standard library.
"""

import http.client
import os
import sys
from collections.abc import Mapping

TIMEOUT_SECONDS = 2.0


def complaint(environment: Mapping[str, str]) -> str | None:
    """Why the service that `environment` configures is not ready; None if it is.

    Proxies are not asked, and the request names a host that PNEUMOSCOPE_TRUSTED_HOSTS lets in.
    """
    port = int(environment.get("PNEUMOSCOPE_PORT") or 8000)
    trusted = (environment.get("PNEUMOSCOPE_TRUSTED_HOSTS") or "*").split(",")[0].strip()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready", headers={"Host": trusted.replace("*", "healthcheck")})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"not ready: {status}"


if __name__ == "__main__":
    sys.exit(complaint(os.environ))
