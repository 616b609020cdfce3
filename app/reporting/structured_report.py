"""A finding as a DICOM structured report: a Measurement Report by TID 1500 of PS3.16.

What no standard code says exactly is coded in a scheme of our own, whose meanings are plain words. "Pneumonia" is
what was looked for: whether it is suspected stands beside it, and nothing ever says that it is absent.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from app import __version__
from app.engine.finding import Finding
from app.reporting import MANUFACTURER
from app.reporting.identity import Algorithm, belong_to, derived_uid
from app.reporting.source import Source

SERIES_NUMBER = 9001
SERIES_DESCRIPTION = "Pneumoscope report (research use)"
DISCLAIMER = (
    "Output of an algorithm for research, not a diagnosis. A reader decides. "
    "Below the threshold does not mean healthy."
)
SCHEME = "99PNEUMOSCOPE"


def _own(code: str, meaning: str) -> Code:
    return Code(code, SCHEME, meaning)


PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
FINDING_CONTEXT = Code("408729009", "SCT", "Finding context")
SUSPECTED = Code("415684004", "SCT", "Suspected")
UNKNOWN = Code("261665006", "SCT", "Unknown")
YES = Code("373066001", "SCT", "Yes")
NO = Code("373067005", "SCT", "No")
LUNG = Code("39607008", "SCT", "Lung")
CHEST_FILM = Code("399208008", "SCT", "Plain chest X-ray")
DEVICE = Code("121007", "DCM", "Device")
COMMENT = Code("121106", "DCM", "Comment")
ENGLISH = Code("en", "RFC5646", "English")
NO_UNITS = Code("1", "UCUM", "no units")

PROBABILITY = _own("probability", "Probability of pneumonia")
BACTERIAL = _own("bacterial", "Probability of bacterial pneumonia")
VIRAL = _own("viral", "Probability of viral pneumonia")
THRESHOLD = _own("threshold", "Probability from which the label is PNEUMONIA")
LABEL = _own("label", "Label at the threshold")
LABELS = {
    "PNEUMONIA": _own("PNEUMONIA", "PNEUMONIA: at or above the threshold"),
    "NORMAL": _own("NORMAL", "NORMAL: below the threshold, not healthy"),
}
REVIEW = _own("review", "A person should look at the film")
REASON = _own("review-reason", "Why a person should look at the film")


def structured_report(source: Source, finding: Finding, algorithm: Algorithm) -> Dataset:
    """The finding of a film as a Comprehensive SR in the film's own study.

    Args:
        source: the film.
        finding: what the model says of it.
        algorithm: the model.
    """
    reference = source.reference()
    report = ComprehensiveSR(
        evidence=[reference],
        content=_content(source, finding, algorithm),
        series_instance_uid=algorithm.uid("report series", source.study_instance_uid),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=algorithm.uid("report", source.sop_instance_uid),
        instance_number=source.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=algorithm.software,
        device_serial_number=algorithm.sha256[:16],
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=MANUFACTURER)],
    )
    belong_to(report, source)
    return report


def _content(source: Source, finding: Finding, algorithm: Algorithm) -> MeasurementReport:
    observer = ObserverContext(
        CodedConcept.from_code(DEVICE),
        DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", algorithm.sha256),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=algorithm.software,
            serial_number=algorithm.sha256,
        ),
    )
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=CHEST_FILM,
        imaging_measurements=[_measurements(source, finding, algorithm)],
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(ENGLISH)
        ),
    )


def _measurements(
    source: Source, finding: Finding, algorithm: Algorithm
) -> MeasurementsAndQualitativeEvaluations:
    measured = [(PROBABILITY, finding.probability)]
    if finding.subtypes is not None:
        measured += [(BACTERIAL, finding.subtypes.bacterial), (VIRAL, finding.subtypes.viral)]
    measured.append((THRESHOLD, finding.threshold))
    suspected = finding.label == "PNEUMONIA"
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=algorithm.uid("tracking", source.sop_instance_uid), identifier="Pneumonia, the whole film"
        ),
        finding_type=PNEUMONIA,
        finding_sites=[FindingSite(LUNG)],
        algorithm_id=AlgorithmIdentification(
            name=f"{MANUFACTURER} {algorithm.name}",
            version=algorithm.version,
            manufacturer=MANUFACTURER,
            parameters=[
                f"model SHA-256 {algorithm.sha256}",
                f"service {__version__}",
                f"threshold {finding.threshold!r}"
                + (" set in place of the model's own" if finding.threshold_overridden else ""),
            ],
        ),
        measurements=[Measurement(name=name, value=float(value), unit=NO_UNITS) for name, value in measured],
        qualitative_evaluations=[
            QualitativeEvaluation(FINDING_CONTEXT, SUSPECTED if suspected else UNKNOWN),
            QualitativeEvaluation(LABEL, LABELS[finding.label]),
            QualitativeEvaluation(REVIEW, YES if finding.review else NO),
        ],
        source_images=[SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)],
    )
    for name, words in [*((REASON, reason.words) for reason in finding.reasons), (COMMENT, DISCLAIMER)]:
        group[0].ContentSequence.append(TextContentItem(name, words, RelationshipTypeValues.CONTAINS))
    return group
