from __future__ import annotations

import io
import stat
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from barnabas.errors import BackupError, HomeError, HomeInUseError
from barnabas.local.backup import MANIFEST, backup, reset, restore
from barnabas.local.home import Home

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    with home.owned():
        home.open()
    (home.kafka / "data" / "topic-0").mkdir(parents=True)
    (home.kafka / "data" / "topic-0" / "0.log").write_bytes(bytes(range(256)) * 999)
    (home.valkey / "appendonly.aof").write_text("*1\n")
    (home.models / "weights").write_text("big")
    (home.logs / "kafka.log").write_text("chatter")
    return home


def _contents(home: Home) -> dict[str, bytes]:
    return {
        path.relative_to(home.path).as_posix(): path.read_bytes() for path in home.path.rglob("*") if path.is_file()
    }


def _tar(file: Path, members: dict[str, bytes], *, link: str | None = None) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "elsewhere"
            tar.addfile(info)
    return file


def test_what_was_backed_up_comes_back_without_logs_and_models(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "b.tar.gz"
    assert backup(home, file) == 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    other = Home(tmp_path / "other")
    assert restore(file, other) == 4
    assert _contents(other) == {
        name: content
        for name, content in _contents(home).items()
        if not name.startswith(("models/", "logs/")) or name == "lock"
    }
    assert stat.S_IMODE(other.api_key.stat().st_mode) == 0o600
    with other.owned():
        other.open()


def test_a_file_that_is_there_is_replaced_only_by_force(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    file.write_text("precious")
    with pytest.raises(BackupError, match="--force"):
        backup(home, file)
    assert file.read_text() == "precious"
    assert backup(home, file, force=True) == 4
    assert restore(file, Home(tmp_path / "other")) == 4


def test_a_running_stack_is_not_touched(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    backup(home, file)
    with home.owned():
        for work in (
            lambda: backup(home, tmp_path / "c.tar.gz"),
            lambda: restore(file, home, force=True),
            lambda: reset(home),
        ):
            with pytest.raises(HomeInUseError, match="barnabas down"):
                work()
    assert not (tmp_path / "c.tar.gz").exists()


FULL = """
import resource, sys
from pathlib import Path
from barnabas.local.backup import backup, restore
from barnabas.local.home import Home
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
work, home, file = sys.argv[1], Home(Path(sys.argv[2])), Path(sys.argv[3])
try:
    backup(home, file) if work == "backup" else restore(file, home, force=True)
except Exception as error:
    print(type(error).__name__, error)
"""


def _on_a_full_disk(work: str, home: Home, file: Path) -> str:
    command = [sys.executable, "-c", FULL, work, str(home.path), str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_full_disk_leaves_no_half_backup_and_an_older_one_as_it_was(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "b.tar.gz"
    assert _on_a_full_disk("backup", home, file).startswith(f"BackupError {file} can't be written (File too large)")
    assert list(file.parent.iterdir()) == []
    backup(home, file)
    older = file.read_bytes()
    assert _on_a_full_disk("backup", home, file).startswith("BackupError")
    assert {entry: entry.read_bytes() for entry in file.parent.iterdir()} == {file: older}


def test_a_full_disk_while_it_is_restored_leaves_the_home_as_it_was(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    backup(home, file)
    before = _contents(home)
    assert _on_a_full_disk("restore", home, file).startswith("BackupError")
    assert _contents(home) == before


def test_a_home_with_data_is_replaced_only_by_force(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    backup(home, file)
    before = _contents(home)
    (home.valkey / "appendonly.aof").write_text("*2\n")
    with pytest.raises(HomeError, match="--force"):
        restore(file, home)
    assert (home.valkey / "appendonly.aof").read_text() == "*2\n"
    restore(file, home, force=True)
    assert _contents(home)["valkey/appendonly.aof"] == before["valkey/appendonly.aof"]


def test_a_folder_of_something_else_is_never_replaced_or_deleted(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    backup(home, file)
    foreign = Home(tmp_path / "documents")
    foreign.path.mkdir()
    (foreign.path / "thesis.doc").write_text("years of work")
    with pytest.raises(HomeError, match="no home"):
        restore(file, foreign, force=True)
    with pytest.raises(HomeError, match="no home"):
        reset(foreign)
    with pytest.raises(HomeError, match="no home"):
        backup(foreign, tmp_path / "c.tar.gz")
    assert (foreign.path / "thesis.doc").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "kafka/../../outside", "kafka\\..\\outside"])
def test_a_backup_that_reaches_out_of_the_home_is_refused(tmp_path: Path, name: str) -> None:
    file = _tar(tmp_path / "evil.tar.gz", {"VERSION": b"1\n", name: b"x", MANIFEST: b""})
    with pytest.raises(BackupError, match="outside"):
        restore(file, Home(tmp_path / "deep" / "home"))
    assert not list(tmp_path.rglob("outside"))
    assert not list((tmp_path / "deep" / "home").glob("[!l]*"))


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    file = _tar(tmp_path / "evil.tar.gz", {"VERSION": b"1\n"}, link="kafka")
    with pytest.raises(BackupError, match="no plain file"):
        restore(file, Home(tmp_path / "home"))


def test_damage_is_noticed_and_the_home_stays_as_it_was(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    backup(home, file)
    before = _contents(home)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(8) + whole[48:], b"", b"no archive"):
        file.write_bytes(damaged)
        with pytest.raises(BackupError):
            restore(file, home, force=True)
        assert _contents(home) == before


def test_a_file_that_the_manifest_does_not_know_or_knows_otherwise_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(BackupError, match="VERSION"):
        restore(_tar(tmp_path / "a.tar.gz", {"VERSION": b"1\n", MANIFEST: b""}), home)
    with pytest.raises(BackupError, match="VERSION"):
        restore(_tar(tmp_path / "b.tar.gz", {MANIFEST: b"00  VERSION\n"}), home)
    with pytest.raises(BackupError, match=MANIFEST):
        restore(_tar(tmp_path / "c.tar.gz", {"VERSION": b"1\n"}), home)


def test_reset_deletes_all_but_what_is_kept(home: Home) -> None:
    reset(home, keep=("models",))
    assert set(_contents(home)) == {"VERSION", "models/weights", "lock"} & set(_contents(home)) | {
        "VERSION",
        "models/weights",
    }
    for _again in range(2):
        reset(home)
        assert set(_contents(home)) <= {"lock"}
    with home.owned():
        home.open()
