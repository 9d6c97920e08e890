"""server/works.py: how far long work is, for others to ask."""

from types import SimpleNamespace

import pytest
from serving import Serving, eventually

from server.works import Works


def test_what_is_under_way_is_told_until_it_ends():
    works = Works()
    with works.under_way("check", SimpleNamespace(id=7)) as progress:
        assert works.fields() == [("check_7", "done=0,of=0")]
        progress(3, 5)
        with works.under_way("backup", SimpleNamespace(id=2)):
            assert works.fields() == [("backup_2", "done=0,of=0"), ("check_7", "done=3,of=5")]
    assert works.fields() == []


def test_work_that_fails_is_over_as_well():
    works = Works()
    with pytest.raises(OSError), works.under_way("backup", SimpleNamespace(id=7)):
        raise OSError
    assert works.fields() == []


@pytest.mark.parametrize("command, method", [(("check",), "check"), (("backup", "monday"), "back_up")])
def test_a_client_hears_of_its_own_from_another_connection(tmp_path, monkeypatch, command, method):
    with Serving(tmp_path / "db", backup_path=str(tmp_path / "copies")) as serving:
        waiting, asking = serving.connect(), serving.connect()
        id_ = waiting.ask("client", "id")
        original = getattr(serving.store, method)
        heard = []

        def slow(*arguments):
            *rest, progress = arguments
            progress(1, 4)
            eventually(lambda: heard.append(asking.ask("info", "work")) or f"{command[0]}_{id_}:done=1,of=4" in
                       heard[-1].decode(), "that it is told")
            return original(*rest, progress)

        monkeypatch.setattr(serving.store, method, slow)
        assert waiting.ask(*command)
        assert asking.ask("info", "work") == b"# Work\r\n"
