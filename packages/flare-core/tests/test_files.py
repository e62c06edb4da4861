"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import threading

import pytest

from flare_core.files import link, naming, replacing, write_text


def test_a_file_is_replaced_when_the_block_ends_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as partial, partial.open("w", encoding="ascii") as file:
        file.writelines(["half of the ", "nëw"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_without_a_file_name_gets_the_name_of_the_file_to_be_written(tmp_path):
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'file'}'"), replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")


def test_an_error_that_names_a_file_is_raised_as_it_is(tmp_path):
    error = FileNotFoundError(2, "No such file or directory", "other")
    with pytest.raises(FileNotFoundError) as raised, naming(tmp_path / "file"):
        raise error
    assert raised.value is error


def test_two_threads_can_write_the_same_file_at_once(tmp_path):
    path, both = tmp_path / "file", threading.Barrier(2)

    def write(text: str) -> None:
        with replacing(path) as partial:
            partial.write_text(text)
            both.wait(20)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("a" * 10, "b" * 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 10, "b" * 20)
    assert list(tmp_path.iterdir()) == [path]


def test_a_linked_file_keeps_its_content_when_the_first_name_is_given_to_another(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    write_text(source, "old")
    link(source, target)
    write_text(source, "new")
    assert target.read_text() == "old"


def test_a_file_that_is_linked_to_its_place_again_leaves_nothing_beside_it(tmp_path):
    source, target = tmp_path / "round-0-1.safetensors", tmp_path / "global_model.safetensors"
    source.write_bytes(b"a model")
    for _ in range(2):
        link(source, target)
    assert target.read_bytes() == b"a model"
    assert os.path.samefile(source, target)
    assert sorted(tmp_path.iterdir()) == [target, source]
