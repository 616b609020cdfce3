"""The service: an uploaded chest radiograph in, a finding out."""
