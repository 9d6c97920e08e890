"""store/digests.py: a chain of digests, and what it notices."""

import errno
import shutil
from pathlib import Path

import pytest
from disk import Call, Disk, flip, quick_index, records_of, until

from store import Change, NewEvent, Store, StoreClosed, digests
from store.digests import Digests, Verified, digest_of
from store.errors import ChainBroken
from store.files import Files
from store.record import Event

__all__ = ["quick_index"]


def opened(folder, **options):
    return Store(str(folder), hash_chain=True, **{"sync": "always", **options})


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "db") as one:
        yield one


def fill(store, count):
    for i in range(store.position, store.position + count):
        store.append_all([Change("s", NewEvent("n", b"%d" % i, b"id%d" % i, b"m", (b"t",)))])


def entries(folder):
    return (Path(folder) / digests.NAME).read_bytes()


def test_every_event_is_in_the_chain_and_what_it_was(store):
    fill(store, 10)
    position, head = store.hash_chain.head()
    assert position == 10 and len(head) == 64
    assert store.hash_chain.verify((position, head)) == Verified(10, head, 10, 0)


def test_a_head_follows_from_all_that_is_before_it(store):
    fill(store, 3)
    earlier = store.hash_chain.head()
    fill(store, 3)
    later = store.hash_chain.head()
    assert later != earlier and later[0] == 6
    assert store.hash_chain.verify(earlier).head == later[1]


def test_an_empty_store_has_a_head_of_zeros(store):
    assert store.hash_chain.head() == (0, "0" * 64)
    assert store.hash_chain.verify((0, "0" * 64)) == Verified(0, "0" * 64, 0, 0)


def test_without_the_option_there_is_no_chain_and_with_it_once_it_goes_on(tmp_path):
    with Store(str(tmp_path)) as store:
        fill(store, 3)
        assert store.hash_chain is None
    with opened(tmp_path) as store:
        head = store.hash_chain.head()
    with Store(str(tmp_path)) as store:
        fill(store, 1)
        assert store.hash_chain.verify(head).position == 4


def test_the_chain_keeps_up_by_itself(store, monkeypatch, tmp_path):
    monkeypatch.setattr(digests, "_INTERVAL", 0.001)
    with opened(tmp_path / "other") as other:
        fill(other, 5)
        until(lambda: other.hash_chain.position == 5)


def test_a_clean_close_leaves_it_whole(tmp_path):
    with opened(tmp_path) as store:
        fill(store, 5)
    assert len(entries(tmp_path)) == 5 * 80


