"""Who sends a request: the holder of a key by name, anybody else by the address that the connection comes from."""

import ipaddress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from app.keys import KeyRing

KEY_HEADER = "X-API-Key"
_IPV6_HOME_BITS = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """A key's holder, None where no key of ours was sent; and the network that the connection comes from."""

    name: str | None
    network: str


def caller_of(scope: Scope, keys: KeyRing) -> Caller:
    """Who sent this request; found out once, and noted in `scope` for the log."""
    if "caller" not in scope:
        key = Headers(scope=scope).get(KEY_HEADER) if keys.required else None
        scope["caller"] = Caller(keys.holder(key), _network(scope))
    caller: Caller = scope["caller"]
    return caller


def _network(scope: Scope) -> str:
    """The peer's address; of an IPv6 address the first half, since a single customer has all of the second."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a Unix socket has none
        return "local"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((address, _IPV6_HOME_BITS), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
