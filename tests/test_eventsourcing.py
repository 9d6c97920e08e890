"""meilies_eventsourcing.py: the test cases of the package `eventsourcing`, on a server and on a store in process."""

import json
import sys
import threading
from dataclasses import asdict, dataclass
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest

if sys.version_info < (3, 11):
    pytest.skip("eventsourcing 9.5.6 is for Python 3.11 and newer", allow_module_level=True)

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.dcb import domain as dcb
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.dcb.tests import DCBRecorderTestCase
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment, get_topic, resolve_topic

import meilies_eventsourcing as adapter
from meilies_client import Client


@pytest.fixture(params=["in process", "server"])
def where(request, tmp_path):
    """The variables that a factory finds its store by."""
    if request.param == "in process":
        return {"MEILIES_DB_PATH": str(tmp_path / "db"), "MEILIES_SYNC": "no"}
    running = request.getfixturevalue("server")("--sync", "no")
    return {"MEILIES_HOST": "127.0.0.1", "MEILIES_PORT": str(running.port)}


@pytest.fixture
def factory(where):
    one = adapter.MeiliesFactory.construct({"PERSISTENCE_MODULE": "meilies_eventsourcing", **where})
    yield one
    one.close()


class Numbered:
    """Ids for the package's cases, which ask for new ones; versions begin where they do."""

    def new_originator_id(self):
        return uuid4()


CASES = [
    (cases.AggregateRecorderTestCase, "aggregate_recorder", {}),
    (cases.ApplicationRecorderTestCase, "application_recorder",
     {"test_insert_subscribe": lambda self: self.optional_test_insert_subscribe()}),
    (cases.TrackingRecorderTestCase, "tracking_recorder", {}),
    (cases.ProcessRecorderTestCase, "process_recorder", {}),
    (cases.NonInterleavingNotificationIDsBaseCase, "application_recorder", {}),
]


def each_case():
    for case, made, more in CASES:
        names = [name for name in dir(case) if name.startswith("test")] + list(more)
        for name in names:
            yield pytest.param(case, made, more, name, id=f"{case.__name__}.{name}")


@pytest.mark.parametrize("case, made, more, name", list(each_case()))
def test_the_packages_own_case_passes(factory, case, made, more, name):
    members = {**more, "create_recorder": lambda self: getattr(factory, made)()}
    one = type(case.__name__, (Numbered, case), members)(name)
    one.setUp()
    getattr(one, name)()
    one.tearDown()


def test_snapshots_pass_the_case_of_an_aggregate_recorder(factory):
    members = {"create_recorder": lambda self: factory.aggregate_recorder("snapshots")}
    one = type("Case", (Numbered, cases.AggregateRecorderTestCase), members)("test_insert_and_select")
    one.test_insert_and_select()


class Tracker(adapter.MeiliesTrackingRecorder):
    """Some other class of recorder."""


@pytest.mark.parametrize("name", [name for name in dir(cases.InfrastructureFactoryTestCase) if name.startswith("test")])
def test_the_packages_own_case_of_a_factory_passes(where, name):
    class Case(cases.InfrastructureFactoryTestCase):
        env = Environment("app", {"PERSISTENCE_MODULE": "meilies_eventsourcing", **where})

        def expected_factory_class(self):
            return adapter.MeiliesFactory

        def expected_aggregate_recorder_class(self):
            return adapter.MeiliesAggregateRecorder

        def expected_application_recorder_class(self):
            return adapter.MeiliesApplicationRecorder

        def expected_tracking_recorder_class(self):
            return adapter.MeiliesTrackingRecorder

        def tracking_recorder_subclass(self):
            return Tracker

        def expected_process_recorder_class(self):
            return adapter.MeiliesProcessRecorder

    one = Case(name)
    one.setUp()
    try:
        getattr(one, name)()
    finally:
        one.tearDown()


# -- applications -----------------------------------------------------------------

class Account(Aggregate):
    @event("Opened")
    def __init__(self, name):
        self.name = name
        self.balance = 0

    @event("Moved")
    def move(self, amount):
        self.balance += amount


class Bank(Application):
    is_snapshotting_enabled = True
    snapshotting_intervals = {Account: 5}

    def open(self, name):
        account = Account(name)
        self.save(account)
        return account.id

    def move(self, id, amount):
        account = self.repository.get(id)
        account.move(amount)
        self.save(account)


class Count(Aggregate):
    @classmethod
    def create_id(cls):
        return uuid5(NAMESPACE_URL, "count")

    def __init__(self):
        self.moved = 0

    @event("Seen")
    def see(self):
        self.moved += 1


