"""server/pages/: what somebody sees who opens the console in a browser."""

import re
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser import PROGRAM, Chromium
from consoles import PASSWORD, Consoled
from serving import OK, publish

from server.console import PAGES
from server.web import WebServer

FOLDER = Path(__file__).resolve().parent.parent / "server" / "pages"
FILES = sorted(path.name for path in FOLDER.iterdir())

in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

LIGHT, DARK = False, True
DESK, PHONE = (1280, 800), (390, 844)

# What somebody may publish who means no good, as (stream, event, data).
TRICKS = [
    ("<script>hacked=1</script>", "<img src=x onerror=hacked=1>", b"<script>hacked = 1; alert(1)</script>"),
    ("'\"><svg onload=hacked=1>", "javascript:hacked=1",
     b'{"a": "</pre><script>hacked=1</script>", "__proto__": {"b": 1}}'),
    ("\u202egnp.exe", "\u2066x\u2069", "abc\u202efed\u200b".encode()),
    ("nul", "nul", b"a\0b\x1b[2Jc\x7f"),
    ("invalid", "utf-8", b"\xff\xfe\x00<b>"),
    ("long", "line", b"<i>" * 350_000),
    ("deep", "json", b"[" * 3000 + b"]" * 3000),
    ("x" * 3000, "y" * 3000, b"\n" * 200),
    ("مرحبا", "שלום", "مرحبا بالعالم".encode()),
    ("%00?a=1&b=2#/../'", "{{constructor}}", b"${7*7}"),
]

# The colours of each text against what is behind it, as the ratio that WCAG defines; those below what it asks for.
TOO_FAINT = """(() => {
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const found = parts(getComputedStyle(one).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll("body *")) {
        const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
        if (!texts.length || !element.checkVisibility()) continue;
        if (element.closest("[aria-disabled], :disabled, .unseen, .skip")) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(parts(style.color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const large = parseFloat(style.fontSize) >= 24;
        if (ratio >= (large ? 3 : 4.5)) continue;
        faint.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)} ${texts[0].data}`);
    }
    return faint;
})()"""

