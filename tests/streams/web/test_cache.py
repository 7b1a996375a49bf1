"""RFC 9111, section by section: pure, with times handed in."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.net import Answer
from streams.web import cache
from streams.web.http_time import http_date, retry_after

NOW = 1_800_000_000.0
URL = "http://example.com/"


def date(seconds: float = 0.0) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def answer(status: int = 200, body: bytes = b"hello", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(URL, status, httpx.Headers({"date": date()} | named), body)


def kept(status: int = 200, asked: dict[str, str] | None = None, **headers: str) -> cache.Stored | None:
    return cache.stored(httpx.Headers(asked), answer(status, **headers), NOW, NOW)


class TestStored:
    @pytest.mark.parametrize(
        "headers",
        [
            {"cache_control": "max-age=60"},
            {"cache_control": "public, s-maxage=60"},
            {"expires": date(60)},
            {"etag": '"1"'},
            {"last_modified": date(-1000)},
            {"cache_control": "no-cache", "etag": '"1"'},
        ],
    )
    def test_what_may_be_and_is_of_use(self, headers):
        assert kept(**headers).answer().body == b"hello"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"cache_control": "no-store, max-age=60"},
            {"cache_control": "private, max-age=60"},
            {"cache_control": 'max-age=60, Private="set-cookie"'},
            {"cache_control": "max-age=60", "set_cookie": "a=b"},
            {"cache_control": "max-age=60", "vary": "accept, *"},
            {"cache_control": "max-age=0"},
            {"cache_control": "max-age=soon"},
            {"cache_control": "max-age=60", "age": "60"},
            {"expires": "0"},
            {"expires": date(-1)},
        ],
    )
    def test_what_may_not_be_or_is_of_no_use(self, headers):
        assert kept(**headers) is None

    @pytest.mark.parametrize(("status", "is_kept"), [(301, True), (302, True), (404, True), (206, False), (500, False)])
    def test_statuses(self, status, is_kept):
        assert (kept(status, cache_control="max-age=60") is not None) == is_kept

    def test_a_guess_is_made_for_some_statuses_alone(self):
        assert cache.lifetime(kept(302, last_modified=date(-1000))) == 0
        assert cache.lifetime(kept(404, last_modified=date(-1000))) == 100

    @pytest.mark.parametrize("name", ["authorization", "cookie"])
    def test_what_answers_a_person_is_not_kept(self, name):
        assert kept(asked={name: "secret"}, cache_control="public, max-age=60") is None

    def test_what_holds_for_one_connection_or_the_bytes_on_the_wire_is_left_out(self):
        made = kept(
            cache_control="max-age=60",
            connection="x-hop, close",
            x_hop="1",
            keep_alive="1",
            content_encoding="gzip",
            content_length="9",
            content_type="text/html",
        )
        assert {name for name, _ in made.headers} == {b"date", b"cache-control", b"content-type"}


class TestFresh:
    @pytest.mark.parametrize(
        ("headers", "lifetime"),
        [
            ({"cache_control": "max-age=60, s-maxage=30"}, 30),
            ({"cache_control": "max-age=60, max-age=90", "expires": date(5)}, 60),
            ({"cache_control": 'max-age="60"'}, 60),
            ({"expires": date(50)}, 50),
            ({"last_modified": date(-1000)}, 100),
            ({"last_modified": date(-(10**8))}, cache.LONGEST_GUESS),
            ({"last_modified": date(10)}, 0),
            ({"etag": '"1"'}, 0),
        ],
    )
    def test_for_how_long(self, headers, lifetime):
        made = kept(**({"etag": '"1"'} | headers))
        assert cache.lifetime(made) == lifetime
        assert cache.is_fresh(made, NOW + lifetime - 1) == (lifetime > 0)
        assert not cache.is_fresh(made, NOW + lifetime)

    def test_no_cache_is_never_fresh(self):
        assert not cache.is_fresh(kept(cache_control="max-age=60, no-cache", etag='"1"'), NOW)

    def test_age_counts_what_went_by_before(self):
        made = cache.stored(httpx.Headers(), answer(cache_control="max-age=60", age="20"), NOW, NOW + 5)
        assert cache.age(made, NOW + 5) == 25
        late = cache.stored(httpx.Headers(), answer(cache_control="max-age=60"), NOW + 30, NOW + 31)
        assert cache.age(late, NOW + 41) == 41

    @given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 10**9))
    def test_age_never_shrinks(self, first, then, age):
        made = kept(cache_control="max-age=99999999999", age=str(age), etag='"1"')
        assert 0 <= cache.age(made, NOW + first) <= cache.age(made, NOW + first + then)


def test_an_answer_that_varies_serves_those_alone_who_ask_the_same():
    made = kept(asked={"accept": "text/html"}, cache_control="max-age=60", vary="Accept, X-Other")
    assert cache.matches(made, httpx.Headers({"accept": "text/html", "user-agent": "any"}))
    assert not cache.matches(made, httpx.Headers({"accept": "text/plain"}))
    assert not cache.matches(made, httpx.Headers({"accept": "text/html", "x-other": "1"}))


class TestAskedAgain:
    def test_by_what_it_has(self):
        made = kept(etag='W/"1"', last_modified=date(-10))
        assert cache.conditions(made) == {"if-none-match": 'W/"1"', "if-modified-since": date(-10)}
        assert not cache.conditions(kept(cache_control="max-age=60"))

    def test_what_holds_still_is_fresh_again_and_says_the_new(self):
        old = kept(etag='"1"', cache_control="max-age=60", x_kept="1", age="9")
        said = answer(304, b"", date=date(100), etag='"1"', cache_control="max-age=90", content_length="0")
        new = cache.freshened(old, said, NOW + 100, NOW + 100)
        assert cache.is_fresh(new, NOW + 170)
        assert not cache.is_fresh(new, NOW + 190)
        assert new.answer().status == 200
        assert new.answer().body == b"hello"
        assert new.answer().headers["x-kept"] == "1"

    def test_a_304_of_another_one_is_not_believed(self):
        old = kept(etag='"1"')
        assert cache.freshened(old, answer(304, b"", etag='"2"'), NOW, NOW) is None
        assert cache.freshened(old, answer(304, b"", etag='W/"1"'), NOW, NOW) is not None
        assert cache.freshened(old, answer(304, b""), NOW, NOW) is not None


@pytest.mark.parametrize(
    "said",
    [{"cache_control": "private, max-age=60"}, {"cache_control": "no-store"}, {"set_cookie": "a=b"}, {"vary": "*"}],
)
def test_what_a_304_makes_one_person_s_is_kept_for_nobody(said):
    old = kept(etag='"1"', cache_control="max-age=60")
    new = cache.freshened(old, answer(304, b"", **said), NOW, NOW)
    assert new.answer().body == b"hello"
    assert (cache.keep_for(old) > 0, cache.keep_for(new)) == (True, 0)


@pytest.mark.parametrize(
    ("control", "serves"),
    [
        ("max-age=60, stale-if-error=100", True),
        ("max-age=60", False),
        ("max-age=60, stale-if-error=10", False),
        ("max-age=60, stale-if-error=100, must-revalidate", False),
        ("max-age=60, stale-if-error=100, no-cache", False),
    ],
)
def test_what_serves_where_its_server_fails(control, serves):
    assert cache.serves_in_need(kept(cache_control=control, etag='"1"'), NOW + 100) is serves


def test_it_is_kept_as_long_as_it_can_be_of_use():
    assert cache.keep_for(kept(cache_control="max-age=60")) == 60
    assert cache.keep_for(kept(cache_control="max-age=60, stale-if-error=40")) == 100
    assert cache.keep_for(kept(cache_control="max-age=60", etag='"1"')) == 60 + cache.DAY
    assert cache.keep_for(kept(cache_control=f"max-age={2**40}")) == cache.LONGEST_KEPT


HEADERS = st.dictionaries(
    st.sampled_from([b"Cache-Control", b"expires", b"date", b"age", b"ETag", b"last-modified", b"vary", b"connection"]),
    st.binary() | st.sampled_from([b"max-age=60", date().encode(), date(60).encode(), b"5", b'"\xff\xc3\xa9"']),
)


@given(st.sampled_from([200, 301, 404, 500]), HEADERS, HEADERS)
def test_any_headers_are_read(status, headers, later):
    made = cache.stored(httpx.Headers(), Answer(URL, status, httpx.Headers(headers), b""), NOW, NOW + 1)
    if made is None:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=cache.Stored) == made
    assert 0 <= cache.keep_for(made) <= cache.LONGEST_KEPT
    assert cache.is_fresh(made, NOW + 1) or cache.conditions(made)
    cache.freshened(made, Answer(URL, 304, httpx.Headers(later), b""), NOW + 2, NOW + 3)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "120"}, 120),
        ({"retry-after": date(30)}, 30),
        ({"retry-after": date(30), "date": date(10)}, 20),
        ({"retry-after": date(-30)}, 0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "9" * 5000}, 2**31),
        ({}, None),
    ],
)
def test_retry_after(headers, wait):
    assert retry_after(headers, NOW) == wait


@given(st.text())
def test_any_text_is_a_date_or_none(text):
    http_date(text)
