"""Who a result belongs to, who made it, and what it is called."""

import io
import uuid
from dataclasses import dataclass
from typing import Self

import pydicom
from pydicom.dataset import Dataset

from app import __version__
from app.engine.classifier import Classifier
from app.reporting.source import UTF8, Source

_NAMESPACE = uuid.UUID("5a4d1a3e-6f0b-5d7c-9c58-2d1f7a1e0b64")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The model behind a result, and the threshold in force."""

    name: str
    version: str
    sha256: str
    threshold: float

    @classmethod
    def of(cls, classifier: Classifier) -> Self:
        """The algorithm that `classifier` runs."""
        manifest = classifier.manifest
        return cls(manifest.name, manifest.version, classifier.sha256, classifier.threshold)

    @property
    def software(self) -> str:
        """The service and the model, with their versions."""
        return f"{__version__}, model {self.name} {self.version}"[:64]

    def uid(self, kind: str, of: str) -> str:
        """The UID of this algorithm's result of that `kind` for whatever has the UID `of`.

        It is derived (PS3.5, B.2: 2.25 and a UUID), so that a result made twice is one object and not two.
        """
        return derived_uid(kind, of, self.sha256, repr(self.threshold))


def derived_uid(*parts: str) -> str:
    """The same UID for the same parts, always."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def belong_to(result: Dataset, source: Source) -> None:
    """File `result` with the patient and the study of its film."""
    result.SpecificCharacterSet = UTF8
    for keyword, value in source.patient_and_study.items():
        setattr(result, keyword, value)


def part10(dataset: Dataset) -> bytes:
    """The dataset as a DICOM file (PS3.10)."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
