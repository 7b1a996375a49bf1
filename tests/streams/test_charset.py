from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.charset import decode

RUSSIAN = "Привет, это обычный русский текст, достаточно длинный для догадки. " * 5


@pytest.mark.parametrize(
    ("data", "declared", "text", "as_declared"),
    [
        ("café".encode(), "utf-8", "café", True),
        ("café".encode("latin-1"), "iso-8859-1", "café", True),
        ("“quoted”".encode("cp1252"), "iso-8859-1", "“quoted”", True),  # as browsers read it
        ("café".encode(), "iso-8859-1", "café", False),  # the bytes prove it wrong
        ("café".encode("latin-1"), "utf-8", "café", False),
        (
            "naïve café à la carte, cut within é".encode()[:-1],
            "utf-8",
            "naïve café à la carte, cut within \N{REPLACEMENT CHARACTER}",
            True,
        ),
        (RUSSIAN.encode("cp1251"), "utf-8", RUSSIAN, False),
        (RUSSIAN.encode("koi8-r"), "koi8-r", RUSSIAN, True),
        ("日本語".encode("shift_jis"), "shift_jis", "日本語", True),
        ("日本語".encode("iso2022_jp"), "iso-2022-jp", "日本語", True),
        (codecs.BOM_UTF16_LE + "hé".encode("utf-16-le"), "utf-8", "hé", True),
        (b"plain", "no-such-charset", "plain", False),
        (b"plain", "base64", "plain", False),
        (b"plain", None, "plain", True),
        (b"", "utf-8", "", True),
    ],
)
def test_reads_what_was_meant(data, declared, text, as_declared):
    decoded = decode(data, [declared])
    assert (decoded.text.strip(), decoded.as_declared) == (text.strip(), as_declared)


def test_the_second_declaration_serves_where_the_first_is_unknown():
    assert decode(RUSSIAN.encode("cp1251"), ["nonsense", "windows-1251"]).text == RUSSIAN


@given(st.binary(), st.lists(st.none() | st.text(), max_size=2))
def test_any_bytes_are_some_text(data, declared):
    assert isinstance(decode(data, declared).text, str)
