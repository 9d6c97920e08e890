"""The client for asyncio where it differs from the one that blocks: tasks, cancelling, and how much is unread.

What both do alike is tested by the cases of tests/test_client*.py, which run against both.
"""

import asyncio
import contextlib
import functools
import inspect
import socket
import threading

import pytest
from conftest import SECONDS
from fake_server import HELLO, FakeServer, caught_up, free_port, hello, last_number, recorded, subscribed
from serving import Serving

import meilies_async
from meilies_async import (
    AsyncClient,
    AsyncSubscription,
    CannotConnect,
    ClientError,
    NothingCame,
    Refuse,
    TimedOut,
)
from meilies_client import Client, Subscription
from resp import command

ASK = command("last-event-number", "s")
PUBLISH = command("publish", "s", "n", b"x")


def client(server, **options):
    return AsyncClient(port=server.port, **{"delay": 0.001, "timeout": 5.0, **options})


def awaited(test):
    """Run an asynchronous test; one that hangs fails."""
    @functools.wraps(test)
    def run(*arguments, **options):
        asyncio.run(asyncio.wait_for(test(*arguments, **options), 3 * SECONDS))

    return run


async def happened(event):
    """Wait for a threading.Event."""
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, SECONDS)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def ends_cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "db") as one:
        yield one


# -- the same surface

def public(one):
    return {name: getattr(one, name) for name in dir(one) if not name.startswith("_") and callable(getattr(one, name))}


def parameters(method):
    return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()
            if one.name != "self"]


@pytest.mark.parametrize("blocking, other", [(Client, AsyncClient), (Subscription, AsyncSubscription)])
def test_every_method_of_the_one_that_blocks_is_there_with_the_same_parameters(blocking, other):
    there = public(other)
    for name, method in public(blocking).items():
        assert parameters(there[name]) == parameters(method), name


# -- cancelled requests

@awaited
async def test_the_reply_to_a_cancelled_request_never_reaches_the_next():
    asked, cancelled = threading.Event(), threading.Event()

    def first(peer):
        peer.expect(ASK)
        asked.set()
        assert cancelled.wait(SECONDS)
        peer.expect_close()

    def second(peer):
        peer.answer(command("last-event-number", "t"), last_number("t", 7))

    with FakeServer(first, second) as server:
        async with client(server) as one:
            task = asyncio.ensure_future(one.last_event_number("s"))
            await happened(asked)
            await ends_cancelled(task)
            cancelled.set()
            assert await one.last_event_number("t") == 7


@awaited
async def test_a_pipeline_that_is_cancelled_closes_its_connection():
    sent = threading.Event()

    def first(peer):
        peer.expect(PUBLISH)
        sent.set()
        while peer.sock.recv(1 << 16):
            pass

    with FakeServer(first, lambda peer: peer.answer(ASK, last_number("s", 3))) as server:
        async with client(server) as one:
            task = asyncio.ensure_future(one.publish_many("s", [("n", b"x")] * 100_000))
            await happened(sent)
            await ends_cancelled(task)
            assert await one.last_event_number("s") == 3


@awaited
async def test_a_task_that_is_cancelled_in_the_queue_disturbs_nobody():
    asked, answer = threading.Event(), threading.Event()

    def script(peer):
        peer.expect(ASK)
        asked.set()
        assert answer.wait(SECONDS)
        peer.send(last_number("s", 1))
        peer.answer(ASK, last_number("s", 2))

    with FakeServer(script) as server:
        async with client(server) as one:
            first = asyncio.ensure_future(one.last_event_number("s"))
            await happened(asked)
            second = asyncio.ensure_future(one.last_event_number("other"))
            third = asyncio.ensure_future(one.last_event_number("s"))
            await asyncio.sleep(0)
            await ends_cancelled(second)
            answer.set()
            assert [await first, await third] == [1, 2]


@awaited
async def test_a_caller_s_own_time_out_is_safe():
    with FakeServer(lambda peer: peer.expect(ASK) or peer.expect_close(),
                    lambda peer: peer.answer(ASK, last_number("s", 2))) as server:
        async with client(server) as one:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(one.last_event_number("s"), 0.05)
            assert await one.last_event_number("s") == 2


@awaited
async def test_a_connection_that_is_being_opened_can_be_cancelled_and_time_out():
    with FakeServer(lambda peer: peer.sock.recv(10_000) and peer.expect_close(),
                    lambda peer: peer.sock.recv(10_000) and peer.expect_close()) as server:
        async with client(server, tls=True, tries=0) as one:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(one.ping(), 0.05)
            one.timeout = 0.05
            with pytest.raises(CannotConnect, match=f"cannot connect to 127.0.0.1:{server.port}: timed out"):
                await one.ping()


# -- tasks

@awaited
async def test_tasks_use_a_client_in_turn(serving):
    async with client(serving) as one:
        await asyncio.gather(*[one.publish("s", "n", b"%d" % number) for number in range(50)])
        numbers = await asyncio.gather(*[one.last_event_number("s") for _ in range(50)])
    assert numbers == [49] * 50 and len(serving.store.read("s")) == 50


