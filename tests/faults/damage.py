"""Damage: bytes that were on the disk are not what they were.

    a small store ──> a copy of it, spoiled ──> opened and read: nothing wrong is served, nothing missing in silence
                                            ──> checked: what is lost is named, and nothing else
                                            ──> repaired, now and then killed meanwhile: all that wasn't hit is there

Spoiled is the log, by a bit, by a length, by sectors, by files; or its index, in bytes and in rows.  A round takes
some of each.  What was hit is known from where the records of the unspoiled store are, so that what has to be lost,
and what must not be, follows without a look at what is tested.
"""

import functools
import os
import random
import shutil
import sqlite3
import time
from contextlib import contextmanager
from unittest import mock

from disk import Disk, QuickConnection, contents, crash, cut, drop_index, flip, kept, records_of, segments, until

from store import CorruptSegment, EventsLost, NewEvent, Store, StoreError, draft, merge, record
from store.check import check
from store.repair import repair
from store.segment import HEADER_SIZE

NAME = "damage"
GOALS = {"bits": 60_000, "lengths": 8_000, "sectors": 100, "headers": 1_000, "files": 60, "indexes": 10_000,
         "repairs": 10_000, "killed repairs": 1_000}

# Of each in a round.
FLIPS, LENGTHS, SECTORS, HEADERS, FILES, INDEXES = 12, 4, 3, 2, 2, 10

SEGMENT_SIZE = 1500
ROOM = 300
SECTOR = 512


class Kind:
    """How a store is made: whether it was closed, has its index, is compressed, and its small records were joined."""

    def __init__(self, name, closed, indexed, level=0, joined=False):
        self.name = name
        self.joined = joined
        self.closed = closed
        self.indexed = indexed
        self.level = level


KINDS = (Kind("closed", True, True), Kind("crashed", False, True), Kind("without index", True, False),
         Kind("compressed", True, True, 6), Kind("joined", True, True, joined=True))


def run(seed, until, folder):
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    turn = seed // len(KINDS)
    tally = {}
    with quick(seed):
        original = Original(folder / "original", kind)
        for what, spoil in spoilings(original, turn, draw):
            if time.monotonic() > until:
                break
            _try(original, folder / "copy", spoil, draw, tally)
            tally.setdefault(what, set()).add(hash((kind.name, spoil.name)))
        if kind.indexed:
            for _ in range(INDEXES):
                if time.monotonic() > until:
                    break
                _try_index(original, folder / "copy", draw)
                tally["indexes"] = tally.get("indexes", 0) + 1
    return tally or {"rounds without time": 1}


@contextmanager
def quick(seed):
    """No time is spent on syncs, what is random follows from the seed, and appends of a few events are groups."""
    draw = random.Random(f"ids of {seed}")
    with mock.patch.object(sqlite3, "connect", functools.partial(sqlite3.connect, factory=QuickConnection)), \
            mock.patch("os.urandom", lambda size: draw.getrandbits(8 * size).to_bytes(size, "little")), \
            mock.patch.object(draft, "MAX_PACK", ROOM), mock.patch("logging.Logger.handle"):
        yield


class Original:
    """A store as it should be.

    folder    where it is, closed or crashed
    events    {position: Event}
    records   [(path's name, byte, stop, first position, stop position, synced)]
    """

    def __init__(self, folder, kind):
        self.folder = folder
        self.kind = kind
        disk = Disk()
        ticks = iter(range(10 ** 15, 10 ** 16))
        with mock.patch.object(merge, "_MANY", 1 if kind.joined else 1 << 30):
            self._make(kind, str(folder), disk, ticks)
        if not kind.indexed:
            drop_index(folder)
        self.names = [path.name for path in segments(folder)]
        self.records = [(path.name, byte, byte + one.size, one.position, one.position + one.count, one.synced)
                        for path in segments(folder) for byte, one in records_of(path)]
        # Without the zeros that a crashed store has behind its last record.
        self.sizes = {name: max([HEADER_SIZE] + [one[2] for one in self.records if one[0] == name])
                      for name in self.names}
        self.streams = sorted({event.stream for event in self.events.values()})
        self.durable = _durable(folder) if kind.indexed else 0

    def _make(self, kind, folder, disk, ticks):
        store = Store(folder, compression=kind.level, segment_size=SEGMENT_SIZE, files=disk,
                      clock=lambda: next(ticks))
        _fill(store)
        if kind.joined:
            until(lambda: store._log._segments[0].header.generation)
        self.events = {event.position: event for event in store.read_all(limit=1 << 30)}
        if kind.closed:
            store.close()
        else:
            crash(store, disk)

    def bits(self):
        return 8 * sum(self.sizes.values())


