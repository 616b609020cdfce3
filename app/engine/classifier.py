"""Pixels → outputs → findings: the ONNX session, its manifest, and the threshold in force."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from app.engine.cores import usable_cores
from app.engine.errors import DeviceFailed, DeviceMissing, ModelFileError, OutOfDeviceMemory
from app.engine.finding import Finding, Subtypes, label_for, review_reasons
from app.engine.manifest import Manifest
from app.engine.model_file import (
    ModelFile,
    Precision,
    check_tensors,
    choose_file,
    read_file,
    read_manifest,
)
from app.engine.providers import (
    Device,
    Provider,
    Runner,
    choose_provider,
    first_line,
    is_out_of_memory,
    open_session,
    runner,
)
from app.imaging import Doubt, Exposure, Radiograph

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outputs:
    """A session's raw answer for N films; what the model does not have is None.

    `probability`: float32, [N]. `classes`: float32, [N, 3]: normal, bacterial, viral. `heatmap`: float32,
    [N, h, w]. `novelty`: float32, [N].
    """

    probability: npt.NDArray[np.float32]
    classes: npt.NDArray[np.float32] | None
    heatmap: npt.NDArray[np.float32] | None
    novelty: npt.NDArray[np.float32] | None

    def of_film(self, row: int) -> "Outputs":
        """Views of one film's outputs, each [1, ...]."""
        one = slice(row, row + 1)
        return Outputs(
            probability=self.probability[one],
            classes=None if self.classes is None else self.classes[one],
            heatmap=None if self.heatmap is None else self.heatmap[one],
            novelty=None if self.novelty is None else self.novelty[one],
        )

    def named(self) -> dict[str, npt.NDArray[np.float32]]:
        """The outputs that there are, by their names in the model file, in alphabetical order."""
        outputs = {
            "classes": self.classes,
            "heatmap": self.heatmap,
            "novelty": self.novelty,
            "probability": self.probability,
        }
        return {name: output for name, output in outputs.items() if output is not None}

    def sound(self) -> npt.NDArray[np.bool_]:
        """bool, [N]: whether a film's probability is one, and all of its outputs are finite."""
        rounded = np.round(self.probability, 6)
        sound = (rounded >= 0) & (rounded <= 1)
        for output in self.named().values():
            sound &= np.isfinite(output).reshape(len(output), -1).all(axis=1)
        return sound


