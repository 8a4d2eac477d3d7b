from __future__ import annotations

import errno
from pathlib import Path

import pytest

from smearsynth.errors import DataError, ModelError
from smearsynth.files import (
    CHECKSUM_FILE,
    atomic_write,
    describe_read_error,
    make_folder,
    read_checksums,
    read_text,
    verify_checksums,
    write_checksums,
    write_text,
)


def test_text_is_read_as_written_and_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "1 µm\n")
    assert path.read_bytes() == "1 µm\n".encode()
    path.write_bytes(b"\xef\xbb\xbfa")
    assert read_text(path) == "a"


def test_unreadable_text_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"a\.txt: is not UTF-8 text"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"b\.txt: does not exist"):
        read_text(tmp_path / "b.txt")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_existing_file_is_unchanged_after_a_failed_write(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")

    def write() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("incomplete")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_target_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 255)  # the longest name of common file systems
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("complete")
        assert not target.exists()
    assert target.read_text() == "complete"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), "the disk is full; free some space"),
        (PermissionError(errno.EACCES, "denied"), "no permission to write here; choose another folder"),
        (OSError(errno.EIO, "I/O error"), r"cannot be written \(I/O error\)"),
    ],
)
def test_write_errors_are_data_errors(tmp_path: Path, error: OSError, message: str) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'a.txt'}: {message}"), atomic_write(tmp_path / "a.txt"):
        raise error


def test_make_folder_creates_a_writable_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot be written"):
        make_folder(tmp_path / "file")


def test_read_errors_say_what_to_do() -> None:
    assert describe_read_error(PermissionError()) == "no permission to read it; change its access rights (chmod +r)"
    assert describe_read_error(FileNotFoundError()) == "does not exist; check the path"
    assert describe_read_error(OSError(errno.EIO, "I/O error")) == (
        "cannot be read (I/O error); check the disk or copy the file again"
    )


def test_the_checksum_file_has_the_format_of_sha256sum(tmp_path: Path) -> None:
    write_checksums(tmp_path, {"b": b"", "a": b"abc"})
    assert (tmp_path / CHECKSUM_FILE).read_text() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
    )
    assert list(read_checksums(tmp_path)) == ["a", "b"]


def test_changed_and_missing_files_are_model_errors(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    write_checksums(tmp_path, {"a": b"abc"})
    verify_checksums(tmp_path, read_checksums(tmp_path))
    (tmp_path / "a").write_bytes(b"abd")
    with pytest.raises(ModelError, match="a: altered or damaged, its hash is not the one in SHA256SUMS"):
        verify_checksums(tmp_path, read_checksums(tmp_path))
    (tmp_path / "a").unlink()
    with pytest.raises(ModelError, match="a: this file of the model is missing; copy the folder again"):
        verify_checksums(tmp_path, read_checksums(tmp_path))


@pytest.mark.parametrize("content", [b"\xff", b"0  ../outside\n", b"0  /etc/passwd\n"])
def test_checksums_of_files_outside_the_folder_are_ignored(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileNotFoundError):
        read_checksums(tmp_path)
    (tmp_path / CHECKSUM_FILE).write_bytes(content)
    assert read_checksums(tmp_path) == {}
