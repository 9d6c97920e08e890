"""server/tls.py and server/handshakes.py: connections over TLS, and those who only try."""

import contextlib
import errno
import logging
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings
from pathlib import Path

import pytest
from certificates import certificates
from conftest import SECONDS
from serving import OK, Client, Serving, event, eventually, publish, subscribed

import resp
from server.handshakes import Handshakes
from server.tls import Certificates, TLSSocket

__all__ = ["certificates"]

PING = resp.command("ping")
PONG = b"+PONG\r\n"


def sent_and_read(sock, data, size):
    """Send as much of `data` as goes while `size` bytes are read; return what is left of it, and what was read.

    In one thread, since two mustn't use one connection of OpenSSL's at the same time.
    """
    sock.setblocking(False)
    found = bytearray()
    while len(found) < size or (not size and data):
        done = 0
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if data:
                done = sock.send(data[:1 << 14])
                data = data[done:]
        if not size and not done:
            break
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if size:
                read = sock.recv(1 << 16)
                assert read, f"the connection ended after {len(found)} bytes, expected {size}"
                found += read
                done = len(read)
        if not done:
            select.select([sock], [sock] if data else [], [], SECONDS)
    sock.settimeout(SECONDS)
    return data, bytes(found)


@pytest.fixture
def context(certificates):
    """What a client believes."""
    return ssl.create_default_context(cafile=certificates.authority)


@pytest.fixture
def serving(tmp_path, certificates):
    with Serving(tmp_path / "db", certificates=Certificates(*certificates.server)) as serving:
        yield serving


@pytest.fixture
def peers():
    """Keeps sockets; they are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda sock: stack.enter_context(sock)


class Wire:
    """A client that sees what goes over the wire, and says when.

    tls       the ssl.SSLObject
    to_send   takes the bytes that are to go
    """

    def __init__(self, sock, context):
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.to_send = self._outgoing.read

    def step(self):
        """Go on with the handshake; True: it is done."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            return True
        return False

    def take(self):
        """Wait for bytes."""
        data = self.sock.recv(1 << 16)
        assert data, "the server closed the connection"
        self._incoming.write(data)

    def handshake(self, send):
        """Do all of it; what is the last to go isn't sent."""
        while not self.step():
            send(self.to_send())
            self.take()

    def recv_exactly(self, expected):
        found = b""
        while len(found) < len(expected):
            try:
                found += self.tls.read()
            except ssl.SSLWantReadError:
                self.take()
        assert found == expected


@pytest.fixture
def wire(serving, context, peers):
    """A Wire that has done nothing yet."""
    sock = peers(socket.create_connection(("127.0.0.1", serving.tls_port), SECONDS))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock, context)


def failures(caplog):
    return [one.getMessage().partition("handshake failed: ")[2] for one in caplog.records if one.name == "meilies.tls"]


# -- what holds in plain holds here ----------------------------------------------

def test_both_ports_lead_to_the_same_store(serving, context):
    client = serving.connect(tls=context)
    assert client.sock.version() == "TLSv1.3"
    client.send(publish("s", "over TLS"))
    client.recv_exactly(OK)
    plain = serving.connect()
    plain.command("subscribe", "s:0")
    plain.recv_exactly(subscribed("s") + event("s", 0, "x", "over TLS"))


def test_what_was_sent_along_with_the_handshake_is_answered(wire):
    """The last flight of the handshake and two requests come in one segment."""
    wire.handshake(wire.sock.sendall)
    wire.tls.write(PING)
    wire.tls.write(PING)
    wire.sock.sendall(wire.to_send())
    wire.recv_exactly(PONG * 2)


def test_a_long_pipeline_is_answered_in_order(serving, context):
    client = serving.connect(tls=context)
    requests = memoryview(b"".join(publish("s", str(i)) for i in range(50_000)))
    assert sent_and_read(client.sock, requests, len(OK) * 50_000) == (b"", OK * 50_000)
    client.command("last-event-number", "s")
    client.recv_exactly(b"*3\r\n+last-event-number\r\n+s\r\n:49999\r\n")


