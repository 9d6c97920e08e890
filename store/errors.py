"""What can go wrong in a store, as a tree.  Imports nothing.

    StoreError
    |-- on opening     StoreLocked  FolderRefused  UnknownFormat  LogTooShort
    |-- on reading     CorruptSegment  EventsLost  CannotRead  IndexUnusable
    |-- on appending   WrongVersion  IdConflict  ConditionFailed  StreamDeleted  StoreFull  StoreFailed
    |-- on compaction  CannotCompact
    |-- on repair      CannotRepair
    |-- on backup      CannotBackUp
    |-- on import      BadExport
    |-- on verifying   ChainBroken
    |-- on groups      NoGroup  GroupExists
    '-- at any time    StoreClosed

A wrong argument is a ValueError, as everywhere in Python.
"""


class StoreError(Exception):
    """Any failure of a store."""


class StoreClosed(StoreError):
    """The store was closed before the call, or while it waited."""

    def __init__(self):
        super().__init__("the store is closed")


class StoreLocked(StoreError):
    """Another process, or this one, has the directory open."""

    def __init__(self, path, owner):
        by = f" by process {owner}" if owner else ""
        super().__init__(f"{path} is in use{by}; a store has one owner at a time, nothing was touched")
        self.path = path
        self.owner = owner


class FolderRefused(StoreError):
    """A store's folder that others could have a hand in."""

    def __init__(self, path, what, expected):
        super().__init__(f"{path}: found {what}, expected {expected}; nothing was touched")
        self.path = path


class UnknownFormat(StoreError):
    """A version, kind or flag that this code doesn't know: written by a newer one."""

    def __init__(self, path, pos, what):
        super().__init__(f"{path}: {what} at byte {pos} is not known to this version; "
                         f"nothing was changed, open it with the version that wrote it")
        self.path = path
        self.pos = pos


class LogTooShort(StoreError):
    """The log ends before what is known to have been on disk."""

    def __init__(self, path, found, expected):
        super().__init__(
            f"{path}: the log ends at position {found}, but {expected} events were on disk; a segment was "
            f"removed or an older copy put in its place.  Nothing was changed.  If this copy is meant to "
            f"be used as it is, delete index.sqlite3 beside it")
        self.path = path
        self.found = found
        self.expected = expected


class CorruptSegment(StoreError):
    """Bytes that were synced no longer check.  Never raised for a torn tail."""

    def __init__(self, path, pos, why, stream=None, number=None, position=None):
        if stream is None:
            event = "a record"
        else:
            event = f"{'an event' if number is None else f'event {number}'} of stream {stream!r}"
        at = f" (position {position})" if position is not None else ""
        super().__init__(f"{path}: {event}{at} at byte {pos} is damaged ({why}); the file is left as it is, "
                         f"events before it are readable")
        self.path = path
        self.pos = pos
        self.why = why
        self.stream = stream
        self.number = number
        self.position = position


class EventsLost(StoreError):
    """Damage took these events; `repair` put a gap in their place, and kept what was there.

    stream        whose events, or None where they are counted by position
    first, stop   the first that is lost, and the one to read on from
    back          who was told reads backwards, and goes on from the one before `first`
    """

    def __init__(self, path, stream, first, stop, back=False):
        of, unit = ("", "position") if stream is None else (f" of stream {stream!r}", "event")
        what = f"{unit} {first}{of} is" if stop == first + 1 else f"{unit}s {first} to {stop - 1}{of} are"
        on = f"read on from {unit} {stop}"
        if back:
            on = f"read on from {unit} {first - 1}" if first else "nothing is before"
        super().__init__(f"{path}: {what} lost to damage; what was left of the bytes is kept in cut/, {on}")
        self.path = path
        self.stream = stream
        self.first = first
        self.stop = stop
        self.back = back


