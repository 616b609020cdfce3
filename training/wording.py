"""One way to write a figure, its name and a table, in reports and in model cards."""

from collections.abc import Iterable, Sequence

from app.engine.manifest import Estimate


def with_interval(estimate: Estimate, digits: int = 4) -> str:
    """A figure with its 95 % interval: `0.9651 (0.9508–0.9778)`."""
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"


def percent(estimate: Estimate) -> str:
    """A share with its 95 % interval: `9.8% (8.1%–11.6%)`."""
    return f"{estimate.value:.1%} ({estimate.low:.1%}–{estimate.high:.1%})"


def figure_name(field: str) -> str:
    """Name of a figure from that of its field: `AUC hard normal` from `auc_hard_normal`, `F1` from `f1`."""
    return field.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
