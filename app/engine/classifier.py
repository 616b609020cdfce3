"""Radiographs → findings: the ONNX session, its manifest, and the threshold in force."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from app.engine.cores import usable_cores
from app.engine.errors import DeviceFailed, DeviceMissing, ModelFileError
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
from app.engine.providers import Device, Provider, choose_provider, first_line, open_session
from app.imaging import Radiograph

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


class Classifier:
    """One model on one device. `classify` and `run` are safe to call from one thread at a time."""

    def __init__(
        self, session: Any, file: ModelFile, provider: Provider, *, threshold: float | None = None
    ) -> None:
        """Check a session against the contract; `open` and `open_file` are the usual ways in.

        Raises:
            ModelFileError: its manifest or its tensors are not what the contract asks.
        """
        self._session = session
        try:
            self.manifest: Manifest = read_manifest(session.get_modelmeta().custom_metadata_map)
            self._outputs = sorted(check_tensors(session.get_inputs(), session.get_outputs(), self.manifest))
        except ModelFileError as error:
            raise _refused(file.path, error) from error
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
        threads: int | None = None,
    ) -> Self:
        """Open the file in `folder` that suits the device and the precision.

        Args:
            folder: holds `model.onnx` and perhaps `model.int8.onnx`.
            device: "auto" tries CUDA and falls back to the CPU; "cuda" does not fall back.
            precision: "auto" takes int8 on the CPU where it is there.
            threshold: overrides the manifest's.
            expected_sha256: refuse any other file.
            cuda_device_id: which of several CUDA devices.
            threads: threads of one operator on the CPU; by default the cores that this process may use.

        Raises:
            ModelFileError: the file is missing, damaged, or not what the contract asks.
            DeviceMissing: CUDA was demanded and is not live.
        """
        provider = choose_provider(device)
        while True:
            path = choose_file(folder, precision, provider.name)
            file = read_file(path, expected_sha256)
            try:
                return cls._on(file, provider, threshold, threads, cuda_device_id)
            except DeviceMissing as error:
                if device == "cuda":
                    raise
                log.warning("CUDA is not used: %s", error)
                provider = Provider("cpu", f"CUDA is not live: {error}")

    @classmethod
    def open_file(
        cls,
        path: Path,
        *,
        device: Device = "cpu",
        threshold: float | None = None,
        threads: int | None = None,
    ) -> Self:
        """Open one ONNX file by its path, by default on the CPU. Raises as `open` does."""
        if not path.is_file():
            raise ModelFileError(f"The model file {path} does not exist.")
        return cls._on(read_file(path), choose_provider(device), threshold, threads, 0)

    @classmethod
    def _on(
        cls,
        file: ModelFile,
        provider: Provider,
        threshold: float | None,
        threads: int | None,
        cuda_device_id: int,
    ) -> Self:
        try:
            session = open_session(
                file.content, provider, threads=threads or usable_cores(), cuda_device_id=cuda_device_id
            )
        except ModelFileError as error:
            raise _refused(file.path, error) from error
        return cls(session, file, provider, threshold=threshold)

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
        return "heatmap" in self._outputs

    def run(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """The session's raw answer.

        Args:
            pixels: uint8, [N, S, S], 0 black.

        Raises:
            DeviceFailed: the device raised, or answered in another shape.
        """
        try:
            answers = self._session.run(self._outputs, {"pixels": pixels})
        except Exception as error:  # onnxruntime's exceptions have no class of their own in common
            raise DeviceFailed(f"The {self.provider.name} device failed: {first_line(error)}") from error
        if any(len(answer) != len(pixels) for answer in answers):
            raise DeviceFailed(f"The {self.provider.name} device answered for another number of films.")
        named = dict(zip(self._outputs, answers, strict=True))
        return Outputs(
            probability=named["probability"],
            classes=named.get("classes"),
            heatmap=named.get("heatmap"),
            novelty=named.get("novelty"),
        )

    def classify(
        self, radiographs: Sequence[Radiograph], *, pad_to: int | None = None
    ) -> list[Finding | DeviceFailed]:
        """Findings in the order of `radiographs`, by one run of the session.

        A film whose own answer is not a probability gets a `DeviceFailed` in its place, alone.

        Args:
            radiographs: at least one, each decoded at `input_size`.
            pad_to: fill the batch with black films up to this many.

        Raises:
            DeviceFailed: the whole run failed.
        """
        size = self.input_size
        pixels = np.zeros((max(len(radiographs), pad_to or 0), size, size), np.uint8)
        for row, radiograph in zip(pixels, radiographs, strict=False):
            row[:] = radiograph.pixels
        outputs = self.run(pixels)
        return [self._finding(outputs, row, radiograph) for row, radiograph in enumerate(radiographs)]

    def _finding(self, outputs: Outputs, row: int, radiograph: Radiograph) -> Finding | DeviceFailed:
        probability = round(float(outputs.probability[row]), 6)
        classes = None if outputs.classes is None else outputs.classes[row]
        heatmap = None if outputs.heatmap is None else outputs.heatmap[row]
        novelty = None if outputs.novelty is None else float(outputs.novelty[row])
        parts = [part for part in (classes, heatmap, novelty) if part is not None]
        if not 0 <= probability <= 1 or not all(np.isfinite(part).all() for part in parts):
            return DeviceFailed(f"The {self.provider.name} device answered with something not a probability.")
        reasons = review_reasons(probability, novelty, radiograph.exposure, self.manifest)
        return Finding(
            probability=probability,
            label=label_for(probability, self.threshold),
            threshold=self.threshold,
            threshold_overridden=self.threshold_overridden,
            subtypes=None if classes is None else _subtypes(classes),
            # A copy, so that one kept heat map does not keep the whole batch's.
            heatmap=None if heatmap is None else heatmap.copy(),
            novelty=novelty,
            review=bool(reasons),
            reasons=reasons,
        )


def _subtypes(classes: npt.NDArray[np.float32]) -> Subtypes:
    return Subtypes(bacterial=round(float(classes[1]), 6), viral=round(float(classes[2]), 6))


def _refused(path: Path, error: ModelFileError) -> ModelFileError:
    return ModelFileError(f"The model file {path} is refused: {str(error).rstrip('.')}.")
