"""An archive of radiographs → a table of findings, on Ray: one machine or a cluster."""

import os

# Read when Ray is imported or started: it reports no usage to its makers, and does not ask whether it may.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# What its native code would write to standard error is not for the person who started it.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
