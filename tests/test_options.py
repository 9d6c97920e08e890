"""The server's options: four places, one table, errors that say where."""

import re
import socket

import pytest

from server import __version__, options


@pytest.fixture
def config(tmp_path):
    """Write an INI file, return its path."""
    def write(text):
        path = tmp_path / "meilies.ini"
        path.write_text(text, encoding="utf-8")
        return str(path)
    return write


@pytest.fixture
def refused(capsys):
    """The one line that `parse` ends with, without its beginning."""
    def run(*argv, **environ):
        with pytest.raises(SystemExit) as end:
            options.parse(argv, environ)
        assert end.value.code == 2
        written = capsys.readouterr()
        assert written.out == ""
        begin, line = written.err.split("not started: ")
        assert begin == "meilies-server: "
        assert line.endswith("\n") and line.count("\n") == 1
        return line[:-1]
    return run


def test_without_anything_the_defaults_hold():
    found = options.parse([], {})
    assert found.warnings == []
    assert vars(found) == {
        "warnings": [],
        "db_path": "/var/lib/meilies", "backup_path": "", "hostname": "127.0.0.1", "port": 6480,
        "tls_port": None, "tls_certificate": "", "tls_key": "", "tls_client_ca": "", "tls_clients": "required",
        "unix_socket": "", "allow_anyone": False, "http_port": None, "http_hostname": "127.0.0.1",
        "sync": "always", "compression_factor": 0, "segment_size": 256 * 1024 ** 2,
        "hash_chain": False, "max_request_size": 64 * 1024 ** 2, "max_event_size": 16 * 1024 ** 2,
            "max_metadata_size": 1024 ** 2, "max_arguments": 100_000,
        "max_connections": 10_000, "max_pending_input": 1024 ** 2, "max_pending_output": 1024 ** 2,
        "max_subscriptions": 20_000, "max_unread": 1024 ** 3, "metrics_port": None, "metrics_hostname": "127.0.0.1",
        "slowlog_log_slower_than": 10_000, "slowlog_max_len": 128, "log_level": "info", "log_file": "", "workers": 4,
        "replay_memory": 128 * 1024 ** 2, "recent_memory": 0, "busy_poll": 100, "no_vigil": False, "no_sentry": False,
        "users": ""}


# -- which place goes first ---------------------------------------------------

def test_the_command_line_goes_before_the_environment_before_the_file_before_the_default(config):
    path = config("[server]\nport = 3\nworkers = 3\nsync = no\n")
    environ = {"MEILIES_PORT": "2", "MEILIES_WORKERS": "2"}
    found = options.parse(["--config", path, "--port", "1"], environ)
    assert (found.port, found.workers, found.sync, found.max_arguments) == (1, 2, "no", 100_000)


def test_a_config_on_the_command_line_goes_before_the_one_in_the_environment(config):
    found = options.parse(["--config", config("[server]\nport = 3\n")], {"MEILIES_CONFIG": "/nowhere"})
    assert found.port == 3


def test_the_environment_can_name_the_config(config):
    assert options.parse([], {"MEILIES_CONFIG": config("[server]\nport = 3\n")}).port == 3


def test_a_value_that_is_overruled_is_not_looked_at():
    assert options.parse(["--port", "1"], {"MEILIES_PORT": "tcp://10.0.0.1:6480"}).port == 1


@pytest.mark.parametrize("port, host", [("--http-port", "--http-hostname"), ("--metrics-port", "--metrics-hostname")])
def test_a_port_for_browsers_or_prometheus_wants_an_address_of_this_machine(refused, monkeypatch, port, host):
    monkeypatch.setattr(options, "_addresses", _addresses_of)
    argv = [host, "nowhere.invalid", "--allow-anyone", "--users", "users"]
    assert refused(port, "0", *argv) == (f"{host}: found 'nowhere.invalid', expected an address of this machine "
                                         "(Name or service not known)")
    options.parse(argv, {})     # nobody listens there


def _addresses_of(host):
    if host == "nowhere.invalid":
        raise ValueError("Name or service not known")
    return ["127.0.0.1"]


@pytest.mark.parametrize("option", options.OPTIONS, ids=lambda option: option.name)
def test_every_option_is_read_from_every_place(option, config):
    texts = {"db-path": "x", "backup-path": "y", "hostname": "localhost", "metrics-hostname": "h", "http-hostname": "h",
             "sync": "no", "log-level": "debug", "tls-clients": "optional"}
    also = ["--tls-certificate", "c"] if option.name == "tls-port" else []      # it is no use without one
    by_unit = {"": "yes", "N": "7", "SIZE": "64K", "PATH": "z", "FILE": "z"}
    text = texts.get(option.name) or by_unit[option.unit]
    argv = [f"--{option.name}", text] if option.unit else [f"--{option.name}"]
    value = option.parse(text)
    assert value != option.parse(option.default)
    on_command_line = options.parse(argv + also, {})
    in_environment = options.parse(also, {option.variable: text})
    in_file = options.parse(["--config", config(f"[server]\n{option.name} = {text}\n"), *also], {})
    for found in on_command_line, in_environment, in_file:
        assert getattr(found, option.attribute) == value


