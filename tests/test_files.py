"""store/files.py: what each call leaves on the disk."""

import os
import stat

import disk
import pytest
import serving

from store.errors import FolderRefused
from store.files import FILE_MODE, FOLDER_MODE, Files, _join_and_write, make_private, open_private

files = Files()


@pytest.fixture
def fd(tmp_path):
    fd = files.create(str(tmp_path / "file"))
    yield fd
    files.close(fd)


def short(call, most):
    """`call` (os.pread or os.pwrite), but for no more than `most` bytes at once."""
    def one(fd, what, pos):
        return call(fd, min(what, most) if isinstance(what, int) else what[:most], pos)
    return one


def test_what_is_written_is_read(fd):
    files.write(fd, b"0123456789", 5)
    assert files.size(fd) == 15
    assert files.read(fd, 4, 5) == b"0123"
    assert files.read(fd, 99, 12) == b"789"
    assert files.read(fd, 99, 99) == b""


def test_a_short_write_is_gone_on_with(fd, monkeypatch):
    monkeypatch.setattr(os, "pwrite", short(os.pwrite, 3))
    files.write(fd, b"0123456789", 2)
    assert files.read(fd, 99, 2) == b"0123456789"


PARTS = [b"012", b"", memoryview(b"3456789"), bytearray(b"abc"), b""]


@pytest.mark.parametrize("parts", [PARTS, PARTS[:1], [], [b""], [b"", b""], [b"%03d" % i for i in range(5000)]])
def test_parts_are_written_one_behind_the_other(fd, parts):
    files.write_parts(fd, parts, 2)
    assert files.read(fd, 99_999, 0).lstrip(b"\0") == b"".join(parts)
    assert files.size(fd) in (0, 2 + len(b"".join(parts)))


@pytest.mark.parametrize("most", range(1, 15))
def test_a_short_write_of_parts_is_gone_on_with(fd, monkeypatch, most):
    monkeypatch.setattr("store.files._pwritev", lambda fd, parts, pos: os.pwrite(fd, b"".join(parts)[:most], pos))
    files.write_parts(fd, PARTS, 2)
    assert files.read(fd, 99, 2) == b"0123456789abc"


def test_parts_are_joined_where_the_system_does_not_take_them(fd, monkeypatch):
    monkeypatch.setattr("store.files._pwritev", _join_and_write)
    files.write_parts(fd, PARTS, 2)
    assert files.read(fd, 99, 2) == b"0123456789abc"


def test_no_call_is_given_more_parts_than_the_system_takes(fd, monkeypatch):
    given = []

    def pwritev(fd, parts, pos):
        given.append(len(parts))
        return os.pwritev(fd, parts, pos)

    monkeypatch.setattr("store.files._pwritev", pwritev)
    monkeypatch.setattr("store.files._MOST_PARTS", 2)
    files.write_parts(fd, PARTS, 0)
    assert files.read(fd, 99, 0) == b"0123456789abc"
    assert given == [2, 2]


def test_who_stands_in_for_write_stands_in_for_write_parts():
    stand_ins = [kind for kind in Files.__subclasses__() if "write" in vars(kind)]
    assert {disk.Disk, serving.FailingDisk} <= set(stand_ins)
    assert [kind for kind in stand_ins if "write_parts" not in vars(kind)] == []


def test_a_short_read_is_gone_on_with(fd, monkeypatch):
    files.write(fd, b"0123456789", 0)
    monkeypatch.setattr(os, "pread", short(os.pread, 3))
    assert files.read(fd, 8, 1) == b"12345678"
    assert files.read(fd, 99, 1) == b"123456789"


def test_fill_writes_zeros_and_nothing_else(fd):
    files.write(fd, b"0123456789", 0)
    files.fill(fd, 4, 7)
    assert files.read(fd, 99, 0) == b"0123\0\0\x00789"
    files.fill(fd, 10, 5000)
    assert files.read(fd, 5001, 7) == b"789" + bytes(4990)


def test_truncate_gives_bytes_back(fd):
    files.write(fd, b"0123456789", 0)
    files.truncate(fd, 4)
    assert files.read(fd, 99, 0) == b"0123"


