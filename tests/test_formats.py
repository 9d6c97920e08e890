"""Stores that every earlier version wrote are opened, read, checked and written to by this one.

formats/make.py wrote each of them once, with the code of its version, and beside it
what is in it.
"""

import json
import lzma
import tarfile
from pathlib import Path

import pytest

from formats.make import read, shown
from store import EXISTS, NONE, Query, Store, StreamDeleted
from store.check import check
from store.sharing import PendingList

FORMATS = Path(__file__).parent / "formats"
VERSIONS = ["0.3.0", "0.4.0a1", "0.4.0"]


def unpacked(version, how, folder):
    """(the store's folder, what is in it), unpacked into `folder`."""
    with lzma.open(FORMATS / f"{version}.tar.xz") as file, tarfile.open(fileobj=file) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safely)
    return str(folder / how), json.loads((folder / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(params=[(version, how) for version in VERSIONS for how in ("closed", "killed")],
                ids=lambda param: "-".join(param))
def old(request, tmp_path):
    """The folder of a store of an earlier version, and what is in it."""
    return unpacked(*request.param, tmp_path)


def test_each_version_is_among_those_that_are_tried():
    assert sorted(VERSIONS) == sorted(path.name[:-len(".tar.xz")] for path in FORMATS.glob("*.tar.xz"))


def test_what_an_earlier_version_stored_is_all_there(old):
    folder, expected = old
    with Store(folder) as store:
        found = read(store)
        assert found == {key: expected[key] for key in found}
        for name in found["last"]:
            assert [shown(event) for event in store.read(name, limit=10_000)] == [
                event for event in found["events"] if event[0] == name]


def test_it_is_sound_before_and_after_it_was_opened_and_nothing_is_lost_without_its_index(old):
    folder, expected = old
    assert check(folder).sound
    with Store(folder):
        pass
    assert check(folder).sound
    for index in Path(folder).glob("*.sqlite3*"):
        index.unlink()
    with Store(folder) as store:
        assert read(store)["events"] == expected["events"]


def test_events_go_on_where_it_ended(old):
    folder, expected = old
    with Store(folder) as store:
        appended = store.append("bytes", "more", b"new", id=b"an id", expected=EXISTS)
        assert appended == (expected["last"]["bytes"] + 1, expected["position"])
        assert store.append("bytes", "more", b"new", id=b"an id") == appended
        assert store.append("made-now", "x", b"", expected=NONE) == (0, expected["position"] + 1)
    with Store(folder) as store:
        assert read(store)["events"][:-2] == expected["events"]
        assert read(store)["position"] == expected["position"] + 2


def test_the_ids_that_it_kept_are_known(old):
    folder, expected = old
    stream, number, position, name, data, id_, metadata, _ = next(
        event for event in expected["events"] if event[5] and event[1] == 5)
    with Store(folder) as store:
        again = store.append(stream, name, bytes.fromhex(data), id=bytes.fromhex(id_),
                             metadata=bytes.fromhex(metadata))
        assert again == (number, position)
        assert store.position == expected["position"]


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_what_stands_beside_the_events_is_there(tmp_path, how):
    folder, expected = unpacked("0.4.0", how, tmp_path)
    with Store(folder) as store:
        stream, number, data = expected["snapshot"]
        assert store.snapshot_get(stream) == (number, data.encode())
        assert [group.name for group in store.groups()] == expected["groups"]
        pending = PendingList(store, store.group("senders@batches"))
        assert [[one.key, one.member] for one in pending.held()] == expected["pending"]
        for tag, names in expected["tagged"].items():
            assert [event.name for event in store.read_tagged(Query.of([((), [tag])])).events] == names
        for stream in expected["deleted"]:
            with pytest.raises(StreamDeleted):
                store.append(stream, "x", b"")