class Counter(ProcessApplication):
    def policy(self, domain_event, processing_event):
        if isinstance(domain_event, Account.Moved):
            try:
                count = self.repository.get(Count.create_id())
            except AggregateNotFoundError:
                count = Count()
            count.see()
            processing_event.collect_events(count)


def test_an_application_finds_its_aggregates_after_it_was_closed(where):
    env = {"PERSISTENCE_MODULE": "meilies_eventsourcing", **where}
    bank = Bank(env)
    id = bank.open("ann")
    for amount in range(12):
        bank.move(id, amount)
    assert bank.repository.get(id).balance == 66
    assert len(list(bank.snapshots.get(id))) == 2
    bank.close()
    again = Bank(env)
    account = again.repository.get(id)
    assert (account.name, account.balance, account.version) == ("ann", 66, 13)
    assert again.repository.get(id, version=7).balance == 15
    assert [one.originator_version for one in again.recorder.select_notifications(None, 100)] == list(range(1, 14))
    again.close()


def test_a_system_processes_every_event_once(where):
    env = {"PERSISTENCE_MODULE": "meilies_eventsourcing", **where}
    with SingleThreadedRunner(System(pipes=[[Bank, Counter]]), env) as runner:
        bank, counter = runner.get(Bank), runner.get(Counter)
        id = bank.open("ann")
        for _ in range(7):
            bank.move(id, 1)
        assert counter.repository.get(Count.create_id()).moved == 7
        assert counter.recorder.max_tracking_id("Bank") == bank.recorder.max_notification_id()
        bank.close()
        counter.close()


# -- what the package's cases leave open ------------------------------------------------

def stored(id, version, topic="topic", state=b"state"):
    return StoredEvent(id, version, topic, state)


@pytest.mark.parametrize("base", [0, 1, 5])
def test_versions_go_up_by_one_from_whatever_the_first_is(factory, base):
    id = uuid4()
    recorder, other = factory.application_recorder(), factory.application_recorder()
    recorder.insert_events([stored(id, base)])
    other.insert_events([stored(id, base + 1), stored(id, base + 2)])
    for wrong in base, base + 2, base + 4:
        with pytest.raises(IntegrityError):
            factory.application_recorder().insert_events([stored(id, wrong)])
    versions = [one.originator_version for one in recorder.select_events(id)]
    assert versions == [base, base + 1, base + 2]
    for gt in (None, base - 1, base, base + 2, base + 9):
        for lte in (None, base - 1, base, base + 1, base + 9):
            for desc in (False, True):
                for limit in (None, 1, 2):
                    wanted = [v for v in versions if (gt is None or v > gt) and (lte is None or v <= lte)]
                    wanted = (wanted[::-1] if desc else wanted)[:limit]
                    found = factory.application_recorder().select_events(id, gt=gt, lte=lte, desc=desc, limit=limit)
                    assert [one.originator_version for one in found] == wanted


def test_snapshots_are_of_any_versions_and_of_each_but_once(factory):
    id = uuid4()
    recorder = factory.aggregate_recorder("snapshots")
    recorder.insert_events([stored(id, 10), stored(id, 4)])
    recorder.insert_events([stored(id, 7)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(id, 4)])
    assert [one.originator_version for one in recorder.select_events(id)] == [4, 7, 10]
    assert [one.originator_version for one in recorder.select_events(id, lte=9, desc=True, limit=1)] == [7]


def test_applications_in_one_store_see_their_own_events(where):
    ids = [uuid4(), uuid4()]
    made = [adapter.MeiliesFactory(Environment(name, where)) for name in ("one", "two")]
    recorders = [one.process_recorder() for one in made]
    for recorder, id in zip(recorders, ids):
        recorder.insert_events([stored(id, 1)], tracking=Tracking("upstream", 5))
    for recorder, id in zip(recorders, ids):
        assert [one.originator_id for one in recorder.select_notifications(None, 10)] == [id]
        assert recorder.max_tracking_id("upstream") == 5
    for one in made:
        one.close()
        one.close()


def test_ids_may_be_any_text(where):
    factory = adapter.MeiliesFactory(Environment("app: é", {**where, "ORIGINATOR_ID_TYPE": "text"}))
    recorder = factory.application_recorder()
    recorder.insert_events([stored("a:b/é%", 1)])
    assert [one.originator_id for one in recorder.select_notifications(None, 10)] == ["a:b/é%"]
    assert recorder.select_events("a:b/é%")[0].originator_version == 1
    factory.close()


