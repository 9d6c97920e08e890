"""tests/faults/runner.py: turns, counts, and what a failure says."""

import math
import time
from types import SimpleNamespace

import pytest
from faults import Absent, runner
from faults.runner import Tally, take_turns


def part(run, **goals):
    return SimpleNamespace(NAME="part", GOALS=goals, run=run)


def test_numbers_add_up_and_sets_are_united(tmp_path):
    tally = Tally(part(lambda seed, until, folder: {"openings": 2, "states": {1, seed}}))
    for seed in range(3):
        tally.run(seed, math.inf, tmp_path)
    assert (tally.count("openings"), tally.count("states"), tally.rounds) == (6, 3, 3)


def test_rounds_go_on_until_every_goal_is_reached(tmp_path):
    seeds = []
    tallies = [Tally(part(lambda seed, until, folder: {"states": 2}, states=5)),
               Tally(part(lambda seed, until, folder: seeds.append(seed) or {"kills": 1}, kills=2))]
    take_turns(tallies, math.inf, tmp_path)
    assert [tally.count(what) for tally, what in zip(tallies, ["states", "kills"])] == [6, 2]
    assert seeds == [0, 1]


def test_rounds_end_when_the_time_is_up_and_are_told_when_that_is(tmp_path):
    until = time.monotonic() + 0.05
    told = set()
    take_turns([Tally(part(lambda seed, until, folder: told.add(until) or {"states": 1}))], until, tmp_path)
    assert time.monotonic() >= until
    assert told == {until}


def test_a_failure_says_how_to_repeat_it_keeps_its_files_and_fails_the_run(tmp_path, monkeypatch, capsys):
    def broken(seed, until, folder):
        (folder / "evidence").touch()
        assert seed != 1, "event 7 is gone"
        return {"states": 1}

    monkeypatch.setattr(runner, "load", lambda names: [part(broken, states=2)])
    assert runner.main(["--folder", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "event 7 is gone" in shown
    assert "-m tests.faults --only part --seed 1\n" in shown
    assert "states 2 of 2; 2 rounds" in shown
    assert len(list(tmp_path.rglob("evidence"))) == 1


def test_a_seed_runs_its_round_alone(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(runner, "load", lambda names: [part(lambda *round_: ran.append(round_) or {}, states=9)])
    assert runner.main(["--seed", "7", "--folder", str(tmp_path)]) == 0
    assert [(seed, until) for seed, until, _ in ran] == [(7, math.inf)]
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_fails_always_gets_no_more_turns(tmp_path, capsys):
    def broken(seed, until, folder):
        raise ValueError(seed)

    tally = Tally(part(broken, states=1))
    take_turns([tally], math.inf, tmp_path)
    assert len(tally.failures) == runner.ENOUGH_FAILURES


def test_what_is_not_here_is_reported_and_not_asked_for_again(tmp_path):
    def absent(seed, until, folder):
        raise Absent("mount")

    tally = Tally(part(absent, states=1))
    take_turns([tally], math.inf, tmp_path)
    assert "not here: mount" in tally.line()


def test_an_unknown_part_is_refused_by_name(capsys):
    assert runner.main(["--only", "nothing"]) == 2
    assert "there is no part 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("part", runner.load([]), ids=lambda part: part.NAME)
def test_each_part_keeps_the_contract(part):
    assert part.NAME and part.GOALS and callable(part.run)
