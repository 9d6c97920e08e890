"""Planted faults: the store is broken on purpose, in a copy, and the check that is to notice has to.

    a copy of the sources ──old text, new text──> a fault ──> the test that it is caught by fails

A fault that nothing catches says that a check is missing, or doesn't check.  PLANTED is the list of them, and of who
catches each; a round plants one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

NAME = "planted"
ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("store", "server", "cli", "terminal", "tests", "resp.py", "meilies_server.py", "meilies_client.py",
          "meilies_operations.py", "meilies_session.py", "meilies_cli.py", "setup.cfg", "pyproject.toml")
# Seconds for one test, with the start of an interpreter on a machine that has other work.
LIMIT = 120


class Fault(NamedTuple):
    """What is planted, where, in place of what, and the test that catches it."""

    name: str
    path: str
    old: str
    new: str
    caught_by: str


PLANTED = (
    Fault("a batch is visible before it is on disk", "store/database.py",
          "        if self.sync_policy == ALWAYS:\n"
          "            self._pending.append(batch)\n",
          "        if False:\n"
          "            self._pending.append(batch)\n",
          "tests/test_database.py::test_a_batch_of_many_streams_keeps_its_order_in_all"),
    Fault("an append returns without a sync", "store/database.py",
          "        if self.sync_policy == ALWAYS:\n"
          "            self._sync(batch.position)\n",
          "        if self.sync_policy == ALWAYS:\n"
          "            pass\n",
          "tests/test_database.py::test_an_event_is_read_as_it_was_appended"),
    Fault("a sync syncs nothing", "store/log.py",
          "            for segment in dirty:       # oldest first: the end on disk only ever moves forward\n"
          "                segment.sync()\n",
          "            for segment in dirty:\n"
          "                pass\n",
          "tests/test_log.py::test_a_new_segment_is_on_disk_before_anything_is_written_to_it"),
    Fault("a sync counts what came after it began", "store/log.py",
          "            self.synced, self.controls_synced = end, controls\n",
          "            self.synced, self.controls_synced = self.next_position, self.controls\n",
          "tests/test_log.py::test_a_failed_sync_takes_back_what_readers_saw_before_it"),
    Fault("a failed sync is forgotten", "store/log.py",
          "        if self.failed is None:\n"
          "            self.failed = StoreFailed(path, what, cause)\n",
          "        if self.failed is None:\n"
          "            return StoreFailed(path, what, cause)\n",
          "tests/test_log.py::test_a_write_that_cannot_be_taken_back_is_the_last"),
    Fault("readers keep what a failed sync lost", "store/database.py",
          "        self.all.visible = min(self.all.visible, self._log.synced)\n",
          "        pass\n",
          "tests/test_log.py::test_after_a_failed_write_readers_see_what_is_on_disk_and_no_more"),
    Fault("a new segment's name isn't synced", "store/segment.py",
          "            files.sync_folder(folder)\n",
          "            pass\n",
          "tests/test_segment.py::test_the_header_and_the_name_are_on_disk_before_the_segment_is_there"),
    Fault("a new segment's header isn't synced", "store/segment.py",
          "            files.sync(fd)\n"
          "            files.sync_folder(folder)\n",
          "            files.sync_folder(folder)\n",
          "tests/test_segment.py::test_the_header_and_the_name_are_on_disk_before_the_segment_is_there"),
    Fault("what a write without room left stays", "store/log.py",
          "                self._files.truncate(tail.fd, tail.end)\n"
          "                tail.sync()\n",
          "                tail.sync()\n",
          "tests/test_log.py::test_a_write_without_room_is_taken_back_and_appending_goes_on_later"),
    Fault("a header says more is on disk than is", "store/log.py",
          "clock, synced, level = self._clock(), self.synced, self._level",
          "clock, synced, level = self._clock(), self.next_position, self._level",
          "tests/test_recovery.py::test_good_records_behind_a_tear_are_not_resurrected"),
    Fault("no mark at a clean close", "store/log.py",
          "        if unmarked and not self._write_mark(tail):\n",
          "        if False:\n",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("controls that were on disk aren't counted", "store/recovery.py",
          "or self.controls < self._controls_synced:\n",
          "or False:\n",
          "tests/test_controls.py::test_damage_to_a_control_that_was_on_disk_is_not_a_tear"),
    Fault("damage is taken for a tear", "store/recovery.py",
          "                if bad.unknown or self.position < self.synced or self.controls < self._controls_synced:\n",
          "                if bad.unknown:\n",
          "tests/test_recovery.py::test_damage_inside_an_append_is_named_by_its_own_record"),
    Fault("a tear is taken for damage", "store/recovery.py",
          "                if bad.unknown or self.position < self.synced or self.controls < self._controls_synced:\n",
          "                if bad.unknown or self.position <= self.synced or self.controls < self._controls_synced:\n",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("half an append is kept", "store/recovery.py",
          "            begin = self._group[0][0] if self._group else byte      # of the append that isn't whole\n",
          "            begin = byte\n",
          "tests/test_recovery.py::test_an_append_is_there_as_a_whole_or_not_at_all"),
    Fault("garbage behind zeros is taken for room", "store/segment.py",
          "            if data.count(0) != len(data):\n"
          "                return False\n",
          "            if data.count(0) != len(data):\n"
          "                return True\n",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("headers behind a bad record aren't asked", "store/recovery.py",
          "                self._raise_synced(*_highest_synced(segments[i:], begin))\n",
          "",
          "tests/test_recovery.py::test_damage_inside_an_append_is_named_by_its_own_record"),
    Fault("numbers of a stream may jump", "store/recovery.py",
          "        if number != expected:\n"
          "            raise BadRecord",
          "        if number < expected:\n"
          "            raise BadRecord",
          "tests/test_recovery.py::test_a_record_that_does_not_follow_the_one_before_it_is_damage"),
    Fault("what is cut isn't kept", "store/log.py",
          "        kept = self._cuts.keep(torn, end.byte)\n",
          "        kept = None\n",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("a cut doesn't raise the epoch", "store/log.py",
          "        epoch = self.epoch + 1\n"
          "        kept",
          "        epoch = self.epoch\n"
          "        kept",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("a cut isn't final", "store/log.py",
          "        self._files.truncate(torn.fd, end.byte)\n"
          "        torn.sync()\n",
          "        torn.sync()\n",
          "tests/test_recovery.py::test_a_tail_torn_at_any_byte_is_cut_and_kept_and_raises_the_epoch"),
    Fault("what a failed sync left in memory is taken for what is on disk", "store/segment.py",
          "            if doubted:\n",
          "            if False:\n",
          "tests/test_recovery.py::test_the_first_segment_whose_header_was_never_synced_is_made_anew"),
    Fault("an index of another copy is trusted", "store/log.py",
          "            if self._segments and self._is_foreign(through):\n",
          "            if False:\n",
          "tests/test_recovery.py::test_an_index_of_a_copy_that_went_another_way_is_not_believed"),
    Fault("an index that hides damage is thrown away", "store/log.py",
          "        self._check_up_to(through)\n        return True\n",
          "        return True\n",
          "tests/test_recovery.py::test_damage_that_hides_what_the_index_goes_by_is_not_taken_for_a_tear"),
    Fault("rows of the index aren't compared with their checksum", "store/index.py",
          "    if crc != _checksum(stream + packed, first, last, segment):\n",
          "    if False:\n",
          "tests/test_index.py::test_an_altered_row_gives_no_wrong_place"),
    Fault("the index may count other events than the log", "store/index.py",
          "        if total != position:\n",
          "        if False:\n",
          "tests/test_index.py::test_an_index_that_contradicts_itself_is_not_loaded"),
    Fault("a body isn't compared with its checksum", "store/record.py",
          "    if _crc32(body) != crc:\n",
          "    if False:\n",
          "tests/test_record.py::test_no_single_flipped_bit_decodes"),
    Fault("a replay doesn't compare bodies", "store/record.py",
          "            if _crc32(buffer[start:end]) != body_crc:\n",
          "            if False:\n",
          "tests/test_replay.py::test_damage_ends_a_slice_and_is_named_by_the_next"),
    Fault("a header isn't compared with its checksum", "store/record.py",
          "    if not _header_checks(header, salt):\n"
          "        raise",
          "    if False:\n"
          "        raise",
          "tests/test_record.py::test_no_single_flipped_bit_decodes"),
    Fault("two owners get in", "store/files.py",
          "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
          "        pass\n",
          "tests/test_database.py::test_a_second_process_is_refused_and_told_who_has_the_store"),
    Fault("nobody is woken", "store/stream.py",
          "                condition.notify_all()\n",
          "                pass\n",
          "tests/test_stream.py::test_notify_wakes_all_who_wait"),
    Fault("catch-up begins live one event early", "server/feed.py",
          "            if follower.next < min(self.sent, self.stream.visible):",
          "            if follower.next + 1 < min(self.sent, self.stream.visible):",
          "tests/test_feed.py::test_a_follower_that_is_refused_goes_on_at_the_very_event"),
    Fault("a step leaves its first event out", "server/feed.py",
          "                self._serve(followers, a, b)\n",
          "                self._serve(followers, a + 1, b)\n",
          "tests/test_feed.py::test_a_long_replay_takes_many_turns_and_misses_nothing_published_meanwhile"),
    Fault("a chunk ends one event early", "server/chunk.py",
          "        end = _count_below(keys, stop)\n",
          "        end = _count_below(keys, stop - 1)\n",
          "tests/test_chunk.py::test_a_part_is_what_a_chunk_of_that_range_is"),
    Fault("what is lost is passed over in silence", "store/runs.py",
          "                    yield lost\n",
          "                    pass\n",
          "tests/test_repair.py::test_events_around_a_damaged_one_keep_their_numbers_and_positions"),
    Fault("repair keeps nothing", "store/repair.py",
          "            self._cuts.keep(segment, hole.byte, hole.stop)\n",
          "            pass\n",
          "tests/test_repair.py::test_events_around_a_damaged_one_keep_their_numbers_and_positions"),
    Fault("repair gives numbers out again under the same epoch", "store/repair.py",
          "        if not self._findings.raise_epoch or self._findings.tear:",
          "        if True:",
          "tests/test_repair.py::test_events_of_nobody_knows_which_stream_raise_the_epoch"),
    Fault("check believes an old record", "store/walk.py",
          "        if found.position < self.position:\n"
          "            return",
          "        if False:\n"
          "            return",
          "tests/test_check.py::test_an_old_record_of_the_same_file_is_not_taken_for_a_new_one"),
    Fault("an append doesn't count its own events", "store/append.py",
          "            nexts[stream] = following + 1\n",
          "            pass\n",
          "tests/test_append.py::test_a_change_finds_what_those_before_it_made"),
    Fault("what an append expects is compared with what was there before the batch", "store/draft.py",
          "            unit.error = unit.refusal(streams, closed)\n",
          "            before = {name: one for name, one in streams.items() if one not in nexts}\n"
          "            unit.error = unit.refusal(before, closed)\n",
          "tests/test_draft.py::test_what_an_append_expects_is_compared_with_the_units_before_it"),
    Fault("appends of one batch don't know of each other's ids", "store/draft.py",
          "                    known.note(unit)\n",
          "                    pass\n",
          "tests/test_ids.py::test_appends_of_one_batch_know_of_each_other"),
    Fault("what comes between look and lock is overlooked", "store/ids.py",
          "        return not self._log.lookup.has_since(self._hashes | hashes, self._added, self._position)\n",
          "        return True\n",
          "tests/test_ids.py::test_what_comes_between_look_and_lock_is_looked_at_again"),
    Fault("a look-up that lags behind the log after a crash isn't filled up", "store/log.py",
          "                self._write_lookup(self.lookup.fill_up, reach.position)\n",
          "                pass\n",
          "tests/test_ids.py::test_ids_are_known_with_a_look_up_from_before"),
    Fault("the newest control is dropped", "store/log.py",
          "            if place is None and value is None or place is not None and place[:2] == (sequence, byte):\n"
          "                return False\n",
          "            if place is None and value is None or place is not None and place[:2] == (sequence, byte):\n"
          "                return True\n",
          "tests/test_compaction.py::test_after_a_restart_it_is_the_same"),
    Fault("what is cut is shown", "store/retention.py",
          "            if one.kind == record.CUT or one.lost or not self._concerns(one):\n"
          "                found.append(one)\n",
          "            if True:\n"
          "                found.append(one)\n",
          "tests/test_retention.py::test_what_is_below_a_cut_is_gone_at_once_and_the_rest_keeps_its_numbers"),
    Fault("ids go with what is cut", "store/compaction.py",
          "                     if id_ and gone.number + i >= cut.deleted]\n",
          "                     if False]\n",
          "tests/test_compaction.py::test_ids_of_what_was_cut_stay_known_and_those_of_a_deleted_stream_do_not"),
    Fault("a segment that was rewritten takes the old one's name before it is on disk", "store/log.py",
          "            self._files.sync(fd)\n"
          "            self._files.rename(path, segment.path)\n",
          "            self._files.rename(path, segment.path)\n"
          "            self._files.sync(fd)\n",
          "tests/test_compaction.py::test_a_new_file_is_on_disk_before_it_takes_the_old_ones_name"),
    Fault("a group's checkpoint passes an event that isn't done", "store/group.py",
          "        while self._window and self._window[0].done:\n",
          "        while self._window:\n",
          "tests/test_group.py::test_the_checkpoint_is_before_the_first_event_that_is_not_done"),
    Fault("an event is dropped when too many are parked", "store/group.py",
          "        if (park or item.tries >= self.rules.tries) and len(self.parked) < MAX_PARKED:\n",
          "        if park or item.tries >= self.rules.tries:\n",
          "tests/test_group.py::test_with_too_many_parked_an_event_stays_in_its_line"),
    Fault("two members hold events of one stream", "store/group.py",
          "        if line.holder is None:\n"
          "            self._ready[item.stream] = None\n\n",
          "        if True:\n"
          "            self._ready[item.stream] = None\n\n",
          "tests/test_group.py::test_an_event_that_comes_later_goes_to_who_holds_its_stream"),
)

GOALS = {"caught": len(PLANTED)}


def run(seed, until, folder):
    fault = PLANTED[seed % len(PLANTED)]
    plant(fault, folder)
    done = check(folder, fault.caught_by)
    assert done.returncode == 1, f"{fault.name}: {fault.caught_by} ended with {done.returncode}\n{done.stdout[-2000:]}"
    return {"caught": {hash(fault.name)}}


def plant(fault, folder):
    """Copy the sources to a folder, with the fault in them."""
    copy_sources(folder)
    path = folder / fault.path
    path.write_text(planted(fault, path.read_text()))


def copy_sources(folder):
    """Copy what is tested, and its tests."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
        elif source.exists():
            shutil.copy(source, folder / name)


def planted(fault, text):
    """The source with the fault.  Raises AssertionError where its old text isn't there, or is twice."""
    assert text.count(fault.old) == 1, f"{fault.name}: {text.count(fault.old)} times in {fault.path}: {fault.old!r}"
    return text.replace(fault.old, fault.new)


def check(folder, tests):
    """Run tests (a pytest argument) on the sources in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests], cwd=folder,
        env=unmeasured(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)


def unmeasured():
    """The environment of a process whose coverage isn't measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
