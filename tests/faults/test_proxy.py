"""The bad network does what it is told, or what stands on it would prove nothing."""

import socket
import threading

import pytest
from conftest import SECONDS
from faults.proxy import CUT, DOWN, FINE, LOSE_CLIENT, LOSE_SERVER, RESET, SILENCE, UP, Fate, Proxy, Weather
from serving import eventually

A_MOMENT = 0.05     # seconds in which nothing may come


class Wire:
    """A client's socket and the server's, with a proxy between them."""

    def __init__(self, fate=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self.listener.getsockname()[1], lambda index: fate)
        self.client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=SECONDS)
        self.server, _ = self.listener.accept()
        self.server.settimeout(SECONDS)

    def close(self):
        self.proxy.close()
        for sock in self.listener, self.client, self.server:
            sock.close()


@pytest.fixture
def wire():
    """wire(fate) -> Wire, closed when the test ends."""
    wires = []

    def make(fate=None):
        wires.append(Wire(fate))
        return wires[-1]

    yield make
    for one in wires:
        one.close()


def expect(sock, ending):
    """Fail unless a socket's owner is told of this "end" or "reset" behind the bytes that came, or of "nothing"."""
    sock.settimeout(A_MOMENT if ending == "nothing" else SECONDS)
    try:
        while sock.recv(4096):
            pass
        found = "end"
    except socket.timeout:
        found = "nothing"
    except ConnectionResetError:
        found = "reset"
    assert found == ending


def received(sock, count):
    found = b""
    while len(found) < count:
        found += sock.recv(count - len(found))
    return found


@pytest.mark.parametrize("weather", [FINE, Weather(piece=1), Weather(piece=7, pause=0.0001)])
def test_bytes_pass_in_order_in_any_weather(wire, weather):
    one = wire()
    one.proxy.change(weather)
    sent = bytes(range(256)) * 4
    for source, sink in (one.client, one.server), (one.server, one.client):
        source.sendall(sent)
        assert received(sink, len(sent)) == sent


def test_more_than_it_holds_passes(wire):
    one = wire()
    sent = bytes(range(256)) * 4000
    sender = threading.Thread(target=one.client.sendall, args=(sent,))
    sender.start()
    assert received(one.server, len(sent)) == sent
    sender.join()


def test_a_reader_that_does_not_read_is_felt_at_the_other_end(wire):
    one = wire()
    one.client.settimeout(0.1)
    with pytest.raises(socket.timeout):
        for _ in range(1000):
            one.client.sendall(bytes(1 << 16))


def test_the_end_of_one_direction_is_told_and_the_other_goes_on(wire):
    one = wire()
    one.client.sendall(b"last")
    one.client.shutdown(socket.SHUT_WR)
    assert received(one.server, 4) == b"last"
    expect(one.server, "end")
    one.server.sendall(b"answer")
    assert received(one.client, 6) == b"answer"


TOLD = {CUT: ("end", "end"), RESET: ("reset", "reset"), SILENCE: ("nothing", "nothing"),
        LOSE_SERVER: ("nothing", "end"), LOSE_CLIENT: ("end", "nothing")}


@pytest.mark.parametrize("how", TOLD)
def test_a_strike_is_told_to_those_it_names(wire, how):
    one = wire()
    one.client.sendall(b"x")
    assert received(one.server, 1) == b"x"
    one.proxy.strike(how)
    for sock, ending in zip([one.client, one.server], TOLD[how]):
        expect(sock, ending)


def test_it_counts_what_passes(wire):
    one = wire()
    one.client.sendall(b"12345")
    assert received(one.server, 5) == b"12345"
    one.server.sendall(b"123")
    assert received(one.client, 3) == b"123"
    eventually(lambda: one.proxy.passed() == (5, 3), "the sum")


@pytest.mark.parametrize("how", [CUT, SILENCE, LOSE_SERVER, LOSE_CLIENT])
@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("after", [1, 3, 8])
def test_a_fate_lets_so_many_bytes_pass_and_no_more(wire, how, way, after):
    one = wire(Fate(how, way, after))
    source, sink = (one.client, one.server)[::1 if way == UP else -1]
    source.sendall(b"0123456789")
    told = {CUT: sink, LOSE_SERVER: one.server, LOSE_CLIENT: one.client}
    if told.get(how, sink) is sink:
        assert received(sink, after) == b"0123456789"[:after]
    for sock, ending in zip([one.client, one.server], TOLD[how]):
        expect(sock, ending)


def test_a_fate_after_no_byte_at_all_comes_at_once(wire):
    one = wire(Fate(CUT, UP, 0))
    for sock in one.client, one.server:
        expect(sock, "end")


def test_who_resets_is_felt_at_the_other_end(wire):
    one = wire()
    one.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.client.close()
    expect(one.server, "reset")


def test_without_a_server_a_client_is_let_go(wire):
    one = wire()
    one.listener.close()
    with socket.create_connection(("127.0.0.1", one.proxy.port), timeout=SECONDS) as late:
        expect(late, "end")


def test_it_can_be_pointed_at_another_server(wire):
    one = wire()
    with socket.create_server(("127.0.0.1", 0)) as other:
        one.proxy.target = other.getsockname()[1]
        with socket.create_connection(("127.0.0.1", one.proxy.port), timeout=SECONDS) as late:
            late.sendall(b"x")
            server, _ = other.accept()
            with server:
                assert received(server, 1) == b"x"
