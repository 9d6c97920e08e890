"""What has to be true of any bytes whatever: functions that a fuzzer calls, and that raise when it isn't.

    parser     resp.Parser reads what the naive reader reads, in values, end and place of the error,
               however the bytes are split
    commands   so does a connection, whose fast path takes runs of publishes; in commands
    segment    bytes of a segment that were changed give the records before the change, and are not passed over
    forged     a record whose checksums were made to fit its bytes is a record, or BadRecord
    header     bytes of a segment's header that were changed are no header

Each takes one argument: bytes.  What they are made of stands at the function.
Whatever is raised but for what is named there is a find.  No input of a few KiB may
take more than a second of this thread's time.
"""

import functools
import os
import random
import struct
import tempfile
import time
import zlib
from pathlib import Path

from naive_resp import plain, read_all
from resp import BadRequest, ErrorReply, Parser, ProtocolError, Push
from server import options
from server.connection import Connection
from store import CorruptSegment, NewEvent, Store, UnknownFormat, record
from store.files import Files
from store.record import BadRecord
from store.recovery import Scan
from store.segment import HEADER_SIZE, Segment, decode_header

# Seconds that an input may take.
SLOW = 1.0

# Small, so that inputs reach them; but the fast path of a connection needs room for its heads.
LIMITS = {"max_bulk": 300, "max_elements": 40}
MAX_REQUEST = 2048
MAX_ARGUMENTS = 40


def in_time(oracle):
    @functools.wraps(oracle)
    def judge(data):
        began = time.thread_time()
        oracle(data)
        took = time.thread_time() - began
        assert took < SLOW, f"{len(data)} bytes took {took:.1f} s"

    return judge


# -- bytes from a socket ------------------------------------------------------

@in_time
def parser(data):
    """data[0] says how the rest is split."""
    text = data[1:]
    values, ending, pos = read_all(text, **LIMITS)
    values = [plain(value) for value in values]
    for pieces in _splits(text, data[:1]):
        found, how, why = _parsed(pieces)
        assert len(found) == len(values) and all(map(same, found, values)), f"found {found}, expected {values}"
        assert how == ending, f"found {how}, expected {ending}"
        assert ending != "invalid" or why.pos == pos, f"{why}, expected byte {pos}"


def _parsed(pieces):
    """(values, how it ends, the ProtocolError or None) of what is fed in pieces."""
    one = Parser(**LIMITS)
    values = []
    fed = 0
    for piece in pieces:
        fed += len(piece)
        one.feed(piece)
        try:
            values += one.values()
        except ProtocolError as error:
            return values, "invalid", error
        assert one.pending <= fed
    return values, "cut" if one.mid_value else "end", None


def same(found, expected):
    """Whether a value of `resp` is what the naive reader says: its kind is to be the same, too."""
    kind, what = expected
    if kind in ("list", "push"):
        return (type(found) is (Push if kind == "push" else list) and len(found) == len(what)
                and all(map(same, found, what)))
    if kind == "map":
        if all(key[0] == "string" for key, _ in what):      # only of those is a dict made
            return type(found) is dict and list(found) == [key[1] for key, _ in what] \
                and all(same(found[key[1]], item) for key, item in what)
        return type(found) is list and all(
            len(pair) == 2 and same(pair[0], key) and same(pair[1], item)
            for pair, (key, item) in zip(found, what)) and len(found) == len(what)
    if kind == "error":
        return type(found) is ErrorReply and found.args == (what,)
    if kind == "double":
        return type(found) is float and repr(found) == what
    types = {"string": bytes, "integer": int, "boolean": bool, "null": type(None)}
    return type(found) is types[kind] and found == what


