"""Runs the cases of a module against both clients: the one that blocks, and that of asyncio.

    from both_clients import driver, each_client
    from meilies_client import Client       # in every second run an AsyncClient that looks like one

    @each_client                            # of a test, or `pytestmark = each_client`
    def test_something(server):             # or a fixture named `client` that takes `driver`

    @blocking_only                          # a case about threads among those of such a module

The AsyncClient stands behind a Client's methods: each call runs its loop until the answer is there.
"""

import asyncio
import inspect

import pytest

import meilies_async

each_client = pytest.mark.usefixtures("driver")
blocking_only = pytest.mark.parametrize("driver", ["blocking"], indirect=True)


@pytest.fixture(params=["blocking", "asyncio"])
def driver(request, monkeypatch):
    """Which client the module's `Client` is."""
    made = []
    if request.param == "asyncio":
        monkeypatch.setattr(request.module, "Client", type("Client", (LoopedClient,), {"made": made}))
    yield request.param
    for client in made:
        client.close()


class LoopedClient:
    """An AsyncClient whose methods return what they come to.  Those that a test leaves open are `made`."""

    made = None

    def __init__(self, *place, **options):
        self._made(meilies_async.AsyncClient(*place, **options))

    @classmethod
    def from_url(cls, url, **options):
        self = cls.__new__(cls)
        self._made(meilies_async.AsyncClient.from_url(url, **options))
        return self

    def _made(self, client):
        self.__dict__.update(_client=client, _loop=asyncio.new_event_loop())
        self.made.append(self)

    def __enter__(self):
        self._run(self._client.__aenter__())
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        if not self._loop.is_closed():
            self._run(self._client.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        return self._called(attribute) if callable(attribute) else attribute

    def __setattr__(self, name, value):
        setattr(self._client, name, value)

    def _called(self, method):
        def call(*arguments, **options):
            returned = method(*arguments, **options)
            if inspect.iscoroutine(returned):
                return self._run(returned)
            if isinstance(returned, meilies_async.AsyncSubscription):
                return LoopedSubscription(self._run(_awaited(returned)), self._run)
            return self._iterate(returned)

        return call

    def _iterate(self, items):
        try:
            while True:
                try:
                    item = self._run(items.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._run(items.aclose())

    def _run(self, awaitable):
        if self._loop.is_closed():      # the client is, which it says itself
            self.__dict__["_loop"] = asyncio.new_event_loop()
        return self._loop.run_until_complete(awaitable)


class LoopedSubscription:
    """An AsyncSubscription whose methods return what they come to."""

    def __init__(self, subscription, run):
        self._subscription = subscription
        self._run = run

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._run(self._subscription.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def server(self):
        return self._subscription.server

    def read(self, timeout=None):
        return self._run(self._subscription.read(timeout))

    def close(self):
        self._run(self._subscription.close())


async def _awaited(subscription):
    return await subscription
