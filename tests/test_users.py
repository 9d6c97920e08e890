"""Users, their rules, and the file that they are kept in (server/users.py)."""

import os
import stat
import threading

import pytest
from conftest import SECONDS

from server import users as module
from server.attempts import TooManyAttempts
from server.users import (
    ADMIN,
    APPEND,
    EVERYTHING,
    GROUP,
    HEADER,
    NOPASS,
    READ,
    RIGHTS,
    Cost,
    Secret,
    User,
    Users,
    UsersError,
    create,
    parse_users,
    rules_of,
)

CHEAP = Cost(2, 8, 1)


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "users")
    create(path)
    return path


@pytest.fixture
def users(path):
    return Users(path, CHEAP)


# -- what a user may do ----------------------------------------------------------

def test_a_new_user_may_nothing_and_sees_nothing():
    user = User("ann")
    assert not any(map(user.may, RIGHTS)) and user.may("")
    assert not (user.may_read(b"a") or user.may_append(b"a") or user.may_read_prefix(b"") or user.may_see(b"a"))
    assert not (user.enabled or user.secret or user.appends_everywhere or user.sees_everything)


def test_everything_may_everything():
    assert all(map(EVERYTHING.may, RIGHTS))
    assert EVERYTHING.may_read(b"a") and EVERYTHING.may_append(b"a") and EVERYTHING.may_read_prefix(b"")
    assert EVERYTHING.may_see(b"a") and EVERYTHING.appends_everywhere and EVERYTHING.sees_everything


def test_rights_and_streams_must_both_allow_it(users):
    user = users.change("ann", ["+@read", "~orders-*"])
    assert user.may_read(b"orders-1") and user.may_see(b"orders-1")
    assert not user.may_append(b"orders-1") and not user.may_read(b"cart")
    user = users.change("ann", ["-@read", "+@append"])
    assert user.may_append(b"orders-1") and not user.may_read(b"orders-1")


def test_a_prefix_is_within_one_that_is_as_long_or_shorter(users):
    user = users.change("ann", ["+@all", "~orders-*", "~cart"])
    assert user.may_read_prefix(b"orders-") and user.may_read_prefix(b"orders-1")
    for prefix in (b"", b"o", b"orders", b"cart", b"carts", b"Orders-", b"orders_"):
        assert not user.may_read_prefix(prefix)
    assert user.may_read(b"cart") and user.may_read(b"orders-") and not user.may_read(b"carts")


def test_all_streams_are_no_stream_of_that_name(users):
    user = users.change("ann", ["+@all", "~$*", "~$a*"])
    assert not user.may_read(b"$all") and not user.may_append(b"$all") and not user.reaches("read", "stream", b"$all")
    assert users.change("ann", ["~*"]).may_read(b"$all")


def test_streams_to_read_are_not_those_to_append_to(users):
    user = users.change("ann", ["+@all", "%R~in", "%W~out", "%RW~both-*"])
    assert [user.may_read(name) for name in (b"in", b"out", b"both-1")] == [True, False, True]
    assert [user.may_append(name) for name in (b"in", b"out", b"both-1")] == [False, True, True]
    assert all(map(user.may_see, (b"in", b"out", b"both-1")))


# -- rules -----------------------------------------------------------------------

@pytest.mark.parametrize("rules, shown", [
    ([], ["off"]),
    (["on", "ON", "+@read", "+@READ"], ["on", "+@read"]),
    (["+@all", "-@admin"], ["off", "+@read", "+@append", "+@group"]),
    (["allcommands", "nocommands", "allkeys"], ["off", "~*"]),
    (["~a", "~b*", "%r~c", "%W~d*", "%rw~e"], ["off", "~a", "~b*", "~e", "%R~c", "%W~d*"]),
    (["~a*", "resetkeys", "~b"], ["off", "~b"]),
    (["on", "nopass"], ["on", "nopass"]),
    (["nopass", "resetpass"], ["off"]),
    (["nopass", ">word"], ["off"]),
    (["on", "~*", "+@all", "nopass", "reset"], ["off"]),
    (["~a b", "~%", "~\u00e4", "~a~b", "%R~100%"], ["off", "~%", "~a b", "~a~b", "~\u00e4", "%R~100%"]),
])
def test_rules_are_shown_as_they_work_and_survive_the_file(users, path, rules, shown):
    assert rules_of(users.change("ann", rules)) == shown
    assert rules_of(Users(path).get("ann")) == shown


