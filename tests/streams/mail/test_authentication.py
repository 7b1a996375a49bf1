from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.authentication import is_authentic
from streams.mail.bounds import MAX_HEADER
from streams.mail.parse import parse

OURS = "mx.example.com"


def verdict(*results: str, sender: str = "Ines <ines@Example.com>", more: str = "") -> bool:
    headers = "".join(f"Authentication-Results: {result}\r\n" for result in results)
    return is_authentic(parse(f"{headers}{more}From: {sender}\r\nSubject: x\r\n\r\nhi".encode()), OURS)


@pytest.mark.parametrize(
    "result",
    [
        "mx.example.com; dmarc=pass header.from=example.com",
        "MX.example.com 1;\r\n spf=fail smtp.mailfrom=x.example;\r\n dmarc=pass (p=reject; dis=none) header.from=Example.COM",
        "mx.example.com; dkim=pass header.i=@example.com header.s=a header.b=x0; spf=pass smtp.mailfrom=a@b.example",
        'mx.example.com; dkim=fail header.d=example.com; dkim=pass reason="good (so; it = is)" header.d=example.com',
        "(by (nested) us) mx.example.com (v1); DMARC/1 = pass header.from = example.com",
    ],
)
def test_our_server_vouches_for_the_sender_s_domain(result):
    assert verdict(result)


@pytest.mark.parametrize(
    "result",
    [
        "mx.evil.example; dmarc=pass header.from=example.com",
        "mx.example.com.evil.example; dmarc=pass header.from=example.com",
        "mx.example.com; none",
        "mx.example.com",
        "",
        "mx.example.com; dmarc=fail header.from=example.com",
        "mx.example.com; dmarc=pass header.from=evil.example",
        "mx.example.com; dmarc=pass",
        "mx.example.com; spf=pass smtp.mailfrom=ines@example.com",
        "mx.example.com; dkim=pass header.d=evil.example",
        "mx.example.com; dkim=pass header.d=example.com.evil.example",
        "mx.example.com; dmarc=pass header.from=example.com header.from=evil.example",
        "mx.example.com; dmarc=fail (dmarc=pass header.from=example.com) header.from=example.com",
        "mx.example.com; dmarc=fail (unclosed; dmarc=pass header.from=example.com",
        'mx.example.com; spf=fail smtp.mailfrom="a; dmarc=pass header.from=example.com"',
        'mx.example.com; spf=fail smtp.mailfrom="a\\"; dmarc=pass header.from=example.com',
        "mx.example.com; spf=fail smtp.mailfrom==?utf-8?q?a=3B_dmarc=3Dpass_header.from=3Dexample.com_?=@evil.example",
        "=?utf-8?q?mx.example.com=3B_dmarc=3Dpass_header.from=3Dexample.com?=",
    ],
)
def test_what_does_not_vouch_for_it(result):
    assert not verdict(result)


def test_of_two_headers_of_our_server_the_upper_one_counts():
    forged = "mx.example.com; dmarc=pass header.from=example.com"
    assert not verdict("mx.example.com; dmarc=fail header.from=example.com", forged)
    assert verdict("relay.example; none", forged)


def test_two_senders_are_never_vouched_for():
    passed = "mx.example.com; dmarc=pass header.from=example.com"
    assert not verdict(passed, sender="ines@example.com, eve@evil.example")
    assert not verdict(passed, sender="")


@pytest.mark.parametrize("more", ["From: eve@evil.example\r\n", "From: eve@example.com\r\n", "From: Eve <a@b>,\r\n"])
def test_a_from_that_stands_twice_is_never_vouched_for(more):
    """A mail that was signed and sent anew, with another `From` above: readers show that one, and DKIM still passes."""
    passed = "mx.example.com; dkim=pass header.d=example.com; dmarc=pass header.from=example.com"
    assert not verdict(passed, more=more)
    assert not verdict(passed, sender=f"ines@example.com\r\n{more.strip()}")


def test_a_header_that_is_too_long_to_be_read_whole_vouches_for_nothing():
    start, end = "mx.example.com; x=", "; dkim=pass header.d=example.com.evil.example"
    cut = MAX_HEADER - len(start) - len("; dkim=pass header.d=example.com")
    assert not verdict(start + "y" * cut + end)


@given(st.text(st.sampled_from('mx.example.com;= "()\\dkimarcpsh\t'), max_size=300))
def test_anything_is_read_and_nothing_that_the_sender_adds_in_quotes_counts(said):
    assert verdict(said) in {True, False}
    quoted = said.replace("\\", "").replace('"', "")
    assert not verdict(
        f'mx.example.com; spf=pass smtp.mailfrom="{quoted}; dmarc=pass header.from=example.com"@evil.example'
    )