def _splits(text, control):
    """`text` whole, byte by byte, and as `control` has it."""
    yield [text]
    if len(text) < 200:
        yield [text[i:i + 1] for i in range(len(text))]
    draw = random.Random(control)
    places = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(1, 6)))
    yield [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


@in_time
def commands(data):
    """data[0] says how the rest is split."""
    text = data[1:]
    values, ending, pos = read_all(text, MAX_REQUEST, MAX_ARGUMENTS, empty_lines=True)
    expected = [_command(plain(value)) for value in values]
    for pieces in _splits(text, data[:1]):
        found, error = _received(pieces)
        assert error is not None or ending != "invalid", f"nothing was wrong, expected an error at byte {pos}"
        if error is not None and "bytes in one value" in str(error):    # a limit that the naive reader doesn't know
            assert found == expected[:len(found)], f"found {found}, expected {expected}"
            continue
        assert found == expected, f"found {found}, expected {expected}"
        assert error is None or (ending, error.pos) == ("invalid", pos), f"{error}, expected {ending} at byte {pos}"


def _command(value):
    """What a connection has to make of a value: a list of arguments, or None for what is no command."""
    kind, arguments = value
    if kind != "list" or not arguments or any(argument[0] != "string" for argument in arguments):
        return None
    return _lower([argument for _, argument in arguments])


def _lower(arguments):
    return [arguments[0].lower(), *arguments[1:]]


@functools.lru_cache(maxsize=1)
def _limits():
    limits = options.parse(["--db-path", "none"], {})
    limits.max_arguments = MAX_ARGUMENTS
    limits.max_request_size = MAX_REQUEST
    return limits


def _received(pieces):
    """(commands, the ProtocolError or None) that a connection receives in pieces."""
    connection = Connection(1, "", None, _limits(), None, None)
    found = []
    for piece in pieces:
        connection.receive(piece)
        while connection.pending:
            one = connection.pending.popleft()
            if isinstance(one, ProtocolError):
                return found, one
            found += [None] if isinstance(one, BadRequest) else map(_lower, _told(one))
    return found, None


def _told(one):
    """What a connection has pending, a command or a run of them, as lists of arguments."""
    if isinstance(one, list):
        return [one]
    return [[b"publish", first, second, last] for first, second, lasts in one[0] for last in lasts]


# -- bytes from a disk --------------------------------------------------------

class Image(Files):
    """A disk with one file, whose bytes these are."""

    def __init__(self, data):
        self.data = data

    def read(self, fd, size, pos):
        return self.data[pos:pos + size]

    def size(self, fd):
        return len(self.data)


@functools.lru_cache(maxsize=1)
def segments():
    """A few segments as a store makes them: [(bytes, [(byte, events of the record there)])]."""
    return [_segment(compression, details) for compression in (0, 6) for details in (False, True)]


def _segment(compression, details):
    with tempfile.TemporaryDirectory() as folder:
        with Store(folder, "no", compression) as store:
            for datas in [b"one"], [b"\r\n" * 9, b"", b"x" * 300], [b"*5\r\n+event\r\n"] * 4:
                if details:
                    new = [NewEvent("created", data, b"%d of %d" % (i, len(datas)), b"metadata", (b"tag",))
                           for i, data in enumerate(datas)]
                    store.append_many("orders", new)
                else:
                    store.commit(store.write([(b"orders", b"created", datas)]))
            store.commit(store.write([(b"ab"[i % 2:][:1], b"name", [b"%d" % i]) for i in range(9)]))
        [path] = Path(folder).glob("*.segment")
        data = path.read_bytes()
    records, bad = _read(data)
    assert bad is None and len(records) > 4
    return data, records


def _read(data):
    """([(byte, events)], where it ends) of a segment that begins as a good one does, as recovery reads it."""
    one = Segment(Image(data), "image", -1, decode_header(data[:HEADER_SIZE], "image"))
    one.end = len(data)
    found = []

    def visit(segment, byte, read):
        found.append((byte, list(read.events()) if read.count else []))

    try:
        end = Scan(0, 0, {}, visit).run([one], 0, HEADER_SIZE)
    except (CorruptSegment, UnknownFormat) as error:
        return found, error
    return found, end.torn


@in_time
def segment(data):
    """data[0] chooses the segment, the rest are changes of its records: see `_changed`."""
    whole, records = _chosen(data)
    changed = whole[:HEADER_SIZE] + _changed(whole[HEADER_SIZE:], data[1:])
    untouched = _alike(whole, changed)
    ends = [byte for byte, _ in records[1:]] + [len(whole)]
    expected = [one for one, end in zip(records, ends) if end <= untouched]
    found, bad = _read(changed)
    assert found == expected, f"found {len(found)} records, expected {len(expected)} of {len(records)}"
    behind = changed[ends[len(expected) - 1] if expected else HEADER_SIZE:]
    assert (bad is None) == (behind.count(0) == len(behind)), f"found {bad} where {behind[:100]!r} begins"


def _chosen(data):
    all_ = segments()
    return all_[data[0] % len(all_) if data else 0]


def _alike(one, other):
    """How many bytes two strings have in common from the start."""
    if one == other:
        return len(one)
    return len(os.path.commonprefix([one, other]))


def _changed(original, changes):
    """`original` after some changes, each of which is 4 bytes: what, where (2), and a byte."""
    changed = bytearray(original)
    for what, where, byte in struct.iter_unpack(">BHB", changes[:len(changes) // 4 * 4]):
        at = where % (len(changed) + 1)
        kind = what % 6
        if kind == 0:
            changed[at:at + 1] = bytes([byte])
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = bytes([byte]) * (what // 6 + 1)
        elif kind == 3:
            del changed[at:at + byte]
        elif kind == 4:         # a sector that was never written
            changed[at:at + 4 * byte] = bytes(len(changed[at:at + 4 * byte]))
        else:                   # bytes of another place, an older record perhaps
            from_ = byte * len(changed) // 256
            changed[at:at + 64] = changed[from_:from_ + 64]
    return bytes(changed)


# Of a record: what is covered by its header's checksum, and where the checksums and `stored` are.
_COVERED, _STORED_AT, _BODY_CRC_AT = 60, 8, 56
_U32 = struct.Struct("<I")
# What a forged header may claim: nobody who can't forge one gets so far.
_CLAIM_AT, _MAX_CLAIM = 20, 1 << 20


@in_time
def forged(data):
    """data[0] chooses the segment, data[1] the record in it, the rest are changes of that."""
    whole, records = _chosen(data)
    bytes_ = [byte for byte, _ in records] + [len(whole)]
    i = data[1] % len(records) if len(data) > 1 else 0
    one = bytearray(_changed(whole[bytes_[i]:bytes_[i + 1]], data[2:]))
    salt = 0x12345678
    if len(one) >= record.HEADER_SIZE:
        stored = _U32.unpack_from(one, _STORED_AT)[0]
        _U32.pack_into(one, _BODY_CRC_AT, zlib.crc32(one[record.HEADER_SIZE:record.HEADER_SIZE + stored]))
        _U32.pack_into(one, _COVERED, zlib.crc32(one[:_COVERED], salt))
        if _U32.unpack_from(one, _CLAIM_AT)[0] > _MAX_CLAIM:
            return
    try:
        found = record.decode(bytes(one), 0, salt)
    except BadRecord:
        return
    # The zeros behind a gap's table aren't read: its room may be said to go on where nothing is.
    read = found.frames_size if found.kind == record.GAP else found.size - record.HEADER_SIZE
    assert 0 <= read <= len(one) - record.HEADER_SIZE
    assert len(found.body) <= _MAX_CLAIM


@in_time
def header(data):
    """data[0] chooses the segment, the rest are changes of its header."""
    whole, _ = _chosen(data)
    original = whole[:HEADER_SIZE]
    changed = _changed(original, data[1:])
    found = decode_header(changed, "image")
    if changed[:HEADER_SIZE] == original:
        assert found == decode_header(original, "image")
        return
    assert found is None, f"{found} of bytes that were changed"
    forged_ = changed[:HEADER_SIZE - 4]
    try:
        decode_header(forged_ + _U32.pack(zlib.crc32(forged_)), "image")
    except UnknownFormat:
        pass


ORACLES = {one.__name__: one for one in (parser, commands, segment, forged, header)}
