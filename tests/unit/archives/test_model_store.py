"""What lies in a node's model store: copies, each verified."""

from __future__ import annotations

import pytest

from tslc.adapters import model_store
from tslc.adapters.archive_file import open_archive
from tslc.errors import BadInput, TslcError


@pytest.mark.parametrize("archive_format", ["mar", "tgz", "no-archive"])
def test_writing_into_the_original_does_not_change_what_is_in_the_store(
    workshop, tmp_path, archive_format
):
    built = open_archive(workshop.built("--format", archive_format))
    name = model_store.file_name(built.path, "tiny", "1.0.0")
    placed = model_store.place(built, tmp_path, name)
    files = [p for p in built.path.rglob("*") if p.is_file()] or [built.path]
    for path in files:
        with path.open("r+b") as file:
            file.write(b"spoiled")
    assert open_archive(placed).manifest == built.manifest


def test_an_archive_that_changed_since_it_was_verified_is_not_put_into_the_store(
    workshop, tmp_path
):
    built = open_archive(workshop.built())
    workshop.write("notes.txt", "another note\n")
    workshop.built("--force")
    with pytest.raises(TslcError, match="changed while it was copied"):
        model_store.place(built, tmp_path, "tiny-1.0.0.mar")
    assert not list(tmp_path.glob("*.mar"))


def test_the_name_in_the_store_is_that_of_what_an_archive_is_not_of_its_own_name(workshop):
    tgz = workshop.built("--format", "tgz").rename(workshop.dist / "renamed.mar")
    assert model_store.file_name(tgz, "tiny", "1.0.0") == "tiny-1.0.0.tar.gz"
    mar = workshop.built().rename(workshop.dist / "renamed.gz")
    assert model_store.file_name(mar, "tiny", "1.0.0") == "tiny-1.0.0.mar"


def test_a_folder_that_no_system_can_have_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="File name too long"):
        model_store.find_archives("m", "1", [tmp_path / ("long" * 100)])
    with pytest.raises(BadInput, match="File name too long"):
        model_store.find_weights("0" * 64, [tmp_path / ("long" * 100)])
