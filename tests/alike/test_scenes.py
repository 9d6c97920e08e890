"""Each call of the scenes, to this server and to Redis's: replies are the same, but for the listed differences."""

import pytest
from conftest import Server
from serving import Serving

from .differences import DIFFERENCES
from .playing import compare, steps_of
from .redis import Redis, needs_redis
from .scenes import SCENES
from .wire import shown


@pytest.fixture(scope="module")
def redis():
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server of ours for all scenes that can share one: a process, whose threads no test has to wait for."""
    folder = tmp_path_factory.mktemp("shared")
    server = Server(["--db-path", str(folder / "db"), "--port", "0", "--sync", "no"], {}, folder / "server.log")
    yield server.wait_until_listening()
    server.end()


@pytest.fixture
def on_both(redis, shared, tmp_path):
    """Play a scene in a protocol: on_both(scene, protocol) -> a Compared for each reply."""
    def start(scene, protocol):
        if not scene.alone:
            return compare(scene, protocol, redis, shared.port)
        with Redis() as own, Serving(tmp_path / "db") as serving:
            return compare(scene, protocol, own, serving.port)

    return start


@needs_redis
@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_replies_are_alike_but_for_the_differences_that_are_listed(on_both, scene, protocol):
    wrong = []
    for compared in on_both(scene, protocol):
        step = compared.step
        is_listed = step.difference is not None
        if compared.is_alike == is_listed:
            wrong.append(f"{step.text}: {'listed, but alike' if is_listed else 'not alike'}\n"
                         f"    Redis: {shown(compared.redis)}\n    ours:  {shown(compared.ours)}")
        if is_listed and DIFFERENCES[step.difference].same_code:
            assert code(compared.redis) == code(compared.ours), step.text
    assert not wrong, "\n".join(wrong)


def code(reply):
    """The first word of an error, which is what programs look at."""
    assert reply.kind == "-", f"found {shown(reply)}, expected an error"
    return reply.value.split()[0]


def test_each_difference_that_is_named_is_explained_and_each_that_is_explained_is_named():
    named = {step.difference for scene in SCENES for step in steps_of(scene.text)} - {None}
    assert named == set(DIFFERENCES)
