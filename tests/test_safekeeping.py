"""server/safekeeping.py: backup and check, as the command line, the client and redis-cli reach them."""

import shutil
import subprocess
import sys

import pytest
from both_clients import driver, each_client
from conftest import ROOT, clean_environ
from disk import flip
from fake_server import FakeMeilies

import meilies_cli
from meilies_client import Client, Refused, Unsupported
from store import Store
from store.segment import HEADER_SIZE

__all__ = ["driver"]


@pytest.fixture
def running(server, tmp_path):
    return server("--backup-path", str(tmp_path / "copies"))


def cli(port, *arguments):
    """What the command line prints and its exit status."""
    done = subprocess.run([sys.executable, str(ROOT / "meilies_cli.py"), "--port", str(port), *arguments],
                          capture_output=True, text=True, env=clean_environ(), timeout=30)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr, done.returncode


def copied(folder):
    with Store(str(folder)) as store:
        return store.read_all()


@each_client
def test_a_backup_is_a_store_with_all_that_was_acknowledged(running, tmp_path):
    with Client(port=running.port) as client:
        client.publish_many("orders", [("created", b"%d" % i) for i in range(100)])
        done = client.back_up("monday")
        assert (done["position"], done["segments"], done["copied"]) == (100, 1, 1)
        client.publish("orders", "created", b"later")
        done = client.back_up("monday")
        assert (done["position"], done["copied"]) == (101, 1)
    assert [event.data for event in copied(tmp_path / "copies" / "monday")][-2:] == [b"99", b"later"]


def test_a_server_started_on_a_backup_tells_that_it_is_another_epoch(running, server, tmp_path):
    with Client(port=running.port) as client:
        client.publish("orders", "created", b"one")
        client.back_up("monday")
        before = client.server_info()
    with Client(port=server("--db-path", str(tmp_path / "copies" / "monday")).port) as client:
        after = client.server_info()
        assert client.last_event_number("orders") == 0
    assert (after.store, after.epoch) == (before.store, before.epoch + 1)


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", "-x", ".hidden", "a b", "x" * 201, "ä"])
def test_no_folder_but_one_in_the_backup_path_is_written(running, name, tmp_path):
    with Client(port=running.port) as client, pytest.raises(Refused, match="expected letters"):
        client.back_up(name)
    assert not (tmp_path / "copies").exists()


def test_without_a_backup_path_there_is_no_backup(server):
    with Client(port=server().port) as client, pytest.raises(Refused, match="--backup-path"):
        client.back_up("monday")


def test_a_copy_of_another_store_is_refused(running, tmp_path):
    with Store(str(tmp_path / "copies" / "monday")) as other:
        other.append("s", "n", b"")
    with Client(port=running.port) as client, pytest.raises(Refused, match="isn't part of this store"):
        client.back_up("monday")


def test_a_folder_that_cannot_be_written_is_an_error_with_its_reason(running, tmp_path):
    (tmp_path / "copies").write_text("a file")
    out, err, status = cli(running.port, "backup", "monday")
    assert status == 1 and "Not a directory" in err or "File exists" in err


def test_the_command_line_backs_up_and_checks(running):
    assert cli(running.port, "publish", "orders", "created", "one")[2] == 0
    out, _, status = cli(running.port, "backup", "monday")
    assert status == 0 and out.startswith("1 events, 1 of 1 segments copied, ")
    assert cli(running.port, "check") == ("sound, 1 events in 1 streams, 0 lost\n", "", 0)


def test_damage_is_named_while_the_server_runs(running, tmp_path):
    with Client(port=running.port) as client:
        client.publish_many("orders", [("created", b"one")])
        client.publish_many("orders", [("created", b"two")])
        path = tmp_path / "db" / "000000000000.segment"
        flip(path, HEADER_SIZE + 100)
        found = client.check()
        assert (found["events"], found["lost"]) == (1, 1)
        assert "event 0 of stream 'orders'" in found["problems"][0] and found["notes"] == []
    out, err, status = cli(running.port, "check")
    assert status == 1 and "damaged, 1 events" in out and "repair --dry-run" in err


def test_an_old_server_is_said_to_have_no_backup(fake_server):
    with Client(port=fake_server.port) as client:
        with pytest.raises(Unsupported, match="no backup"):
            client.back_up("monday")


@pytest.fixture
def fake_server():
    with FakeMeilies() as one:
        yield one


# -- lines of JSON --------------------------------------------------------------------

@each_client
def test_a_store_goes_from_one_server_to_another(running, server, tmp_path):
    with Client(port=running.port) as client:
        client.publish_many("orders", [("created", b"%d" % i) for i in range(2500)])
        client.append("orders", "paid", b"\xff", id=b"id", metadata=b"{}")
        client.snapshot_put("orders", 5, b"state")
        before = list(client.read())
        lines = list(client.export())
        other = server("--db-path", str(tmp_path / "other"))
        with Client(port=other.port) as target:
            assert target.import_(lines) == (2501, 0)
            assert target.import_(lines) == (0, 2501)
            assert list(target.read()) == before
            assert target.snapshot_get("orders").data == b"state"
            assert list(target.export())[1:] == lines[1:]