def test_a_port_for_tls_without_a_certificate_is_refused(refused):
    assert refused("--tls-port", "1") == "--tls-port: TLS takes a certificate, expected --tls-certificate as well"


def test_h_is_the_host_as_in_meilies():
    assert options.parse(["-h", "::1"], {}).hostname == "::1"


def test_a_flag_can_be_taken_back_by_a_place_that_goes_first(config):
    path = config("[server]\nno-vigil = yes\n")
    assert options.parse(["--config", path], {"MEILIES_NO_VIGIL": "no"}).no_vigil is False


# -- values -------------------------------------------------------------------

@pytest.mark.parametrize("text, count", [
    ("65536", 65536), ("64K", 65536), ("64k", 65536), ("64KiB", 65536), ("64 KiB", 65536),
    ("64M", 64 * 1024 ** 2), ("1G", 1024 ** 3), ("4gib", 4 * 1024 ** 3)])
def test_a_size_may_have_a_unit(text, count):
    assert options.size(0, 4 * 1024 ** 3)(text) == count


@pytest.mark.parametrize("text", [
    "", "K", "-1", "+1", "1_0", "1.5M", "64KB", "64T", "64Ki", "٣", "1" * 19, "5G", "63"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="^a size from 64 to 4G, such as 64K, 64KiB or 65536$"):
        options.size(64, 4 * 1024 ** 3)(text)


@pytest.mark.parametrize("count, text", [(1, "1"), (1024, "1K"), (1025, "1025"), (3 * 1024 ** 2, "3M")])
def test_a_size_is_shown_in_the_longest_unit_that_fits(count, text):
    assert options.shown_size(count) == text


@pytest.mark.parametrize("text", ["", "-1", "+1", "0x1", "1_0", " 1", "٣", "65536", "9" * 5000])
def test_what_is_no_number_in_range_is_refused(text):
    with pytest.raises(ValueError, match="^a number from 0 to 65535$"):
        options.number(0, 65535)(text)


@pytest.mark.parametrize("text, factor", [("0", 0), ("1", 1), ("9", 9), ("10", 9), ("22", 9)])
def test_compression_above_that_of_zlib_means_its_highest(text, factor):
    assert options.parse(["--compression-factor", text], {}).compression_factor == factor


@pytest.mark.parametrize("text, value", [("yes", True), ("TRUE", True), ("on", True), ("1", True),
                                         ("no", False), ("False", False), ("off", False), ("0", False)])
def test_a_flag_is_yes_or_no_in_the_usual_words(text, value):
    assert options.parse([], {"MEILIES_NO_SENTRY": text}).no_sentry is value


def test_words_are_taken_in_any_case():
    found = options.parse(["--sync", "EverySec", "--log-level", "DEBUG"], {})
    assert (found.sync, found.log_level) == ("everysec", "debug")


# -- errors say where, what was found, and what was expected ------------------

def test_a_bad_value_on_the_command_line_names_the_option(refused):
    assert refused("--port", "70000") == "--port: found '70000', expected a number from 0 to 65535, or none"


def test_a_bad_value_in_the_environment_names_the_variable(refused):
    assert refused(MEILIES_SYNC="often") == (
        "MEILIES_SYNC in the environment: found 'often', expected always, everysec or no")


def test_a_bad_value_in_the_file_names_file_line_and_key(refused, config):
    path = config("# ours\n\n[server]\nport = 1\n; path\ndb_path =\nsync = no\n")
    assert refused("--config", path) == f"{path}:6: db-path: found '', expected a path"


def test_an_empty_variable_is_a_value_and_no_way_to_the_default(refused):
    assert refused(MEILIES_DB_PATH="") == "MEILIES_DB_PATH in the environment: found '', expected a path"


def test_a_flag_is_nothing_but_yes_or_no(refused):
    assert refused(MEILIES_ALLOW_ANYONE="maybe") == (
        "MEILIES_ALLOW_ANYONE in the environment: found 'maybe', expected yes or no")


@pytest.mark.parametrize("argv, line", [
    (["--prot", "1"], "--prot: no such option; did you mean --port?"),
    (["--prot=1"], "--prot: no such option; did you mean --port?"),
    (["extra"], "extra: no such command"),
    (["exprot"], "exprot: no such command; did you mean export?"),
    (["--por", "1"], "--por: no such option; did you mean --port?"),
    (["--port"], "--port: expected one argument"),
    (["-h"], "--hostname: expected one argument"),
    (["--port", "-1"], "--port: found '-1', expected a number from 0 to 65535, or none"),
])
def test_a_bad_command_line_is_one_line(argv, line, refused):
    # Versions of argparse name -h/--hostname in both orders.
    assert refused(*argv).replace("--hostname/-h", "--hostname") == line


def test_an_unknown_variable_of_ours_is_a_warning():
    found = options.parse([], {"MEILIES_PROT": "1", "MEILIES_UNHEARD": "x", "PORT": "2"})
    assert found.port == 6480
    assert found.warnings == [
        "MEILIES_PROT in the environment: no such option; did you mean MEILIES_PORT?; passed over",
        "MEILIES_UNHEARD in the environment: no such option; passed over"]


def test_the_variables_that_inspect_sets_are_no_warning():
    assert options.parse([], dict.fromkeys(options.INSPECT_VARIABLES, "x")).warnings == []


# -- the file -----------------------------------------------------------------

def test_an_empty_file_says_nothing(config):
    assert options.parse(["--config", config("")], {}) == options.parse([], {})


def test_a_percent_sign_in_the_file_is_a_percent_sign(config):
    assert options.parse(["--config", config("[server]\ndb-path = 100%(x)s\n")], {}).db_path == "100%(x)s"


def test_a_file_with_a_byte_order_mark_is_read(config):
    assert options.parse(["--config", config("\ufeff[server]\nport = 1\n")], {}).port == 1


@pytest.mark.parametrize("text, line", [
    ("[server]\nprot = 1\n", "PATH:2: prot: no such option; did you mean port?"),
    ("[server]\nconfig = x\n", "PATH:2: config: no such option"),
    ("[server]\nİ = x\n", "PATH:2: i̇: no such option"),
    ("[servers]\nport = 1\n", "PATH: found section [servers], expected [server] alone"),
    ("[DEFAULT]\nport = 1\n", "PATH: found section [DEFAULT], expected [server] alone"),
])
def test_what_the_file_may_not_have_is_refused_by_name(text, line, refused, config):
    path = config(text)
    assert refused("--config", path) == line.replace("PATH", path)


@pytest.mark.parametrize("text", [
    "port = 1\n", "[server]\nport\n", "[server]\nport = 1\nport = 2\n",
    "[server]\ndb-path = 1\ndb_path = 2\n", "[server]\n[server]\n", "[server\n"])
def test_what_is_no_ini_is_refused(text, refused, config):
    path = config(text)
    line = refused("--config", path)
    assert line.startswith(f"{path}: expected lines such as port = 6480 below [server]: ")


def test_a_file_that_is_not_there_is_named(refused):
    assert refused(MEILIES_CONFIG="/no/such.ini") == (
        "/no/such.ini: can't read the configuration: No such file or directory")


def test_a_file_that_is_not_text_is_named(refused, tmp_path):
    path = tmp_path / "x.ini"
    path.write_bytes(b"[server]\xff")
    line = refused("--config", str(path))
    assert line.startswith(f"{path}: can't read the configuration: 'utf-8' codec can't")


# -- who may reach it ---------------------------------------------------------

@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "::ffff:127.0.0.1", "127.1"])
def test_loopback_needs_no_leave(host):
    assert options.parse(["--hostname", host], {}).hostname == host


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "0", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1"])
def test_what_others_can_reach_is_refused_without_allow_anyone(host, refused):
    line = refused("--hostname", host)
    assert line.startswith(f"--hostname: {host!r} can be reached from other machines")
    assert "--allow-anyone" in line
    assert options.parse(["--hostname", host, "--allow-anyone"], {}).hostname == host