class IndexUnusable(StoreError):
    """The index is damaged and can't be made anew; the log is untouched."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: it doesn't fit the log and can't be made anew ({cause}); the log is "
                         f"untouched, the next read tries again")
        self.path = path


class CannotRead(StoreError):
    """The disk didn't give what is on it; it may the next time."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: reading failed ({cause}); nothing was changed")
        self.path = path


class CannotCompact(StoreError):
    """What isn't shown any more couldn't be taken from the disk; trying again may work."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: what was cut couldn't be taken out ({cause}); it holds what it held, "
                         f"and readers don't see it")
        self.path = path


class CannotRepair(StoreError):
    """What is wrong with a log isn't what damage does, or leaves no room to mend it."""

    def __init__(self, path, why):
        super().__init__(f"{path}: it can't be repaired: {why}.  Nothing was changed")
        self.path = path


class CannotBackUp(StoreError):
    """The folder of a backup holds something else."""

    def __init__(self, folder, why):
        super().__init__(f"{folder}: it can't be backed up to: {why}.  Give an empty folder, or one that isn't there")
        self.folder = folder


class NoGroup(StoreError):
    """There is no consumer group of this name, or no more."""

    def __init__(self, name):
        super().__init__(f"there is no group {name!r}")
        self.name = name


class GroupExists(StoreError):
    """There is a consumer group of this name, and it was made with something else."""

    def __init__(self, name, selector):
        super().__init__(f"group {name!r} is there already, of {selector!r} or with other rules; delete it first, "
                         f"or take another name")
        self.name = name
        self.selector = selector


class WrongVersion(StoreError):
    """A stream doesn't look as an append expected it to.

    expected   "none", "exists" or a number
    actual     the number of the stream's last event, None if it has none
    """

    def __init__(self, stream, expected, actual):
        wanted = {"none": "no event", "exists": "an event"}.get(expected, f"event {expected} as its last one")
        found = "no event" if actual is None else f"event {actual}"
        super().__init__(f"stream {stream!r}: expected {wanted}, found {found}; nothing was stored")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class BadExport(StoreError):
    """A line of what is imported isn't what an export has."""

    def __init__(self, line, why):
        super().__init__(f"line {line}: {why}; what came before it is stored, importing again passes it over")
        self.line = line


class ChainBroken(StoreError):
    """The chain of digests and the log, or a head that was noted, don't agree."""

    def __init__(self, position, why):
        super().__init__(f"position {position}: {why}")
        self.position = position


class IdConflict(StoreError):
    """An id that a stream has already came again, and not with the same event.

    number   of the event that has it, None if that is in the same append
    """

    def __init__(self, stream, id, number, why):
        super().__init__(f"stream {stream!r}: id {id.decode(errors='backslashreplace')!r} {why}; nothing was stored")
        self.stream = stream
        self.id = id
        self.number = number


class StreamDeleted(StoreError):
    """A stream was deleted for good."""

    def __init__(self, stream):
        super().__init__(f"stream {stream!r} was deleted for good; nothing was stored")
        self.stream = stream


class ConditionFailed(StoreError):
    """An event matches what an append was conditioned on.

    position   of the first that does
    """

    def __init__(self, position, after):
        behind = "" if after is None else f" behind {after}"
        super().__init__(f"the event at position {position} matches, expected none{behind}; nothing was stored")
        self.position = position
        self.after = after


class StoreFull(StoreError):
    """The disk has no room; what was written of the batch was taken back.

    Appending goes on as soon as there is room again.
    """

    def __init__(self, path, cause):
        super().__init__(f"{path}: {cause.strerror}; nothing of this append was stored, "
                         f"reading goes on, appending will when there is room")
        self.path = path


class StoreFailed(StoreError):
    """A write or sync failed for good: appends are refused until the store is opened anew."""

    def __init__(self, path, what, cause):
        super().__init__(f"{path}: {what} failed ({cause}); the disk may not hold what was written since the "
                         f"last sync, so nothing is appended any more.  Reading goes on; restart to recover")
        self.path = path

