"""Stands on PYTHONPATH before the package of this name, which builds a parser for two seconds when it is imported.

A development tool brings it, jsonschema then takes it, and Ray imports jsonschema in each of its dozen processes.
"""

raise ImportError