@awaited
async def test_closing_a_client_ends_what_other_tasks_do_with_it():
    asked = threading.Event()

    def silent(peer):
        peer.expect(ASK)
        asked.set()
        peer.expect_close()

    with FakeServer(silent) as server:
        one = client(server)
        task = asyncio.ensure_future(one.last_event_number("s"))
        await happened(asked)
        await one.close()
        with pytest.raises(ClientError, match="this Client is closed"):
            await task


@awaited
async def test_what_is_opened_while_its_client_is_closed_is_closed_too():
    asked, answer = threading.Event(), threading.Event()

    def script(peer):
        peer.expect(command("AUTH", "x"))
        asked.set()
        assert answer.wait(SECONDS)
        peer.send(b"+OK\r\n")
        peer.expect_close()

    for begin in (lambda one: one.last_event_number("s"), lambda one: one.subscribe("s:0").__aenter__()):
        with FakeServer(script) as server:
            one = client(server, password="x")
            task = asyncio.ensure_future(begin(one))
            await happened(asked)
            await one.close()
            answer.set()
            with contextlib.suppress(ClientError):
                await task
            await one.close()
        asked.clear()
        answer.clear()


@awaited
async def test_what_is_published_may_come_one_by_one(serving):
    async def things(*some):
        for one in some:
            await asyncio.sleep(0)
            yield one

    async with client(serving) as one, client(serving, ids=True) as sure:
        assert await one.publish_many("s", things(("a", b"0"), ("b", b"1"))) == 2
        assert await one.publish_batch(things(("s", "c", b"2"))) == 1
        assert await sure.publish_many("s", things(("d", b"3"))) == 1
        assert await one.append_batch(things([("s", "e", b"4")], [("s", "f", b"5")])) == [[(4, 4)], [(5, 5)]]
        lines = [line async for line in one.export()]
        assert await one.import_(things(*lines)) == (0, 6)
        assert await one.publish_many("s", things()) == 0
    assert [event.name for event in serving.store.read("s")] == list("abcdef")


@awaited
async def test_windows_of_what_comes_one_by_one_are_bounded(serving, monkeypatch):
    monkeypatch.setattr("meilies_operations.WINDOW_EVENTS", 2)
    unanswered = []

    async def events():
        for _ in range(7):
            unanswered.append(one.connection.session.unanswered if one.connection else 0)
            yield "n", b""

    async with client(serving) as one:
        assert await one.publish_many("s", events()) == 7
    assert max(unanswered) <= 2


@awaited
async def test_a_password_may_be_waited_for():
    async def password():
        await asyncio.sleep(0)
        return "secret"

    def script(peer):
        peer.answer(command("AUTH", "ann", "secret"), b"+OK\r\n")
        peer.answer(ASK, last_number("s", 3))

    with FakeServer(script) as server:
        async with client(server, user="ann", password=password) as one:
            assert await one.last_event_number("s") == 3


def test_what_can_be_awaited_is_refused_by_the_client_that_blocks():
    async def password():
        await asyncio.sleep(0)

    with Client(port=free_port(), password=password) as one, pytest.raises(RuntimeError, match="meilies_async has one"):
        one.ping()


# -- consumer groups

@awaited
async def test_what_consumes_may_wait_itself(serving):
    seen = []

    async def handle(event):
        await asyncio.sleep(0)
        seen.append(event.number)
        if seen == [0]:
            raise Refuse

    async with client(serving) as one:
        await one.publish_many("s", [("n", b"")] * 3)
        await one.group_create("g", "s", 0, pause=0)
        assert await one.consume("g", "m", handle, block=0.05) == 3
    assert seen == [0, 0, 1, 2]


@awaited
async def test_a_consumer_that_is_cancelled_gives_back_what_it_holds(serving):
    begun = asyncio.Event()

    async def handle(event):
        begun.set()
        await asyncio.sleep(SECONDS)

    async with client(serving) as one:
        await one.publish_many("s", [("n", b"")] * 3)
        await one.group_create("g", "s", 0)
        task = asyncio.ensure_future(one.consume("g", "m", handle))
        await begun.wait()
        await ends_cancelled(task)
        assert (await one.group_info("g"))["members"] == {}
        assert [given.key for given in await one.group_read("g", "n", 9)] == [0, 1, 2]


# -- following

def follows(*frames):
    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 0), subscribed("s") + b"".join(frames))

    return script


@awaited
async def test_a_subscription_begins_when_it_is_awaited_entered_or_read(serving):
    async with client(serving) as one:
        await one.publish("s", "n", b"0")
        subscription = await one.subscribe("s:0:1")
        assert [event.data for event in await subscription.read()] == [b"0"]
        assert await subscription.read() == []
        async with one.subscribe("s:0:1") as events:
            assert events.server.store == serving.store.uuid
            assert [event.data async for event in events] == [b"0"]
        assert [event.data async for event in one.subscribe("s:0:1")] == [b"0"]
        async with one.follow("s", 0) as told:
            assert [type(await told.__anext__()).__name__ for _ in range(2)] == ["Event", "CaughtUp"]


