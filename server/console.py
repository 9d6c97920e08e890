"""The web console: pages for a browser, and what they ask for as JSON.

    browser ── GET / ──────────> server/pages/, files as they are
            ── GET api/… ──────> Console ── Inside (a client in this process) ── commands
            ── POST api/… ─────> the same, if the page itself sent it
            ── GET api/tail ───> server-sent events, see tail.py

Everything that is asked of the store goes through a connection of the user who asks, so what he
may see and do is decided where it is for every client.  What is here decides who he is
(sessions.py), and that it was his own page that asked.

The pages' addresses are relative, so that all of it may stand below a path of another server.
"""

import hashlib
import json
import pkgutil
import re
import threading
from collections import Counter
from urllib.parse import quote

import resp

from . import __version__
from .attempts import TooManyAttempts
from .exposition import add_routes
from .history import STEP, History
from .inside import Inside, Unavailable
from .options import is_loopback
from .sessions import LONGEST, Sessions
from .shown import brief, whole
from .tail import Tail, ending
from .text import shown_address
from .users import ADMIN, APPEND, GROUP
from .web import Answer, Refused, WebServer

HTML, CSS, JAVASCRIPT, SVG = ("text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8",
                              "image/svg+xml")
PAGES = {       # path -> (file, type)
    "/": ("index.html", HTML),
    "/icon.svg": ("icon.svg", SVG),
    "/console.css": ("console.css", CSS),
    **{f"/{name}.js": (f"{name}.js", JAVASCRIPT)
       for name in ("api", "chart", "console", "dom", "events", "format", "live", "views")},
}
JSON = "application/json"
EVENTS = "text/event-stream"
COOKIE = "meilies-session"
# What only a page of our own can send along: forms can't, and scripts of elsewhere have to ask first.
HEADER = "X-Meilies-Console"

# Items of one page of a list, at most.
MOST = 200
# Live tails of one user, or of one address where there are no users.
TAILS = 8
# Bytes of a publish: what is larger is no work for a form.
MAX_PUBLISH = 8 << 20
MAX_LOGIN = 16 * 1024
# Groups of which more than the name is asked for.
MOST_GROUPS = 500

# What is answered before somebody logs in.
_FOR_STRANGERS = {"/api/session", "/api/login", "/api/logout", "/healthz"}

_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_STATUS = {"NOPERM": 403, "NOAUTH": 401, "NOGROUP": 404, "WRONGVERSION": 409, "IDCONFLICT": 409, "EVENTSLOST": 410,
           "NOEVENT": 404,
           "STOREFULL": 507, "STOREFAILED": 503}


def console_of(poller, limits, context=None):
    """The Console that --http-port asks for, to be started; None without it.

    context   for HTTPS, see WebServer
    Raises    OSError   it can't listen there
    """
    if limits.http_port is None:
        return None
    # Where nobody logs in, only the names that it is asked by keep pages of elsewhere out.
    names = None if poller.users.required or not is_loopback(limits.http_hostname) else (limits.http_hostname,)
    web = WebServer(limits.http_hostname, limits.http_port, poller, context, names)
    return Console(web, poller, limits.http_hostname or "0.0.0.0")


