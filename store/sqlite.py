"""Ending what was begun with a file of sqlite3's: the connection, and the files beside each other."""

import os
import sqlite3


def close(connection, path, logger):
    """Close a connection, or None; a file that can't be closed is made anew when it is opened."""
    if connection is not None:
        try:
            connection.close()
        except sqlite3.Error as error:
            logger.warning("%s: closing it failed (%s); it will be made anew", path, error)


def remove(path):
    """Delete the file at `path`, with those that sqlite3 keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass
