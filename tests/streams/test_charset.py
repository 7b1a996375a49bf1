from __future__ import annotations

import codecs
import encodings
import pkgutil

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
        (RUSSIAN.encode("koi8-r"), "us-ascii", RUSSIAN, False),
        ("grüß".encode("cp1252"), "us-ascii", "grüß", False),
        (b"plain", "us-ascii", "plain", True),
        ("日本語".encode("shift_jis"), "shift_jis", "日本語", True),
        ("日本語".encode("iso2022_jp"), "iso-2022-jp", "日本語", True),
        (codecs.BOM_UTF16_LE + "hé".encode("utf-16-le"), "utf-8", "hé", True),
        ("שלום עולם".encode("cp1255"), "ISO-8859-8-I", "שלום עולם", True),
        ("안녕하세요".encode("cp949"), "windows-949", "안녕하세요", True),
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


CODECS = [module.name for module in pkgutil.iter_modules(encodings.__path__)]


@pytest.mark.parametrize("charset", CODECS)
def test_no_charset_hides_markup_or_makes_it(charset):
    """Neither escapes, nor UTF-7, HZ, EBCDIC, punycode: what is ASCII is read as it stands."""
    if charset.startswith(("utf_16", "utf_32")):
        return
    page = rb"<p>\x3cb\u003e +ADw-script+AD4- ~{VP~} a-xn--p1ai." * 20
    assert decode(page, [charset]).text == page.decode("ascii")


def test_punycode_is_not_decoded_which_takes_the_square_of_its_length():
    assert decode(b"-" + b"a9" * 1_000_000, ["punycode"]).charset == "utf-8"


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("Não é possível fazer isso amanhã porque a reunião será às três horas. A situação não está fácil.", "cp1252"),
        (
            "Où êtes-vous allés cet été ? Nous avons été très heureux. Ça ne fait rien, le garçon a déjà mangé.",
            "cp1252",
        ),
        ("İyi günler, Türkiye'de seçim döneminin başladığı şu günlerde ışıklar söndü. Çok teşekkür ederiz.", "cp1254"),
        ("Zażółć gęślą jaźń. Dziękuję bardzo za wiadomość, spotkamy się w piątek po południu w Łodzi.", "cp1250"),
        ("Привет, как дела? Сегодня мы пошли гулять по улице и увидели большую собаку.", "koi8-r"),
        ("Привіт, як справи? Сьогодні ми пішли гуляти вулицею. Їжак і ґанок.", "koi8-u"),
        ("黃山旅遊天天發，南京特價賓館任你選。明天的會議三點開始。", "big5"),
        ("안녕하세요. 내일 회의는 세 시에 시작합니다.", "euc-kr"),
    ],
)
def test_guesses_what_no_name_tells(text, charset):
    assert decode(text.encode(charset)).text == text


def test_names_that_strangers_make_up_are_not_kept():
    known = len(encodings._cache)
    assert [decode(b"\xe9", [f"made-up-{number}"]).charset for number in range(50)] == ["cp1252"] * 50
    assert len(encodings._cache) == known


@given(st.binary(), st.lists(st.none() | st.text() | st.sampled_from(CODECS), max_size=2))
def test_any_bytes_are_some_text(data, declared):
    decode(data, declared).text.encode()  # which lone surrogates are not
