"""Findings as DICOM objects that a PACS understands, and the bridge to one: Orthanc."""

MANUFACTURER = "Pneumoscope"
"""Manufacturer (0008,0070) of every result, by which results are told from films."""
