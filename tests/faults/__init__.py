"""Faults brought about in a service that runs as a user starts it; docs/reliability.md has the table."""
