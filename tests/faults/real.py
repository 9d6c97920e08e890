"""Real disks that refuse: a file system of some bytes, a limit on files, calls that fail, a device without room.

    tmpfs      filled but for N bytes, N going through every place around a record: what is acknowledged is there,
               what is refused isn't; a store is opened on the full disk, read, and goes on when there is room again
    limit      RLIMIT_FSIZE at every place around a record
    strace     a server whose fdatasync, pwrite or fsync fails from the n-th on: nothing is acknowledged after that
    sparse     ext4 in a sparse image on a tmpfs that is too small for it: syncs fail, and succeed when repeated

Mounting takes root, and strace a kernel that lets it.  Where they aren't, a round says so (Absent).
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

from conftest import SECONDS, UNMEASURED, Server

import resp
from serving import Client
from store import Store, StoreError, StoreFull
from store.segment import HEADER_SIZE

from . import Absent
from .kill import quick_index
from .owners import fork
from .still import quiet

NAME = "real"
GOALS = {"disks filled": 100, "limits": 1000, "calls refused": 100, "devices without room": 20}

PAGE = 4096


# -- mounts -------------------------------------------------------------------

@contextlib.contextmanager
def mounted(folder, *argv):
    """A file system at `folder`, until the end of the block."""
    os.makedirs(folder, exist_ok=True)
    if os.geteuid() or not shutil.which("mount"):
        raise Absent("mount")
    if subprocess.run(["mount", *argv, folder], stderr=subprocess.DEVNULL).returncode:
        raise Absent(f"mount {argv[1]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def room_in(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def append_all(store, datas):
    """Append while the store takes it; (what was acknowledged, what refused)."""
    kept, refused = [], []
    for data in datas:
        try:
            store.append("s", "n", data)
            kept.append(data)
        except StoreFull:
            refused.append(data)
    return kept, refused


def datas_of(store):
    return [event.data for event in store.read("s", limit=1 << 30)]


def fill_tmpfs(folder, draw):
    """A store on a small disk that becomes full at any byte; it is freed, and goes on."""
    with mounted(str(folder / "small"), "-t", "tmpfs", "-o", "size=512k", "tmpfs") as disk, quiet():
        where = os.path.join(disk, "db")
        with Store(where) as store:
            store.append("s", "n", b"first")
        ballast = os.path.join(disk, "ballast")
        with Store(where) as store:
            kept = datas_of(store)
            # The room left is in pages; where a record meets the end of a page follows from what came before it.
            with open(ballast, "wb") as file:
                file.write(bytes(max(0, room_in(disk) - PAGE * draw.randrange(1, 4))))
            sizes = [draw.randrange(1, 3000) for _ in range(30)]
            taken, refused = append_all(store, [b"%d" % i * size for i, size in enumerate(sizes)])
            kept += taken
            assert refused, "the disk didn't become full"
            assert datas_of(store) == kept
        with Store(where) as store:         # started from a disk that is full
            assert datas_of(store) == kept
            os.unlink(ballast)
            taken, refused = append_all(store, [b"room again"])
            assert taken, "there is room, and the append was refused"
            assert datas_of(store) == kept + taken
        with Store(where) as store:
            assert datas_of(store) == kept + taken
    return {"disks filled": 1}


# -- limits -------------------------------------------------------------------

def limited(folder, size):
    """In a process: append to a store while no file may grow past `size`; exit code 0 if it does as promised."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with quiet(), quick_index(), Store(folder) as store:
        append_all(store, [b"before" * 10])
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        kept, refused = append_all(store, [b"x" * 200, b"y" * 100])
        assert datas_of(store) == [b"before" * 10, *kept]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        after, _ = append_all(store, [b"after"])
        assert after and datas_of(store) == [b"before" * 10, *kept, *after]
    with quiet(), quick_index(), Store(folder) as store:
        assert datas_of(store) == [b"before" * 10, *kept, *after]
    return 0


def step_through_limits(folder, seed, until):
    """The limit at each byte around three records; a round does a part of them."""
    done = 0
    for size in range(HEADER_SIZE + seed % 10, HEADER_SIZE + 800, 10):
        if time.monotonic() > until:
            break
        where = str(folder / f"limit-{size}")
        _, status = os.waitpid(fork(limited, where, size), 0)
        assert status == 0, f"with files limited to {size} bytes: status {status}"
        shutil.rmtree(where)
        done += 1
    return {"limits": done}


# -- calls that fail ----------------------------------------------------------

# strace counts the calls of each thread by itself.  Two of them write and sync, in turns that follow from the load:
# of so many publishes one of the two has made this many calls.
LAST = 30
PUBLISHES = 2 * LAST + 10

