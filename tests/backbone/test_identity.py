"""An API key stands for an owner."""

from __future__ import annotations

import pytest

from backbone.errors import SettingsError, UnauthenticatedError
from backbone.security.identity import LOCAL, ApiKeys
from backbone.settings import Settings


def test_the_key_of_the_home_is_the_local_owner(tmp_path):
    (tmp_path / "api-key").write_text("bk_secret\n")
    keys = ApiKeys.load(Settings(home=tmp_path))
    assert keys.authenticate("Bearer bk_secret") == LOCAL
    assert keys.authenticate("bearer bk_secret") == LOCAL


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Basic bk_secret", "Bearer bk_secre", "bk_secret", "Bearer bk_sécret"]
)
def test_anything_else_is_nobody(given):
    with pytest.raises(UnauthenticatedError) as caught:
        ApiKeys("bk_secret").authenticate(given)
    assert caught.value.field == "Authorization"


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_no_key_is_a_setting_to_mend_and_lets_nobody_in(tmp_path, content):
    if content is not None:
        (tmp_path / "api-key").write_text(content)
    with pytest.raises(SettingsError, match="api-key"):
        ApiKeys.load(Settings(home=tmp_path, api_key_file=tmp_path / "api-key"))


def test_the_first_start_makes_a_key_that_only_its_owner_reads_and_the_next_keeps_it(tmp_path):
    home = tmp_path / "not" / "there yet"
    ApiKeys.load(Settings(home=home))
    made = (home / "api-key").read_text()
    assert (home / "api-key").stat().st_mode & 0o777 == 0o600
    assert ApiKeys.load(Settings(home=home)).authenticate(f"Bearer {made.strip()}") == LOCAL
    assert [file.name for file in home.iterdir()] == ["api-key"]
    assert len(made) > 40


def test_a_home_that_can_t_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file"):
        ApiKeys.load(Settings(home=tmp_path / "file"))
