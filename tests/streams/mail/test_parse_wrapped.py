"""What lies in other wrappings than MIME: forwards, winmail.dat, signatures, invitations, reports."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from streams.mail import rtf, smime, tnef
from streams.mail.bounds import MAX_FORWARDED, MAX_FORWARDED_TEXT, MAX_SOURCE, Findings
from streams.mail.message import Attachment
from streams.mail.mime import split
from streams.mail.parse import parse
from streams.mail.reader import Reader

NOW = datetime(2026, 11, 4, tzinfo=UTC)


class TestForwards:
    def test_a_mail_in_a_mail_is_told_with_its_sender_and_text(self):
        inner = b"Subject: =?utf-8?Q?=C3=A9?=\nFrom: Lea <lea@example.com>\nDate: Wed, 4 Nov 2026 18:42:07 +0000\n\n"
        innermost = b"Content-Type: message/rfc822\n\nSubject: innermost\n\nthe core"
        parts = inner + b"the middle", innermost
        body = b"".join(b"--b\nContent-Type: message/rfc822\n\n" + part + b"\n" for part in parts)
        mail = parse(b"Subject: Fwd\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nlook\n" + body + b"--b--")
        assert mail.text == "look\n\nthe middle\n\nthe core"
        assert [one.subject for one in mail.forwarded] == ["é", "", "innermost"]
        first = mail.forwarded[0]
        assert (first.sender, first.text) == ("Lea <lea@example.com>", "the middle")
        assert first.date == datetime(2026, 11, 4, 18, 42, 7, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("block", "sender", "subject"),
        [
            (
                "-----Original Message-----\nFrom: Lea <l@example.com>\nSent: Wed\nTo: me\nSubject: Plan",
                "Lea <l@example.com>",
                "Plan",
            ),
            ("Begin forwarded message:\n\nFrom: Lea\nSubject: Plan\nDate: Wed", "Lea", "Plan"),
            ("---------- Forwarded message ---------\nVon: Lea\nDate: Wed\nSubject: Plan\nTo: me", "Lea", "Plan"),
            ("________\nVon: Lea\nGesendet: Mittwoch\nAn: mich\nBetreff: Plan", "Lea", "Plan"),
            ("De : Lea\nEnvoyé : mercredi\nÀ : moi\nObjet : Plan", "Lea", "Plan"),
            ("*De:* Lea\n*Enviado:* miércoles\n*Para:* yo\n*Asunto:* Plan", "Lea", "Plan"),
            ("От: Lea\nДата: среда\nТема: Plan", "Lea", "Plan"),
            ("差出人： Lea\n送信日時： 水曜\n件名： Plan", "Lea", "Plan"),
            ("发件人: Lea\n发送时间: 星期三\n主题: Plan", "Lea", "Plan"),
            ("> From: Lea\n> Date: Wed\n> Subject: Plan", "Lea", "Plan"),
        ],
    )
    def test_an_inline_forward_is_known_in_many_languages(self, block, sender, subject):
        mail = parse(f"Subject: Fwd\nContent-Type: text/plain; charset=utf-8\n\nsee\n\n{block}\n\nthe plan".encode())
        (inner,) = mail.forwarded
        assert (inner.sender, inner.subject, inner.text) == (sender, subject, "the plan")

    @pytest.mark.parametrize(
        "text", ["From: the hills\nwe saw nothing", "Date: Friday\nSubject: sums", "To: do\nFrom: now on"]
    )
    def test_other_lines_with_colons_are_no_mail(self, text):
        assert parse(b"Subject: x\n\n" + text.encode()).forwarded == ()

    def test_forwards_are_bounded(self):
        mail = parse(b"Subject: x\n\n" + b"From: a\nDate: b\n\nhello\n" * 500)
        assert len(mail.forwarded) == MAX_FORWARDED
        (long,) = parse(b"Subject: x\n\nFrom: a\nDate: b\n\n" + b"x" * 50_000).forwarded
        assert len(long.text) == MAX_FORWARDED_TEXT


def attribute(level: int, name: int, value: bytes) -> bytes:
    return struct.pack("<BHHI", level, name, 6, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


def prop(kind: int, name: int, value: bytes) -> bytes:
    counted = struct.pack("<II", 1, len(value)) if kind in {0x1E, 0x1F, 0x0D, 0x102} else b""
    return struct.pack("<HH", kind, name) + counted + value + b"\0" * (-len(value) % 4)


def props(*each: bytes) -> bytes:
    return struct.pack("<I", len(each)) + b"".join(each)


def winmail(*attributes: bytes) -> bytes:
    return tnef.SIGNATURE + b"\1\0" + attribute(1, 0x9007, struct.pack("<II", 1252, 0)) + b"".join(attributes)


def mail_with(data: bytes, kind: bytes = b"application/ms-tnef; name=winmail.dat", text: bytes = b"") -> bytes:
    part = b"--b\nContent-Type: " + kind + b"\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(data)
    return b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n" + text + b"\n" + part + b"--b--"


FILE = (
    attribute(2, 0x9002, b"\0" * 14)
    + attribute(2, 0x8010, b"REPORT~1.PDF\0")
    + attribute(2, 0x800F, b"x" * 1234)
    + attribute(
        2,
        0x9005,
        props(
            prop(0x1F, 0x3707, "../Quarterly ré.pdf\0".encode("utf-16-le")),
            prop(0x1E, 0x370E, b"Application/PDF\0"),
            prop(0x0002, 0x8000, b"\0" * 16 + struct.pack("<II", 0, 7) + b"\1\0\0\0"),
        ),
    )
)


class TestWinmail:
    def test_its_text_and_files_are_read(self):
        mail = parse(mail_with(winmail(attribute(1, 0x9003, props(prop(0x1E, 0x1000, b"caf\xe9 at ten\0"))), FILE)))
        assert mail.text == "café at ten"
        assert mail.attachments == (Attachment("_Quarterly ré.pdf", "application/pdf", 1234),)
        assert "winmail.dat: unpacked" in mail.mended

    def test_a_text_of_the_mail_s_own_comes_before_it(self):
        assert parse(mail_with(winmail(attribute(1, 0x800C, b"the body\0")), text=b"its own")).text == "its own"

    def test_html_in_it_is_read(self):
        data = winmail(attribute(1, 0x9003, props(prop(0x102, 0x1013, b"<p>rich <b>text</b>"))))
        mail = parse(mail_with(data))
        assert (mail.text, mail.html.only) == ("rich text", True)

    @pytest.mark.parametrize(
        "hidden",
        [
            prop(0x102, 0x1009, struct.pack("<II4sI", 0, 300_007, b"MELA", 0) + b"{\\rtf1 " + b"{" * 300_000),
            prop(0x1E, 0x1013, b"<b>" * 100_000),
        ],
        ids=["rtf", "html"],
    )
    @pytest.mark.slow
    def test_what_says_nothing_is_not_read_again_and_again(self, hidden):
        data = winmail(*[attribute(1, 0x9003, props(hidden))] * 3)
        part = b"--b\nContent-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(
            data
        )
        raw = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + part * 10 + b"--b--"
        findings = Findings()
        Reader(findings).read(split(raw, findings))
        assert -MAX_SOURCE < findings.sources < MAX_SOURCE

    def test_compressed_rtf_in_it_is_read(self):
        # The example of [MS-OXRTFCP], section 4.1.1, and its plain form.
        data = bytes.fromhex(
            "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320a f32068656c09002062770 5b06c647d0a800fa0".replace(
                " ", ""
            )
        )
        assert rtf.decompressed(data) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
        assert parse(mail_with(winmail(attribute(1, 0x9003, props(prop(0x102, 0x1009, data)))))).text == "hello world"
        plain = (
            b"{\\rtf1\\ansicpg1251 {\\fonttbl x}\\'cf\\'f0 \\u8364 ?\\par{\\*\\htmltag <b>}\\htmlrtf no\\htmlrtf0 yes}"
        )
        assert rtf.text_of(rtf.decompressed(struct.pack("<II4sI", 0, len(plain), b"MELA", 0) + plain)) == "Пр €\nyes"

    @pytest.mark.parametrize(
        "data",
        [
            winmail(FILE)[:-300],
            winmail(attribute(1, 0x9003, struct.pack("<IHHI", 0xFFFFFFFF, 0x1002, 0x1000, 0xFFFFFFFF))),
            winmail(attribute(1, 0x9003, struct.pack("<IHHI", 0xFFFFFFFF, 0x001E, 0x1000, 0xFFFFFFFF))),
            winmail(attribute(1, 0x9003, b"\1")),
            winmail(attribute(1, 0x0FFF, b"") * 100_000),
        ],
    )
    def test_one_that_lies_about_its_counts_is_read_as_far_as_it_goes(self, data):
        assert "winmail.dat: damaged, unpacked in part" in parse(mail_with(data)).mended

    def test_one_that_is_none_is_a_file(self):
        mail = parse(mail_with(b"no such thing"))
        assert mail.attachments == (Attachment("winmail.dat", "application/ms-tnef", 13),)


@pytest.fixture(scope="module")
def signer():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lea")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()), key


class TestSealed:
    def test_what_an_opaque_signature_signs_is_read(self, signer):
        inner = b"Content-Type: text/plain\r\n\r\nsigned and read"
        builder = pkcs7.PKCS7SignatureBuilder().set_data(inner).add_signer(*signer, hashes.SHA256())
        der = builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
        mail = parse(mail_with(der, b"application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"))
        assert (mail.text, mail.signed, mail.encrypted, mail.attachments) == ("signed and read", "smime", "", ())

    def test_one_that_was_streamed_is_read(self):
        # Indefinite lengths, and the octets in pieces, as OpenSSL writes them.
        oid = bytes.fromhex("06092a864886f70d0107")
        octets = b"\x24\x80" + b"\x04\x0a\nin two pi" + b"\x04\x03ece" + b"\x04\x01s\0\0"
        signed = (
            b"\x30\x80\x02\x01\x01\x31\x80\x30\x80\0\0\0\0" + b"\x30\x80" + oid + b"\x01\xa0\x80" + octets + b"\0" * 4
        )
        data = b"\x30\x80" + oid + b"\x02\xa0\x80" + signed + b"\0" * 6
        mail = parse(mail_with(data, b"application/x-pkcs7-mime"))
        assert (mail.text, mail.signed) == ("in two pieces", "smime")

    @pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80" * 9, b"\x30\x88" + b"\xff" * 8, b"no CMS"])
    def test_what_is_no_signature_is_a_file(self, data):
        assert [file.name for file in parse(mail_with(data, b"application/pkcs7-mime; name=a.p7m")).attachments] == [
            "a.p7m"
        ]

    def test_pieces_that_hold_nothing_are_not_followed_to_their_end(self):
        oid = bytes.fromhex("06092a864886f70d0107")
        frame = b"\x30\x80" + oid + b"\x02\xa0\x80\x30\x80\x02\x01\x01\x31\x00\x30\x80" + oid + b"\x01\xa0\x80\x24\x80"
        assert smime.signed_content(frame + b"\x04\x02hi") == b"hi"
        for piece in (b"\x24\x00", b"\x04\x00", b"\x24\x80\0\0"):
            with pytest.raises(smime.BrokenError, match="too many pieces"):
                smime.signed_content(frame + piece * 10_000 + b"\x04\x02hi")

    def test_a_detached_signature_is_no_file(self):
        raw = b'Subject: x\nContent-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=b\n\n'
        raw += b"--b\n\nread\n--b\nContent-Type: application/pkcs7-signature; name=smime.p7s\n\nx\n--b--"
        mail = parse(raw)
        assert (mail.text, mail.signed, mail.attachments) == ("read", "smime", ())

    @pytest.mark.parametrize(
        ("raw", "by"),
        [
            (
                b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b\n\n--b\nContent-Type: a/b\n\nx\n--b--',
                "pgp",
            ),
            (b"Subject: x\n\n-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----\n", "pgp"),
            (b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n\nx", "smime"),
            (mail_with(bytes.fromhex("308006092a864886f70d010703"), b"application/pkcs7-mime"), "smime"),
        ],
    )
    def test_what_is_encrypted_is_named(self, raw, by):
        mail = parse(raw)
        assert (mail.encrypted, mail.text) == (by, "")

    def test_pgp_s_clear_signature_is_taken_off(self):
        mail = parse(
            b"Subject: x\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nread\n- -- \nLea\n"
            b"-----BEGIN PGP SIGNATURE-----\n\niQE\n-----END PGP SIGNATURE-----\n"
        )
        assert (mail.text, mail.signed) == ("read\n-- \nLea", "pgp")


INVITATION = b"""BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VTIMEZONE
DTSTART:19700101T000000
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY;LANGUAGE=en:Board meeting\\, the
  yearly one
DTSTART;TZID="Europe/Berlin":20261104T184200
DTEND:20261104T194200Z
LOCATION:Room 4\\nfirst floor
ORGANIZER;CN="Roth: Lea":mailto:lea@example.com
END:VEVENT
END:VCALENDAR
"""
GIST = """Invitation: Board meeting, the yearly one
When: 2026-11-04 18:42 Europe/Berlin to 2026-11-04 19:42 UTC
Where: Room 4 first floor
Organizer: lea@example.com"""


class TestOthers:
    def test_an_invitation_s_gist_is_read_beside_the_text(self):
        parts = b"--b\n\nPlease come\n--b\nContent-Type: text/calendar; method=REQUEST\n\n" + INVITATION
        mail = parse(b"Subject: x\nContent-Type: multipart/alternative; boundary=b\n\n" + parts + b"--b--")
        assert mail.text == f"Please come\n\n{GIST}"

    @pytest.mark.parametrize(
        ("source", "text"),
        [
            (b"BEGIN:VCALENDAR\nEND:VCALENDAR", ""),
            (b"BEGIN:VTODO\nSUMMARY:Taxes\nDUE;VALUE=DATE:20261231", "Event: Taxes\nWhen: 2026-12-31"),
            (b"METHOD:REPLY\nBEGIN:VEVENT\nSTATUS:CANCELLED\nDTSTART:soon", "Cancelled: \nWhen: soon"),
        ],
    )
    def test_odd_calendars(self, source, text):
        assert parse(b"Subject: x\nContent-Type: text/calendar\n\n" + source).text == text

    def test_a_delivery_report_says_what_failed_and_whose_mail(self):
        raw = (
            b"Subject: x\nAuto-Submitted: auto-generated\nContent-Type: multipart/report; boundary=b\n\n--b\n\nSorry.\n"
        )
        raw += (
            b"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\nAction: failed\nStatus: 5.1.1\n"
        )
        raw += b"--b\nContent-Type: message/rfc822\n\nSubject: mine\n\nhello\n--b--"
        mail = parse(raw)
        assert "Status: 5.1.1" in mail.text
        assert [inner.subject for inner in mail.forwarded] == ["mine"]
        assert mail.auto_submitted == "auto-generated"
