"""store/cut.py: what is taken out of a log is kept, and nothing kept is written over."""

import errno

import pytest
from disk import Disk, segments

from store import Store
from store.cut import Cuts
from store.segment import Segment


@pytest.fixture
def segment(tmp_path):
    with Store(str(tmp_path / "db"), files=Disk()) as store:
        store.append("s", "n", b"data")
    [path] = segments(tmp_path / "db")
    opened = Segment.open(Disk(), str(path))
    yield opened
    opened.close()


def test_bytes_are_kept_under_the_name_of_their_segment_and_byte(tmp_path, segment):
    cuts = Cuts(Disk(), str(tmp_path))
    whole = segment.files.read(segment.fd, 10_000, 0)
    assert cuts.keep(segment, 10) == str(tmp_path / "cut" / "000000000000.segment-10.0")
    assert cuts.keep(segment, 10, 20) == str(tmp_path / "cut" / "000000000000.segment-10.1")
    assert (tmp_path / "cut" / "000000000000.segment-10.0").read_bytes() == whole[10:]
    assert (tmp_path / "cut" / "000000000000.segment-10.1").read_bytes() == whole[10:20]


def test_what_goes_on_behind_the_end_of_the_file_is_kept_up_to_there(tmp_path, segment):
    path = Cuts(Disk(), str(tmp_path)).keep(segment, 10, 1 << 20)
    with open(path, "rb") as file:
        assert file.read() == segment.files.read(segment.fd, 10_000, 10)


def test_half_a_copy_is_not_left_behind(tmp_path, segment):
    disk = Disk()
    disk.refuse("write", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        Cuts(disk, str(tmp_path)).keep(segment, 10)
    assert list((tmp_path / "cut").iterdir()) == []


def test_a_file_is_moved_under_a_name_that_is_free(tmp_path):
    cuts = Cuts(Disk(), str(tmp_path))
    for tries in range(2):
        (tmp_path / "x").write_bytes(b"%d" % tries)
        assert cuts.set_aside(str(tmp_path / "x")) == str(tmp_path / "cut" / f"x.{tries}")
        assert (tmp_path / "cut" / f"x.{tries}").read_bytes() == b"%d" % tries
