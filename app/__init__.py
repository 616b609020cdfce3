"""The service: an uploaded chest radiograph in, a finding out."""

__version__ = "0.1.0"