def _durable(folder):
    """The position up to which the index knows events to be on disk."""
    connection = sqlite3.connect(folder / "index.sqlite3")
    try:
        [(durable,)] = connection.execute("select value from about where key = 'durable'").fetchall() or [(0,)]
        return durable
    finally:
        connection.close()


def _fill(store):
    for i in range(9):
        store.append("ab"[i % 2], "n", b"event %d" % i)
    store.append_many("g", [NewEvent("n", b"group" * 20, b"id %d" % i, b"metadata") for i in range(5)])
    for i in range(8):
        pipeline = [(b"p%d" % (j * i % 7), b"n", [b"packed %d %d" % (i, j)]) for j in range(5)]
        store.commit(store.write(pipeline))
    store.append("big", "n", b"\xffEV\x01" + bytes(range(256)) * 5)
    store.append_many("a", [("n", b"x" * i) for i in range(6)])
    for i in range(7):
        store.append("last" if i % 2 else "a", "n", b"last %d" % i)


class Spoiling:
    """One way to spoil a copy.

    name     what names it
    apply    does it to a folder
    hits     [(segment's name, first byte, stop)]: what isn't what it was
    """

    def __init__(self, name, apply, hits):
        self.name = name
        self.apply = apply
        self.hits = hits


def spoilings(original, turn, draw):
    """Yield (what is counted, Spoiling) for a round; each turn has others, until all were taken."""
    total = original.bits()
    for i in range(FLIPS):      # a prime spreads those of a round over the files
        yield "bits", _flipped(original, (turn * FLIPS + i) * 7919 % total)
    lengths = [(name, size) for name in original.names for size in range(original.sizes[name])]
    for i in range(LENGTHS):
        yield "lengths", _shortened(original, *lengths[(turn * LENGTHS + i) * 7919 % len(lengths)])
    sectors = [(name, byte, width) for name in original.names for byte in range(0, original.sizes[name], SECTOR)
               for width in (SECTOR, 2 * SECTOR)]
    for i in range(SECTORS):
        yield "sectors", _zeroed(original, *sectors[(turn * SECTORS + i) * 7919 % len(sectors)])
    for _ in range(HEADERS):
        yield "headers", _garbled_header(original, draw)
    files = list(_file_spoilings(original))
    for i in range(FILES):
        yield "files", files[(turn * FILES + i) % len(files)]


def _flipped(original, bit):
    names = iter(original.names)
    name, byte = next(names), bit // 8
    while byte >= original.sizes[name]:
        byte -= original.sizes[name]
        name = next(names)
    return Spoiling(f"bit {bit % 8} of byte {byte} of {name} flipped",
                    lambda folder: flip(folder / name, byte, bit % 8), [(name, byte, byte + 1)])


def _shortened(original, name, size):
    return Spoiling(f"{name} cut to {size} bytes", lambda folder: cut(folder / name, size),
                    [(name, size, original.sizes[name])])


def _zeroed(original, name, byte, width):
    stop = min(byte + width, original.sizes[name])
    return Spoiling(f"bytes {byte} to {stop} of {name} zeroed",
                    lambda folder: _overwrite(folder / name, byte, bytes(stop - byte)), [(name, byte, stop)])


