"""server/console.py: who gets in, what he is shown, and what he can do."""

import json
import re
import ssl
import urllib.request

import pytest
from certificates import certificates
from conftest import SECONDS
from consoles import PASSWORD, Consoled, Visitor
from serving import eventually, publish

import resp
from server import console, streams
from server.console import COOKIE, HEADER, PAGES, TAILS
from server.inside import Inside

__all__ = ["certificates"]

EVERYTHING = ["+@all", "allkeys"]
ORDERS = ["+@read", "~order-*"]


@pytest.fixture
def opened(tmp_path):
    """A console that lets everybody in."""
    with Consoled(tmp_path) as consoled:
        yield consoled


@pytest.fixture
def visitor(opened):
    return opened.visitor()


@pytest.fixture
def closed(tmp_path):
    """A console with users."""
    with Consoled(tmp_path, {"ann": EVERYTHING, "bob": ORDERS, "eve": []}) as consoled:
        yield consoled


@pytest.fixture
def ann(closed):
    return logged_in(closed, "ann")


@pytest.fixture
def bob(closed):
    return logged_in(closed, "bob")


def logged_in(consoled, name):
    visitor = consoled.visitor()
    assert visitor.log_in(name).status == 200
    return visitor


def refusal(seen):
    """(status, code, error) of an answer that says no."""
    return seen.status, seen.json["code"], seen.json["error"]


# -- pages -----------------------------------------------------------------------

@pytest.mark.parametrize("path", PAGES)
def test_the_pages_are_files_that_a_browser_asks_for_once_and_then_whether_they_changed(closed, path):
    visitor = closed.visitor()
    seen = visitor.get(path[1:])
    assert seen.status == 200 and seen.body and seen.headers["Content-Type"] == PAGES[path][1]
    assert seen.headers.get_all("Cache-Control") == ["no-cache"]
    assert visitor.get(path[1:], If_None_Match=seen.headers["ETag"]).status == 304


def test_a_page_may_run_and_load_nothing_from_elsewhere(visitor):
    policy = visitor.get("").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


def test_it_speaks_https_where_there_is_a_certificate(server, certificates):
    certificate, key = certificates.server
    running = server("--http-port", "0", "--tls-certificate", certificate, "--tls-key", key)
    url = running.console_url()
    assert url.startswith("https://127.0.0.1:")
    believing = ssl.create_default_context(cafile=certificates.authority)
    with urllib.request.urlopen(url, context=believing, timeout=SECONDS) as page:
        assert b"<title>MeiliES</title>" in page.read()


def test_the_server_stops_at_once_however_many_look_at_it(server):
    running = server("--http-port", "0")
    visitor = Visitor(int(running.console_url().rstrip("/").rpartition(":")[2]))
    tails = [visitor.begin("GET", "api/tail?kind=all") for _ in range(TAILS)]
    assert running.stop() == 0
    for connection, _ in tails:
        connection.close()


# -- who gets in -----------------------------------------------------------------

def test_without_users_everybody_may_do_everything(visitor):
    assert visitor.get("api/session").json == {
        "required": False, "version": console.__version__, "user": "", "append": True, "admin": True, "group": True,
        "all": True, "logged_in": False}
    assert visitor.get("api/overview").status == 200


@pytest.mark.parametrize("path", ["overview", "streams", "events?kind=all", "event?stream=s&number=0",
                                  "data?stream=s&number=0", "tail?kind=all", "groups", "group?name=g"])
def test_with_users_a_stranger_is_shown_nothing(closed, path):
    assert refusal(closed.visitor().get(f"api/{path}")) == (401, "NOAUTH", "log in first")


def test_a_stranger_can_not_publish(closed):
    assert closed.visitor().post("api/publish", {"stream": "s", "name": "x", "data": ""}).status == 401
    assert closed.store.position == 0


def test_a_stranger_is_told_that_he_has_to_log_in(closed):
    assert closed.visitor().get("api/session").json == {"required": True, "version": console.__version__, "user": None}