def test_an_entry_that_was_changed_is_noticed(tmp_path):
    with opened(tmp_path) as store:     # more events than a crash may tear, and are made again
        store.append_many("s", [("n", b"%d" % i) for i in range(1100)])
    for byte in range(0, 3 * 80, 7):
        flip(tmp_path / digests.NAME, byte)
        with opened(tmp_path) as store, pytest.raises(ChainBroken) as broken:
            store.hash_chain.verify()
        assert broken.value.position in (byte // 80, byte // 80 + 1)
        flip(tmp_path / digests.NAME, byte)
    with opened(tmp_path) as store:
        assert store.hash_chain.verify().same == 1100


class Reader:
    """Events at hand, for a chain without a store."""

    def __init__(self, count):
        self.events = [Event("s", i, i, 1000 + i, "n", b"%d" % i, b"id", b"m", (b"t",)) for i in range(count)]

    def __call__(self, first, stop):
        stop = min(stop, first + 2)
        return [event for event in self.events if first <= event.position < stop], stop


@pytest.fixture
def chain(tmp_path):
    one = Digests(str(tmp_path), Files())
    yield one
    one.close()


@pytest.mark.parametrize("change", [
    {"stream": "t"}, {"number": 7}, {"time": 7}, {"name": "m"}, {"data": b"x"}, {"id": b""}, {"metadata": b""},
    {"tags": ()}, {"id": b"idm", "metadata": b""}])
def test_an_event_that_was_changed_is_noticed(chain, change):
    reader = Reader(5)
    chain.extend(reader, 5)
    assert chain.verify(reader).same == 5
    reader.events[3] = reader.events[3]._replace(**change)
    with pytest.raises(ChainBroken, match="isn't what it was") as broken:
        chain.verify(reader)
    assert broken.value.position == 3


def test_an_event_and_the_whole_chain_changed_are_noticed_by_a_head_that_was_noted(tmp_path, chain):
    reader = Reader(5)
    chain.extend(reader, 5)
    noted = 4, chain.head(4)
    reader.events[3] = reader.events[3]._replace(data=b"forged")
    (tmp_path / "forged").mkdir()
    forged = Digests(str(tmp_path / "forged"), Files())
    forged.extend(reader, 5)
    assert forged.verify(reader).same == 5
    with pytest.raises(ChainBroken, match="was noted"):
        forged.verify(reader, noted)
    with pytest.raises(ChainBroken, match="the chain ends here"):
        forged.verify(reader, (6, "0" * 64))
    forged.close()


def test_what_is_cut_or_redacted_leaves_the_chain_whole(chain, tmp_path):
    reader = Reader(6)
    del reader.events[1]        # cut before it came into the chain
    chain.extend(reader, 6)
    head = chain.head(6)
    redacted = next(event for event in reader.events if event.position == 3)
    digest = entries(tmp_path)[3 * 80 + 16:3 * 80 + 48]
    assert digest == digest_of(entries(tmp_path)[3 * 80:3 * 80 + 16], redacted)
    done = []
    chain.redact(3, lambda: done.append(entries(tmp_path)[3 * 80:3 * 80 + 16]))
    assert done == [bytes(16)]      # the salt goes first
    reader.events[2] = redacted._replace(data=b"")
    reader.events.pop()         # the last one was cut since
    assert chain.verify(reader, (6, head)) == Verified(6, head, 3, 3)
    assert entries(tmp_path)[3 * 80:3 * 80 + 16] == bytes(16)
    chain.redact(99, lambda: done.append(99))
    chain.redact(None, lambda: done.append(None))
    assert done[1:] == [99, None]
    assert len(entries(tmp_path)) == 6 * 80


def test_torn_entries_at_the_end_are_made_again(tmp_path):
    with opened(tmp_path) as store:
        fill(store, 20)
        noted = 10, store.hash_chain.head()[1]
    good = entries(tmp_path)
    for torn in (good[:10 * 80 + 5], good[:10 * 80] + bytes(160), good[:10 * 80 + 40] + b"x" * 400):
        (tmp_path / digests.NAME).write_bytes(torn)
        with opened(tmp_path) as store:
            assert store.hash_chain.verify().same == 20
            assert entries(tmp_path)[:10 * 80] == good[:10 * 80]
    assert noted[0] == 10


def test_a_chain_that_is_ahead_of_the_log_is_kept_aside(tmp_path, caplog):
    with opened(tmp_path / "db") as store:
        fill(store, 3)
    shutil.copyfile(tmp_path / "db" / digests.NAME, tmp_path / "longer")
    (tmp_path / "other").mkdir()
    shutil.copyfile(tmp_path / "longer", tmp_path / "other" / digests.NAME)
    with opened(tmp_path / "other") as store:
        fill(store, 1)
        assert store.hash_chain.verify().same == 1
    kept, = (tmp_path / "other" / "cut").iterdir()
    assert kept.name.startswith(digests.NAME) and len(kept.read_bytes()) == 3 * 80
    assert "a new one begun" in caplog.text


def test_events_that_damage_took_are_gone(tmp_path):
    from store.repair import repair
    with opened(tmp_path) as store:
        fill(store, 3)
    path = tmp_path / "000000000000.segment"
    flip(path, records_of(path)[1][0] + 100)
    repair(str(tmp_path))
    with opened(tmp_path) as store:
        assert store.hash_chain.verify() == Verified(3, store.hash_chain.head()[1], 2, 1)


def test_a_disk_that_refuses_is_tried_again(tmp_path, caplog):
    disk = Disk()
    with opened(tmp_path, files=disk) as store:
        fill(store, 3)
        disk.refuse("write", errno.ENOSPC, digests.NAME)
        with pytest.raises(OSError):
            store.hash_chain.extend()
        disk.refuse("sync", errno.EIO, digests.NAME)
        store.hash_chain._extend_quietly()
        assert "it is tried again" in caplog.text
        assert store.hash_chain.verify().same == 3


def test_a_chain_that_cannot_be_made_leaves_no_store_open(tmp_path):
    disk = Disk()
    disk.refuse("create", errno.EACCES, digests.NAME)
    with pytest.raises(OSError):
        opened(tmp_path, files=disk)
    disk.refuse("truncate", errno.EIO, digests.NAME)
    with pytest.raises(OSError):
        opened(tmp_path, files=disk)
    opened(tmp_path).close()


def test_verifying_ends_when_the_store_is_closed(tmp_path, monkeypatch):
    store = opened(tmp_path)
    fill(store, 3)
    monkeypatch.setattr(digests, "_EVENTS", 1)
    store.hash_chain._stopping.set()
    call = Call(store.hash_chain.verify)
    with pytest.raises(StoreClosed):
        call.result()
    store.close()


def test_progress_is_told_up_to_the_end(store, monkeypatch):
    monkeypatch.setattr(digests, "_EVENTS", 2)
    fill(store, 5)
    told = []
    store.hash_chain.verify(progress=lambda *so_far: told.append(so_far))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_redaction_and_cuts_leave_the_chain_of_a_store_whole(tmp_path):
    with opened(tmp_path) as store:
        fill(store, 6)
        noted = store.hash_chain.head()
        store.redact("s", 3)
        with pytest.raises(ValueError, match="no event 9"):
            store.redact("s", 9)
        with pytest.raises(ValueError, match="no event -1"):
            store.redact("s", -1)
        assert store.hash_chain.verify(noted) == Verified(6, noted[1], 5, 1)
        store.truncate("s", 2)
        store.compact()
        assert store.hash_chain.verify(noted) == Verified(6, noted[1], 3, 3)
    with opened(tmp_path) as store:
        assert store.hash_chain.verify(noted).gone == 3


def test_an_event_that_is_redacted_before_it_is_in_the_chain_comes_without_its_data(tmp_path):
    with opened(tmp_path) as store:
        fill(store, 2)
        store.redact("s", 1)
        found = store.hash_chain.verify()
        assert (found.position, found.same + found.gone) == (2, 2)