class Classifier:
    """One model on one device. `run` is safe to call from one thread at a time, `finding` from any."""

    def __init__(
        self,
        session: Any,
        file: ModelFile,
        provider: Provider,
        *,
        threshold: float | None = None,
        beside: Any = None,
        lanes: int = 1,
    ) -> None:
        """Check a session against the contract; `open` and `open_file` are the usual ways in.

        Args:
            session: an `onnxruntime.InferenceSession`.
            file: what it was opened from.
            provider: where it runs.
            threshold: overrides the manifest's.
            beside: a second session of the same file, for `lanes` runs at the same time.
            lanes: how many threads may call `run_beside` at the same time.

        Raises:
            ModelFileError: its manifest or its tensors are not what the contract asks.
        """
        try:
            self.manifest: Manifest = read_manifest(session.get_modelmeta().custom_metadata_map)
            names = check_tensors(session.get_inputs(), session.get_outputs(), self.manifest)
        except ModelFileError as error:
            raise _refused(file.path, error) from error
        self.output_names = sorted(names)
        self.output_shapes: dict[str, list[int]] = {
            tensor.name: [axis if isinstance(axis, int) else -1 for axis in tensor.shape[1:]]
            for tensor in sorted(session.get_outputs(), key=lambda tensor: tensor.name)
        }
        """What each output has for one film: its shape without the films, -1 where the model does not tell."""
        self._answer = runner(session, self.output_names, provider)
        self._answer_beside = runner(beside or session, self.output_names, provider)
        self.lanes = lanes
        self.sha256 = file.sha256
        self.provider = provider
        self.threshold = self.manifest.threshold.value if threshold is None else threshold
        self.threshold_overridden = threshold is not None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        device: Device = "cpu",
        precision: Precision = "auto",
        threshold: float | None = None,
        expected_sha256: str | None = None,
        cuda_device_id: int = 0,
        cuda_memory_mb: int | None = None,
        threads: int | None = None,
        lanes: int = 1,
    ) -> Self:
        """Open the file in `folder` that suits the device and the precision.

        Args:
            folder: holds `model.onnx` and perhaps `model.int8.onnx`.
            device: "auto" tries CUDA and falls back to the CPU; "cuda" does not fall back.
            precision: "auto" takes int8 on the CPU where it is there.
            threshold: overrides the manifest's.
            expected_sha256: refuse any other file.
            cuda_device_id: which of several CUDA devices.
            cuda_memory_mb: most memory to take of it, in MiB; None sets no limit.
            threads: threads of one operator on the CPU; by default the cores that this process may use.
            lanes: how many runs go side by side on the CPU, each with its share of the threads; on CUDA one does.

        Raises:
            ModelFileError: the file is missing, damaged, or not what the contract asks.
            DeviceMissing: CUDA was demanded and is not live.
        """
        provider = choose_provider(device, device_id=cuda_device_id, memory_mb=cuda_memory_mb)
        while True:
            path = choose_file(folder, precision, provider.name)
            file = read_file(path, expected_sha256)
            try:
                return cls._on(file, provider, threshold, threads, lanes)
            except DeviceMissing as error:
                if device == "cuda":
                    raise
                log.warning("CUDA is not used: %s", error)
                provider = Provider("cpu", f"CUDA is not live: {error}", fell_back=True)

    @classmethod
    def open_file(
        cls,
        path: Path,
        *,
        device: Device = "cpu",
        threshold: float | None = None,
        threads: int | None = None,
        lanes: int = 1,
    ) -> Self:
        """Open one ONNX file by its path, by default on the CPU. Raises as `open` does."""
        if not path.is_file():
            raise ModelFileError(f"The model file {path} does not exist.")
        return cls._on(read_file(path), choose_provider(device), threshold, threads, lanes)

    @classmethod
    def _on(
        cls,
        file: ModelFile,
        provider: Provider,
        threshold: float | None,
        threads: int | None,
        lanes: int,
    ) -> Self:
        threads = threads or usable_cores()
        lanes = 1 if provider.name == "cuda" else lanes
        try:
            session = open_session(file.content, provider, threads=threads)
            beside = (
                open_session(file.content, provider, threads=max(1, threads // lanes)) if lanes > 1 else None
            )
        except ModelFileError as error:
            raise _refused(file.path, error) from error
        return cls(session, file, provider, threshold=threshold, beside=beside, lanes=lanes)

    @property
    def input_size(self) -> int:
        """Side of the square that the model takes, in pixels."""
        return self.manifest.input_size

    @property
    def precision(self) -> str:
        """Arithmetic of the file that was opened: float32, float16 or int8."""
        return self.manifest.precision

    @property
    def has_heatmap(self) -> bool:
        """Whether findings come with a heat map."""
        return "heatmap" in self.output_names

    def run(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """The session's raw answer.

        Args:
            pixels: uint8, [N, S, S], 0 black.

        Raises:
            OutOfDeviceMemory: so many films at once do not fit.
            DeviceFailed: the device raised, or answered in another shape.
        """
        return self._run(self._answer, pixels)

    def run_beside(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """As `run`, on one lane's share of the cores; safe to call from `lanes` threads at the same time."""
        return self._run(self._answer_beside, pixels)

    def _run(self, answer: Runner, pixels: npt.NDArray[np.uint8]) -> Outputs:
        try:
            answers = answer(pixels)
        except Exception as error:  # onnxruntime's exceptions have no class of their own in common
            kind = OutOfDeviceMemory if is_out_of_memory(error) else DeviceFailed
            raise kind(f"The {self.provider.name} device failed: {first_line(error)}") from error
        if any(len(answer) != len(pixels) for answer in answers):
            raise DeviceFailed(f"The {self.provider.name} device answered for another number of films.")
        named = dict(zip(self.output_names, answers, strict=True))
        return Outputs(
            probability=named["probability"],
            classes=named.get("classes"),
            heatmap=named.get("heatmap"),
            novelty=named.get("novelty"),
        )

    def classify(self, radiographs: Sequence[Radiograph]) -> list[Finding | DeviceFailed]:
        """Findings in the order of `radiographs`, by one run of the session.

        A film whose own answer is not a probability gets a `DeviceFailed` in its place, alone.

        Args:
            radiographs: at least one, each decoded at `input_size`.

        Raises:
            DeviceFailed: the whole run failed.
        """
        outputs = self.run(np.stack([radiograph.pixels for radiograph in radiographs]))
        return [
            self.finding(outputs.of_film(row), radiograph.exposure, radiograph.doubts)
            if sound
            else not_a_probability()
            for row, (radiograph, sound) in enumerate(zip(radiographs, outputs.sound(), strict=True))
        ]

    def finding(self, outputs: Outputs, exposure: Exposure, doubts: Iterable[Doubt] = ()) -> Finding:
        """What the outputs of one film, each [1, ...], mean at the threshold in force."""
        probability = round(float(outputs.probability[0]), 6)
        novelty = None if outputs.novelty is None else float(outputs.novelty[0])
        reasons = review_reasons(probability, novelty, exposure, self.manifest, doubts)
        return Finding(
            probability=probability,
            label=label_for(probability, self.threshold),
            threshold=self.threshold,
            threshold_overridden=self.threshold_overridden,
            subtypes=None if outputs.classes is None else _subtypes(outputs.classes[0]),
            heatmap=None if outputs.heatmap is None else outputs.heatmap[0],
            novelty=novelty,
            review=bool(reasons),
            reasons=reasons,
        )


def not_a_probability() -> DeviceFailed:
    """The failure of a film whose outputs are not sound."""
    return DeviceFailed("The device answered with something that is not a probability.")


def _subtypes(classes: npt.NDArray[np.float32]) -> Subtypes:
    return Subtypes(bacterial=round(float(classes[1]), 6), viral=round(float(classes[2]), 6))


def _refused(path: Path, error: ModelFileError) -> ModelFileError:
    return ModelFileError(f"The model file {path} is refused: {str(error).rstrip('.')}.")