def test_who_logs_in_is_known_from_then_on(ann):
    assert ann.get("api/session").json["user"] == "ann"
    assert ann.get("api/overview").status == 200


@pytest.mark.parametrize("name, password", [("ann", "wrong"), ("ann", ""), ("nobody", PASSWORD), ("", ""),
                                            ("ann\0", PASSWORD)])
def test_a_wrong_password_and_a_wrong_name_are_refused_alike(closed, name, password):
    visitor = closed.visitor()
    assert refusal(visitor.log_in(name, password)) == (403, "WRONGPASS", "There is no such user with that password.")
    assert visitor.token is None


def test_a_password_is_tried_a_limited_number_of_times(closed):
    visitor = closed.visitor()
    for _ in range(30):
        seen = visitor.log_in("ann", "wrong")
        if seen.status == 429:
            break
    assert seen.json["code"] == "LATER" and int(seen.headers["Retry-After"]) > 0
    assert visitor.log_in("ann").status == 429


def test_the_cookie_is_for_this_browser_alone_and_not_for_its_scripts(closed):
    [cookie] = closed.visitor().log_in("ann").headers.get_all("Set-Cookie")
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookie)


def test_the_cookie_stays_on_https_where_a_proxy_speaks_it(closed):
    seen = closed.visitor().post("api/login", {"user": "ann", "password": PASSWORD}, X_Forwarded_Proto="https")
    assert seen.headers["Set-Cookie"].endswith("; Secure")


def test_a_token_from_elsewhere_is_never_taken_over(closed):
    visitor = closed.visitor()
    visitor.token = planted = "A" * 43
    assert visitor.log_in("ann").status == 200
    assert visitor.token != planted
    visitor.token = planted
    assert visitor.get("api/overview").status == 401


def test_a_login_ends_the_session_that_the_browser_had(ann):
    before = ann.token
    ann.log_in("bob")
    stale = Visitor(ann.port)
    stale.token = before
    assert stale.get("api/overview").status == 401


def test_a_token_is_worth_nothing_after_the_logout(ann):
    token = ann.token
    seen = ann.post("api/logout", {})
    assert seen.headers["Set-Cookie"].startswith(f"{COOKIE}=; ") and "Max-Age=0" in seen.headers["Set-Cookie"]
    assert ann.token is None
    ann.token = token
    assert ann.get("api/overview").status == 401


def test_a_session_that_is_over_has_to_log_in_again(closed, ann, monkeypatch):
    monkeypatch.setattr("server.sessions.IDLE", 0)
    assert ann.get("api/overview").status == 401
    assert closed.console._sessions._sessions == {}


@pytest.mark.parametrize("rules", [["off"], [">another password"]])
def test_a_user_who_is_off_or_has_another_password_has_no_session_any_more(closed, ann, rules):
    closed.users.change("ann", rules)
    assert ann.get("api/overview").status == 401


def test_a_user_who_is_no_more_has_no_session(closed, ann):
    closed.users.remove(["ann"])
    assert ann.get("api/overview").status == 401


@pytest.mark.parametrize("cookie", [
    "", "x", f"{COOKIE}=", f"{COOKIE}=\"", "a=b; c", f"{COOKIE}={'A' * 8000}", "=;=;", "\x7f"])
def test_a_cookie_that_makes_no_sense_is_none(closed, cookie):
    assert closed.visitor().get("api/overview", Cookie=cookie).status == 401


def test_the_figures_are_for_those_who_may_read_everything(closed, ann, bob):
    assert closed.visitor().get("metrics").status == 401
    assert refusal(bob.get("metrics"))[:2] == (403, "NOPERM")
    assert bob.get("api/overview").json["history"] == {}
    assert ann.get("metrics").body.startswith(b"# HELP meilies_build_info ")


def test_whether_it_is_well_is_told_to_everybody(closed):
    assert closed.visitor().get("healthz").body == b"ok\n"


def test_other_cookies_do_not_get_in_the_way(ann):
    for cookie in (f'a={{"x": [1, "2"]}}; {COOKIE}={ann.token}', f"{COOKIE}={ann.token}; =; b@c"):
        assert Visitor(ann.port).get("api/overview", Cookie=cookie).status == 200


