from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from barnabas.endpoint import find
from barnabas.errors import CredentialsError, NoStackError, UsageError
from barnabas.local.home import Home, Running

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which a stack runs, as far as its files say."""
    home = Home(tmp_path)
    home.api_key.write_text("bk_of_home\n")
    home.write_running(
        Running(pid=1, ready=True, kafka_bootstrap="k", redis_url="r", edge_url="http://127.0.0.1:9", children={})
    )
    return home


def test_the_running_stack_is_found(home: Home) -> None:
    found = find(environ={"BARNABAS_HOME": str(home.path)})
    assert (found.url, found.api_key) == ("http://127.0.0.1:9", "bk_of_home")
    assert found.websocket == "ws://127.0.0.1:9/v1/ws"
    assert found.here


def test_what_is_given_wins_over_the_environment_and_that_over_the_home(home: Home) -> None:
    environ = {
        "BARNABAS_HOME": str(home.path),
        "BARNABAS_URL": "https://edge.example.com/",
        "BARNABAS_API_KEY": "bk_of_environment",
    }
    found = find(environ=environ)
    assert (found.url, found.api_key) == ("https://edge.example.com", "bk_of_environment")
    assert found.websocket == "wss://edge.example.com/v1/ws"
    assert not found.here
    found = find("http://[::1]:1", "bk_given", environ)
    assert (found.url, found.api_key, found.here) == ("http://[::1]:1", "bk_given", True)


def test_a_homes_key_is_not_sent_elsewhere(home: Home) -> None:
    with pytest.raises(CredentialsError, match="BARNABAS_API_KEY"):
        find("http://edge.example.com", environ={"BARNABAS_HOME": str(home.path)})


def test_a_key_file_may_be_named(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("bk_of_file\n")
    environ = {"BARNABAS_HOME": str(home.path), "BARNABAS_API_KEY_FILE": str(file)}
    assert find("http://edge.example.com", environ=environ).api_key == "bk_of_file"
    file.write_text("\n")
    with pytest.raises(CredentialsError, match="is empty"):
        find(environ=environ)


def test_no_stack_is_told_with_the_way_out(tmp_path: Path) -> None:
    environ = {"BARNABAS_HOME": str(tmp_path)}
    with pytest.raises(NoStackError, match="barnabas up"):
        find(environ=environ)
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(NoStackError, match="can't be read"):
        find(environ=environ)


def test_a_key_never_shows_in_what_is_printed(home: Home) -> None:
    assert "bk_of_home" not in repr(find(environ={"BARNABAS_HOME": str(home.path)}))


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "ftp://127.0.0.1", "http://"])
def test_another_kind_of_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address of an edge"):
        find(url, "bk", {})
