"""Which addresses may be reached: a pure table."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backbone.errors import AddressRefusedError, SettingsError
from backbone.net_guard import AddressGuard, AllowedNetwork, special_kind
from backbone.settings import Settings, settings


@given(st.ip_addresses())
def test_what_the_guard_calls_public_the_standard_library_calls_global(address):
    if special_kind(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "2002::", "::"]))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_public(inner, prefix):
    shift = 80 if prefix == "2002::" else 0
    outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + (int(inner) << shift))
    assert special_kind(outer) is not None


INSIDE = """
    127.0.0.1 10.1.2.3 172.31.255.255 192.168.0.1 169.254.169.254 100.100.100.200 168.63.129.16 0.0.0.0 224.0.0.1
    255.255.255.255 ::1 :: fe80::1 fd00:ec2::254 ff02::1 100::1 ::ffff:8.8.8.8 64:ff9b::808:808 64:ff9b:1::1
    2001:0:4136:e378::1 2001:db8::1 4000::1 2606:2800::5efe:10.0.0.1 2606:2800::200:5efe:10.0.0.1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_refuses_what_is_not_the_public_internet(address):
    with pytest.raises(AddressRefusedError) as caught:
        AddressGuard().check(address, 443)
    assert caught.value.field == "url"
    assert not caught.value.retryable


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_lets_the_public_internet_through_on_its_two_ports_alone(address):
    AddressGuard().check(address, 80)
    AddressGuard().check(address, 443)
    for port in (0, 22, 8080, 65535):
        with pytest.raises(AddressRefusedError, match="port"):
            AddressGuard().check(address, port)


def test_an_operator_opens_a_network_at_one_port_or_at_the_public_two():
    guard = AddressGuard(["127.0.0.1/32:8088", "10.0.0.0/8", "fd00::/8:8443"])
    guard.check("127.0.0.1", 8088)
    guard.check("10.9.8.7", 80)
    guard.check("fd00::5", 8443)
    for address, port in (("127.0.0.1", 80), ("127.0.0.2", 8088), ("10.9.8.7", 8088), ("fd00::5", 443)):
        with pytest.raises(AddressRefusedError):
            guard.check(address, port)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 32), st.none() | st.integers(1, 65535))
def test_a_rule_is_written_as_it_is_read(address, prefix, port):
    network = ipaddress.ip_network((address, prefix), strict=False)
    rule = AllowedNetwork(network, port)
    assert AllowedNetwork.parse(str(rule)) == rule


@given(st.text())
@example("127.0.0.1/32:99999")
@example("127.0.0.1/24")
@example("10.0.0.0/8:0")
def test_any_text_is_a_rule_or_a_value_error_that_quotes_it(text):
    try:
        rule = AllowedNetwork.parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = f"{text!r} was read as {rule}"
    assert repr(text) in said


def test_the_setting_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("BARNABAS_NET_ALLOW", "127.0.0.1/32:8088, 10.0.0.0/8,")
    assert Settings().net_allow == ("127.0.0.1/32:8088", "10.0.0.0/8")


def test_a_wrong_setting_is_named_with_what_is_wrong(monkeypatch):
    monkeypatch.setenv("BARNABAS_NET_ALLOW", "10.0.0.1/8")
    settings.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"10\.0\.0\.1/8") as caught:
            settings()
        assert caught.value.field == "BARNABAS_NET_ALLOW"
    finally:
        settings.cache_clear()
