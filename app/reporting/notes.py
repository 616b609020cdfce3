"""What the bridge has done, in a file that survives it: Orthanc's own ids, nothing of a patient."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS position (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), seq INTEGER, mark TEXT);
CREATE TABLE IF NOT EXISTS films (film TEXT PRIMARY KEY, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (result TEXT PRIMARY KEY, film TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tries (film TEXT PRIMARY KEY, tries INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS results_of_film ON results (film);
"""

DONE = "done"
"""The outcome of a film whose results are stored; any other is the code of what kept it from them."""

FAILED = "failed"
"""The outcome of a film that was left after some tries; it is tried again when it comes anew."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far Orthanc's list of changes has been read: the last change's number, and a mark to know it again."""

    seq: int
    mark: str


START = Position(0, "")


class Notes:
    """One file, one bridge. Each note is on the disk before the method returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            sqlite3.Error: it cannot be opened, or is something else.
        """
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error:
            self._database.close()
            raise

    @property
    def position(self) -> Position:
        """How far the list of changes has been read."""
        row = self._database.execute("SELECT seq, mark FROM position").fetchone()
        return START if row is None else Position(*row)

    def move_to(self, position: Position) -> None:
        """Note that everything up to there has been seen to."""
        self._database.execute(
            "INSERT OR REPLACE INTO position VALUES (1, ?, ?)", (position.seq, position.mark)
        )

    def outcome(self, film: str) -> str | None:
        """What became of a film, by its Orthanc id; None if nothing yet."""
        row = self._database.execute("SELECT outcome FROM films WHERE film = ?", (film,)).fetchone()
        return None if row is None else str(row[0])

    def results(self, film: str) -> list[str]:
        """Orthanc ids of a film's results."""
        rows = self._database.execute("SELECT result FROM results WHERE film = ?", (film,))
        return [str(row[0]) for row in rows]

    def is_result(self, instance: str) -> bool:
        """Whether an instance is a result of ours."""
        found = self._database.execute("SELECT 1 FROM results WHERE result = ?", (instance,)).fetchone()
        return found is not None

    def tries(self, film: str) -> int:
        """How often an unfinished film has been tried; a try that ended the process counts."""
        row = self._database.execute("SELECT tries FROM tries WHERE film = ?", (film,)).fetchone()
        return 0 if row is None else int(row[0])

    def try_once_more(self, film: str) -> None:
        """Note a try before it is made."""
        self._database.execute(
            "INSERT INTO tries VALUES (?, 1) ON CONFLICT (film) DO UPDATE SET tries = tries + 1", (film,)
        )

    def forgive(self, film: str) -> None:
        """Take back a try that failed for another's fault."""
        self._database.execute("UPDATE tries SET tries = tries - 1 WHERE film = ?", (film,))

    def forget_tries(self, film: str) -> None:
        """Count a film's tries from nothing again."""
        self._database.execute("DELETE FROM tries WHERE film = ?", (film,))

    def finish(self, film: str, outcome: str, results: list[str]) -> None:
        """Note what became of a film, and its results, at once."""
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute("INSERT OR REPLACE INTO films VALUES (?, ?)", (film, outcome))
            self._database.execute("DELETE FROM tries WHERE film = ?", (film,))
            self._database.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?)", [(result, film) for result in results]
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
