"""Which addresses a download may go to: the service's links are foreign input, and this machine sits in a private net.

Refused are private, loopback, link-local, multicast, unspecified, reserved and carrier-grade (100.64/10) addresses,
also where an IPv6 form wraps them (``::ffff:``, NAT64, 6to4, Teredo). Loopback is allowed where the API itself is
there. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_CGNAT = IPv4Network("100.64.0.0/10")
_OLD_COMPATIBLE = IPv6Network("::/96")
_SITE_LOCAL = IPv6Network("fec0::/10")


def why_refused(address: str, *, loopback_allowed: bool) -> str | None:
    """Why no connection is made to an address (text as a resolver gives it), or None where one may be made."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an address"
    if loopback_allowed and parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None:
        return None
    for inner in _layers(parsed):
        reason = _kind(inner)
        if reason is not None:
            return f"{address} is {reason}"
    return None


def _layers(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address itself and every IPv4 address it carries."""
    layers: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv4Address):
        return layers
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if any(address in network for network in _NAT64):
        layers.append(low)
    if address.sixtofour is not None:
        layers.append(address.sixtofour)
    if address.teredo is not None:
        layers.extend(address.teredo)
    return layers


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    if address.is_unspecified:
        return "unspecified"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if isinstance(address, IPv4Address):
        if address in _CGNAT:
            return "carrier-grade private"
    elif address in _OLD_COMPATIBLE:
        return "an IPv4 address in disguise"
    elif address in _SITE_LOCAL:
        return "site-local"
    elif any(address in network for network in _NAT64):
        return None if address in _NAT64[0] else "private"
    if address.is_private:
        return "private"
    if address.is_reserved or not address.is_global:
        return "reserved"
    return None
