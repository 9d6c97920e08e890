"""What an event is looked up by: its id in its stream, and its tags, alone and with its name.

    stream, id    ──>  "i" stream 0 id  ──┐
    tag           ──>  "t" tag          ──┼── blake2b ──> 64 bits, an entry of the look-up
    tag, name     ──>  "n" name 0 tag   ──┘

Two keys may have the same hash, so who finds an event by it compares the event.
A name without a tag is no key: every event has one.
"""

import struct
from hashlib import blake2b

from . import record

_SIGNED = struct.Struct("<q")


def hash_of(key):
    """64 bits, with a sign as SQLite's integers have one."""
    return _SIGNED.unpack(blake2b(key, digest_size=8).digest())[0]


def id_key(stream, id_):
    """The hash of an id, which is one of its stream alone."""
    return hash_of(b"i%b\0%b" % (stream, id_))


def tag_key(tag, name=None):
    """The hash of a tag, or of a tag on events of one name."""
    return hash_of(b"t" + tag if name is None else b"n%b\0%b" % (name, tag))


def keys_of(stream, name, id_, tags):
    """The hashes by which an event is found."""
    keys = [id_key(stream, id_)] if id_ else []
    for tag in set(tags):
        keys += tag_key(tag), tag_key(tag, name)
    return keys


def entries_of(found):
    """[(hash, position), …] of the events of a Record; of a cut, those that are left and the ids of the others."""
    if found.kind == record.CUT:
        pack, _, gone = found.cut_parts()
        entries = [(id_key(of.stream, id_), position) for of in gone for _, position, id_ in of.stubs]
        for run in found.left() if pack is not None else ():
            if run.kind != record.CUT:
                entries += entries_of(run)
        return sorted(entries, key=lambda entry: entry[1])
    if not found.flags & record.DETAILS:
        return []
    entries = []
    streams = found.pack[0] if found.pack is not None else [found.stream] * found.count
    for i, (id_, _, joined) in enumerate(found.details()):
        if joined:
            _, name, _ = record.split_frame(bytes(found.frames(i, i + 1)))
            tags = record.split_tags(joined)
        else:
            name, tags = None, ()
        entries += [(key, found.position + i) for key in keys_of(streams[i], name, id_, tags)]
    return entries