def _garbled_header(original, draw):
    name = draw.choice(original.names)
    byte = draw.randrange(HEADER_SIZE)
    data = draw.getrandbits(8 * (HEADER_SIZE - byte)).to_bytes(HEADER_SIZE - byte, "little")
    return Spoiling(f"{data.hex()} at byte {byte} of {name}",
                    lambda folder: _overwrite(folder / name, byte, data), [(name, byte, HEADER_SIZE)])


def _file_spoilings(original):
    """Files that are missing, that have each other's names, and that are copies of another."""
    names = original.names
    for name in names if original.kind.closed and original.kind.indexed else names[:-1]:
        yield Spoiling(f"{name} missing", lambda folder, name=name: (folder / name).unlink(),
                       [(name, 0, original.sizes[name])])
    for i, name in enumerate(names):
        for other in names[i + 1:]:
            yield Spoiling(f"{name} and {other} swapped", functools.partial(_swap, name, other), [])
            yield Spoiling(f"{other} in place of {name}",
                           lambda folder, a=name, b=other: shutil.copy(folder / b, folder / a),
                           [(name, 0, original.sizes[name])])
    for first in range(1, len(names) - 2):
        two = names[first:first + 2]
        yield Spoiling(f"{' and '.join(two)} missing", functools.partial(_remove, two),
                       [(name, 0, original.sizes[name]) for name in two])


def _overwrite(path, byte, data):
    with open(path, "r+b") as file:
        file.seek(byte)
        file.write(data)


def _swap(name, other, folder):
    os.rename(folder / name, folder / "x")
    os.rename(folder / other, folder / name)
    os.rename(folder / "x", folder / other)


def _remove(names, folder):
    for name in names:
        (folder / name).unlink()


# -- a spoiled log -------------------------------------------------------------

class Due:
    """What follows from a spoiling: worked out from the unspoiled store.

    hit         positions of events whose bytes aren't what they were
    promised    every event before this position is known to have been on disk, by what is left
    untouched   positions of events that must be there after a repair
    """

    def __init__(self, original, spoiling):
        hit_records = {one for one in original.records if any(
            one[0] == name and one[1] < stop and one[2] > byte for name, byte, stop in spoiling.hits)}
        self.hit = {position for one in hit_records for position in range(one[3], one[4])}
        self.promised = max([original.durable] + [one[5] for one in original.records if one not in hit_records])
        first_hit = min((one[3] for one in hit_records), default=len(original.events))
        self.untouched = {position for position in original.events
                          if position not in self.hit and (position < self.promised or position < first_hit)}


def _try(original, folder, spoiling, draw, tally):
    due = Due(original, spoiling)
    try:
        _copy(original, folder, spoiling)
        expect_no_lies(original, folder, due)
        _copy(original, folder, spoiling)
        _expect_check_names_it(original, folder, spoiling, due)
        if not draw.randrange(4):
            _kill_repair(folder, draw.randrange(1, 25))
            tally["killed repairs"] = tally.get("killed repairs", 0) + 1
        damaged = contents(folder)
        outcome = repair(str(folder), files=Disk())
        expect_kept(folder, damaged, outcome.findings)
        expect_mended(original, folder, due)
        tally["repairs"] = tally.get("repairs", 0) + 1
    except Exception as error:
        raise AssertionError(f"{original.kind.name}, {spoiling.name}: {error}") from error


def _copy(original, folder, spoiling):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original.folder, folder)
    spoiling.apply(folder)


def expect_no_lies(original, folder, due):
    """A store that opens in spite of it serves what it was told, and says what it can't serve."""
    before = contents(folder)
    try:
        store = Store(str(folder), files=Disk())
    except StoreError:
        assert contents(folder) == before, "a store that doesn't open was changed"
        return
    with store:
        good, said = served(original, store)
        silent = {p for p in original.events if p < due.promised} - good - said
        assert not silent, f"events at {sorted(silent)} are gone, and nobody says so"
        assert store.position >= due.promised, f"{due.promised} events were on disk, it has {store.position}"
        cut_off = {p for p in original.events if p >= store.position} - due.hit
        assert not cut_off or store.epoch > 1 and kept(folder), \
            f"events at {sorted(cut_off)} were cut, and not kept under another epoch"