def test_bytes_one_at_a_time_are_a_request_in_the_end(serving, context):
    client = serving.connect(tls=context)
    for i in range(len(PING)):
        client.send(PING[i:i + 1])
    client.recv_exactly(PONG)


@pytest.mark.parametrize("size", [16 * 1024 - 30, 16 * 1024, 16 * 1024 + 1, 1_000_000])
def test_events_of_any_size_come_back_as_they_were(serving, context, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client, follower = serving.connect(tls=context), serving.connect(tls=context)
    assert follower.ask("subscribe", "s") == [b"subscribed", b"s"]
    assert client.ask("publish", "s", "n", data) == b"OK"
    assert follower.value()[4] == data
    assert client.ask("subscribe", "s:0") == [b"subscribed", b"s"]
    assert client.value()[4] == data


def test_an_event_of_64_mib_goes_there_and_back(tmp_path, certificates, context):
    data = b"0123456789abcdef" * (1 << 22)
    with Serving(tmp_path / "db", certificates=Certificates(*certificates.server),
                 max_event_size=len(data), max_request_size=len(data) + 1000) as serving:
        client = serving.connect(tls=context)
        assert client.ask("publish", "s", "n", data) == b"OK"
        client.command("subscribe", "s:0")
        head = subscribed("s") + b"*5\r\n+event\r\n+s\r\n:0\r\n+n\r\n$%d\r\n" % len(data)
        assert client.recv_count(len(head) + len(data) + 2) == head + data + b"\r\n"


def test_a_follower_who_reads_slowly_gets_all_and_keeps_nobody_waiting(serving, context):
    """What its socket refuses is sent later, once; meanwhile others are served."""
    slow, client = serving.connect(tls=context), serving.connect(tls=context)
    slow.send(resp.command("subscribe", "s"))
    slow.recv_exactly(subscribed("s"))
    outbox = serving.connection_of(slow).outbox
    data = "x" * 3000
    count = 0
    while not outbox.blocked:
        client.send(publish("s", data) * 50)
        client.recv_exactly(OK * 50)
        count += 50
        assert count < 20_000
    client.recv_nothing()
    expected = b"".join(event("s", number, "x", data) for number in range(count))
    assert slow.recv_count(len(expected)) == expected
    slow.recv_nothing()


def test_replies_that_are_not_read_are_bounded_and_come_in_the_end(serving, context):
    client = serving.connect(tls=context)
    count = 15_000
    outbox = serving.connection_of(client).outbox
    left = memoryview(resp.command("echo", "y" * 2000) * count)

    def refused():
        nonlocal left
        left, _ = sent_and_read(client.sock, left, 0)
        return outbox.blocked

    eventually(refused, "that its socket refuses")
    serving.connect().recv_nothing()
    assert outbox.size < serving.limits.max_pending_output + (1 << 20)
    reply = b"$2000\r\n" + b"y" * 2000 + b"\r\n"
    left, found = sent_and_read(client.sock, left, count * len(reply))
    assert found == reply * count and not left


def test_many_followers_get_each_event_once(serving, context):
    followers = [serving.connect(tls=context) for _ in range(20)]
    for follower in followers:
        follower.send(resp.command("subscribe", "s"))
        follower.recv_exactly(subscribed("s"))
    client = serving.connect(tls=context)
    for i in range(100):
        client.send(publish("s", str(i)))
    client.recv_exactly(OK * 100)
    for follower in followers:
        follower.recv_exactly(b"".join(event("s", i, "x", str(i)) for i in range(100)))


def test_publishes_one_at_a_time_keep_their_order_with_all_else(serving, context):
    client = serving.connect(tls=context)
    for i in range(20):
        client.send(publish("s", str(i % 10)))
        client.recv_exactly(OK)
    client.recv_nothing()
    client.send(publish("s", "x") + PING + publish("s", "y"))
    client.recv_exactly(OK + PONG + OK)
    client.command("subscribe", "s:18")
    client.recv_exactly(subscribed("s") + event("s", 18, "x", "8") + event("s", 19, "x", "9")
                        + event("s", 20, "x", "x") + event("s", 21, "x", "y"))


def test_a_monitor_sees_what_comes_over_tls(serving, context):
    monitor = serving.connect()
    assert monitor.ask("monitor") == b"OK"
    serving.connect(tls=context).ask("echo", "over TLS")
    assert b'"echo" "over TLS"' in monitor.value()


def test_who_sends_no_more_still_gets_what_is_due(serving, wire):
    """close_notify ends one direction, and TCP isn't told."""
    wire.handshake(wire.sock.sendall)
    wire.tls.write(publish("s", "last") + PING)
    with pytest.raises(ssl.SSLWantReadError):
        wire.tls.unwrap()
    wire.sock.sendall(wire.to_send())
    wire.recv_exactly(OK + PONG)
    eventually(lambda: not serving.poller.connections, "the end of the connection")


def test_who_ends_without_a_word_is_answered_too(serving, context):
    client = serving.connect(tls=context)
    client.send(PING)
    socket.socket.shutdown(client.sock, socket.SHUT_WR)
    client.recv_exactly(PONG)
    client.recv_end()


def test_who_closes_is_forgotten_with_all_that_was_its(serving, context):
    client = serving.connect(tls=context)
    client.ask("subscribe", "s")
    assert len(serving.poller.feeds) == 1
    client.close()
    eventually(lambda: not serving.poller.connections and not serving.poller.feeds, "its end")


def test_the_server_says_that_it_closes(serving, context):
    client = serving.connect(tls=context)
    client.send(resp.command("quit"))
    client.recv_exactly(OK)
    assert client.sock.read() == b""        # ssl.SSLEOFError without close_notify


def test_bytes_that_were_changed_on_the_way_end_the_connection(serving, wire, caplog):
    caplog.set_level(logging.DEBUG)
    wire.handshake(wire.sock.sendall)
    wire.tls.write(PING)
    record = bytearray(wire.to_send())
    record[-1] ^= 1
    wire.sock.sendall(record)
    eventually(lambda: "bad record mac" in caplog.text, "the log")
    with pytest.raises((ssl.SSLError, AssertionError)):     # an alert, or the end
        wire.recv_exactly(PONG)


# -- who gets in -------------------------------------------------------------------

def connected(serving, context, certificate=None):
    if certificate:
        context.load_cert_chain(*certificate)
    client = Client("127.0.0.1", serving.tls_port, context)
    try:
        return client.ask("ping")
    finally:
        client.close()


def test_tls_1_1_is_refused_and_1_2_is_not(serving, context, caplog):
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert connected(serving, context) == b"PONG"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connected(serving, context)
    eventually(lambda: failures(caplog) == ["it has no TLS 1.2 or newer"], "the log")


def test_a_client_that_does_not_believe_the_server_is_in_the_log(serving, certificates, caplog):
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(serving, ssl.create_default_context(cafile=certificates.other_authority))
    eventually(lambda: failures(caplog) == ["tlsv1 alert unknown ca"], "the log")


@pytest.fixture
def strict(tmp_path, certificates):
    """A server that wants to see certificates."""
    believed = Certificates(*certificates.server, client_ca=certificates.client[0])
    with Serving(tmp_path / "db", certificates=believed) as serving:
        yield serving


def test_a_client_with_a_certificate_gets_in(strict, context, certificates):
    assert connected(strict, context, certificates.client) == b"PONG"


@pytest.mark.parametrize("shown, reason", [
    (None, "it shows no certificate"),
    ("other", "its certificate isn't taken: self-signed certificate"),
    ("expired", "its certificate isn't taken: certificate has expired"),
])
def test_a_client_without_one_that_is_believed_does_not(strict, context, certificates, shown, reason, caplog):
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):    # TLS 1.3 tells when it reads
        connected(strict, context, shown and getattr(certificates, shown))
    eventually(lambda: [one.replace("self signed", "self-signed") for one in failures(caplog)] == [reason], "the log")
    assert not strict.poller.accepted


