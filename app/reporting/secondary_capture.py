"""A film with its heat map as a DICOM secondary capture, in colour, in the film's own study."""

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from app.engine.finding import Finding
from app.reporting import MANUFACTURER
from app.reporting.identity import Algorithm, belong_to
from app.reporting.source import Source

SERIES_NUMBER = 9002
SERIES_DESCRIPTION = "Pneumoscope heat map (research use)"

MAX_CAPTURE_PIXELS = 4_000_000
"""Larger films are painted on a smaller copy: a capture is uncompressed, three bytes a pixel."""

_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_PASSED_ON = (
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def secondary_capture(
    source: Source, finding: Finding, algorithm: Algorithm, painted: Image.Image
) -> Dataset:
    """The painted film as a secondary capture.

    Args:
        source: the film.
        finding: what the model says of it.
        algorithm: the model.
        painted: the film with the heat map over it, RGB, at most `MAX_CAPTURE_PIXELS`.
    """
    capture = SCImage.from_ref_dataset(
        ref_dataset=source.reference(),
        pixel_array=np.asarray(painted),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_instance_uid=algorithm.uid("capture series", source.study_instance_uid),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=algorithm.uid("capture", source.sop_instance_uid),
        instance_number=source.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=algorithm.software,
        device_serial_number=algorithm.sha256[:16],
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    belong_to(capture, source)
    capture.Laterality = ""
    capture.ConversionType = "WSD"
    orientation = source.image.get("PatientOrientation")
    capture.PatientOrientation = orientation.split("\\") if orientation else []
    capture.DerivationDescription = (
        f"Evidence for pneumonia by {MANUFACTURER} {algorithm.software} painted over the film: brighter means "
        f"more. Probability {finding.probability:.6f}, threshold {finding.threshold:.6f}. "
        "Research use; no diagnosis."
    )
    # Nothing is burned in here, but the film may show a name: only the film's own word is passed on. What has been
    # compressed with loss stays marked.
    for keyword in _PASSED_ON:
        if keyword in source.image:
            setattr(capture, keyword, source.image[keyword].split("\\"))
    capture.SourceImageSequence = [_reference(source)]
    return capture


def _reference(source: Source) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue = _SOURCE_IMAGE.value
    purpose.CodingSchemeDesignator = _SOURCE_IMAGE.scheme_designator
    purpose.CodeMeaning = _SOURCE_IMAGE.meaning
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
