r"""From the text of an address to where it leads, or the reason why nobody goes there.

Pure. Programs read odd addresses in different ways (what is the host of `http://a\@b/`, or of `http://0x7f.1/`?), and
whoever gets in by that writes one that this program and the next one read differently. So what is odd is refused here,
before anything is resolved; `net_guard` then judges the number that a plain name leads to.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import httpx

from backbone.errors import AddressRefusedError

LONGEST = 8192
"""Characters of an address; servers take no more (RFC 9110, section 4.1, asks them for 8000)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PORT = re.compile(r"[^/?#]*//[^/?#]*:([^/?#\]:]*)(?:[/?#]|$)")
"""What stands behind the last colon of an authority, outside of brackets."""


def target(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return where an address leads: http or https, a plain host, no fragment.

    Args:
        text: an address; one that is relative needs a base.
        base: where it was found, such as the page that redirects there.

    Raises:
        AddressRefusedError: it is no address of the web, or no plain one.
    """
    if len(text) > LONGEST:
        raise _refused(f"it is longer than {LONGEST} characters")
    if _CONTROL.search(text):
        raise _refused("it holds a control character, which some programs pass over and others don't")
    if "\\" in re.split(r"[?#]", text, maxsplit=1)[0]:
        raise _refused("it holds a backslash, which some programs take for a slash")
    try:
        url = httpx.URL(text) if base is None else base.join(text)
        host = _plain_host(url)
        port = _PORT.match(text)
        if port is not None and not re.fullmatch("[0-9]*", port[1]):
            raise _refused("its port is a number in an odd spelling")  # such as +80, 8_0 or fullwidth digits
        return url.copy_with(host=host, fragment=None)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise _refused(str(error)) from None


def _plain_host(url: httpx.URL) -> str:
    if url.scheme not in {"http", "https"}:
        raise AddressRefusedError("only http and https may be reached", field="url")
    if url.userinfo:
        raise AddressRefusedError("an address may not hold a name and password", field="url")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise _refused(f"there is no port {url.port}")
    host = url.raw_host.decode("ascii").lower()
    if ":" in host:
        return _ipv6(host)
    # One dot at the end says that the name is whole; without it both spellings take turns and certificates as one.
    name = host.removesuffix(".")
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise _refused(f"{_quoted(host)} is no name of a host" if host else "it names no host")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(name)
    return name


def _ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        # What ends in a number is one (WHATWG URL, "ends in a number checker"), in octal, in hex, or cut short.
        raise _refused(f"{_quoted(host)} is a number in an odd spelling: write four decimal parts") from None


def _ipv6(host: str) -> str:
    if "%" in host:
        raise _refused("it names a network interface")
    return IPv6Address(host).compressed


def _quoted(host: str) -> str:
    """Return a host as a message can quote it."""
    return repr(host if len(host) <= 64 else f"{host[:63]}…")


def _refused(why: str) -> AddressRefusedError:
    return AddressRefusedError(f"this is no address of the web: {why}", field="url")
