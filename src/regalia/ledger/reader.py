"""Queries of the ledger's own threads, on bare driver connections: one a thread, replaced after a failure."""

import threading
from contextlib import suppress
from typing import Any

from regalia.ledger.statements import Statements, statements_for
from regalia.storage import Database


class Reader:
    """Runs single statements, each seeing what is committed at that moment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own = threading.local()
        self.sql: Statements = statements_for(database)

    def select(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows. Raises the driver's error."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._database.driver_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        except self._database.driver_error:
            self.close()
            raise
        return rows

    def close(self) -> None:
        """Close this thread's connection; the next query makes a new one."""
        connection = getattr(self._own, "connection", None)
        self._own.connection = None
        if connection is not None:
            with suppress(self._database.driver_error):  # it may be broken: that is why it goes
                connection.close()