def test_where_it_is_optional_a_certificate_that_is_shown_must_be_believed(tmp_path, context, certificates):
    lenient = Certificates(*certificates.server, client_ca=certificates.client[0], required=False)
    with Serving(tmp_path / "db", certificates=lenient) as serving:
        assert connected(serving, context) == b"PONG"
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            connected(serving, context, certificates.other)


# -- who only tries ------------------------------------------------------------------

def test_a_thousand_silent_peers_disturb_nobody(serving, context, peers):
    """Neither those who are there nor those who come; and there is no thread for them."""
    client = serving.connect(tls=context)
    threads = threading.active_count()
    for _ in range(1000):
        peers(socket.create_connection(("127.0.0.1", serving.tls_port), SECONDS))
    eventually(lambda: serving.server.handshakes.under_way == 1000, "that all are accepted")
    assert threading.active_count() == threads
    for i in range(100):
        client.send(publish("s", str(i)))
        client.recv_exactly(OK)
    assert connected(serving, context) == b"PONG"
    assert serving.connect().ask("ping") == b"PONG"


def test_a_handshake_of_a_byte_at_a_time_disturbs_nobody_and_is_done_in_the_end(serving, wire, context):
    others = []

    def dribble(data):
        for i, byte in enumerate(data):
            wire.sock.sendall(bytes([byte]))
            if i % 200 == 0:
                others.append(connected(serving, context))

    wire.handshake(dribble)
    wire.tls.write(PING)
    dribble(wire.to_send())
    wire.recv_exactly(PONG)
    assert len(others) > 2 and set(others) == {b"PONG"}


