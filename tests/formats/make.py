"""Write a store as the code that is at hand writes it, to be opened by all code that comes later.

    git archive COMMIT | tar x -C /tmp/then             the code of a version
    python3 tests/formats/make.py /tmp/then tests/formats/VERSION.tar.xz

The archive holds the folder of a store that was closed, the same store as kill -9
would have left it, and what is in both:

    closed/  killed/  expected.json

Made once for a version when it is released, and never again: what these files are
there for is that they don't change.
"""

import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path


def main(code, archive):
    sys.path.insert(0, code)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        expected = write(folder)
        (folder / "expected.json").write_text(json.dumps(expected, indent=1), encoding="utf-8")
        with lzma.open(archive, "wb", preset=9) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for name in ("closed", "killed", "expected.json"):
                tar.add(folder / name, name)


def write(folder):
    """Make both stores in `folder`; return what is in them."""
    import store as code

    clock = iter(range(1_700_000_000_000_000, 1 << 62, 1_000_000))
    options = {"sync": "no", "segment_size": 64 << 10, "clock": lambda: next(clock)}
    with code.Store(str(folder / "closed"), compression=6, **options) as store:
        fill(store, code, "compressed-")
    with code.Store(str(folder / "closed"), **options) as store:
        fill(store, code, "")
        expected = read(store)
        expected.update(newer_things(store, code))
        store.sync()
        shutil.copytree(folder / "closed", folder / "killed")
    return expected


def fill(store, code, prefix):
    """Batches, single events, many streams, ids and metadata, any bytes, an empty event, one too long for a segment."""
    store.append_many(f"{prefix}batches", [code.NewEvent("counted", b"event %d of many" % i) for i in range(300)])
    for i in range(70):
        store.append(f"{prefix}order-{i % 7}", ("created", "paid", "sent")[i % 3], b"%d" % i, id=b"order event %d" % i,
                     metadata=b'{"n": %d}' % i)
    store.append(f"{prefix}bytes", "all", bytes(range(256)))
    store.append(f"{prefix}bytes", "none", b"")
    store.append(f"{prefix}bytes", "long", b"0123456789abcdef" * 6000)
    store.append(f"{prefix}Straße/中", "ä", "ö".encode())
    for i in range(30):
        store.append_many(f"{prefix}pair-{i}", [code.NewEvent("one", b"1"), code.NewEvent("two", b"2")])


def newer_things(store, code):
    """What versions from 0.4.0 on keep beside plain events, if this is one."""
    if not hasattr(store, "append_all"):
        return {}
    store.append_all([code.Change("tagged", code.NewEvent("a", b"1", tags=(b"t:1", b"t:2"))),
                      code.Change("tagged-too", code.NewEvent("b", b"2", tags=(b"t:2",)), code.NONE)])
    store.snapshot_put("batches", 299, b"a snapshot")
    store.group_create("workers", "batches", first=0)
    shared = store.group_create_shared("senders@batches", "batches", 0)
    done, *pending = shared.read("ann", 3)
    shared.ack(done.key)
    shared.keep()
    store.retain("order-6", max_count=2)
    store.truncate("order-5", 5)
    store.redact("order-4", 1)
    store.delete("pair-0")
    store.delete("pair-1", forever=True)
    store.compact()
    return dict(read(store), snapshot=["batches", 299, "a snapshot"], groups=["senders@batches", "workers"],
                pending=[[one.key, "ann"] for one in pending], deleted=["pair-1"],
                tagged={"t:1": ["a"], "t:2": ["a", "b"]})


def read(store):
    """Every event that a reader sees, in order, and each stream's last number."""
    return {
        "uuid": store.uuid,
        "position": store.position,
        "last": {name: store.last_number(name) for name in sorted(store.stream_names())},
        "events": [shown(event) for event in everything(store)],
    }


def everything(store):
    first, events = 0, []
    while True:
        page = store.read_all(first, limit=500)
        if not page:
            return events
        events += page
        first = page[-1].position + 1


def shown(event):
    return [event.stream, event.number, event.position, event.name, event.data.hex(), event.id.hex(),
            event.metadata.hex(), event.time]


if __name__ == "__main__":
    main(*sys.argv[1:])
