"""Synthetic chest films as DICOM files, of a patient whose name nobody else has."""

import io
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from tests import radiographs

NAME = "Mustermann^Erika"
SECRETS = ("Mustermann", "Erika", "MRN-0815", "ward-secret")


def dataset(seed: int = 1, *, width: int = 96, height: int = 80, **attributes: Any) -> Dataset:
    """A digital chest film; an attribute that is given as None is left out."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.SOPClassUID = DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = generate_uid()
    film.SeriesInstanceUID = generate_uid()
    film.StudyInstanceUID = generate_uid()
    film.PatientName = NAME
    film.PatientID = "MRN-0815"
    film.PatientBirthDate = "20200305"
    film.PatientSex = "F"
    film.PatientAge = "004Y"
    film.StudyDate = "20240601"
    film.StudyTime = "101500"
    film.AccessionNumber = "A-17"
    film.StudyID = "S-4"
    film.ReferringPhysicianName = "Doctor^Who"
    film.StudyDescription = "ward-secret"
    film.Manufacturer = "Detectors Ltd"
    film.Modality = "DX"
    film.BodyPartExamined = "CHEST"
    film.ViewPosition = "AP"
    film.PatientOrientation = ["L", "F"]
    film.InstanceNumber = 3
    film.BurnedInAnnotation = "NO"
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.Rows, film.Columns = height, width
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.PixelRepresentation = 0
    film.PixelData = radiographs.draw(width, height, seed=seed, opacity=True).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
    return film


def part10(film: Dataset) -> bytes:
    """The dataset as a DICOM file."""
    film.file_meta.MediaStorageSOPClassUID = film.get("SOPClassUID", DigitalXRayImageStorageForPresentation)
    film.file_meta.MediaStorageSOPInstanceUID = film.get("SOPInstanceUID", generate_uid())
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    film.preamble = b"\0" * 128
    pydicom.dcmwrite(buffer, film, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def film(**attributes: Any) -> bytes:
    """Such a film as a file."""
    return part10(dataset(**attributes))


def opened(content: bytes) -> Dataset:
    """A DICOM file, read."""
    return pydicom.dcmread(io.BytesIO(content))