def test_who_needs_no_password_is_a_user_as_well_until_somebody_logs_in(closed):
    closed.users.change("default", ["on", "nopass", "+@read", "~order-*"])
    closed.store.append("order-1", "x", b"")
    visitor = closed.visitor()
    session = visitor.get("api/session").json
    assert (session["user"], session["logged_in"], session["append"]) == ("default", False, False)
    connection, events = visitor.tail("api/tail?kind=stream&key=order-1")
    with connection:
        assert next(events)[0] == "events"
        closed.users.change("bob", ["+@append"])        # which is no business of this one
        closed.users.change("default", ["off"])
        assert next(events)[0] in ("ended", "refused")
    assert visitor.get("api/streams").status == 401


# -- whose page asks -------------------------------------------------------------

@pytest.mark.parametrize("path", ["login", "logout", "publish"])
@pytest.mark.parametrize("headers", [
    {HEADER: None},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://[bad"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])
def test_what_a_page_of_elsewhere_sends_changes_nothing(opened, path, headers):
    visitor = opened.visitor()
    given = {name: value for name, value in {HEADER: "1", **headers}.items() if value is not None}
    body = json.dumps({"stream": "s", "name": "x", "data": "", "user": "ann", "password": PASSWORD}).encode()
    assert visitor.ask("POST", f"api/{path}", body, given).status == 403
    assert opened.store.position == 0


def test_what_the_page_itself_sends_is_done(opened, visitor):
    fields = {"stream": "s", "name": "x", "data": ""}
    seen = visitor.post("api/publish", fields, Origin=opened.url.rstrip("/"), Sec_Fetch_Site="same-origin")
    assert seen.status == 200


@pytest.mark.parametrize("path", ["login", "logout", "publish"])
def test_nothing_is_changed_by_following_a_link(visitor, path):
    assert visitor.get(f"api/{path}").status == 405


# -- what is shown ---------------------------------------------------------------

def test_the_overview_has_the_figures_and_the_last_hour(opened, visitor):
    opened.console._history.take()
    seen = visitor.get("api/overview").json
    assert seen["info"]["streams"]["events"] == "0"
    assert {len(column) for column in seen["history"].values()} == {len(seen["history"]["time"])}
    assert set(seen["history"]) == {"time", "events", "commands", "received", "sent", "sync_seconds", "connections",
                                    "log_bytes", "group_lag"}


def test_the_time_of_a_sync_is_the_mean_of_those_that_there_were():
    assert console._hour({"time": [1, 2, 3], "syncs": [4.0, 0.0, None], "syncing": [0.2, 0.0, None]}) == {
        "time": [1, 2, 3], "sync_seconds": [0.05, None, None]}


def test_streams_are_listed_with_what_is_known_of_them(opened, visitor):
    for name in ("a", "order-1", "order-2", "z"):
        opened.store.append(name, "x", b"data")
    seen = visitor.get("api/streams?prefix=order-&count=1").json
    [one] = seen["streams"]
    assert (one["name"], one["count"], one["first"], one["last"]) == ("order-1", "1", "0", "0")
    assert seen["following"] == "order-1"
    [one] = visitor.get("api/streams?containing=ORD&after=order-1").json["streams"]
    assert one["name"] == "order-2"
    assert len(visitor.get("api/streams?count=1000").json["streams"]) == 4


def test_a_hundred_thousand_streams_are_searched_a_page_at_a_time(opened, visitor, monkeypatch):
    client, count = opened.serving.connect(), 100_000
    for begin in range(0, count, 10_000):
        client.send(b"".join(publish(f"s{i:06d}", "") for i in range(begin, begin + 10_000)))
        client.recv_exactly(b"+OK\r\n" * 10_000)
    looked_at = []
    monkeypatch.setattr(opened.store, "names_beginning", lambda *arguments, ask=opened.store.names_beginning: (
        looked_at.append(ask(*arguments)) or looked_at[-1]))
    seen = visitor.get("api/streams")
    assert len(seen.json["streams"]) == 50 and seen.json["following"] == "s000049" and len(seen.body) < 20_000
    assert len(looked_at) == 1
    for question, names, looks in (("containing=99999", ["s099999"], 25), ("prefix=s0999&count=1", ["s099900"], 1),
                                   ("after=s099998", ["s099999"], 1), ("containing=no", [], 25)):
        looked_at.clear()
        found, after = [], ""
        while after is not None:
            page = visitor.get(f"api/streams?{question}{after}").json
            found += [one["name"] for one in page["streams"]]
            after = page["following"] and f"&after={page['following']}" if not found else None
        assert (found, len(looked_at)) == (names, looks)


def test_events_are_shown_the_newest_first_and_page_by_page(opened, visitor):
    opened.store.append_many("s", [("x", b"%d" % i) for i in range(7)])
    texts = []
    page = visitor.get("api/events?kind=stream&key=s&count=3").json
    while True:
        texts += [event["data"]["text"] for event in page["events"]]
        if page["following"] is None:
            break
        page = visitor.get(f"api/events?kind=stream&key=s&count=3&from={page['following']}").json
    assert texts == ["6", "5", "4", "3", "2", "1", "0"]
    back = visitor.get("api/events?kind=stream&key=s&count=3&over=3").json
    assert [event["number"] for event in back["events"]] == ["6", "5", "4"]


def test_events_are_found_by_their_names_and_by_time(opened, visitor):
    opened.store.append_many("s", [("a b", b"1"), ("c", b"2"), ("d", b"3")])
    seen = visitor.get("api/events?kind=all&names=a%20b%0Ac").json
    assert [event["data"]["text"] for event in seen["events"]] == ["2", "1"]
    assert visitor.get("api/events?kind=prefix&key=s&from=@1").json["events"][0]["number"] == "0"


def test_an_event_is_shown_in_full_and_its_data_can_be_had_as_a_file(opened, visitor):
    opened.store.append("s/ü", "x", b"\xff" * 100_000)
    seen = visitor.get("api/event?stream=s/%C3%BC&number=0").json
    assert (seen["first"], seen["last"], seen["event"]["data"]["size"]) == ("0", "0", 100_000)
    data = visitor.get("api/data?stream=s/%C3%BC&number=0")
    assert data.body == b"\xff" * 100_000 and data.headers["Content-Type"] == "application/octet-stream"
    assert data.headers["Content-Disposition"] == "attachment; filename*=UTF-8''s%2F%C3%BC-0"


@pytest.mark.parametrize("number", [1, 7])
def test_an_event_that_is_not_there_is_not_found(opened, visitor, number):
    opened.store.append("s", "x", b"")
    assert visitor.get(f"api/event?stream=s&number={number}").status == 404
    assert visitor.get(f"api/data?stream=no&number={number}").status == 404


def test_groups_are_shown_with_how_far_they_are_behind(opened, visitor):
    client = opened.serving.connect()
    for i in range(3):
        client.send(publish("s", str(i)))
        client.recv_exactly(b"+OK\r\n")
    client.ask("group-create", "g", "stream", "s", 0)
    client.ask("group-read", "g", "ann", 2)
    client.ask("group-refuse", "g", 0, "PARK", "broken")
    seen = visitor.get("api/groups").json
    [group] = seen["groups"]
    assert seen["count"] == 1
    assert (group["name"], group["parked"], group["members"]) == ("g", "1", [{"name": "ann", "held": 1}])
    [parked] = visitor.get("api/group?name=g").json["parked"]
    assert (parked["key"], parked["stream"], parked["number"], parked["reason"]) == ("0", "s", "0", "broken")
    assert refusal(visitor.get("api/group?name=no"))[:2] == (404, "NOGROUP")
    client.ask("group-create", "named", "$all", 0, "NAMES", 2, "paid", "sent")
    assert visitor.get("api/group?name=named").json["group"]["names"] == ["paid", "sent"]


def test_what_is_published_is_stored_and_shown_where(opened, visitor):
    fields = {"stream": "s", "name": "x", "data": "dätä", "id": "1", "metadata": "m"}
    assert visitor.post("api/publish", fields).json == {"stream": "s", "number": "0", "position": "0"}
    [event] = opened.store.read("s")
    assert (event.name, event.data.decode(), event.id, event.metadata) == ("x", "dätä", b"1", b"m")
    assert refusal(visitor.post("api/publish", {**fields, "expected": "none", "id": ""}))[:2] == (409, "WRONGVERSION")
    assert refusal(visitor.post("api/publish", {**fields, "data": "other"}))[:2] == (409, "IDCONFLICT")


@pytest.mark.parametrize("path, why", [
    ("events", "expected 'kind' to be all, stream or prefix"),
    ("events?kind=stream", "expected 'key', a text"),
    ("events?kind=all&over=x", "found 'x', expected a number"),
    ("events?kind=all&count=x", "found 'x', expected a number"),
    ("events?kind=all&from=x", "ERR FROM is 'x', expected a number"),
    ("event?stream=s", "expected 'number', a text"),
    ("event?stream=&number=1", "ERR stream name is empty"),
    ("tail?kind=all&seen=x", "found 'x', expected a number"),
])
def test_questions_that_make_no_sense_are_answered_with_what_was_expected(visitor, path, why):
    status, _, error = refusal(visitor.get(f"api/{path}"))
    assert status == 400 and error.startswith(why)


@pytest.mark.parametrize("body, why", [
    (b"", "expected JSON"), (b"{", "expected JSON"), (b"[]", "expected a JSON object"), (b"\xff", "expected JSON"),
    (b"[" * 16000, "expected JSON"), (b"{}", "expected 'stream', a text"),
    (b'{"stream": 1}', "expected 'stream', a text"),
    (b'{"stream": "\\ud800"}', "expected 'stream' to have no half"),
    (b'{"stream": "s", "name": "x", "data": "", "expected": "perhaps"}', "ERR EXPECTED is 'perhaps'"),
    (b'{"stream": "a:b", "name": "x", "data": ""}', "ERR a stream name has no ':'"),
])
def test_a_body_that_makes_no_sense_stores_nothing(opened, visitor, body, why):
    status, _, error = refusal(visitor.ask("POST", "api/publish", body, {HEADER: "1"}))
    assert status == 400 and error.startswith(why)
    assert opened.store.position == 0


def test_a_server_that_does_not_answer_is_said_to(opened, visitor, monkeypatch):
    monkeypatch.setattr(Inside, "_receive", lambda self, seconds: False)
    assert refusal(visitor.get("api/streams"))[:2] == (503, "UNAVAILABLE")


def test_a_store_that_failed_says_so(opened, visitor, monkeypatch):
    monkeypatch.setattr(streams, "_parse_search", lambda options: 1 / 0)
    assert refusal(visitor.get("api/streams")) == (400, "ERR", "ERR internal error; the server's log has the details")


@pytest.mark.parametrize("error, status", [("EVENTSLOST 3 7 they are lost", 410), ("CORRUPT it is damaged", 400),
                                           ("STOREFAILED the disk failed", 503), ("STOREFULL no room", 507)])
def test_what_went_wrong_is_told_with_its_code_and_in_full(visitor, monkeypatch, error, status):
    def refuse(self, *arguments):
        raise resp.ErrorReply(error)

    monkeypatch.setattr(Inside, "ask", refuse)
    monkeypatch.setattr(Inside, "_greet", lambda self: None)
    assert refusal(visitor.get("api/events?kind=all")) == (status, error.split()[0], error)


# -- who may see what ------------------------------------------------------------

def test_who_may_read_some_streams_is_shown_these_alone(closed, bob):
    for name in ("order-1", "secret", "order-2"):
        closed.store.append(name, "x", b"")
    assert [one["name"] for one in bob.get("api/streams").json["streams"]] == ["order-1", "order-2"]
    assert bob.get("api/events?kind=stream&key=order-1").status == 200
    assert bob.get("api/events?kind=prefix&key=order-").status == 200
    for path in ("events?kind=stream&key=secret", "event?stream=secret&number=0", "data?stream=secret&number=0",
                 "events?kind=all", "events?kind=prefix&key=o"):
        assert refusal(bob.get(f"api/{path}"))[:2] == (403, "NOPERM"), path


def test_who_may_not_append_stores_nothing(closed, bob):
    fields = {"stream": "order-1", "name": "x", "data": ""}
    assert refusal(bob.post("api/publish", fields))[:2] == (403, "NOPERM")
    assert not bob.get("api/session").json["append"]
    assert closed.store.position == 0


def test_a_user_without_rights_is_shown_nothing(closed):
    eve = logged_in(closed, "eve")
    for path in ("streams", "events?kind=all", "groups"):
        assert refusal(eve.get(f"api/{path}"))[:2] == (403, "NOPERM"), path


def test_a_right_that_is_taken_is_gone_at_once(closed, ann):
    closed.store.append("s", "x", b"")
    assert ann.get("api/events?kind=all").status == 200
    closed.users.change("ann", ["-@read"])
    assert refusal(ann.get("api/events?kind=all"))[:2] == (403, "NOPERM")


# -- live ------------------------------------------------------------------------

def live(consoled):
    """How many tails are open."""
    return sum(one.peer.startswith("console:") for one in list(consoled.poller.connections.values()))


def test_a_tail_shows_what_comes(opened, visitor):
    opened.store.append("s", "x", b"old")
    connection, events = visitor.tail("api/tail?kind=stream&key=s")
    with connection:
        assert next(events)[1]["events"][0]["data"]["text"] == "old"
        visitor.post("api/publish", {"stream": "s", "name": "x", "data": "new"})
        assert next(events)[1]["events"][0]["data"]["text"] == "new"
    eventually(lambda: live(opened) == 0, "the end of a tail whose browser is gone")


def test_a_tail_ends_with_its_session(closed, ann):
    closed.store.append("s", "x", b"")
    connection, events = ann.tail("api/tail?kind=all")
    with connection:
        assert next(events)[0] == "events"
        ann.post("api/logout", {})
        assert next(events) == ("ended", {"error": "you are logged out"})
    eventually(lambda: live(closed) == 0)


@pytest.mark.parametrize("rules", [["-@read"], ["resetkeys"], ["off"], [">other password"]])
def test_a_tail_ends_when_the_rights_to_it_do(closed, ann, rules):
    closed.store.append("s", "x", b"")
    connection, events = ann.tail("api/tail?kind=stream&key=s")
    with connection:
        assert next(events)[0] == "events"
        closed.users.change("ann", rules)
        assert next(events)[0] in ("ended", "refused")
        assert next(events, None) is None
    eventually(lambda: live(closed) == 0)


def test_a_tail_ends_when_the_server_stops(opened, visitor):
    opened.store.append("s", "x", b"")
    connection, events = visitor.tail("api/tail?kind=all")
    with connection:
        next(events)
        opened.serving.stop()
        assert next(events, (None,))[0] in ("ended", None)


def test_one_tail_too_many_is_refused_in_words_and_others_go_on(opened, visitor):
    opened.store.append("s", "x", b"")
    tails = [visitor.tail("api/tail?kind=all") for _ in range(TAILS)]
    for _, events in tails:
        assert next(events)[0] == "events"
    connection, events = visitor.tail("api/tail?kind=all")
    with connection:
        assert next(events) == ("refused", {"error": f"{TAILS} live tails are open already; close one of them"})
    for connection, _ in tails:
        connection.close()
    eventually(lambda: not opened.console._tails, "the end of all tails")
    connection, events = visitor.tail("api/tail?kind=all")
    with connection:
        assert next(events)[0] == "events"


def test_asking_for_the_head_of_a_tail_begins_none(opened, visitor):
    connection, response = visitor.begin("HEAD", "api/tail?kind=all")
    with connection:
        assert response.status == 200 and response.read() == b""
    assert live(opened) == 0 and not opened.console._tails
