"""A server with its console in this process, and a browser's cookies without a browser.

    with Consoled(tmp_path, users={"ann": ["+@all", "allkeys"]}) as consoled:
        visitor = consoled.visitor()
        visitor.log_in("ann")
        assert visitor.get("api/streams").json["streams"] == []
"""

import http.client
import json
from typing import NamedTuple

from conftest import SECONDS
from serving import Serving

from server.console import COOKIE, HEADER, Console
from server.users import Cost, Users, create
from server.web import WebServer

PASSWORD = "correct horse"
CHEAP = Cost(2, 1, 1)


class Consoled:
    """See the top of this file; a context manager.

    users   {name: rules}, all with PASSWORD; None: there are none
    limits  of the server
    """

    def __init__(self, folder, users=None, **limits):
        self.users = None
        if users is not None:
            create(str(folder / "users"))
            self.users = Users(str(folder / "users"), CHEAP)
            for name, rules in users.items():
                self.users.change(name, ["on", f">{PASSWORD}", *rules])
        self.serving = Serving(folder / "db", users=self.users, **limits)
        self.store, self.poller = self.serving.store, self.serving.poller
        self.web = WebServer("127.0.0.1", 0, self.poller)
        self.console = Console(self.web, self.poller)
        self.url = f"http://127.0.0.1:{self.web.port}/"

    def __enter__(self):
        self.serving.__enter__()
        self.console.start()
        return self

    def __exit__(self, *exc_info):
        self.console.stop()
        self.serving.__exit__(*exc_info)

    def visitor(self):
        return Visitor(self.web.port)


class Seen(NamedTuple):
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Visitor:
    """Somebody with one cookie; a request each has a connection of its own."""

    def __init__(self, port):
        self.port = port
        self.token = None

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def post(self, path, fields, **headers):
        return self.ask("POST", path, json.dumps(fields).encode(), {HEADER: "1", **headers})

    def log_in(self, user, password=PASSWORD):
        return self.post("api/login", {"user": user, "password": password})

    def ask(self, method, path, body, headers):
        connection, response = self.begin(method, path, body, headers)
        with connection:
            seen = Seen(response.status, response.headers, response.read())
        cookie = seen.headers.get("Set-Cookie", "")
        if cookie.startswith(f"{COOKIE}="):
            self.token = cookie[len(COOKIE) + 1:].split(";")[0] or None
        return seen

    def begin(self, method, path, body=None, headers=()):
        """(a connection to be closed, the response whose body comes)."""
        connection = _Connection("127.0.0.1", self.port, timeout=SECONDS)
        cookie = {"Cookie": f"{COOKIE}={self.token}"} if self.token else {}
        headers = {**cookie, **{name.replace("_", "-"): value for name, value in dict(headers).items()}}
        connection.request(method, f"/{path}", body, headers)
        connection.response = connection.getresponse()
        return connection, connection.response

    def tail(self, path):
        """(a connection, an iterator of (event, object)) of server-sent events."""
        connection, response = self.begin("GET", path)
        return connection, _events_of(response)


class _Connection(http.client.HTTPConnection):
    response = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        super().close()
        if self.response is not None:       # which has the socket, too
            self.response.close()


def _events_of(response):
    kind = None
    for line in response:
        word, _, value = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            kind = value
        elif word == "data":
            yield kind, json.loads(value)
