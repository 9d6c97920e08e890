"""An event store in one process and one folder.

    from store import Store

    with Store("my-db") as store:
        store.append("orders", "created", b"...")
        for event in store.read("orders", 0):
            print(event.number, event.name, event.data)
"""

from .backup import BackedUp
from .database import ALWAYS, EVERYSEC, NO, Appended, NewEvent, Store
from .errors import (CannotBackUp, CannotRead, CorruptSegment, EventsLost, IndexUnusable, LogTooShort, StoreClosed,
                     StoreError, StoreFailed, StoreFull, StoreLocked, UnknownFormat)
from .record import Event

__all__ = [
    "ALWAYS", "EVERYSEC", "NO", "Appended", "BackedUp", "CannotBackUp", "CannotRead", "CorruptSegment", "Event",
    "EventsLost", "IndexUnusable", "LogTooShort", "NewEvent", "Store", "StoreClosed", "StoreError", "StoreFailed",
    "StoreFull", "StoreLocked", "UnknownFormat",
]