@pytest.fixture
def handshakes(serving, certificates):
    """Start some of their own: handshakes(most=…, seconds=…) -> (Handshakes, address)."""
    started = []

    def start(adopt=lambda sock, peer: sock.close(), **limits):
        listener = socket.create_server(("127.0.0.1", 0))
        started.append(Handshakes([listener], Certificates(*certificates.server), adopt, **limits))
        started[-1].start()
        return started[-1], listener.getsockname()

    yield start
    for one in started:
        one.stop()


def test_a_handshake_has_a_deadline_however_busy_it_is(handshakes, peers, caplog):
    running, address = handshakes(most=10, seconds=0.3)
    silent, busy = (peers(socket.create_connection(address, SECONDS)) for _ in range(2))
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        hello = b"\x16\x03\x01\x40\x00" + bytes(1000)     # of a record of 16 KiB
        for byte in hello:
            busy.sendall(bytes([byte]))
            time.sleep(0.002)       # its pace is what is tested
    assert silent.recv(1) == b""
    assert 0.2 < time.monotonic() - began < SECONDS
    eventually(lambda: running.failed == 2, "both ends")
    assert failures(caplog) == ["it isn't done after 0.3 s"]       # one line a minute


def test_of_too_many_the_oldest_makes_room_once_it_had_its_time(handshakes, peers, context, caplog):
    adopted = []
    running, address = handshakes(lambda sock, peer: adopted.append(sock), most=2)
    silent = [peers(socket.create_connection(address, SECONDS)) for _ in range(2)]
    eventually(lambda: running.under_way == 2, "that both are accepted")
    began = time.monotonic()
    with socket.create_connection(address, SECONDS) as sock, context.wrap_socket(sock, server_hostname="localhost"):
        assert time.monotonic() - began > 0.2
        assert silent[0].recv(1) == b""
        eventually(lambda: adopted, "the third")
    assert failures(caplog) == ["it isn't done, and others need its place"]
    adopted[0].close()


class GoneSocket(socket.socket):
    """One whose peer was gone before it was looked at, as macOS tells it."""

    def setsockopt(self, *option):
        raise OSError(errno.EINVAL, "Invalid argument")