def served(original, store):
    """(positions of events that are served, positions that reading says are lost or damaged).

    Raises    AssertionError    something else is served
    """
    good, said = set(), set()
    places = {(event.stream, event.number): event.position for event in original.events.values()}
    assert set(store.stream_names()) <= set(original.streams)
    for name in store.stream_names():
        for number in range(store.last_number(name) + 1):
            position = places[name, number]
            event = _asked(store.read, name, number, number + 1)
            if event is None:
                said.add(position)
            else:
                assert event == original.events[position], f"found {event}, expected {original.events[position]}"
                good.add(position)
        _expect_frames(original, store, name, good)
    for position in range(store.position):
        event = _asked(store.read_all, position, position + 1)
        if event is None:
            said.add(position)
        else:
            assert event == original.events[position], f"found {event}, expected {original.events[position]}"
            good.add(position)
    return good, said


def _asked(read, *arguments):
    """The one event that was asked for, or None if it is said to be lost or damaged."""
    try:
        [event] = read(*arguments)
        return event
    except (CorruptSegment, EventsLost):
        return None


def _expect_frames(original, store, name, good):
    """What a replay sends of a stream is what it was told, up to where it says that it can't go on."""
    stream = store.find(name.encode())
    number = 0
    due = {event.number: event for event in original.events.values() if event.stream == name}
    while number < stream.visible:
        try:
            some = store.frames(stream, number, stream.visible, 1000)
        except EventsLost as lost:
            number = lost.stop
            continue
        except CorruptSegment:
            return
        starts = [0, *some.ends[:-1]]
        for at, start, end in zip(range(some.first, some.stop), starts, some.ends):
            event = due[at]
            expected = record.frames(name.encode(), event.name.encode(), at, [event.data])[0]
            assert some.data[start:end] == expected, f"found {some.data[start:end]!r}, expected {expected!r}"
        number = some.stop


def _expect_check_names_it(original, folder, spoiling, due):
    """Something is said, and what is said to be lost is what was hit."""
    before = contents(folder)
    findings = check(str(folder))
    assert contents(folder) == before, "check changed the log"
    assert findings.problems or findings.tear or any("being made" in note for note in findings.notes), \
        f"nothing is said: {findings.notes}"
    lost = {position for hole in findings.holes for position in range(hole.position, hole.end)}
    expected = {position for position in due.hit if position < due.promised}
    if findings.tear is None:
        assert lost == expected, \
            f"positions {sorted(lost)} are said to be lost, {sorted(expected)} are"
    else:
        assert lost <= due.hit, f"positions {sorted(lost - due.hit)} are said to be lost, and aren't"
    named = {(stream.decode(), number) for hole in findings.holes for stream, first, count in hole.lost
             for number in range(first, first + count) if not stream.startswith(record.UNKNOWN)}
    true = {(original.events[p].stream, original.events[p].number) for p in lost}
    assert named <= true, f"{sorted(named - true)} are said to be lost, and aren't"
    if original.kind.closed and original.kind.indexed:
        assert named == true, f"nobody says that {sorted(true - named)} are lost"
    dry = repair(str(folder), dry_run=True)
    assert contents(folder) == before, "a dry run changed the log"
    assert dry.steps or findings.notes, "a dry run says nothing"


def _kill_repair(folder, changes):
    disk = Disk()
    disk.die_in(changes)
    try:
        repair(str(folder), files=disk)
    except (OSError, StoreError):
        assert disk.dead