def test_more_topics_than_a_server_takes_are_looked_for_all_the_same(factory):
    recorder = factory.application_recorder()
    id = uuid4()
    recorder.insert_events([stored(id, v, f"topic{v}") for v in range(1, 200)])
    topics = [f"topic{v}" for v in range(1, 200, 2)] + ["topic2"]
    assert len(recorder.select_notifications(None, 1000, topics=topics)) == 101
    with recorder.subscribe(topics=topics) as subscription:
        assert [next(subscription).topic for _ in range(3)] == ["topic1", "topic2", "topic3"]


def test_a_subscription_hears_of_what_comes(factory):
    recorder = factory.application_recorder()
    id = uuid4()
    with recorder.subscribe() as subscription:
        for version in range(1, 4):
            recorder.insert_events([stored(id, version)])
            assert next(subscription).originator_version == version


def test_tracking_and_events_are_stored_together_or_not_at_all(factory):
    recorder = factory.process_recorder()
    id = uuid4()
    recorder.insert_events([stored(id, 1)], tracking=Tracking("upstream", 1))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(id, 2)], tracking=Tracking("upstream", 1))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(id, 1)], tracking=Tracking("upstream", 2))
    assert len(recorder.select_events(id)) == 1 and recorder.max_tracking_id("upstream") == 1


def test_a_server_that_is_gone_is_an_operational_error():
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_PORT": "1", "MEILIES_TRIES": "0"}))
    recorder = factory.application_recorder()
    with pytest.raises(OperationalError):
        recorder.insert_events([stored(uuid4(), 1)])
    with pytest.raises(OperationalError):
        recorder.select_notifications(None, 1)
    with pytest.raises(OperationalError):
        next(recorder.subscribe())
    with pytest.raises(OperationalError):
        factory.dcb_recorder().append([DCBEvent("happened", b"")])
    factory.close()


def test_a_recorder_whose_factory_was_closed_is_an_operational_error(where):
    factory = adapter.MeiliesFactory(Environment("app", where))
    recorder, tagged = factory.application_recorder(), factory.dcb_recorder()
    recorder.insert_events([stored(uuid4(), 1)])
    subscription, other = recorder.subscribe(), tagged.subscribe()
    assert next(subscription).originator_version == 1
    factory.close()
    with pytest.raises(OperationalError):
        recorder.insert_events([stored(uuid4(), 1)])
    with pytest.raises(OperationalError):
        recorder.select_notifications(None, 1)
    with pytest.raises(OperationalError):
        next(subscription)
    with pytest.raises(OperationalError):
        tagged.read()
    with pytest.raises(OperationalError):
        next(other)


def test_a_topic_that_no_event_can_have_is_an_error_of_the_data(factory):
    with pytest.raises(DataError, match="event name"):
        factory.application_recorder().insert_events([stored(uuid4(), 1, topic="two\nlines")])


def test_threads_that_ended_leave_no_connections(server):
    running = server("--sync", "no")
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_PORT": str(running.port)}))
    recorder = factory.application_recorder()
    for _ in range(20):
        one = threading.Thread(target=recorder.insert_events, args=([stored(uuid4(), 1)],))
        one.start()
        one.join()
    assert len(recorder.select_notifications(None, 100)) == 20
    assert len(factory._place._idle) == 1
    factory.close()