class FailingListener:
    """A listener whose next accepts fail with `errors`, or give what is no error."""

    def __init__(self, sock, errors):
        self._sock = sock
        self.errors = errors

    def accept(self):
        if self.errors:
            next_one = self.errors.pop(0)
            if isinstance(next_one, OSError):
                raise next_one
            return next_one, ("127.0.0.1", 1)
        return self._sock.accept()

    def __getattr__(self, name):
        return getattr(self._sock, name)


def test_too_many_open_files_delay_it(certificates, context, peers, caplog):
    listener = FailingListener(socket.create_server(("127.0.0.1", 0)), [
        OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(errno.ECONNABORTED, "gone"),
        GoneSocket()])
    running = Handshakes([listener], Certificates(*certificates.server), lambda sock, peer: sock.close(), most=10)
    running.start()
    with contextlib.suppress(ssl.SSLEOFError), socket.create_connection(listener.getsockname(), SECONDS) as sock:
        context.wrap_socket(sock, server_hostname="localhost").close()
    eventually(lambda: running.done == 1, "the handshake")
    running.stop()
    assert [one.getMessage() for one in caplog.records] == [
        "no connection can be accepted (Too many open files); trying again in 0.1 s"]


def test_who_does_not_read_the_servers_part_is_waited_for(certificates, context, peers):
    """The socket takes none of the server's flight at first."""
    near, far = (peers(sock) for sock in socket.socketpair())
    near.settimeout(SECONDS)
    far.setblocking(False)
    fill = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            fill += far.send(b"x" * 512)
    wire = Wire(near, context)
    wire.step()
    near.sendall(wire.to_send())
    server = TLSSocket(far, Certificates(*certificates.server).context)
    assert not server.handshake() and server.unsent()
    with pytest.raises(BlockingIOError):
        server.send(b"more")
    assert len(near.recv(fill, socket.MSG_WAITALL)) == fill
    assert not server.handshake() and not server.unsent()
    while not wire.step():
        wire.take()
    near.sendall(wire.to_send())
    assert server.handshake()
    server.close()


def test_answers_of_tls_itself_that_nobody_reads_end_the_connection(certificates, context, peers):
    """Renegotiation is refused by an alert each time; who floods it with that and doesn't read fills no memory."""
    near, far = (peers(sock) for sock in socket.socketpair())
    near.settimeout(SECONDS)
    server = TLSSocket(far, Certificates(*certificates.server).context)
    wire = Wire(near, context)
    wire.step()
    near.sendall(wire.to_send())
    server.handshake()
    wire.handshake(near.sendall)
    near.sendall(wire.to_send())
    assert server.handshake()
    with pytest.raises(ConnectionAbortedError, match="doesn't read"):
        for _ in range(1000):
            server._outgoing.write(bytes(16 * 1024))        # as OpenSSL does
            server.decrypted()
    assert server.unsent() < 200 * 1024
    server.close()


@pytest.mark.parametrize("sent, reason", [
    (PING, "what it sent isn't TLS"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it speaks HTTP, without TLS"),
    (b"", "it left"),
])
def test_what_is_no_tls_is_cut_off_with_a_line_in_the_log(serving, caplog, sent, reason):
    caplog.set_level(logging.DEBUG)
    with socket.create_connection(("127.0.0.1", serving.tls_port), SECONDS) as sock:
        sock.sendall(sent)
        if not sent:
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):      # an alert, perhaps
                pass
    eventually(lambda: [one.replace("packet length too long", "what it sent isn't TLS") for one in failures(caplog)]
               == [reason], "the log")


def test_a_server_that_stops_lets_go_of_those_under_way(tmp_path, certificates, peers):
    with Serving(tmp_path / "db", certificates=Certificates(*certificates.server)) as serving:
        silent = peers(socket.create_connection(("127.0.0.1", serving.tls_port), SECONDS))
        eventually(lambda: serving.server.handshakes.under_way == 1, "that it is accepted")
    assert silent.recv(1) == b""