class Console:
    """See the top of this file.

    web       the WebServer that it puts its routes into, guards, starts and stops
    poller    the server, who knows the users
    hostname  where it listens
    """

    def __init__(self, web, poller, hostname="127.0.0.1"):
        self._web = web
        self._hostname = hostname
        self._poller = poller
        self._users = poller.users
        self._sessions = Sessions()
        self._history = History(lambda: _sample(poller))
        self._lock = threading.Lock()       # guards the following
        self._tails = Counter()             # who -> live tails
        web.guard = self._admit
        add_routes(web)
        for path, (name, kind) in PAGES.items():
            web.route("GET", path)(_file(name, kind))
        for path, handler in (("session", self._session), ("overview", self._overview), ("streams", self._streams),
                              ("events", self._events), ("event", self._event), ("data", self._data),
                              ("tail", self._tail), ("groups", self._groups), ("group", self._group)):
            web.route("GET", f"/api/{path}")(_told(handler))
        web.route("POST", "/api/login", MAX_LOGIN)(_told(self._login))
        web.route("POST", "/api/logout", MAX_LOGIN)(_told(self._logout))
        web.route("POST", "/api/publish", MAX_PUBLISH)(_told(self._publish))

    @property
    def url(self):
        """Where it is, for a browser on this machine."""
        return f"{'https' if self._web.context else 'http'}://{shown_address((self._hostname, self._web.port))}/"

    def start(self):
        """Begin to answer, and to remember the last hour."""
        self._history.start()
        self._web.start()

    def stop(self):
        """Return when nobody is answered any more."""
        self._web.stop()
        self._history.stop()

    # -- who asks ------------------------------------------------------------

    def _admit(self, request):
        """The guard: say whose request it is, or what to answer in its place."""
        if request.method != "GET":
            _check_sender(request)
        session = self._session_of(request)
        request.user = self._users.anonymous if session is None else self._users.get(session.name)
        if request.path in PAGES or request.path in _FOR_STRANGERS:
            return None
        if request.user is None:
            return _json({"error": "log in first", "code": "NOAUTH"}, 401)
        if request.path == "/metrics" and not _may_see_figures(request.user):
            return _json({"error": "the figures are for those who may read everything", "code": "NOPERM"}, 403)
        return None

    def _session_of(self, request):
        """The Session of a request whose user may still be who it was; or None."""
        session = self._sessions.get(_cookie(request))
        return session if session is not None and self._stands(session) else None

    def _stands(self, session):
        """Whether a session goes on: a user who is off, gone or has another password has none."""
        user = self._users.get(session.name)
        return (self._sessions.lasts(session) and user is not None and user.enabled
                and user.secret == session.secret)

    def _login(self, request):
        fields = _body(request)
        name, password = _text(fields, "user"), _text(fields, "password")
        try:
            user = self._users.check(name, password.encode("utf-8", "surrogatepass"), request.peer)
        except TooManyAttempts as error:
            return _json({"error": str(error), "code": "LATER"}, 429, [("Retry-After", str(error.wait))])
        if user is None:
            return _json({"error": "There is no such user with that password.", "code": "WRONGPASS"}, 403)
        self._sessions.end(_cookie(request))
        token = self._sessions.begin(user)
        return _json({"user": user.name}, 200, [("Set-Cookie", _set_cookie(request, token, int(LONGEST)))])

    def _logout(self, request):
        self._sessions.end(_cookie(request))
        return _json({}, 200, [("Set-Cookie", _set_cookie(request, "", 0))])

    def _session(self, request):
        """Who is logged in, and what a page may offer him; that a page offers it is no right to it."""
        user = request.user
        known = {"required": self._users.required, "version": __version__, "user": None}
        if user is not None:
            known.update(user=user.name if self._users.required else "", append=user.may(APPEND),
                         admin=user.may(ADMIN), group=user.may(GROUP), all=user.may_read_prefix(b""),
                         logged_in=self._session_of(request) is not None)
        return _json(known)

    def _inside(self, request):
        return Inside(self._poller, f"console:{request.peer}", request.user)

    def _ask(self, request, *arguments):
        with self._inside(request) as inside:
            return inside.ask(*arguments)

    # -- what is there -------------------------------------------------------

    def _overview(self, request):
        history = _hour(self._history.columns()) if _may_see_figures(request.user) else {}
        return _json({"info": _sections(self._ask(request, "info")), "history": history, "step": STEP})

    def _streams(self, request):
        query = request.query
        options = [part for word in ("prefix", "containing", "after") if query.get(word)
                   for part in (word, query[word])]
        with self._inside(request) as inside:
            following, names = inside.ask("search-streams", *options, "count", _count(query))
            infos = inside.ask_all([("stream-info", name) for name in names])
        return _json({"streams": [_stream(name, info) for name, info in zip(names, infos)],
                      "following": None if following is None else following.decode()})

    def _events(self, request):
        """A page of events, the newest first; `from` a key down, or above `over` a key."""
        query, selector = request.query, _selector(request.query)
        over, count = query.get("over"), _count(query)
        names = _names(query)
        if over is None:
            following, events = self._ask(request, "read-back", *selector, query.get("from") or "-", count, *names)
        else:
            following, events = self._ask(request, "read", *selector, _key(over) + 1, count, *names)
            events = events[::-1]
        return _json({"events": list(map(brief, events)), "following": None if following is None else str(following)})

    def _event(self, request):
        """One event in full, and the numbers of the first and the last one of its stream."""
        stream, number = _text(request.query, "stream"), _key(_text(request.query, "number"))
        with self._inside(request) as inside:
            event = _one_event(inside, stream, number)
            info = inside.ask("stream-info", stream)
        return _json({"event": whole(event), "first": str(info[b"first"]), "last": str(info[b"last"])})

    def _data(self, request):
        """The bytes of an event's data, as a file."""
        stream, number = _text(request.query, "stream"), _key(_text(request.query, "number"))
        with self._inside(request) as inside:
            data = _one_event(inside, stream, number)[5]
        name = quote(f"{stream}-{number}"[:200], safe="")
        return Answer(200, "application/octet-stream", data,
                      (("Content-Disposition", f"attachment; filename*=UTF-8''{name}"),))

    def _groups(self, request):
        with self._inside(request) as inside:
            names = inside.ask("groups")
            infos = inside.ask_all([("group-info", name) for name in names[:MOST_GROUPS]])
        found = [_group(info) for info in infos if not isinstance(info, resp.ErrorReply)]
        return _json({"groups": found, "count": len(names)})

    def _group(self, request):
        name = _text(request.query, "name")
        with self._inside(request) as inside:
            info = inside.ask("group-info", name)
            parked = inside.ask("group-parked", name, _key(request.query.get("from", "0")), MOST)
        return _json({"group": _group(info), "parked": list(map(_parked, parked))})

    def _publish(self, request):
        fields = _body(request)
        expected, texts = _text(fields, "expected", "any"), []
        for word in ("stream", "name", "data"):
            texts.append(_text(fields, word))
        more = [_text(fields, word, "") for word in ("id", "metadata")]
        [[number, position]] = self._ask(request, "append", texts[0], expected, *texts[1:], *more)
        return _json({"stream": texts[0], "number": str(number), "position": str(position)})

    # -- live ----------------------------------------------------------------

    def _tail(self, request):
        selector, names, seen = _selector(request.query), _split_names(request.query), request.query.get("seen")
        session, user = self._session_of(request), request.user
        tail = Tail(lambda: self._inside(request), selector, names, None if seen is None else _key(seen),
                    lambda: self._users.anonymous == user if session is None else self._stands(session))
        who = request.peer.rpartition(":")[0] if session is None else session.name
        return Answer(200, EVENTS, self._bounded(tail, who))

    def _bounded(self, tail, who):
        """The pieces of a tail, if it isn't one too many."""
        with self._lock:
            free = self._tails[who] < TAILS
            self._tails[who] += free
        if not free:
            yield ending("refused", f"{TAILS} live tails are open already; close one of them")
            return
        try:
            yield from tail.pieces()
        finally:
            with self._lock:
                self._tails[who] -= 1
                if not self._tails[who]:
                    del self._tails[who]


