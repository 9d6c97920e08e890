"""What clients cost in threads, descriptors and memory, and that all of it goes when they do."""

import resource
import socket

import pytest
from conftest import SECONDS
from serving import event, publish, subscribed
from usage import A_SECOND, MIB, Clients, descriptors, exchange, fill, memory, stat, threads, within

import resp

pytestmark = pytest.mark.unmeasured

CONSTANT = 20       # threads, whatever there is to do

STREAMS = [f"stream-{i}" for i in range(50)]
IDLE = 10_000


@pytest.fixture
def many_descriptors():
    """Let this process open as many sockets as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"no more than {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def expect_nothing_left(running, before, observer):
    """Within a second of the clients' leaving the server uses what it did before them."""
    within(A_SECOND, lambda: descriptors(running), lambda found: found <= before[0])
    within(A_SECOND, lambda: threads(running), lambda found: found <= before[1])
    within(A_SECOND, lambda: [stat(observer, name) for name in ("connected_clients", "subscriptions", "feeds")],
           lambda found: found == [1, 0, 0])


def usage(running):
    return descriptors(running), threads(running)


def follow_all(clients, streams):
    """Each of `clients` subscribes to all of `streams`, and has read that it did."""
    for client in clients:
        client.command("subscribe", *streams)
    acknowledgements = b"".join(map(subscribed, streams))
    for client in clients:
        client.recv_exactly(acknowledgements)


def expect_one_event_each(clients, publisher, streams, number):
    """Every client gets event `number` of every stream, once."""
    publisher.send(b"".join(publish(stream, f"number {number}") for stream in streams))
    publisher.recv_exactly(b"+OK\r\n" * len(streams))
    events = {event(stream, number, "x", f"number {number}") for stream in streams}
    for client in clients:
        frames = exchange(client, b"", sum(map(len, events))).split(b"*5")[1:]
        assert sorted(b"*5" + frame for frame in frames) == sorted(events)


def test_100_clients_on_the_same_50_streams_cost_50_threads_and_a_constant_and_leave_nothing(server):
    running = server("--sync", "no")
    with Clients(running.port) as observers, Clients(running.port) as clients:
        observer = observers.join()
        stat(observer, "feeds")
        before = usage(running)
        for _ in range(100):
            clients.join()
        follow_all(clients, STREAMS)
        expect_one_event_each(clients, observer, STREAMS, 0)
        assert threads(running) <= len(STREAMS) + CONSTANT
        assert stat(observer, "feed_threads") == len(STREAMS)
        killed = Clients(running.port)
        killed += clients[50:]
        del clients[50:]
        killed.leave(reset=True)
        clients.leave()
        expect_nothing_left(running, before, observer)


def test_a_few_clients_on_many_streams_cost_no_thread(server):
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        observer = clients.join()
        before = threads(running)
        followers = [clients.join() for _ in range(8)]
        follow_all(followers, STREAMS)
        expect_one_event_each(followers, observer, STREAMS, 0)
        assert threads(running) == before


def test_a_feed_whose_clients_left_serves_those_who_come_later(server):
    running = server("--sync", "no")
    with Clients(running.port) as observers:
        observer = observers.join()
        for number in range(5):
            with Clients(running.port) as clients:
                for _ in range(12):
                    clients.join()
                follow_all(clients, STREAMS[:3])
                expect_one_event_each(clients, observer, STREAMS[:3], number)


def test_10000_idle_connections_cost_no_thread(server, many_descriptors):
    running = server("--sync", "no", "--max-connections", str(IDLE + 100))
    with Clients(running.port) as observers:
        observer = observers.join()
        stat(observer, "feeds")
        before, size = usage(running), memory(running)
        idle = []
        try:
            for i in range(IDLE):       # from several addresses: there are only so many ports
                source = (f"127.0.0.{2 + i % 5}", 0)
                idle.append(socket.create_connection(("127.0.0.1", running.port), 10, source))
            # Where more came at once than the system lets wait, it asks them again after a second.
            within(SECONDS, lambda: stat(observer, "connected_clients"), lambda found: found == IDLE + 1)
            assert threads(running) == before[1]
            assert memory(running) - size < 100 * MIB
            for sock in idle[::500]:
                sock.sendall(resp.command("ping"))
                assert sock.recv(7) == b"+PONG\r\n"
            assert threads(running) == before[1]
        finally:
            for sock in idle:
                sock.close()
        expect_nothing_left(running, before, observer)


def test_one_client_follows_10000_streams(server):
    names = [f"stream-{i:05}" for i in range(10_000)]
    running = server("--sync", "no")
    with Clients(running.port) as clients:
        observer = clients.join()
        observer.send(b"".join(publish(name, "old") for name in names))
        observer.recv_exactly(b"+OK\r\n" * len(names))
        before = threads(running)
        follower = clients.join()
        expected = b"".join(subscribed(f"{name}") + event(name, 0, "x", "old") for name in names)
        request = resp.command("subscribe", *(f"{name}:0" for name in names))
        found = exchange(follower, request, len(expected))
        assert sorted(found.split(b"*5")) == sorted(expected.split(b"*5"))
        expect_one_event_each([follower], observer, names, 1)
        assert threads(running) == before
        follower.close()
        within(A_SECOND, lambda: stat(observer, "feeds"), lambda found: found == 0)


def test_more_subscriptions_in_one_command_than_are_allowed_begin_none(server):
    names = [f"stream-{i:05}" for i in range(20_001)]
    running = server("--sync", "no", "--max-subscriptions", "20000")
    with Clients(running.port) as clients:
        client = clients.join()
        answer = client.error("subscribe", *names)
        assert answer == "ERR 20001 subscriptions, expected no more than 20000 a connection"
        assert stat(client, "subscriptions") == 0
        follow_all([client], names[:20_000])
        assert stat(client, "subscriptions") == 20_000
        assert client.error("subscribe", names[20_000]).startswith("ERR 20001 subscriptions")


def test_clients_killed_in_the_middle_of_everything_leave_nothing(server):
    running = server("--sync", "everysec")
    with Clients(running.port) as observers, Clients(running.port) as clients:
        observer = observers.join()
        large = "x" * 100_000
        for _ in range(20):
            observer.send(publish("large", large) * 10)
            observer.recv_exactly(b"+OK\r\n" * 10)
        before = usage(running)
        for _ in range(2):
            for _ in range(10):
                clients.join().command("subscribe", "large:0", "small")             # a replay that isn't read
                clients.join().command("follow", "prefix", "la", 0)
                clients.join().send(publish("small", "x") * 2000)                   # replies that aren't
                clients.join().send(publish("small", large)[:70_000])               # half a request
                fill(clients.join(), resp.command("stream-names") * 20_000)         # slow commands
                clients.join().command("subscribe", *(f"other-{i}" for i in range(500)))
            observer.ask("publish", "small", "x", "one")
            clients.leave(reset=True)
            expect_nothing_left(running, before, observer)
