"""The artifact container: exact round trips, atomic writes, and a diagnostic for whatever may be wrong with a file."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.diagnostics import Diagnostic, InternalError, NetlangError
from netlang.runtime.artifact import MANIFEST, read_artifact, write_artifact
from netlang.runtime.storage import replacing
from netlang.runtime.tensors import pack_tensors, unpack_tensors

MEMBERS = {"model.net": b"net N:\n", "params/main.safetensors": bytes(range(256)) * 3, "empty": b""}


def refusal(path: Path) -> Diagnostic:
    with pytest.raises(NetlangError) as error:
        read_artifact(path)
    [found] = error.value.diagnostics
    assert found.help
    assert found.place.startswith(str(path))
    return found


def rewritten(
    path: Path,
    change: Callable[[dict[str, bytes]], None],
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """The artifact with its zip members changed, as an outsider would."""
    write_artifact(path, MEMBERS)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def test_round_trip_is_exact_and_deterministic(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a.netc", MEMBERS)
    write_artifact(tmp_path / "b.netc", dict(reversed(MEMBERS.items())))
    assert read_artifact(tmp_path / "a.netc") == MEMBERS
    assert list(read_artifact(tmp_path / "a.netc")) == sorted(MEMBERS)
    assert (tmp_path / "a.netc").read_bytes() == (tmp_path / "b.netc").read_bytes()


def test_it_is_a_plain_zip_with_a_manifest(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a.netc", MEMBERS)
    with zipfile.ZipFile(tmp_path / "a.netc") as archive:
        manifest = json.loads(archive.read(MANIFEST))
        assert archive.namelist() == [MANIFEST, *sorted(MEMBERS)]
    assert (manifest["format"], manifest["version"]) == ("netlang-artifact", 1)
    assert manifest["members"]["empty"] == {
        "size": 0,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }


@pytest.mark.parametrize(
    "name", ["", MANIFEST, "/etc/passwd", "../x", "a/../b", "a\\b", "C:x", ".hidden", "a/", "x" * 201]
)
def test_unsafe_names_are_never_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError):
        write_artifact(tmp_path / "a.netc", {name: b""})
    assert list(tmp_path.iterdir()) == []


def _edit_manifest(edit: Callable[[dict[str, object]], None]) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        manifest = json.loads(contents[MANIFEST])
        edit(manifest)
        contents[MANIFEST] = json.dumps(manifest).encode()

    return change


@pytest.mark.parametrize(
    ("change", "code", "message", "member"),
    [
        (
            lambda c: c.update({"model.net": b"net M:\n"}),
            "artifact-tampered",
            "member `model.net` is not what the manifest says",
            "!model.net",
        ),
        (lambda c: c.pop("empty"), "artifact-missing", "member `empty` is missing", "!empty"),
        (lambda c: c.update(more=b"x"), "artifact-extra", "member `more` is not in the manifest", "!more"),
        (lambda c: c.pop(MANIFEST), "artifact-manifest", "the artifact has no `manifest.json`", f"!{MANIFEST}"),
        (
            lambda c: c.update({MANIFEST: b"[" * 100_000}),
            "artifact-manifest",
            "the manifest is not one that netlang wrote",
            f"!{MANIFEST}",
        ),
        (
            lambda c: c.update({MANIFEST: b" " * (1 << 21)}),
            "artifact-manifest",
            "the manifest has more than 1048576 bytes",
            f"!{MANIFEST}",
        ),
        (
            _edit_manifest(lambda m: m.update(format="other")),
            "artifact-manifest",
            "the manifest is not one that netlang wrote",
            f"!{MANIFEST}",
        ),
        (
            _edit_manifest(lambda m: m.update(version=2)),
            "artifact-version",
            "the artifact has format version 2, this netlang reads version 1",
            f"!{MANIFEST}",
        ),
        (
            _edit_manifest(lambda m: m.update(members={"empty": {"size": "0", "sha256": ""}})),
            "artifact-manifest",
            "the manifest does not list the members",
            f"!{MANIFEST}",
        ),
        (
            _edit_manifest(lambda m: m.update(members=[])),
            "artifact-manifest",
            "the manifest does not list the members",
            f"!{MANIFEST}",
        ),
        (
            lambda c: c.update({"../../evil": b"x"}),
            "artifact-member",
            "'../../evil' is not a name that a member may have",
            "!../../evil",
        ),
    ],
)
def test_edited_artifacts(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], code: str, message: str, member: str
) -> None:
    path = rewritten(tmp_path / "a.netc", change)
    found = refusal(path)
    assert (found.code, found.message, found.place) == (code, message, f"{path}{member}")


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    """So that no small file unfolds into a large one."""
    found = refusal(rewritten(tmp_path / "a.netc", lambda c: c.update(bomb=b"\0" * 100_000), zipfile.ZIP_DEFLATED))
    assert (found.code, found.message) == ("artifact-member", "member `manifest.json` is compressed or encrypted")


def test_duplicates_are_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a.netc", MEMBERS)
    with zipfile.ZipFile(tmp_path / "a.netc", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("empty", b"second")
    assert refusal(tmp_path / "a.netc").message == "two members are called `empty`"


def test_what_is_not_an_artifact(tmp_path: Path) -> None:
    path = tmp_path / "a.netc"
    assert refusal(path).code == "file-not-found"
    for content in (b"", b"net N:\n"):
        path.write_bytes(content)
        assert refusal(path).code == "artifact-not-one"
    path.unlink()
    path.mkdir()
    assert refusal(path).code == "cannot-read"


def test_every_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.netc"
    write_artifact(path, MEMBERS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert refusal(path).code in {"artifact-not-one", "artifact-truncated"}


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_never_changes_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.netc"
    write_artifact(path, MEMBERS)
    whole = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[position] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        members = read_artifact(path)
    except NetlangError:
        return
    assert members == MEMBERS


# --- atomic writes ---------------------------------------------------------------------------------------------------


def test_a_stopped_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.netc"
    path.write_bytes(b"old")

    def stopped() -> None:
        with replacing(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_survives(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(tmp_path / "run1")
    with replacing(tmp_path / "latest") as file:
        file.write(b"new")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "run1").read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of Unix")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_artifact(tmp_path / "a.netc", MEMBERS)
    finally:
        os.umask(previous)
    assert (tmp_path / "a.netc").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NetlangError) as error:
        write_artifact(tmp_path / "none" / "a.netc", MEMBERS)
    [found] = error.value.diagnostics
    assert found.code == "cannot-write"
    assert found.message == f"`{tmp_path / 'none' / 'a.netc'}` cannot be written: no such file or directory"


# --- tensors ---------------------------------------------------------------------------------------------------------


def test_tensors_round_trip_exactly() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "w.T": rng.normal(size=(3, 4)).T,  # not contiguous
        "b": np.array([np.nan, -0.0, 1e-42], np.float32),
        "step": np.array(2**62, np.int64),
        "seed": np.array([2**64 - 1], np.uint64),
        "none": np.zeros((0, 3), np.float32),
        "big": np.array([1.5, 2.5], ">f8"),
    }
    loaded = unpack_tensors(pack_tensors(tensors))
    assert list(loaded) == sorted(tensors)
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)
        loaded[name][...] = 0  # a fresh array
    assert unpack_tensors(pack_tensors({})) == {}


def test_equal_tensors_give_equal_bytes() -> None:
    tensors = {f"t{k}": np.arange(float(k)) for k in range(20)}
    assert pack_tensors(tensors) == pack_tensors(dict(reversed(tensors.items())))


def test_other_dtypes_are_not_stored() -> None:
    with pytest.raises(InternalError, match="tensor `x` has dtype float16"):
        pack_tensors({"x": np.zeros(2, np.float16)})


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_tensors_are_refused_or_read(data: st.DataObject) -> None:
    whole = pack_tensors({"a": np.arange(3.0), "b": np.arange(2)})
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        position = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:position] + bytes([data.draw(st.integers(0, 255))]) + whole[position + 1 :]
    try:
        loaded = unpack_tensors(damaged, "m.netc!params")
    except NetlangError as error:
        [found] = error.diagnostics
        assert (found.code, found.place) == ("tensors-corrupt", "m.netc!params")
    else:
        assert all(array.flags.writeable for array in loaded.values())