def test_a_console_that_others_can_reach_is_refused_without_users(refused):
    console = ["--http-port", "8080", "--http-hostname", "0.0.0.0"]
    assert refused(*console).startswith("--http-hostname: '0.0.0.0' can be reached from other machines")
    assert options.parse([*console, "--users", "u"], {}).http_hostname == "0.0.0.0"
    assert options.parse(["--http-hostname", "0.0.0.0"], {}).http_port is None


def test_a_name_with_one_address_that_others_can_reach_is_refused(refused, monkeypatch):
    def resolve(host, port, type):
        assert host == "both"
        return [(2, 1, 6, "", (address, 0)) for address in ("127.0.0.1", "10.1.2.3")]
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert refused(MEILIES_HOSTNAME="both").startswith(
        "MEILIES_HOSTNAME in the environment: 'both' can be reached from other machines")


def test_a_name_is_not_cut_short_at_a_nul(refused, config):
    path = config("[server]\nhostname = localhost\0.example.com\n")
    assert refused("--config", path) == (
        f"{path}:2: hostname: found 'localhost\\x00.example.com', expected a name or an address")


@pytest.mark.parametrize("host, why", [
    ("no.such.host.invalid", "[^()]+"), ("a" * 70, ".*label .*too long.*")])
def test_a_name_that_stands_for_no_address_is_refused(host, why, refused):
    assert re.fullmatch(
        rf"--hostname: found {re.escape(repr(host))}, expected an address of this machine \({why}\)",
        refused("--hostname", host))


# -- help ---------------------------------------------------------------------

def test_help_names_every_option_with_its_default_in_80_columns(capsys):
    with pytest.raises(SystemExit) as end:
        options.parse(["--help"], {})
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for option in options.OPTIONS:
        assert f"--{option.name}" in words
        assert not option.unit or f"[{option.default}]" in words
    assert "python3 meilies_server.py --db-path my-db" in words


def test_version_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        options.parse(["--version"], {})
    assert end.value.code == 0
    assert capsys.readouterr().out == f"meilies-server {__version__}\n"
