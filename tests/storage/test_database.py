"""What a database promises: durable commits, snapshots, writers that wait for their turn."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from regalia.storage import Database, open_database, upgrade


def size(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT size FROM log_state")).scalar_one())


def set_size(database: Database, value: int) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE log_state SET size = :value"), {"value": value})


def test_commits_are_synchronous(database: Database) -> None:
    upgrade(database)
    with database.read() as connection:
        if database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
            assert connection.exec_driver_sql("SHOW fsync").scalar_one() == "on"
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
            idle = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
            assert idle == "10s"


def test_what_raises_is_rolled_back(database: Database) -> None:
    upgrade(database)
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(text("UPDATE log_state SET size = 5"))
        raise ZeroDivisionError
    assert size(database) == 0


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/regalia.db")
    upgrade(database)
    holding, order = threading.Event(), []

    def first() -> None:
        with database.write() as connection:
            holding.set()
            time.sleep(0.3)
            order.append("first")
            connection.execute(text("UPDATE log_state SET size = size + 1"))

    thread = threading.Thread(target=first)
    thread.start()
    holding.wait()
    with database.write() as connection:
        order.append("second")
        connection.execute(text("UPDATE log_state SET size = size + 1"))
    thread.join()
    assert order == ["first", "second"]
    assert size(database) == 2


def test_a_reader_sees_one_snapshot_and_holds_up_no_writer(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/regalia.db")
    upgrade(database)
    with database.read() as connection:
        assert connection.execute(text("SELECT size FROM log_state")).scalar_one() == 0
        set_size(database, 3)
        assert connection.execute(text("SELECT size FROM log_state")).scalar_one() == 0
    assert size(database) == 3


def test_a_driver_connection_commits_by_itself(database: Database) -> None:
    upgrade(database)
    connection = database.driver_connection()
    connection.cursor().execute("UPDATE log_state SET size = 4")
    assert size(database) == 4
    connection.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///x.db?mode=memory", "mysql://localhost/x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="SQLite"):
        open_database(url)
