from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from barnabas.errors import HomeError, HomeInUseError
from barnabas.local.home import Home, Running, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _opened(home: Home) -> None:
    with home.owned():
        home.open()


def test_a_first_start_makes_the_layout_and_a_key_that_only_its_owner_reads(home: Home) -> None:
    _opened(home)
    assert home.version.read_text() == "1\n"
    assert home.api_key.read_text().startswith("bk_")
    assert len(home.api_key.read_text()) > 40
    assert stat.S_IMODE(home.api_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_second_start_keeps_the_key(home: Home) -> None:
    _opened(home)
    key = home.api_key.read_text()
    _opened(home)
    assert home.api_key.read_text() == key


def test_a_home_has_one_owner_and_the_error_names_it(home: Home) -> None:
    with home.owned():
        home.open()
        home.write_running(Running(pid=os.getpid(), ready=True, kafka_bootstrap="", redis_url=""))
        other = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, pathlib; from barnabas.local.home import Home\nwith Home(pathlib.Path(sys.argv[1])).owned(): pass",
                str(home.path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert other.returncode == 1
    assert "HomeInUseError" in other.stderr
    assert str(os.getpid()) in other.stderr


def test_ownership_ends_with_the_block_and_a_second_owner_in_this_process_is_refused(home: Home) -> None:
    with home.owned(), pytest.raises(HomeInUseError, match="barnabas down"), home.owned():
        pass
    with home.owned():
        pass


def test_a_newer_layout_is_refused_and_the_message_says_what_to_do(home: Home) -> None:
    _opened(home)
    home.version.write_text("99\n")
    with home.owned(), pytest.raises(HomeError, match=r"layout 99.*knows up to 1: upgrade"):
        home.open()


def test_a_version_that_is_no_number_is_refused(home: Home) -> None:
    _opened(home)
    home.version.write_text("soup\n")
    with home.owned(), pytest.raises(HomeError, match="soup"):
        home.open()


def test_an_older_layout_is_migrated_step_by_step_and_goes_on_where_it_was_cut_off(home: Home) -> None:
    _opened(home)
    done: list[str] = []

    def second(_path: Path) -> None:
        done.append("second")
        if done.count("second") == 1:
            raise OSError("the power went")

    steps = (lambda _path: done.append("first"), second, lambda _path: done.append("third"))
    with home.owned():
        with pytest.raises(OSError, match="power"):
            home.open(steps)
        assert home.version.read_text() == "2\n"
        home.open(steps)
    assert done == ["first", "second", "second", "third"]
    assert home.version.read_text() == "4\n"


def test_a_folder_of_something_else_is_refused(home: Home) -> None:
    home.path.mkdir()
    (home.path / "thesis.doc").write_text("years of work")
    with home.owned(), pytest.raises(HomeError, match=r"thesis\.doc"):
        home.open()


def test_what_a_service_made_before_the_first_start_is_welcome(home: Home) -> None:
    home.models.mkdir(parents=True)
    _opened(home)
    assert home.version.exists()


def test_what_runs_is_read_as_it_was_written(home: Home) -> None:
    home.path.mkdir()
    assert home.read_running() is None
    running = Running(
        pid=7,
        ready=True,
        kafka_bootstrap="127.0.0.1:1",
        redis_url="redis://127.0.0.1:2/0",
        edge_url="http://127.0.0.1:3",
        children={"kafka": (8, 1.5)},
        phases=[("kafka", 2.5)],
    )
    home.write_running(running)
    assert home.read_running() == running
    home.running.write_text("{")
    with pytest.raises(HomeError, match="delete it"):
        home.read_running()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a long old text")
    write_atomically(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_home_that_can_not_be_made_or_locked_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeError, match=r"file/home can't be written \(Not a directory\).*BARNABAS_HOME"):
        _opened(Home(tmp_path / "file" / "home"))
    (tmp_path / "home" / "lock").mkdir(parents=True)
    with pytest.raises(HomeError, match="can't be written"):
        _opened(Home(tmp_path / "home"))


FULL = """
import resource, sys
from pathlib import Path
from barnabas.local.home import Home, write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
home = Home(Path(sys.argv[1]))
try:
    with home.owned():
        write_atomically(home.version, "a text that is longer than the room")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_half(home: Home) -> None:
    _opened(home)
    done = subprocess.run([sys.executable, "-c", FULL, str(home.path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"HomeError {home.path} can't be written (File too large)")
    assert home.version.read_text() == "1\n"
    assert not list(home.path.glob("*.new"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://me:s3cret@cache:6379/2", "rediss://me:***@cache:6379/2"),
        ("redis://:p%40ss@cache/0", "redis://:***@cache/0"),
    ],
)
def test_what_is_printed_of_a_running_stack_holds_no_password(url: str, told: str) -> None:
    assert Running(pid=1, ready=True, kafka_bootstrap="", redis_url=url).told().redis_url == told


def test_a_home_that_kafka_would_take_for_two_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    home = Home(tmp_path / "one, two")
    with home.owned(), pytest.raises(HomeError, match="BARNABAS_HOME"):
        home.open()
    assert [file.name for file in home.path.iterdir()] == ["lock"]