def test_sync_asks_for_the_data_and_a_folder_for_its_names(fd, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("store.files._fdatasync", lambda fd: asked.append(("file", fd)))
    monkeypatch.setattr(os, "fsync", lambda fd: asked.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
    files.sync(fd)
    files.sync_folder(str(tmp_path))
    assert asked == [("file", fd), True]


def test_create_wants_no_file_and_open_wants_one(tmp_path):
    path = str(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        files.open(path)
    files.close(files.create(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == FILE_MODE
    with pytest.raises(FileExistsError):
        files.create(path)
    fd = files.open(path)
    files.write(fd, b"x", 0)
    files.close(fd)


@pytest.mark.parametrize("open_it", [files.open, files.lock])
def test_a_link_is_not_followed(tmp_path, open_it):
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        open_it(str(tmp_path / "link"))


def test_names_are_sorted_and_follow_renames_and_removals(tmp_path):
    for name in ("b", "c", "a"):
        files.close(files.create(str(tmp_path / name)))
    files.rename(str(tmp_path / "a"), str(tmp_path / "d"))
    files.remove(str(tmp_path / "c"))
    assert files.names(str(tmp_path)) == ["b", "d"]


def test_folders_are_made_down_to_the_last_and_each_is_durable_in_the_one_above(tmp_path):
    synced = []

    class Watched(Files):
        def sync_folder(self, path):
            synced.append(path)

    deepest = tmp_path / "a" / "b"
    Watched().make_folder(str(deepest))
    Watched().make_folder(str(deepest))
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    assert stat.S_IMODE(deepest.stat().st_mode) == FOLDER_MODE


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path):
    path = str(tmp_path / "lock")
    held = files.lock(path)
    files.close(files.open(path))       # closing another descriptor of the file gives nothing away
    with pytest.raises(BlockingIOError):
        files.lock(path)
    files.close(held)
    files.close(files.lock(path))


def test_the_names_of_a_folder_and_of_those_above_it_are_synced_up_to_the_root_of_the_file_system(
        tmp_path, monkeypatch):
    synced = []

    class Watched(Files):
        def sync_folder(self, path):
            synced.append(path)

    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(tmp_path))
    Watched().sync_above(str(tmp_path / "a" / "b"))
    assert synced == [str(tmp_path / "a"), str(tmp_path)]


def test_a_folder_above_that_may_not_be_read_is_older_than_the_store(tmp_path):
    class Forbidden(Files):
        def sync_folder(self, path):
            assert path == str(tmp_path)
            raise PermissionError(path)

    Forbidden().sync_above(str(tmp_path / "a"))


def test_what_is_forgotten_is_read_from_the_disk(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: asked.append(arguments), raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_DONTNEED", 4, raising=False)
    files.forget(7, 128)
    assert asked == [(7, 128, 0, 4)]
    monkeypatch.delattr(os, "posix_fadvise")
    files.forget(7, 128)        # a system without it
    assert len(asked) == 1


def test_two_who_make_a_folder_at_once_both_have_it(tmp_path, monkeypatch):
    path = tmp_path / "db"
    mkdir = os.mkdir

    def too_late(*arguments):
        mkdir(*arguments)
        mkdir(*arguments)

    monkeypatch.setattr(os, "mkdir", too_late)
    files.make_folder(str(path))
    assert path.is_dir()


def test_a_file_where_a_folder_is_to_be_made_is_an_error(tmp_path):
    (tmp_path / "db").touch()
    with pytest.raises(FileExistsError):
        files.make_folder(str(tmp_path / "db"))


# -- whose files they are -------------------------------------------------------

def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_folder_that_others_could_look_into_is_closed_to_them(tmp_path):
    path = tmp_path / "db"
    path.mkdir()
    path.chmod(0o755)
    assert files.keep_private(str(path))
    assert mode(path) == FOLDER_MODE
    assert not files.keep_private(str(path))


def test_a_folder_that_is_a_link_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    os.symlink("there", tmp_path / "db")
    with pytest.raises(FolderRefused) as caught:
        files.keep_private(str(tmp_path / "db"))
    assert str(caught.value) == (f"{tmp_path / 'db'}: found a symbolic link to there, expected the folder itself; "
                                 "nothing was touched")
    assert mode(tmp_path / "there") == 0o755


def test_a_folder_of_another_user_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "db").mkdir()
    (tmp_path / "db").chmod(0o755)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(FolderRefused, match=f"found a folder of user {owner}, expected one of user {owner + 1}"):
        files.keep_private(str(tmp_path / "db"))
    assert mode(tmp_path / "db") == 0o755


def test_what_is_no_folder_is_left_to_whoever_needs_one(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file").chmod(0o644)
    assert not files.keep_private(str(tmp_path / "file"))
    assert mode(tmp_path / "file") == 0o644


def test_a_file_is_made_private_whether_or_not_it_is_there(tmp_path):
    new, old, link = (str(tmp_path / name) for name in ("new", "old", "link"))
    (tmp_path / "old").write_text("kept")
    (tmp_path / "old").chmod(0o644)
    os.symlink("elsewhere", link)
    for path in (new, old, old, link, str(tmp_path / "nowhere" / "file")):
        make_private(path)
    assert (mode(new), mode(old)) == (FILE_MODE, FILE_MODE)
    assert (tmp_path / "old").read_text() == "kept"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_opened_to_be_private_is_when_it_is_new(tmp_path):
    before = os.umask(0)
    try:
        with open(tmp_path / "file", "wb", opener=open_private) as file:
            file.write(b"mine")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == FILE_MODE
    assert (tmp_path / "file").read_bytes() == b"mine"