@pytest.mark.parametrize("rule, text", [
    ("nonsense", "found 'nonsense', expected on, off"), ("", "found ''"), ("~", "found '~'"),
    ("+get", "expected a group of commands"), ("-publish", "expected a group of commands"),
    ("+@get", "expected +@ and one of read"), ("#" + "a" * 64, "the password itself"), ("!" + "a" * 64, "hash"),
    ("~a*b", "one * at the end"), ("~**", "one * at the end"), ("~$all", "expected ~*"), ("~a\nb", "no CR, LF"),
    ("~a:b*", "no CR, LF"), ("%X~a", "found '%X~a'"),
    ("~\udcff", "in UTF-8"), (">", "a password of 0 bytes"), (">" + "x" * 5000, "a password of 5000 bytes"),
    ("<word", "isn't the one"),
])
def test_a_rule_that_can_not_be_used_changes_nothing(users, rule, text):
    users.change("ann", ["on"])
    with pytest.raises(UsersError) as error:
        users.change("ann", ["off", rule])
    assert text in str(error.value) and "x" * 100 not in str(error.value)
    assert rules_of(users.get("ann")) == ["on"]


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "-a", "a\n", "\u00e4", "a:b", "a/b"])
def test_a_user_has_a_plain_name(users, name):
    with pytest.raises(UsersError, match="expected up to 64"):
        users.change(name, ["on"])


# -- passwords -------------------------------------------------------------------

def test_a_password_is_known_again_and_others_are_not(users):
    users.change("ann", ["on", ">word"])
    for _ in range(2):      # the second time without scrypt
        assert users.check("ann", b"word", "1.2.3.4:5") is users.get("ann")
    for wrong in (b"", b"wor", b"words", b"WORD", b"word\0", b"word" + b"\0" * 5000, b"\0"):
        users.attempts.__init__()
        assert users.check("ann", wrong, "1.2.3.4:5") is None
    assert users.check("bob", b"word", "1.2.3.4:5") is None


def test_who_is_off_or_has_no_password_is_not_let_in(users):
    users.change("ann", [">word"])
    users.change("bob", ["on"])
    assert users.check("ann", b"word", "here") is None and users.check("bob", b"", "here") is None
    users.change("bob", ["nopass"])
    assert users.check("bob", b"anything", "here").name == "bob"


def test_a_password_that_was_changed_is_not_remembered(users):
    users.change("ann", ["on", ">old"])
    assert users.check("ann", b"old", "here")
    users.change("ann", [">new"])
    assert users.recall("ann", b"old", "here") is None and users.check("ann", b"old", "here") is None
    assert users.check("ann", b"new", "here") and users.recall("ann", b"new", "here")
    users.change("ann", ["<new"])
    assert users.recall("ann", b"new", "here") is None
    users.change("ann", [">new", "off"])
    assert users.recall("ann", b"new", "here") is None


def test_a_user_who_is_not_there_takes_as_much_work_as_one_who_is(users, monkeypatch):
    """Counted, not measured: scrypt is all that takes time."""
    done = []
    derived = module._derived

    def counted(password, salt, cost):
        done.append(cost)
        return derived(password, salt, cost)

    monkeypatch.setattr(module, "_derived", counted)
    users.change("ann", ["on", ">word"])
    users.change("off", [">word"])
    users.change("none", ["on"])
    done.clear()
    for name in ("ann", "off", "none", "nobody", "", "\udcff"):
        assert users.check(name, b"no", "here") is None
    assert done == [CHEAP] * 6


def test_the_cost_is_what_the_documentation_says():
    assert module.COST == (2 ** 14, 8, 5)


