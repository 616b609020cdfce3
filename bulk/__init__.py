"""An archive of radiographs → a table of findings, on Ray: one machine or a cluster."""
