"""Every setting of the service, from environment variables that begin with PNEUMOSCOPE_."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.keys import KeyEntry, parse_entry

PREFIX = "PNEUMOSCOPE_"


class InvalidSettings(ValueError):
    """Settings that the service refuses to start with; one line names each variable."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _entries(value: object) -> object:
    value = _split(value)
    if isinstance(value, tuple):
        return tuple(parse_entry(part) if isinstance(part, str) else part for part in value)
    return value


CommaSeparated = BeforeValidator(_split)
KeyEntries = BeforeValidator(_entries)
AnyCase = BeforeValidator(_lower)
Batch = Annotated[int, Field(ge=1, le=1024)]
Milliseconds = Annotated[float, Field(ge=0, le=1000)]
Wait = Annotated[float, Field(gt=0, le=3600)]
_ORIGIN = r"^https?://[a-z0-9.-]+(:\d{1,5})?$"
_URL = r"^https?://[^\s/]+(/\S*)?$"
Workers = Annotated[int, Field(ge=1, le=256)]


class Settings(BaseSettings):
    """How the service runs. Each field is the environment variable PNEUMOSCOPE_ plus its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    root_path: str = Field(
        "", pattern=r"^(/[A-Za-z0-9._~-]+)*$", description="Path under which a proxy publishes the service."
    )
    trusted_hosts: Annotated[tuple[str, ...], NoDecode, CommaSeparated] = Field(
        ("*",),
        min_length=1,
        description="Host names that requests may be sent to, comma-separated; * is any, *.name subdomains.",
    )
    cors_origins: Annotated[
        tuple[Annotated[str, Field(pattern=_ORIGIN)], ...], NoDecode, CommaSeparated, AnyCase
    ] = Field(
        (), description="Origins whose pages may call the service from a browser, comma-separated; none else."
    )
    api_keys: Annotated[tuple[KeyEntry, ...], NoDecode, KeyEntries] = Field(
        (), description="Keys accepted in the X-API-Key header, as NAME:SHA256[:YYYY-MM-DD], comma-separated."
    )
    api_keys_file: Path | None = Field(
        None, description="File with such an entry a line, looked at again when it changes."
    )
    rate_limit: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,8}/(second|minute|hour|day)$",
        description="Most films a caller in a while, such as 600/minute; further ones get 429.",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Annotated[Literal["json", "console"], AnyCase] = Field(
        "json", description="How lines are logged: as JSON, or for people at a terminal."
    )

    model_dir: Path = Field(
        Path("models/pneumonia/1"), description="Folder with model.onnx and perhaps model.int8.onnx."
    )
    model_sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="Refuse any model file with another SHA-256."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], AnyCase] = Field(
        "auto", description="Where the model runs; auto tries CUDA, and cuda refuses to start without it."
    )
    cuda_device_id: int = Field(0, ge=0, description="Which CUDA device, where there are several.")
    cuda_memory_mb: int | None = Field(
        None, ge=256, description="Most memory to take of the CUDA device, in MiB; by default all there is."
    )
    precision: Annotated[Literal["auto", "int8", "float16"], AnyCase] = Field(
        "auto", description="Which model file: auto takes int8 on the CPU where it is there."
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability from which a film is PNEUMONIA, instead of the model's own.",
    )

    max_batch: Batch | Literal["auto"] = Field(
        "auto", description="Most films in one run of the model; auto is 2 on the CPU and 32 on CUDA."
    )
    lanes: Workers | Literal["auto"] = Field(
        "auto",
        description="Runs of the model side by side on the CPU, sharing its cores; auto is one a core, 16 most.",
    )
    batch_wait_ms: Milliseconds | Literal["auto"] = Field(
        "auto", description="How long a film waits for company, in ms; auto is 0 on the CPU and 2 on CUDA."
    )
    max_queue: int = Field(
        64, ge=1, le=100_000, description="Most films waiting and most uploads at once; further ones get 429."
    )
    max_wait_s: Wait | Literal["auto"] = Field(
        "auto",
        description="Longest expected wait for the device in s, else 429; auto is 15 films' time, at least 0.25.",
    )
    max_upload_mb: float = Field(20, gt=0, le=4096, description="Largest request body, in MiB.")
    max_pixels: int = Field(
        64_000_000, ge=1024, le=178_000_000, description="Largest film, width × height in pixels."
    )
    max_files: int = Field(32, ge=1, le=1000, description="Most films in one request to /predict/batch.")
    decode_workers: Workers | Literal["auto"] = Field(
        "auto", description="Threads that decode films; auto is the number of cores this process may use."
    )
    upload_timeout_s: float = Field(
        30, gt=0, le=3600, description="Longest time an upload may take, in seconds."
    )
    header_timeout_s: float = Field(
        10, gt=0, le=3600, description="Longest time that a request's headers may take, in seconds."
    )
    answer_timeout_s: float = Field(
        60, gt=0, le=3600, description="Longest time that a client may take to read an answer, in seconds."
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = Field(
        "auto", description="Most connections at once; auto is 4096, or fewer where there are fewer handles."
    )
    device_timeout_s: float = Field(
        120,
        gt=0,
        le=3600,
        description="Longest that one run of the model, or the loss of the device, may last, in seconds.",
    )
    drain_s: float = Field(
        20, ge=0, le=3600, description="Longest time to finish what was accepted after SIGTERM, in seconds."
    )

    orthanc_url: str = Field(
        "http://localhost:8042", pattern=_URL, description="Orthanc's address, for `python -m app orthanc`."
    )
    orthanc_user: str | None = Field(None, description="User that the bridge is to Orthanc.")
    orthanc_password: SecretStr | None = Field(None, description="That user's password.")
    orthanc_service_url: str = Field(
        "http://localhost:8000",
        pattern=_URL,
        description="Address of the service that judges Orthanc's films.",
    )
    orthanc_service_key: SecretStr | None = Field(
        None, description="Key that the bridge sends to that service, where it asks for one."
    )
    orthanc_state: Path = Field(
        Path("orthanc-bridge.sqlite3"), description="File in which the bridge keeps what it has done."
    )
    orthanc_poll_s: float = Field(
        2, gt=0, le=3600, description="How long the bridge waits before it asks Orthanc again, in seconds."
    )

    @property
    def max_upload_bytes(self) -> int:
        """The largest request body in bytes."""
        return int(self.max_upload_mb * 1024 * 1024)


def load() -> Settings:
    """Settings from the environment.

    Raises:
        InvalidSettings: a variable holds something that is not allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings("; ".join(_complaints(error))) from None


def unknown_variables() -> list[str]:
    """Names in the environment that begin with the prefix and are no setting: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _complaints(error: ValidationError) -> list[str]:
    messages: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        variable = PREFIX + str(item["loc"][0]).upper()
        messages.setdefault(variable, []).append(item["msg"].removeprefix("Value error, "))
    return [f"{variable}: {', or '.join(texts)}" for variable, texts in messages.items()]
