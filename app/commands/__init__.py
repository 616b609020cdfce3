"""The commands of the command line, which `app.cli` names."""