# -- requests --------------------------------------------------------------------

class _BadRequest(Exception):
    """What the page asks makes no sense; the text says what was expected."""


def _check_sender(request):
    """Refuse what wasn't sent by a page from here.  Raises Refused."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    ours = (None, f"http://{host}", f"https://{host}")      # a proxy may have spoken HTTPS
    if (request.headers.get(HEADER) is None or origin not in ours
            or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"):
        raise Refused(403, f"expected a request of the console's own page, with {HEADER} and from the same Host")


def _may_see_figures(user):
    """Those who may have all of INFO."""
    return user.may(ADMIN) or user.may_read_prefix(b"")


def _cookie(request):
    """The token in the cookie, "" without one.  What other cookies hold is none of our business."""
    for part in (request.headers.get("Cookie") or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _set_cookie(request, token, seconds):
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    return f"{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def _body(request):
    """The object in a body of JSON."""
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        raise _BadRequest("expected JSON") from None
    if not isinstance(fields, dict):
        raise _BadRequest("expected a JSON object")
    return fields


def _text(fields, word, default=None):
    value = fields.get(word, default)
    if not isinstance(value, str):
        raise _BadRequest(f"expected {word!r}, a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _BadRequest(f"expected {word!r} to have no half of a surrogate pair") from None
    return value


def _key(text):
    if not _NUMBER.match(text):
        raise _BadRequest(f"found '{text[:40]}', expected a number")
    return int(text)


def _count(query):
    return max(1, min(_key(query.get("count", "50")), MOST))


def _selector(query):
    """The arguments that select, of `kind` and `key`."""
    kind = query.get("kind")
    if kind == "all":
        return ("$all",)
    if kind not in ("stream", "prefix"):
        raise _BadRequest("expected 'kind' to be all, stream or prefix")
    return kind, _text(query, "key")


def _split_names(query):
    """Names of events, one a line."""
    return tuple(name for name in query.get("names", "").split("\n") if name)


def _names(query):
    names = _split_names(query)
    return ("NAMES", len(names), *names) if names else ()


def _one_event(inside, stream, number):
    _, events = inside.ask("read", "stream", stream, number, 1)
    if not events or events[0][3] != number:
        raise resp.ErrorReply(f"NOEVENT there is no event {number} in this stream; it isn't there yet, or no more")
    return events[0]


# -- answers ---------------------------------------------------------------------

def _file(name, kind):
    data = pkgutil.get_data(__package__, f"pages/{name}")
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    more = (("ETag", tag), ("Cache-Control", "no-cache"))

    def handler(request):
        if request.headers.get("If-None-Match") == tag:
            return Answer(304, kind, b"", more)
        return Answer(200, kind, data, more)
    return handler


def _told(handler):
    """`handler`, and what went wrong as JSON."""
    def told(request):
        try:
            return handler(request)
        except _BadRequest as error:
            return _json({"error": str(error), "code": "BAD"}, 400)
        except Unavailable as error:
            return _json({"error": str(error), "code": "UNAVAILABLE"}, 503)
        except resp.ErrorReply as error:
            return _json({"error": str(error), "code": error.code}, _STATUS.get(error.code, 400))
    return told


def _json(value, status=200, headers=()):
    return Answer(status, JSON, json.dumps(value).encode(), tuple(headers))


def _sections(text):
    """INFO as {section: {name: value}}, all of them text."""
    sections, section = {}, {}
    for line in text.decode().splitlines():
        if line.startswith("# "):
            section = sections[line[2:].lower()] = {}
        elif ":" in line:
            name, _, value = line.partition(":")
            section[name] = value
    return sections


def _stream(name, info):
    """A line of the list of streams."""
    found = {"name": name.decode()}
    if isinstance(info, dict):
        found.update(first=str(info[b"first"]), last=str(info[b"last"]), count=str(info[b"count"]),
                     bytes=info[b"bytes"], first_time=info[b"first-time"], last_time=info[b"last-time"])
    elif isinstance(info, resp.ErrorReply):
        found.update(error=str(info))
    return found


def _group(info):
    """What `group-info` says, numbers that may be long as text."""
    found = {key.decode().replace("-", "_"): value for key, value in info.items()}
    members, names = found.pop("members"), found.pop("names", [])
    texts = {key: value.decode() if isinstance(value, bytes) else str(value) for key, value in found.items()}
    return {**texts, "names": [name.decode() for name in names],
            "members": [{"name": name.decode(), "held": held} for name, held in members.items()]}


def _parked(one):
    key, stream, number, tries, time, reason = one
    return {"key": str(key), "stream": stream.decode(), "number": str(number), "tries": tries, "time": time,
            "reason": reason.decode()}


def _sample(poller):
    """What the charts show: see history.py."""
    figures, store = poller.figures, poller.store
    clients, syncs = figures.clients(), store.sync_times
    counters = {"events": poller.published, "commands": poller.executed, "received": poller.received,
                "sent": clients.sent, "syncs": sum(syncs.counts), "syncing": syncs.seconds}
    gauges = {"connections": clients.connections, "log_bytes": store.size,
              "group_lag": sum(group.events for group in figures.groups())}
    return counters, gauges


def _hour(columns):
    """The columns of the last hour, with the mean seconds of a sync in place of how many there were."""
    counts, seconds = columns.pop("syncs", []), columns.pop("syncing", [])
    columns["sync_seconds"] = [time / count if count else None for count, time in zip(counts, seconds)]
    return columns