def test_threads_that_save_the_same_version_are_let_through_once(factory):
    recorder = factory.application_recorder()
    ids = [uuid4() for _ in range(5)]
    saved = []

    def save():
        for id in ids:
            for version in range(1, 11):
                try:
                    recorder.insert_events([stored(id, version)])
                except IntegrityError:
                    continue
                saved.append((id, version))

    threads = [threading.Thread(target=save) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(saved) == sorted((id, version) for id in ids for version in range(1, 11))
    for id in ids:
        assert [one.originator_version for one in recorder.select_events(id)] == list(range(1, 11))


def test_an_aggregate_whose_stream_was_deleted_begins_again(server):
    running = server("--sync", "no")
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_PORT": str(running.port)}))
    recorder = factory.application_recorder()
    id = uuid4()
    recorder.insert_events([stored(id, version) for version in range(1, 4)])
    assert len(recorder.select_events(id, gt=1)) == 2
    with Client(port=running.port) as client:
        client.delete(recorder._stream_of(id))
    assert not recorder.select_events(id)
    recorder.insert_events([stored(id, 1)])
    recorder.insert_events([stored(id, 2)])
    assert [one.originator_version for one in recorder.select_events(id, gt=1, lte=2)] == [2]
    factory.close()


class Seen(Projection):
    """Tells how far it is by its tracking records alone."""

    name = "seen"
    topics = (get_topic(Account.Opened),)

    def process_event(self, domain_event, tracking):
        self.view.insert_tracking(tracking)


def test_a_projection_ends_while_its_subscription_waits(where):
    env = {"PERSISTENCE_MODULE": "meilies_eventsourcing", **where}
    with ProjectionRunner(application_class=Bank, projection_class=Seen, view_class=adapter.MeiliesTrackingRecorder,
                          env=env) as runner:
        runner.app.open("ann")
        runner.wait(runner.app.recorder.max_notification_id())
        assert runner.projection.view.max_tracking_id("Bank") == 1
    runner.view.close()


def test_a_store_is_open_with_one_way_to_sync(tmp_path):
    made = [adapter.MeiliesFactory(Environment("app", {"MEILIES_DB_PATH": str(tmp_path), "MEILIES_SYNC": sync}))
            for sync in ("no", "always")]
    made[0].application_recorder()
    with pytest.raises(OSError, match="MEILIES_SYNC is 'always', expected 'no'"):
        made[1].application_recorder()
    for one in made:
        one.close()
    made[1].application_recorder()
    made[1].close()


def test_a_store_that_another_has_open_is_an_operational_error(tmp_path):
    import store
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_DB_PATH": str(tmp_path)}))
    with store.Store(str(tmp_path)), pytest.raises(OperationalError):
        factory.application_recorder()
    factory.application_recorder()
    factory.close()


@pytest.mark.parametrize("variables", [{"ORIGINATOR_ID_TYPE": "number"}, {"MEILIES_PORT": "x"},
                                       {"MEILIES_TRIES": "-1"}, {"MEILIES_SYNC": "often"}])
def test_a_variable_that_cannot_be_is_refused(variables):
    with pytest.raises(OSError, match=r"expected"):
        adapter.MeiliesFactory(Environment("app", variables))


def test_classes_of_recorders_can_be_chosen(where):
    topics = {"APPLICATION_RECORDER_TOPIC": get_topic(adapter.MeiliesProcessRecorder)}
    factory = adapter.MeiliesFactory(Environment("app", {**where, **topics}))
    assert type(factory.application_recorder()) is adapter.MeiliesProcessRecorder
    factory.close()


# -- events with tags -----------------------------------------------------------------

@pytest.mark.parametrize("name", ["_test_append_read", "_test_append_subscribe"])
def test_the_packages_own_case_of_a_dcb_recorder_passes(factory, name):
    getattr(DCBRecorderTestCase(), name)(factory.dcb_recorder())


def test_the_packages_own_case_of_a_dcb_recorder_passes_behind_other_events(factory):
    recorder = factory.dcb_recorder()
    recorder.append([DCBEvent("other", b"", ["other"])] * 4)
    DCBRecorderTestCase()._test_append_read(factory.dcb_recorder(), initial_position=4)


def query(*items):
    return DCBQuery([DCBQueryItem(list(types), list(tags)) for types, tags in items])


def test_dcb_applications_in_one_store_see_their_own_events(where):
    made = [adapter.MeiliesFactory(Environment(name, where)) for name in ("one", "two")]
    recorders = [one.dcb_recorder() for one in made]
    made[0].application_recorder().insert_events([stored(uuid4(), 1, topic="joined")])
    positions = [one.append([DCBEvent("joined", b"%d" % i, ["course"])]) for i, one in enumerate(recorders)]
    assert positions == [2, 3]
    for i, one in enumerate(recorders):
        for asked in None, query(), query((["joined"], ())), query(((), ["course"])), query((["joined"], ["course"])):
            assert [each.event.data for each in one.read(asked)] == [b"%d" % i]
    recorders[0].append([DCBEvent("joined", b"")], DCBAppendCondition(query((["joined"], ["course"])), after=2))
    with pytest.raises(IntegrityError):
        recorders[0].append([DCBEvent("joined", b"")], DCBAppendCondition(after=2))
    for one in made:
        one.close()


def test_of_those_who_append_on_one_condition_one_is_let_through(factory):
    recorder = factory.dcb_recorder()
    let_through = []

    def take(who):
        for seat in range(10):
            taken = query((["taken"], [f"seat:{seat}"]))
            try:
                recorder.append([DCBEvent("taken", who, [f"seat:{seat}"])], DCBAppendCondition(taken))
            except IntegrityError:
                continue
            let_through.append(seat)

    threads = [threading.Thread(target=take, args=(b"%d" % i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(let_through) == list(range(10))
    assert len(list(recorder.read())) == 10


def test_a_dcb_read_goes_through_more_events_than_a_page_has(factory):
    recorder = factory.dcb_recorder()
    for first in range(0, 2500, 500):
        recorder.append([DCBEvent(f"type{i % 2}", b"%d" % i, [f"tag{i % 3}"]) for i in range(first, first + 500)])
    assert [one.position for one in recorder.read()] == list(range(1, 2501))
    matching = [i for i in range(2500) if not i % 2 and i % 3 == 1]
    asked = query((["type0"], ["tag1"]))
    assert [int(one.event.data) for one in recorder.read(asked)] == matching
    assert [int(one.event.data) for one in recorder.read(asked, after=1000, limit=3)] == [1000, 1006, 1012]
    with recorder.subscribe(asked) as subscription:
        assert [int(next(subscription).event.data) for _ in matching] == matching
        recorder.append([DCBEvent("type0", b"5", ["tag0"]), DCBEvent("type0", b"6", ["tag1", "tag0"])])
        assert next(subscription).event == DCBEvent("type0", b"6", ["tag1", "tag0"])


def test_a_dcb_subscription_is_ended_by_another_thread(factory):
    recorder = factory.dcb_recorder()
    seen = []
    came = threading.Event()

    def follow():
        for one in subscription:
            seen.append(one.position)
            came.set()

    with recorder.subscribe(query((["happened"], ()))) as subscription:
        reader = threading.Thread(target=follow)
        reader.start()
        recorder.append([DCBEvent("else", b""), DCBEvent("happened", b"")])
        assert came.wait(10)
    reader.join(10)
    assert not reader.is_alive() and seen == [2]


def test_what_a_dcb_recorder_does_not_take_is_said(factory):
    recorder = factory.dcb_recorder()
    with pytest.raises(ProgrammingError, match="at least one event"):
        recorder.append([])
    for tags in [""], ["zero\0"], ["x" * 66_000]:
        with pytest.raises(DataError, match="tag"):
            recorder.append([DCBEvent("happened", b"", tags)])
    recorder.append([DCBEvent("happened", b"", ["x" * (65_535 - len("stream:app.dcb") - 1)])])
    with pytest.raises(DataError, match="tag"):
        recorder.read(query(((), [""])))
    with pytest.raises(DataError, match="event name"):
        recorder.append([DCBEvent("two\nlines", b"")])
    assert [one.position for one in recorder.read()] == [1]
    assert list(recorder.read(limit=-1)) == []


# -- a DCB application ----------------------------------------------------------------

class Decided(dcb.Decision):
    """What was decided, as JSON."""


class JSONMapper(DCBMapper):
    def to_dcb_event(self, event):
        data = json.dumps(asdict(event.decision)).encode()
        return DCBEvent(get_topic(type(event.decision)), data, event.tags)

    def to_domain_event(self, event):
        return dcb.Tagged(event.tags, resolve_topic(event.type)(**json.loads(event.data)))


@dataclass
class CourseOpened(dcb.InitialDecision):
    originator_topic: str
    course_id: str
    places: int


@dataclass
class StudentJoined(dcb.Decision):
    student: str


class Course(dcb.EnduringObject):
    @event(CourseOpened)
    def __init__(self, places):
        self.places = places
        self.students = []

    @event(StudentJoined)
    def _(self, student):
        self.students.append(student)

    def join(self, student):
        if len(self.students) == self.places:
            raise ValueError("the course is full")
        self.trigger_event(StudentJoined, [f"student-{student}"], student=student)


class School(DCBApplication):
    env = {"PERSISTENCE_MODULE": "meilies_eventsourcing", "MAPPER_TOPIC": get_topic(JSONMapper)}


def test_a_dcb_application_keeps_its_promises(where):
    with School(where) as school:
        course = Course(places=2)
        school.repository.save(course)
        first, [second] = [school.repository.get_many(course.id)[0], school.repository.get_many(course.id)]
        first.join("ann")
        school.repository.save(first)
        second.join("bob")
        with pytest.raises(IntegrityError):
            school.repository.save(second)
    with School(where) as school:
        again = school.repository.get_many(course.id)[0]
        assert (again.places, again.students) == (2, ["ann"])
        again.join("bob")
        school.repository.save(again)
        with pytest.raises(ValueError, match="full"):
            school.repository.get_many(course.id)[0].join("cid")
        of_bob = school.events.read(dcb.Selector(tags=["student-bob"]))
        assert [tagged.decision for tagged in of_bob] == [StudentJoined("bob")]
