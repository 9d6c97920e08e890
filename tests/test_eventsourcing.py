"""meilies_eventsourcing.py: the test cases of the package `eventsourcing`, on a server and on a store in process."""

import sys
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest

if sys.version_info < (3, 11):
    pytest.skip("eventsourcing 9.5.6 is for Python 3.11 and newer", allow_module_level=True)

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError, OperationalError, StoredEvent, Tracking
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment, get_topic

import meilies_eventsourcing as adapter


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


def test_a_server_that_is_gone_is_an_operational_error(tmp_path):
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_PORT": "1"}))
    recorder = factory.application_recorder()
    place = recorder._place
    place._own.client = place._kit.Client(port=1, tries=0)      # what waits for a server waits a while
    with pytest.raises(OperationalError):
        recorder.insert_events([stored(uuid4(), 1)])
    with pytest.raises(OperationalError):
        recorder.select_notifications(None, 1)
    factory.close()


def test_a_store_that_was_closed_is_an_operational_error(tmp_path):
    factory = adapter.MeiliesFactory(Environment("app", {"MEILIES_DB_PATH": str(tmp_path)}))
    recorder = factory.application_recorder()
    subscription = recorder.subscribe()
    factory.close()
    with pytest.raises(OperationalError):
        recorder.insert_events([stored(uuid4(), 1)])
    with pytest.raises(OperationalError):
        recorder.select_notifications(None, 1)
    with pytest.raises(OperationalError):
        next(subscription)


@pytest.mark.parametrize("variables", [{"ORIGINATOR_ID_TYPE": "number"}, {"MEILIES_PORT": "x"}])
def test_a_variable_that_cannot_be_is_refused(variables):
    with pytest.raises(OSError, match=r"expected"):
        adapter.MeiliesFactory(Environment("app", variables))


def test_classes_of_recorders_can_be_chosen(where):
    topics = {"APPLICATION_RECORDER_TOPIC": get_topic(adapter.MeiliesProcessRecorder)}
    factory = adapter.MeiliesFactory(Environment("app", {**where, **topics}))
    assert type(factory.application_recorder()) is adapter.MeiliesProcessRecorder
    factory.close()
