"""Films as every command reads them: found, decoded under a progress bar, marked with their slices."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from training import dataset, slices


def read_films(source: Path, console: Console, split: str = "train") -> dataset.Dataset:
    """Films of `source` (see `training.dataset.find_films`) with their slices.

    Raises:
        DatasetError: a folder is missing or empty, or films cannot be read.
    """
    films = dataset.find_films(source, split)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading films", total=len(films))
        return slices.mark(dataset.load(films, lambda: progress.advance(task)))