# -- files ------------------------------------------------------------------------------

def test_new_certificates_are_shown_after_sighup_and_bad_ones_are_not(server, tmp_path, certificates, context):
    for name, part in zip(("certificate", "key"), certificates.server):
        shutil.copy(part, tmp_path / name)
    running = server("--tls-port", "0", "--tls-certificate", "certificate", "--tls-key", "key")
    port = int(running.next_listener().split(":")[1].split(" ")[0])
    old = Client("127.0.0.1", port, context)
    other = ssl.create_default_context(cafile=certificates.other_authority)

    def read_again(says):
        running.process.send_signal(signal.SIGHUP)
        eventually(lambda: says in running.log.read_text(), says)

    (tmp_path / "certificate").write_text("nonsense")
    read_again("certificate: expected a certificate in PEM")
    assert connected_to(port, context)
    for name, part in zip(("certificate", "key"), certificates.other):
        shutil.copy(part, tmp_path / name)
    read_again("certificates were read again")
    assert connected_to(port, other)
    with pytest.raises(ssl.SSLCertVerificationError):
        connected_to(port, context)
    assert old.ask("ping") == b"PONG"
    old.close()


def connected_to(port, context):
    client = Client("127.0.0.1", port, context)
    try:
        return client.ask("ping") == b"PONG"
    finally:
        client.close()


def refusal(*arguments, **more):
    with pytest.raises(OSError) as caught:
        Certificates(*arguments, **more)
    return f"{caught.value.filename}: {caught.value.strerror}"


def test_a_file_that_cannot_be_used_is_named(certificates, tmp_path):
    certificate, key = certificates.server
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: No such file or directory"
    assert refusal(nonsense, key).startswith(f"{nonsense}: expected a certificate in PEM")
    assert refusal(certificate, nonsense).startswith(f"{nonsense}: expected the certificate's private key in PEM")
    assert refusal(certificate).startswith(f"{certificate}: expected the certificate's private key in PEM")
    assert "key values mismatch" in refusal(certificate, certificates.other[1])
    assert refusal(certificate, key, nonsense).startswith(f"{nonsense}: expected certificates in PEM")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(certificates, tmp_path):
    locked = tmp_path / "locked"
    subprocess.run(["openssl", "ec", "-in", certificates.server[1], "-aes128", "-passout", "pass:secret",
                    "-out", str(locked)], check=True, capture_output=True)
    assert "without a passphrase" in refusal(certificates.server[0], str(locked))


def test_one_file_may_hold_certificate_and_key(certificates, tmp_path):
    both = tmp_path / "both"
    both.write_text("".join(Path(path).read_text() for path in certificates.server))
    assert Certificates(str(both)).context


# -- other people's clients ---------------------------------------------------------------

def openssl(port, authority, *more):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", authority, "-quiet",
                           "-verify_return_error", *more], input=PING + resp.command("quit"), capture_output=True,
                          timeout=SECONDS).stdout


def test_openssl_finds_nothing_wrong(serving, certificates):
    assert openssl(serving.tls_port, certificates.authority) == PONG + OK
    assert openssl(serving.tls_port, certificates.authority, "-tls1_2") == PONG + OK


def test_redis_cli_speaks_tls(serving, certificates):
    if not shutil.which("redis-cli"):
        pytest.skip("redis-cli is not there")
    done = subprocess.run(["redis-cli", "-p", str(serving.tls_port), "--tls", "--cacert", certificates.authority,
                           "publish", "s", "n", "data"], capture_output=True, text=True, timeout=SECONDS)
    if "nrecognized option" in done.stderr:
        pytest.skip("redis-cli was built without TLS")
    assert done.stdout == "OK\n"


def test_our_own_client_speaks_tls(serving, certificates):
    from meilies_client import Client as Ours
    with Ours(port=serving.tls_port, tls=True, ca_file=certificates.authority) as client:
        client.publish("s", "n", b"data")
        with client.subscribe("s:0") as events:
            assert next(iter(events)).data == b"data"
