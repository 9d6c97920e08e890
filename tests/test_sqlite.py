"""store/sqlite.py: what is left behind when a file of sqlite3's is closed or removed."""

import logging
import sqlite3

import pytest

from store.sqlite import close, remove


class Stubborn:
    def close(self):
        raise sqlite3.OperationalError("busy")


@pytest.mark.parametrize("connection, said", [(None, ""), (Stubborn(), "x: closing it failed (busy); it will be made")])
def test_a_file_that_can_not_be_closed_is_told_of(caplog, connection, said):
    close(connection, "x", logging.getLogger("meilies.test"))
    assert said in caplog.text and bool(said) == bool(caplog.records)


def test_a_file_is_removed_with_those_beside_it_that_there_are(tmp_path):
    for name in "x", "x-wal", "y":
        (tmp_path / name).write_bytes(b"")
    for _ in range(2):
        remove(str(tmp_path / "x"))
        assert [path.name for path in tmp_path.iterdir()] == ["y"]