@awaited
async def test_reading_that_is_cancelled_loses_nothing():
    half = recorded(0, "s", 0, data=b"whole")
    begun, cancelled = threading.Event(), threading.Event()

    def script(peer):
        follows(half[:20])(peer)
        begun.set()
        assert cancelled.wait(SECONDS)
        peer.send(half[20:] + recorded(1, "s", 1))
        peer.expect_close()

    with FakeServer(script) as server:
        async with client(server) as one, one.subscribe("s:0", timeout=SECONDS) as events:
            await happened(begun)
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(events.__anext__(), 0.01)
            cancelled.set()
            assert [(await events.__anext__()).data, (await events.__anext__()).number] == [b"whole", 1]


@awaited
async def test_a_pause_before_another_try_can_be_cancelled():
    def second(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 1), subscribed("s") + recorded(1, "s", 1))
        peer.expect_close()

    with FakeServer(follows(recorded(0, "s", 0)), second) as server:
        async with client(server, delay=0.05) as one, one.subscribe("s:0") as events:
            assert (await events.__anext__()).number == 0
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.__anext__(), 0.01)
            with pytest.raises(NothingCame):
                await events.read(0.001)
            assert (await events.__anext__()).number == 1


@awaited
async def test_a_subscription_that_is_cancelled_while_it_begins_leaves_nothing_open():
    asked = threading.Event()

    def silent(peer):
        peer.expect(HELLO)
        asked.set()
        peer.expect_close()

    with FakeServer(silent) as server:
        async with client(server) as one:
            subscription = one.subscribe("s:0")
            task = asyncio.ensure_future(subscription.__aenter__())
            await happened(asked)
            await ends_cancelled(task)
            assert await subscription.read() == []


@awaited
async def test_one_task_reads_a_subscription_and_any_may_close_it():
    def script(peer):
        follows(caught_up("s", 0))(peer)
        peer.expect_close()

    with FakeServer(script) as server:
        async with client(server) as one:
            events = await one.subscribe("s:0")
            task = asyncio.ensure_future(events.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one reads at a time"):
                await events.read()
            await events.close()
            assert await task == []
            await events.close()


@awaited
async def test_a_subscription_that_was_left_open_ends_with_its_client():
    def script(peer):
        follows()(peer)
        peer.expect_close()

    with FakeServer(script) as server:
        async with client(server) as one:
            await one.subscribe("s:0")


@awaited
async def test_while_nobody_reads_the_server_is_left_to_wait(monkeypatch):
    monkeypatch.setattr(meilies_async, "MAX_UNREAD", 100_000)
    one_event = len(recorded(10_000, "s", 10_000, data=bytes(10_000)))
    stuck, read = threading.Event(), threading.Event()
    count = 4000                                    # 40 MB, more than every buffer of the system

    def script(peer):
        peer.answer(HELLO, hello())
        peer.answer(command("follow", "stream", "s", 0, "TO", count), subscribed("s"))
        data = memoryview(b"".join(recorded(n, "s", n, data=bytes(10_000)) for n in range(count)))
        peer.sock.settimeout(0.2)
        sent = 0
        while sent < len(data):
            try:
                sent += peer.sock.send(data[sent:])
            except socket.timeout:
                stuck.set()
                assert read.wait(SECONDS)
                peer.sock.settimeout(SECONDS)
        peer.expect_close()

    with FakeServer(script) as server:
        async with client(server) as one, one.subscribe(f"s:0:{count}") as events:
            await happened(stuck)
            [feed] = one.feeds
            assert feed._connection.line._unread < 100_000 + meilies_async.RECEIVE_BYTES + one_event
            read.set()
            assert [event.number async for event in events] == list(range(count))


@awaited
async def test_a_send_that_stands_still_ends_with_a_time_out_and_one_that_goes_on_does_not():
    go_on = threading.Event()

    def stuck(peer):
        assert go_on.wait(SECONDS)

    with FakeServer(stuck) as server:
        async with client(server, timeout=0.1, tries=0) as one:
            with pytest.raises(ClientError) as caught:
                await one.publish("s", "n", bytes(64 << 20))
            assert isinstance(caught.value.__cause__, TimedOut)
            go_on.set()

    def slow(peer):
        left = len(command("publish", "s", "n", bytes(16 << 20)))
        while left:
            left -= len(peer.sock.recv(min(left, 1 << 20)))
        peer.send(b"+OK\r\n")

    with FakeServer(slow) as server:
        async with client(server, timeout=1.0, tries=0) as one:
            await one.publish("s", "n", bytes(16 << 20))


# -- outages

@awaited
async def test_a_crash_of_the_server_is_waited_out(server):
    running = server()
    async with client(running, delay=0.01, tries=1000, ids=True) as one:
        async with one.subscribe("s:0", timeout=SECONDS) as events:
            await one.publish("s", "n", b"0")
            assert (await events.__anext__()).data == b"0"
            running.kill()
            publishing = asyncio.ensure_future(one.publish("s", "n", b"1"))
            reading = asyncio.ensure_future(events.__anext__())
            await until(lambda: one.connection is None)
            server("--port", str(running.port))
            await publishing
            assert (await reading).data == b"1"