# What somebody who can't see the page could not use.
UNNAMED = """[...document.querySelectorAll("input, select, textarea, button, a, img, svg[role]")].filter((one) =>
    one.checkVisibility() && !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()
                               || one.hasAttribute("alt"))).map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def page(chromium):
    """A page that nothing may go wrong in."""
    page = chromium.page()
    yield page
    page.close()
    assert page.problems == []


@pytest.fixture
def opened(tmp_path):
    with Consoled(tmp_path) as consoled:
        yield consoled


@pytest.fixture
def closed(tmp_path):
    with Consoled(tmp_path, {"ann": ["+@all", "allkeys"], "bob": ["+@read", "~order-*"]}) as consoled:
        yield consoled


def some_events(consoled):
    store = consoled.store
    for i in range(60):
        store.append(f"order-{i % 3}", "paid", b'{"id": %d, "amount": 12345678901234567890, "tags": []}' % i, )
    store.append("empty", "nothing", b"")
    store.append("binary", "bytes", bytes(range(256)))
    client = consoled.serving.connect()
    client.ask("group-create", "billing", "prefix", "order-", 0)
    client.ask("group-create", "named", "$all", 0, "NAMES", 1, "paid")
    client.ask("group-read", "billing", "ann", 3)
    client.ask("group-refuse", "billing", 0, "PARK", "no such customer")


def log_in(page, name):
    page.fill("[name=user]", name)
    page.fill("[name=password]", PASSWORD)
    page.press("Enter")


def there(page, title):
    """Wait for a page with this headline."""
    page.wait(f"document.querySelector('#main h1')?.innerText.includes({title!r})")


def show(page, stream):
    """Go to the first event of a stream."""
    page.go(f"#/event?{urlencode({'stream': stream, 'number': 0})}")


# -- the files -------------------------------------------------------------------

def test_every_file_is_served():
    assert FILES == sorted(name for name, _ in PAGES.values())


@pytest.mark.parametrize("name", FILES)
def test_no_file_makes_markup_or_code_of_text_or_asks_elsewhere(name):
    text = (FOLDER / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert max(map(len, text.splitlines())) <= 120
    assert not re.search(r"\sstyle=|\son\w+=\"|<script(?! type=\"module\" src)", text) or name.endswith(".js")


# -- one after the other ---------------------------------------------------------

@in_a_browser
def test_somebody_logs_in_looks_around_and_logs_out(closed, page):
    some_events(closed)
    page.open(closed.url)
    page.wait_for("Log in to MeiliES")
    page.fill("[name=user]", "ann")
    page.fill("[name=password]", "wrong")
    page.press("Enter")
    page.wait_for("There is no such user with that password.")
    page.problems.clear()       # that the browser says 403
    log_in(page, "ann")
    there(page, "Overview")
    assert page.text("#who-name") == "ann"
    page.click("[data-page=streams]")
    page.wait_for("order-2", "#main")
    page.click("tbody tr:nth-child(3) a")
    there(page, "order-0")
    assert page.run("document.title") == "order-0 – MeiliES"
    page.click("tbody tr:first-child .row-link")
    page.wait_for('"amount": 12345678901234567890', "pre")
    page.click("a[rel=next]")
    there(page, "Event 18")
    page.click("#log-out")
    page.wait_for("Log in to MeiliES")
    assert page.run("document.cookie") == ""
    page.open(f"{closed.url}?again#/streams")
    page.wait_for("Log in to MeiliES")
    assert "order" not in page.text("body")


@in_a_browser
def test_who_may_read_some_streams_is_offered_no_more(closed, page):
    some_events(closed)
    page.open(closed.url)
    log_in(page, "bob")
    there(page, "Streams")
    assert page.run("[...document.querySelectorAll('tbody a')].map((a) => a.innerText)") == [
        "order-0", "order-1", "order-2"]
    assert page.run("[...document.querySelectorAll('#nav a')].filter((a) => a.checkVisibility())"
                    ".map((a) => a.innerText.trim())") == ["Streams", "Live", "Groups"]
    page.go("#/overview")
    page.wait_for("Figures and charts are for those who may read every stream.")
    page.go("#/publish")
    page.wait_for("You may not publish")
    page.go("#/events?kind=stream&key=empty")
    there(page, "Not allowed")
    page.problems.clear()


@in_a_browser
def test_a_session_that_is_over_leads_to_the_login_and_from_there_back(closed, page):
    some_events(closed)
    page.open(f"{closed.url}#/streams")
    log_in(page, "ann")
    page.wait_for("order-2", "#main")
    closed.console._sessions._sessions.clear()
    page.go("#/groups")
    page.wait_for("Log in to MeiliES")
    page.problems.clear()
    log_in(page, "ann")
    there(page, "Groups")


@in_a_browser
def test_what_is_published_by_form_is_seen_in_the_live_tail(opened, page, chromium):
    watching = chromium.page()
    watching.open(f"{opened.url}#/live?kind=stream&key=orders")
    watching.wait_for("Waiting for events")
    watching.wait("document.querySelector('.state')?.innerText === 'Live'")
    page.open(f"{opened.url}#/publish?stream=orders")
    there(page, "Publish")
    page.fill("[name=name]", "created")
    page.fill("[name=data]", '{"a": 1}')
    page.wait_for("JSON", "form .hint")
    page.press("Enter", modifiers=2)
    page.wait_for("Stored as orders 0.")
    watching.wait_for('{"a": 1}', "tbody")
    watching.press("p")
    watching.wait_for("Paused", ".state")
    page.click("button.primary")
    page.wait_for("Stored as orders 1.")
    watching.wait_for("1 waiting")
    assert watching.run("document.querySelectorAll('tbody tr').length") == 1
    watching.press("p")
    watching.wait("document.querySelectorAll('tbody tr').length === 2")
    assert watching.problems == []
    watching.close()


@in_a_browser
def test_hostile_events_are_shown_as_text_and_run_nothing(opened, page):
    for stream, name, data in TRICKS:
        opened.store.append(stream.replace(":", ""), name, data)
    page.open(f"{opened.url}#/streams")
    page.wait_for("<script>hacked=1</script>", "table")
    page.wait_for("202Egnp.exe", "table")
    page.go("#/events?kind=all")
    page.wait_for("{{constructor}}", "table")
    for i, (stream, name, _) in enumerate(TRICKS):
        show(page, stream.replace(":", ""))
        page.wait("document.querySelector('#main h1')?.innerText.includes('Event 0') && "
                  f"document.querySelector('.facts a')?.innerText === '{i}'")
        shown = page.run("document.querySelector('.panel-body').innerText")
        assert shown, name
        assert page.run("document.querySelectorAll('main script, main img, main i, main b, main [onload]').length") == 0
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), name
    show(page, TRICKS[2][0])
    page.wait_for("abc202Efed200B", "pre")
    page.go("#/event?stream=invalid&number=0")
    page.wait_for("000000  ff fe 00 3c 62 3e", "pre")
    page.go("#/live?kind=all")
    page.wait_for("${7*7}", "tbody")
    assert page.run("typeof hacked") == "undefined"
    assert page.run("({}).b") is None


@in_a_browser
def test_every_page_can_be_read_in_light_and_dark_at_a_desk_and_on_a_phone(opened, page):
    some_events(opened)
    opened.console._history.take()
    opened.console._history.take()
    addresses = {
        "#/overview": "Overview", "#/streams": "Streams", "#/streams?containing=nothing": "Streams",
        "#/events?kind=stream&key=order-0": "order-0", "#/events?kind=prefix&key=order-": "order-",
        "#/event?stream=order-0&number=1": "Event 1", "#/event?stream=binary&number=0": "Event 0",
        "#/live": "Live", "#/live?kind=all": "All streams", "#/groups": "Groups", "#/group?name=billing": "billing",
        "#/publish": "Publish", "#/event?stream=no&number=1": "Not there"}
    page.open(opened.url)
    there(page, "Overview")
    for address, title in addresses.items():
        page.go(address)
        there(page, title)
        for width, height in (DESK, PHONE):
            page.resize(width, height)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), f"{address} is too wide for {width}"
            for dark in (LIGHT, DARK):
                page.look(dark)
                assert page.run(TOO_FAINT) == [], address
        assert page.run(UNNAMED) == [], address
        assert page.run("document.querySelectorAll('#main h1').length") == 1
    page.problems.clear()       # that the browser says 404


@in_a_browser
def test_it_is_used_without_a_mouse(opened, page):
    some_events(opened)
    page.open(opened.url)
    there(page, "Overview")
    page.press("g")
    page.press("s")
    page.wait_for("order-2", "#main")
    assert page.run("document.activeElement.tagName") == "H1"
    page.press("/")
    page.ask("Input.insertText", text="order-1")
    page.press("Enter")
    page.wait("document.querySelectorAll('tbody tr').length === 1")
    page.press("j")
    assert page.run("document.activeElement.innerText") == "order-1"
    page.press("Enter")
    there(page, "order-1")
    page.press("j")
    page.press("j")
    page.press("j")
    page.press("k")
    page.press("Enter")
    there(page, "Event 18")
    page.press("[")
    there(page, "Event 19")
    page.press("]")
    there(page, "Event 18")
    page.press("?")
    page.wait("document.querySelector('#help').open")
    page.press("Escape")
    page.wait("!document.querySelector('#help').open")
    page.press("x")     # means nothing


@in_a_browser
def test_events_are_paged_both_ways(opened, page):
    opened.store.append_many("s", [("x", b"%d" % i) for i in range(120)])
    numbers = "[...document.querySelectorAll('.row-link')].map((a) => a.innerText)"
    first, second, third = ([str(i) for i in range(top, max(-1, top - 50), -1)] for top in (119, 69, 19))
    page.open(f"{opened.url}#/events?kind=stream&key=s")
    for expected, key in ((first, "]"), (second, "]"), (third, "["), (second, "["), (first, "]"), (second, None)):
        page.wait(f"JSON.stringify({numbers}) === JSON.stringify({expected})")
        if key:
            page.press(key)


@in_a_browser
def test_a_lost_connection_is_said_and_the_page_comes_back(opened, page):
    some_events(opened)
    page.open(f"{opened.url}#/streams")
    page.wait_for("order-2", "#main")
    port = opened.web.port
    opened.console.stop()
    page.go("#/groups")
    page.wait_for("The server can't be reached.", "#banner")
    web = WebServer("127.0.0.1", port, opened.poller)
    opened.console = type(opened.console)(web, opened.poller)
    opened.console.start()
    page.click("#banner-retry")
    page.wait_for("billing", "#main")
    assert not page.run("document.querySelector('#banner').checkVisibility()")
    page.problems.clear()


@in_a_browser
def test_a_live_tail_goes_on_after_an_outage_where_it_was(opened, page):
    opened.store.append_many("s", [("x", b"%d" % i) for i in range(3)])
    page.open(f"{opened.url}#/live?kind=stream&key=s")
    page.wait("document.querySelectorAll('tbody tr').length === 3")
    port = opened.web.port
    opened.console.stop()
    page.wait_for("Connecting", ".state")
    opened.store.append_many("s", [("x", b"%d" % i) for i in range(3, 5)])
    opened.console = type(opened.console)(WebServer("127.0.0.1", port, opened.poller), opened.poller)
    opened.console.start()
    page.wait("document.querySelectorAll('tbody tr').length === 5")
    page.wait_for("Live", ".state")
    page.problems.clear()


@in_a_browser
def test_a_stream_that_is_too_fast_leaves_the_page_alive_and_what_is_left_out_is_said(opened, page):
    page.open(f"{opened.url}#/live?kind=stream&key=s")
    page.wait("document.querySelector('.state')?.innerText === 'Live'")
    client = opened.serving.connect()
    ending = threading.Event()
    burst = publish("s", "x" * 100) * 500

    def flood():
        while not ending.wait(0.05):        # ten thousand a second
            client.send(burst)
            client.recv_exactly(OK * 500)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        page.wait("document.querySelectorAll('tr.gap').length > 2")
        for _ in range(20):
            assert page.run("document.querySelectorAll('tbody tr').length") <= 300
            page.run("new Promise(requestAnimationFrame)")
    finally:
        ending.set()
        thread.join()
    last = opened.store.last_number(b"s")
    page.wait(f"document.querySelector('tbody .row-link').innerText.replaceAll(',', '') === '{last}'")
    assert page.run("document.querySelector('tr.gap a').getAttribute('href')").startswith("#/events?kind=stream&key=s")
    page.click("tr.gap a")
    there(page, "s")
