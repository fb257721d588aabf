"""What peers write is shown to strangers without the addresses that may be in it. Pure."""

from __future__ import annotations

import ipaddress
import re

HIDDEN = "(address hidden)"

_MULTIADDRESS = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6|dnsaddr)/[^\s,;\"')\]]+")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\.?\d)(?::\d+|/(?:tcp|udp)/\d+)?")
_MAYBE_IPV6 = re.compile(r"(?<![\w:])\[?([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:%\w+)?\]?(?::\d+)?(?!\w)")


def redacted(text: str) -> str:
    """`text` with IP addresses, multiaddresses, and the ports behind them, put out of sight."""
    if "." not in text and ":" not in text and "/" not in text:
        return text  # nearly all names, ten thousand at a time
    text = _MULTIADDRESS.sub(HIDDEN, text)
    return _IPV4.sub(HIDDEN, _MAYBE_IPV6.sub(_without_ipv6, text))


def _without_ipv6(found: re.Match[str]) -> str:
    """A time of day has colons too: whether this is an address is for `ipaddress` to say."""
    address = found[1]
    while address[-1:] in (":", ".") and not _is_ipv6(address):
        address = address[:-1]  # of the sentence around it
    if not address.strip(":") or not _is_ipv6(address):
        return found[0]
    return HIDDEN + found[1][len(address) :]


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