def expect_kept(folder, damaged, findings):
    """What stands in holes now was kept before."""
    cuts = [path.read_bytes() for path in (folder / "cut").glob("*")]
    for hole in findings.holes:
        there = damaged.get(folder / hole.slot.name, b"")[hole.byte:hole.stop]
        assert not there or hole.slot.segment.path != str(folder / hole.slot.name) or \
            any(there in one for one in cuts), f"bytes {hole.byte} to {hole.stop} of {hole.slot.name} aren't kept"


def expect_mended(original, folder, due):
    """The store opens, has all that wasn't hit where it was, says what is lost, and takes events."""
    findings = check(str(folder))
    assert findings.sound, f"after the repair: {findings.problems}"
    with Store(str(folder), files=Disk()) as store:
        good, said = served(original, store)
        assert due.untouched <= good, f"events at {sorted(due.untouched - good)} weren't hit, and are gone"
        missing = {position for position in due.hit if position < due.promised}
        assert missing <= said | good, f"nobody says that events at {sorted(missing - said - good)} are lost"
        numbers = {name: store.last_number(name) for name in store.stream_names()}
        position = store.position
        assert store.append("a", "n", b"new") == (numbers.get("a", -1) + 1, position)
    with Store(str(folder), files=Disk()) as store:
        assert store.read("a", numbers.get("a", -1) + 1)[0].data == b"new"


# -- a spoiled index -----------------------------------------------------------

def _try_index(original, folder, draw):
    """Whatever became of the index, every event is served as it was told."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original.folder, folder)
    name = _spoil_index(folder, draw)
    try:
        findings = check(str(folder))
        assert all(problem.startswith("index.sqlite3:") for problem in findings.problems), findings.problems
        with Store(str(folder), files=Disk()) as store:
            good, _ = served(original, store)
            assert good == set(original.events), f"events at {sorted(set(original.events) - good)} are gone"
    except (AssertionError, StoreError, sqlite3.Error, OSError) as error:
        raise AssertionError(f"{original.kind.name}, {name}: {error}") from error


def _spoil_index(folder, draw):
    path = folder / "index.sqlite3"
    how = draw.choice(("bytes", "zeros", "length", "rows", "rows"))
    size = path.stat().st_size
    if how == "bytes":
        for _ in range(draw.choice((1, 1, 3, 30))):
            flip(path, draw.randrange(size), draw.randrange(8))
    elif how == "zeros":
        byte = draw.randrange(size)
        _overwrite(path, byte, bytes(min(draw.choice((16, 512, 4096)), size - byte)))
    elif how == "length":
        cut(path, draw.randrange(size))
    else:
        return _spoil_row(path, draw)
    return f"{how} of the index"


def _spoil_row(path, draw):
    """Change a value of a random row, take one out, or put one in twice."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        table = draw.choice(("about", "heads", "places", "marks"))
        rows = connection.execute(f"select * from {table}").fetchall()
        if not rows:
            return f"no row in {table}"
        row = list(draw.choice(rows))
        columns = [column[1] for column in connection.execute(f"pragma table_info({table})")]
        where = " and ".join(f"{column} is ?" for column in columns)
        connection.execute(f"delete from {table} where {where}", row)
        how = draw.choice(("deleted", "changed", "changed", "changed"))
        if how == "changed":
            at = draw.randrange(len(row))
            row[at] = _other(row[at], draw)
            try:
                connection.execute(f"insert or replace into {table} values ({', '.join('?' * len(row))})", row)
            except sqlite3.IntegrityError:
                how = "deleted"
        return f"a row of {table} {how}: {row}"
    finally:
        connection.close()


def _other(value, draw):
    """Another value than this, near it or far from it."""
    if isinstance(value, int):
        near = [value + 1, value - 1, value ^ 1 << draw.randrange(40), 0, -1, 1 << 62]
        return draw.choice([*near, None, "text", b"blob"])
    if isinstance(value, bytes) and value:
        at = draw.randrange(len(value))
        return draw.choice([value[:at], value[:at] + bytes([value[at] ^ 1]) + value[at + 1:], b"", None, 7])
    return draw.choice([None, 0, b"", "text"])
