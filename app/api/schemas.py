"""The bodies of the answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.engine.manifest import Manifest

Probability = Annotated[float, Field(ge=0, le=1)]


class Body(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True)


class SubtypesBody(Body):
    """Probabilities of the two kinds of pneumonia; with that of a normal film they sum to 1."""

    bacterial: Probability
    viral: Probability


class ReasonBody(Body):
    """Why a person should look at the film."""

    code: Literal["novel", "uncertain", "exposure", "age", "view"]
    words: str


class ModelBody(Body):
    """Which model answered."""

    name: str
    version: str
    sha256: str


class TimingBody(Body):
    """Milliseconds spent on this film: decoding, waiting for the device, and on the device."""

    decode: float
    queue: float
    inference: float


class Prediction(Body):
    """What the model says of one film. It supports a reader and never calls a film healthy."""

    id: str = Field(description="The request's id; in a batch, followed by the film's place in it.")
    label: Literal["PNEUMONIA", "NORMAL"] = Field(description="PNEUMONIA from `threshold` on.")
    probability: Probability = Field(description="Calibrated probability of pneumonia.")
    threshold: float
    threshold_overridden: bool = Field(description="True where a setting replaces the model's own threshold.")
    subtypes: SubtypesBody | None = Field(description="Null where the model does not tell them apart.")
    review: bool = Field(description="True where a person should look; `reasons` says why.")
    reasons: list[ReasonBody]
    model: ModelBody
    timing_ms: TimingBody
    overlay: str | None = Field(
        None,
        description="With explain=true, and where the model has a heat map: a data: URI of a transparent PNG "
        "to be stretched over the upright film.",
    )


class FieldFault(Body):
    """One part of a request that is not as it should be."""

    where: str
    message: str


class Problem(Body):
    """RFC 9457 problem document."""

    type: str = Field(description="Where this kind of problem is explained, relative to the service.")
    code: str = Field(description="The same as a stable word.")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldFault] | None = None


class ProblemKind(Body):
    """A kind of problem, as /problems/{code} explains it."""

    code: str
    status: int
    title: str
    advice: str


class Health(Body):
    """Alive, or ready."""

    status: Literal["live", "ready"]


class ServerMetadata(Body):
    """The Open Inference Protocol's words for this service."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(Body):
    """Alive, in the words of the Open Inference Protocol."""

    live: bool


class ServerReady(Body):
    """Ready, in the words of the Open Inference Protocol."""

    ready: bool


class ModelReady(Body):
    """A model that is ready, in the words of the Open Inference Protocol."""

    name: str
    ready: bool


class TensorMetadata(Body):
    """A tensor's type and shape; -1 is the number of films."""

    name: str
    datatype: Literal["UINT8", "FP32"]
    shape: list[int]


class ModelMetadata(Body):
    """The Open Inference Protocol's words for the model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(Body):
    """A tensor's type, and its shape for one film; `reshape` where Triton cannot write that shape as `dims`."""

    name: str
    data_type: Literal["TYPE_UINT8", "TYPE_FP32"]
    dims: list[int]
    reshape: dict[Literal["shape"], list[int]] | None = None


class ModelConfig(Body):
    """Triton's words for the model."""

    name: str
    platform: str
    backend: str
    max_batch_size: int = Field(description="Most films in one request.")
    input: list[TensorConfig]
    output: list[TensorConfig]


class ServedModel(Body):
    """The model file being served, and how."""

    manifest: Manifest
    sha256: str
    provider: Literal["cpu", "cuda"]
    provider_reason: str
    precision: Literal["float32", "float16", "int8"]
    threshold: float = Field(description="The threshold in force.")
    threshold_overridden: bool
    heatmap: bool = Field(description="Whether /explain works with this model.")