def test_a_password_stands_nowhere_in_the_file_and_neither_its_key_in_what_is_shown(users, path):
    user = users.change("ann", ["on", ">hunter2"])
    with open(path) as file:
        text = file.read()
    assert "hunter2" not in text and f"{user.secret}" in text
    shown = repr(user) + " ".join(rules_of(user))
    assert "<Secret>" in shown and str(user.secret).split(":")[-1] not in shown


def test_equal_passwords_have_different_keys(users):
    one, other = users.change("ann", [">word"]).secret, users.change("bob", [">word"]).secret
    assert one != other and one.salt != other.salt and one.key != other.key
    assert one == Secret(one.cost, one.salt, one.key) and len({one, Secret(one.cost, one.salt, one.key)}) == 1


def test_of_many_tries_at_once_no_more_are_looked_at_than_of_one_after_the_other(users, monkeypatch):
    users.change("ann", ["on", ">word"])
    looked_at, outcomes = [], []
    gate = threading.Event()

    def slow(self, password):
        assert gate.wait(SECONDS)
        looked_at.append(password)
        return False

    monkeypatch.setattr(Secret, "is_of", slow)

    def check():
        try:
            outcomes.append(users.check("ann", b"no", "10.0.0.1:1"))
        except TooManyAttempts as error:
            outcomes.append(error)

    threads = [threading.Thread(target=check) for _ in range(40)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(SECONDS)
    assert len(outcomes) == 40 and 5 <= len(looked_at) <= 5 + module.AT_ONCE


def test_only_a_few_passwords_are_looked_at_together_and_a_few_wait(users, monkeypatch):
    users.change("ann", ["on", ">word"])
    gate, inside = threading.Event(), threading.Semaphore(0)

    def slow(self, password):
        inside.release()
        assert gate.wait(SECONDS)
        return False

    monkeypatch.setattr(Secret, "is_of", slow)
    monkeypatch.setattr(users, "_turns", module._Turns(2, 3))
    outcomes = []

    def check(i):
        try:
            outcomes.append(users.check("ann", b"no", f"10.0.0.{i}:1"))
        except TooManyAttempts as error:
            outcomes.append(error)

    threads = [threading.Thread(target=check, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert inside.acquire(timeout=SECONDS)
    while len(outcomes) < 3:        # the rest was turned away at once
        threads[0].join(0.01)
    assert not inside.acquire(blocking=False)
    gate.set()
    for thread in threads:
        thread.join(SECONDS)
    assert sum(one is None for one in outcomes) == 5
    assert [one.wait for one in outcomes if one is not None] == [1, 1, 1]


# -- the file --------------------------------------------------------------------

def test_without_a_file_nobody_has_to_log_in():
    users = Users()
    assert not users.required and users.anonymous is EVERYTHING and list(users) == []
    for change in (lambda: users.change("ann", ["on"]), lambda: users.remove(["ann"]), users.reload, users.save):
        with pytest.raises(UsersError, match="--users FILE"):
            change()


def test_with_a_file_everybody_has_to_but_for_a_default_user_without_a_password(users):
    assert users.required and users.anonymous is None
    users.change("default", ["nopass", "+@read", "~open-*"])
    assert users.anonymous is None
    assert users.change("default", ["on"]) is users.anonymous
    users.change("default", [">word"])
    assert users.anonymous is None


def test_the_file_is_its_owner_s_alone(users, path):
    os.chmod(path, 0o644)
    users.change("ann", ["on"])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["users"]


def test_a_file_that_others_may_write_to_is_not_used_and_one_that_they_may_read_is_warned_of(users, path, caplog):
    os.chmod(path, 0o620)
    with pytest.raises(UsersError, match="others than its owner may write to it"):
        Users(path)
    os.chmod(path, 0o644)
    assert list(Users(path)) == []
    assert "others than its owner may read it" in caplog.text


def test_a_change_keeps_what_others_wrote_meanwhile(users, path):
    other = Users(path, CHEAP)
    other.change("bob", ["on"])
    users.change("ann", ["on"])
    assert [user.name for user in users] == [user.name for user in Users(path)] == ["ann", "bob"]


def test_changes_of_many_processes_and_threads_are_all_kept(path):
    def change(i):
        for j in range(5):
            Users(path, CHEAP).change(f"u{i}-{j}", ["on"])

    threads = [threading.Thread(target=change, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(Users(path))) == 20


def test_a_crash_while_the_file_is_written_leaves_the_old_one(users, path, monkeypatch):
    users.change("ann", ["on"])

    def crash(*arguments):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(OSError):
            users.change("bob", ["on"])
    assert [user.name for user in users] == [user.name for user in Users(path)] == ["ann"]
    users.change("bob", ["on"])
    assert os.listdir(os.path.dirname(path)) == ["users"]


def test_a_link_to_the_file_stays_one(users, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    Users(str(link), CHEAP).change("ann", ["on"])
    assert link.is_symlink() and Users(path).get("ann")


def test_whoever_watches_is_told_of_each_change(users):
    told = []
    users.watch(lambda: told.append([user.name for user in users]))
    users.change("ann", ["on"])
    users.remove(["nobody", "ann"])
    users.reload()
    assert told == [["ann"], [], []]


def test_remove_says_how_many_there_were(users):
    users.change("ann", [])
    assert users.remove(["ann", "ann", "bob"]) == 1


def test_a_file_that_is_there_is_not_made_anew(path):
    with pytest.raises(FileExistsError):
        create(path)


def test_comments_and_empty_lines_are_passed_over():
    users = parse_users(f"{HEADER}\n\n# ann\nuser ann on +@read ~orders-*\n  \nuser bob\n", "u")
    assert rules_of(users["ann"]) == ["on", "+@read", "~orders-*"] and rules_of(users["bob"]) == ["off"]
    assert users["ann"].may(READ) and not any(map(users["ann"].may, (APPEND, GROUP, ADMIN)))


GOOD = "scrypt:16384:8:5:" + "A" * 22 + "==:" + "A" * 43 + "="


@pytest.mark.parametrize("line, text", [
    ("user ann " + GOOD.replace("16384", "16383"), "N a power of two"),
    ("user ann " + GOOD.replace("16384", "1"), "N a power of two"),
    ("user ann " + GOOD.replace(":8:", ":0:"), "N a power of two"),
    ("user ann " + GOOD.replace("16384", str(2 ** 26)), "takes too much"),
    ("user ann " + GOOD.replace(":5:", ":9999999:"), "takes too much"),
    ("user ann " + GOOD.replace("16384", "x"), "expected scrypt:N:R:P:SALT:KEY"),
    ("user ann " + GOOD[:-5], "can't be read"),
    ("user ann " + GOOD.replace("A" * 22, "A"), "can't be read"),
    ("user ann scrypt:1", "can't be read"),
    ("user ann >word", "the file never holds"),
    ("user ann nonsense", "found 'nonsense'"),
    ("user ann ~%FF", "in UTF-8"),
    ("user", "expected user NAME"),
    ("ann on", "expected user NAME"),
    ("user a/b on", "expected up to 64"),
    ("user ann\nuser ann", "a second time"),
])
def test_a_line_that_can_not_be_used_is_named(line, text):
    with pytest.raises(UsersError) as error:
        parse_users(f"{HEADER}\n{line}\n", "the-file")
    number = 2 + line.count("\n")
    assert str(error.value).startswith(f"the-file:{number}: ") and text in str(error.value)
    assert "the file isn't used" in str(error.value)


@pytest.mark.parametrize("text, why", [
    ("", "expected '# meilies users, version 1'"), ("user ann on\n", "expected"),
    ("# meilies users, version 2\n", "found '# meilies users, version 2'"), (HEADER + "\n" * (17 << 20), "more than"),
])
def test_a_file_of_another_kind_is_refused(path, text, why):
    with open(path, "w") as file:
        file.write(text)
    with pytest.raises(UsersError, match=why):
        Users(path)


def test_a_file_that_is_no_text_is_refused(path):
    with open(path, "wb") as file:
        file.write(b"\xff\xfe\0")
    with pytest.raises(UsersError, match="isn't UTF-8"):
        Users(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Users(str(tmp_path / "users"))


def test_nopass_is_told_from_a_password(users):
    assert users.change("ann", ["nopass"]).secret is NOPASS and Users(users.path).get("ann").secret is NOPASS
