"""What every program prints, line by line, and what happens to the server at some of them.

    program   - xread paid=two              its first two events are read, and now it waits
    server                                  gets the third from somebody else, once a client is blocked
    program   - xread shipped=three
"""

import contextlib
import re
import subprocess
import threading
from typing import Callable, NamedTuple, Optional

from conftest import Server
from serving import Client, eventually

# Seconds for one program, on a machine that has much else to do.
LIMIT = 180


class Mismatch(AssertionError):
    """A program did not print what it should; says what it printed."""


class Stage:
    """A server that a program finds at its port; a context manager.

    folder   where its store and its log are
    secure   (port, certificate) of a server with TLS, where ann may log in
    speaks   the protocol that the program is to choose, 2 or 3
    """

    def __init__(self, folder, secure, speaks):
        self._folder = folder
        self._speaks = speaks
        self._tls_port, self._authority = secure
        self._server = self._start("0")

    @property
    def environ(self):
        """What programs are told."""
        return {"PORT": str(self._server.port), "TLS_PORT": str(self._tls_port), "CA": str(self._authority)}

    def publish(self, name, data):
        """Somebody else's event."""
        with self._asking() as client:
            assert client.ask("publish", "orders", name, data) == b"OK"

    def wait_until_heard(self):
        """Return when a client has subscribed by a pattern."""
        with self._asking() as client:
            eventually(lambda: client.ask("pubsub", "numpat"), "a subscription")

    def wait_until_blocked(self):
        """Return when a client waits for an event; fail unless it speaks what it is to speak."""
        with self._asking() as client:
            eventually(lambda: b"blocked_clients:1" in client.ask("info", "clients"), "a blocked client")
            found = re.search(rb" cmd=xread .* resp=(\d)", client.ask("client", "list"))
            assert found and int(found[1]) == self._speaks, f"found {found}, expected RESP{self._speaks}"

    def restart(self):
        """The server is away for a moment."""
        self._server.end()
        self._server = self._start(str(self._server.port))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._server.end()

    def _asking(self):
        return contextlib.closing(Client("127.0.0.1", self._server.port))

    def _start(self, port):
        argv = ["--db-path", str(self._folder / "db"), "--port", port]
        return Server(argv, {}, self._folder / "server.log").wait_until_listening()


class Line(NamedTuple):
    """One line of the story, and what happens when it was read; the program may be told when it is over."""

    text: str
    then: Optional[Callable] = None
    tells: bool = False


def somebody_publishes(name, data):
    return lambda stage: stage.publish(name, data)


def somebody_publishes_once_it_waits(name, data):
    def publish(stage):
        stage.wait_until_blocked()
        stage.publish(name, data)
    return publish


def somebody_publishes_once_it_listens(name, data):
    def publish(stage):
        stage.wait_until_heard()
        stage.publish(name, data)
    return publish


STORY = (
    Line("xread created=one"),
    Line("xread paid=two", then=somebody_publishes_once_it_waits("shipped", "three")),
    Line("xread shipped=three"),
    Line("read created=one paid=two"),
    Line("psubscribed", then=somebody_publishes("returned", "four")),
    Line("psubscribe orders four"),
    Line("subscribed", then=somebody_publishes("refunded", "five")),
    Line("subscribe orders five"),
    Line("published 0 message=hello"),
    Line("xadd 5"),
    Line("xreadgroup created=one paid=two"),
    Line("xack 2"),
    Line("xpending 0"),
    Line("xautoclaim shipped=three"),
    Line("waits for bob 2"),
    Line("xinfo 6 billing 1 ann bob"),
    Line("pipelined 100 stored 100"),
    Line("multi 2"),
    Line("multi refused 2"),
    Line("ready for an outage", then=Stage.restart, tells=True),
    Line("reconnected", then=somebody_publishes_once_it_listens("reopened", "seven")),
    Line("psubscribe orders seven"),
    Line("secure ann"),
)


def tell(command, environ, stage, story=STORY):
    """Run a program beside a server; raise Mismatch unless it tells the story and ends well.

    command   its argv
    environ   what it gets beside what the stage tells it
    """
    process = subprocess.Popen(command, env={**environ, **stage.environ}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace")
    alarm = threading.Timer(LIMIT, process.kill)
    alarm.start()
    printed = []
    try:
        for line in story:
            _expect(line.text, process, printed)
            if line.then is not None:
                line.then(stage)
            if line.tells:
                with contextlib.suppress(BrokenPipeError):      # it has ended, which is seen where it should go on
                    print(file=process.stdin, flush=True)
        _expect(None, process, printed)
        if process.wait():
            raise Mismatch(f"it ended with {process.returncode}, and printed:\n{''.join(printed)}")
    finally:
        alarm.cancel()
        process.kill()
        process.communicate()
        alarm.join()


def _expect(text, process, printed):
    """Read up to the next line of the story, which must be `text`; None is the end."""
    for line in process.stdout:
        printed.append(line)
        if line.startswith("- "):
            if line[2:].rstrip("\n") == text:
                return
            break
    else:
        if text is None:
            return
    raise Mismatch(f"expected {f'- {text}' if text else 'the end'!r}, and it printed:\n{''.join(printed)}")
