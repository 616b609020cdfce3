"""The table of findings: one row a film, whatever became of it."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from app.engine.finding import Finding

JUDGED = "judged"

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("detail", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),
        ("sha256", pa.string()),
        ("probability", pa.float64()),
        ("label", pa.string()),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("threshold_overridden", pa.bool_(), nullable=False),
        ("bacterial", pa.float64()),
        ("viral", pa.float64()),
        ("review", pa.bool_()),
        ("reasons", pa.list_(pa.field("element", pa.string(), nullable=False))),
        ("novelty", pa.float64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sop_instance_uid", pa.string()),
        ("study_instance_uid", pa.string()),
        pa.field("model_name", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("scored_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""See docs/bulk.md for what each column means."""

Row = dict[str, object]


def judged(finding: Finding) -> Row:
    """The columns that a finding fills."""
    subtypes = finding.subtypes
    return {
        "status": JUDGED,
        "probability": finding.probability,
        "label": finding.label,
        "bacterial": None if subtypes is None else subtypes.bacterial,
        "viral": None if subtypes is None else subtypes.viral,
        "review": finding.review,
        "reasons": [reason.code for reason in finding.reasons],
        "novelty": finding.novelty,
    }


def refused(code: str, detail: str) -> Row:
    """The columns of a film that has no finding, and why."""
    return {"status": code, "detail": detail}


def now() -> datetime:
    """When a row is made."""
    return datetime.now(UTC)


def to_table(rows: list[Row]) -> pa.Table:
    """The rows as a table; what a row does not have is null."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def to_parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
