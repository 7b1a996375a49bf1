"""Which addresses may be reached: a pure table, asked about an address that is already resolved.

Everything that is not the public internet is refused by name, whatever spelling led there: the guard never sees a
host name, only the number that the system would connect to. An operator opens more with `BARNABAS_NET_ALLOW`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from backbone.errors import AddressRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLIC_PORTS = frozenset({80, 443})

# The special-purpose registries of IANA (RFC 6890 and its updates), and what clouds put at public numbers.
_NOT_PUBLIC_V4 = tuple(
    (ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier NAT, and a cloud's metadata)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local (and a cloud's metadata)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_NOT_PUBLIC_V6 = tuple(
    (ip_network(network), name)
    for network, name in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/23", "reserved for protocols (Teredo among them)"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST_V6 = ip_network("2000::/3")
_ISATAP = 0x5EFE
"""Before the IPv4 address in the last 64 bits, in any network (RFC 5214, section 6.1); the bit for "universal" is free."""


@dataclass(frozen=True, slots=True)
class AllowedNetwork:
    """A network that an operator opened: at `port` alone, or at the public ports where none is named."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedNetwork:
        """Read `CIDR` or `CIDR:port`, such as `10.0.0.0/8`, `127.0.0.1/32:8088` or `fd00::/8:443`.

        Raises:
            ValueError: saying what is wrong with `text`.
        """
        match = re.fullmatch(r"(?P<network>[0-9A-Fa-f.:]+/\d{1,3})(?::(?P<port>\d{1,5}))?", text.strip())
        if match is None:
            raise ValueError(
                f"{text!r} is no network: write CIDR or CIDR:port, such as 10.0.0.0/8 or 127.0.0.1/32:8088"
            )
        try:
            network = ip_network(match["network"])
        except ValueError as error:
            raise ValueError(f"{text!r} is no network: {error}") from None
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 1 <= port <= 65535:
            raise ValueError(f"{text!r}: port {port} is not between 1 and 65535")
        return cls(network, port)

    def covers(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether this rule opens `address` at `port`."""
        ports = PUBLIC_PORTS if self.port is None else {self.port}
        return port in ports and address.version == self.network.version and address in self.network

    def __str__(self) -> str:
        return str(self.network) if self.port is None else f"{self.network}:{self.port}"


class AddressGuard:
    """Says of a resolved address whether it may be reached."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow = tuple(AllowedNetwork.parse(rule) for rule in allow)

    def check(self, address: str, port: int) -> None:
        """Return when `address` (a number, not a name) may be reached at `port`.

        Raises:
            AddressRefusedError: it may not; the message says what kind of address it is.
        """
        ip = ip_address(address)
        if any(rule.covers(ip, port) for rule in self._allow):
            return
        kind = special_kind(ip)
        if kind is not None:
            raise AddressRefusedError(f"{ip} is {kind}: only public addresses may be reached", field="url")
        if port not in PUBLIC_PORTS:
            raise AddressRefusedError(f"port {port} is not open: only 80 and 443 may be reached", field="url")


def special_kind(ip: IPv4Address | IPv6Address) -> str | None:
    """Return what `ip` is reserved for, or None for an address of the public internet."""
    for network, name in _NOT_PUBLIC_V4 if ip.version == 4 else _NOT_PUBLIC_V6:
        if ip in network:
            return name
    if ip.version == 6 and ip not in _GLOBAL_UNICAST_V6:
        return "reserved"
    if ip.version == 6 and int(ip) >> 32 & 0xFDFF_FFFF == _ISATAP:
        return "ISATAP"
    return None
