"""An event store in one process and one folder.

    from store import Store

    with Store("my-db") as store:
        store.append("orders", "created", b"...")
        for event in store.read("orders", 0):
            print(event.number, event.name, event.data)
"""

from .append import Append, Appended, Change, NewEvent
from .backup import BackedUp
from .compaction import Compacted
from .database import ALWAYS, EVERYSEC, NO, Store
from .errors import (
    CannotBackUp,
    CannotCompact,
    CannotRead,
    ConditionFailed,
    CorruptSegment,
    EventsLost,
    FolderRefused,
    GroupExists,
    IdConflict,
    IndexUnusable,
    LogTooShort,
    NoGroup,
    StoreClosed,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StreamDeleted,
    UnknownFormat,
    WrongVersion,
)
from .expect import ANY, EXISTS, NONE
from .filter import Prefix
from .following import CaughtUp, Checkpoint
from .groups import ConsumerGroup, Given, GroupInfo
from .reading import Selected, StreamInfo
from .query import Condition, Query, Tagged
from .record import Entry, Event
from .retention import Rule
from .snapshot import Snapshot
from .times import Times

__all__ = [
    "ALWAYS",
    "ANY",
    "EVERYSEC",
    "EXISTS",
    "NO",
    "NONE",
    "Append",
    "Appended",
    "BackedUp",
    "CannotBackUp",
    "CannotCompact",
    "CannotRead",
    "CaughtUp",
    "Change",
    "Checkpoint",
    "Compacted",
    "Condition",
    "ConditionFailed",
    "ConsumerGroup",
    "CorruptSegment",
    "Entry",
    "Event",
    "EventsLost",
    "FolderRefused",
    "Given",
    "GroupExists",
    "GroupInfo",
    "IdConflict",
    "IndexUnusable",
    "LogTooShort",
    "NewEvent",
    "NoGroup",
    "Prefix",
    "Selected",
    "Rule",
    "Snapshot",
    "Query",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
    "StreamInfo",
    "StreamDeleted",
    "UnknownFormat",
    "Tagged",
    "Times",
    "WrongVersion",
]