def test_the_command_line_exports_and_imports(running, server, tmp_path):
    assert cli(running.port, "publish", "orders", "created", "one")[2] == 0
    lines, err, status = cli(running.port, "export")
    assert (len(lines.splitlines()), err, status) == (3, "", 0)
    other = server("--db-path", str(tmp_path / "other"))
    done = subprocess.run([sys.executable, str(ROOT / "meilies_cli.py"), "--port", str(other.port), "import"],
                          input=lines, capture_output=True, text=True, env=clean_environ(), timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("1 events\n", "", 0)
    done = subprocess.run([sys.executable, str(ROOT / "meilies_cli.py"), "--port", str(other.port), "import"],
                          input="rubbish\n", capture_output=True, text=True, env=clean_environ(), timeout=30)
    assert done.returncode == 1 and "expected that of an export" in done.stderr


@pytest.mark.parametrize("lines, error, why", [
    ([b'{"meilies-export": 1, ', b"rubbish", b'{"end"'], Refused, "line 1: JSONDecodeError"),
    ([b'{"meilies-export": 1, ', b"{}", b'{"end"'], Refused, "neither an event's nor an entry's"),
    ([b'{"meilies-export": 1, '], ValueError, "missing"),
    ([], ValueError, "missing"),
    ([b'{"meilies-export": 1, ', b'{"stream": "orders", "number": 0, "position": 0, "time": 1, "name": "n", '
      b'"data": "x"}', b'{"end"'], Refused, "WRONGVERSION"),
])
def test_lines_that_are_no_export_are_refused(running, lines, error, why):
    with Client(port=running.port) as client:
        client.publish("orders", "created", b"one")
        with pytest.raises(error, match=why):
            client.import_(lines)
        assert client.last_event_number("orders") == 0


@pytest.mark.parametrize("arguments", [("1",), ("x", "2"), ("ENTRIES", "a", "b"), ("1", "2", "3")])
def test_a_wrong_export_is_refused(running, arguments):
    with Client(port=running.port) as client:
        with pytest.raises(Refused, match="ERR"):
            client.call("export", *arguments)


def test_pages_of_an_export_say_where_they_go_on(running):
    with Client(port=running.port) as client:
        assert client.call("export", 0, 10) == [None, []]
        client.publish("orders", "created", b"one")
        assert client.call("export", 1, 10) == [None, []]
        following, lines = client.call("export", 0, 10)
        assert following is None and len(lines) == 1
        assert client.call("export", "ENTRIES") == [None, []]


# -- the chain of digests -----------------------------------------------------------

@pytest.fixture
def chained(server):
    running = server("--hash-chain")
    with Client(port=running.port) as client:
        client.publish_many("orders", [("created", b"%d" % i) for i in range(5)])
    return running


@each_client
def test_the_chain_is_verified_with_a_head_that_was_noted(chained):
    with Client(port=chained.port) as client:
        noted = client.chain_head()
        client.publish("orders", "created", b"later")
        found = client.verify(noted)
        assert (noted[0], found["position"], found["same"], found["gone"]) == (5, 6, 6, 0)
        assert client.chain_head() == (6, found["head"])
        assert client.verify() == found


@pytest.mark.parametrize("known, why", [((5, "0" * 64), "BROKEN position 5"), ((99, "0" * 64), "BROKEN position 5"),
                                        ((5, "x"), "syntax error"), ((5,), "syntax error"),
                                        (("x", "0" * 64), "POSITION is 'x'")])
def test_a_head_that_is_not_right_is_refused(chained, known, why):
    with Client(port=chained.port) as client, pytest.raises(Refused, match=why):
        client.verify(known)


def test_the_command_line_shows_and_verifies_the_chain(chained):
    out, _, status = cli(chained.port, "chain-head")
    position, head = out.split()
    assert (position, status) == ("5", 0)
    assert cli(chained.port, "verify", position, head) == (
        f"5 events are what they were, 0 were cut or redacted; the head at 5 is {head}\n", "", 0)
    out, err, status = cli(chained.port, "verify", "4", head)
    assert status == 1 and "BROKEN position 4" in err
    assert cli(chained.port, "verify", "4")[2] == cli(chained.port, "verify", "x", head)[2] == 2


def test_without_a_chain_that_is_said(running):
    with Client(port=running.port) as client:
        with pytest.raises(Refused, match="--hash-chain begins one"):
            client.verify()
        with pytest.raises(Refused, match="--hash-chain begins one"):
            client.chain_head()


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli (Debian's redis-tools) isn't here")
@pytest.mark.parametrize("version", ["-2", "-3"])
def test_redis_cli_shows_both(running, version):
    def ask(*words):
        return subprocess.run(["redis-cli", version, "-p", str(running.port), *words],
                              capture_output=True, text=True, timeout=10).stdout
    assert "position" in ask("backup", "monday")
    assert "problems" in ask("check")


def test_the_commands_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        meilies_cli.main(["--help"])
    shown = capsys.readouterr().out
    assert "backup" in shown and "check" in shown