def refuse_calls(folder, draw):
    """A server one of whose calls fails, once or from then on: no acknowledgement after a failed sync, reads go on."""
    strace = shutil.which("strace")
    if not strace:
        raise Absent("strace")
    call = draw.choice(("fdatasync", "fdatasync", "pwrite64"))
    error = draw.choice(("EIO", "ENOSPC", "EDQUOT"))
    when = draw.choice(("", "+"))       # once, or from then on
    nth = draw.randrange(8, LAST)
    server = Server(["--db-path", str(folder / "db"), "--port", "0"], UNMEASURED, folder / "log")
    acknowledged = []
    refused = []
    try:
        server.wait_until_listening()
        tracer = subprocess.Popen(
            [strace, "-f", "-qq", "-o", str(folder / "calls"), "-e", f"trace={call}", "-e",
             f"inject={call}:error={error}:when={nth}{when}", "-p", str(server.process.pid)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            until = time.monotonic() + SECONDS
            while any("TracerPid:\t0\n" in (one / "status").read_text()
                      for one in Path(f"/proc/{server.process.pid}/task").iterdir()):
                if tracer.poll() is not None or time.monotonic() > until:
                    raise Absent("strace of another process")
                time.sleep(0.01)
            client = Client("127.0.0.1", server.port)
            for i in range(PUBLISHES):
                answer = client.ask("publish", "s", "n", b"%d" % i)
                (refused if isinstance(answer, resp.ErrorReply) else acknowledged).append(b"%d" % i)
                if call == "fdatasync":
                    assert not refused or answer != b"OK", "acknowledged after a failed sync"
            shown = client.ask("last-event-number", "s")[2]
            assert shown == len(acknowledged) - 1, f"{len(acknowledged)} events were acknowledged, the last is {shown}"
            client.close()
        finally:
            tracer.terminate()
            tracer.communicate()
        assert refused, f"no call failed; {server.complaint()}"
        server.stop()
    finally:
        server.process.kill()
        server.end()
    with quiet(), Store(str(folder / "db")) as store:
        assert datas_of(store)[:len(acknowledged)] == acknowledged
    return {"calls refused": len(refused)}


# -- a device without room ----------------------------------------------------

def refuse_whole_pages(disk):
    """Have the loop device ask for a page at a time: it takes a longer write that was cut short for a whole one."""
    device = os.stat(disk).st_dev
    with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/max_sectors_kb", "w") as file:
        file.write(str(PAGE // 1024))


def overcommit_a_device(folder, draw):
    """Syncs fail for want of room below the file system, and would succeed if repeated; the bytes are gone."""
    below = str(folder / "below")
    with mounted(below, "-t", "tmpfs", "-o", "size=%dm" % draw.randrange(6, 10), "tmpfs"):
        image = os.path.join(below, "image")
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        make = ["mkfs.ext4", "-q", "-m", "0", "-b", str(PAGE), "-O", "^has_journal", image]
        if not shutil.which(make[0]) or subprocess.run(make, stderr=subprocess.DEVNULL).returncode:
            raise Absent("mkfs.ext4")
        with mounted(str(folder / "device"), "-o", "loop", image) as disk, quiet():
            refuse_whole_pages(disk)
            where = os.path.join(disk, "db")
            acknowledged = []
            store = Store(where)
            try:
                for i in range(400):
                    data = b"%d." % i + draw.randbytes(draw.randrange(60_000))
                    store.append("s", "n", data)
                    acknowledged.append(data)
            except (StoreError, OSError):
                pass
            assert len(acknowledged) < 400, "the device had room for everything"
            for _ in range(3):
                try:
                    store.append("s", "n", b"after the failure")
                    assert not store.failed, "acknowledged after a failed sync"
                    acknowledged.append(b"after the failure")
                except StoreError:
                    pass
            with contextlib.suppress(StoreError, OSError):
                store.close()
            with open("/proc/sys/vm/drop_caches", "w") as file:
                file.write("1\n")
            copy = str(folder / "copy")     # as the disk has it
            shutil.copytree(where, copy)
    with quiet(), Store(copy) as store:
        found = datas_of(store)
        assert found[:len(acknowledged)] == acknowledged, \
            f"{len(acknowledged)} events were acknowledged, {len(found)} are there"
    return {"devices without room": 1}


def run(seed, until, folder):
    draw = random.Random(seed)
    kind = seed % 4
    if kind == 0:
        return step_through_limits(folder, seed // 4, until)
    if kind == 1:
        return fill_tmpfs(folder, draw)
    if kind == 2:
        return refuse_calls(folder, draw)
    return overcommit_a_device(folder, draw)
