"""The PROXY protocol's header as a balancer writes it."""

from ipaddress import ip_address

from ntspool.wire.proxy2 import SIGNATURE, Command, Transport


def block(command: int, transport: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, transport]) + len(body).to_bytes(2, "big") + body


def header(source: str, destination: str = "", port: int = 40000, tlvs: bytes = b"") -> bytes:
    """Return the header of a TCP connection from `source`."""
    client = ip_address(source)
    server = ip_address(destination or ("192.0.2.1" if client.version == 4 else "2001:db8::1"))
    ports = port.to_bytes(2, "big") + (4460).to_bytes(2, "big")
    transport = Transport.TCP4 if client.version == 4 else Transport.TCP6
    return block(Command.PROXY, transport, client.packed + server.packed + ports + tlvs)


LOCAL = block(Command.LOCAL, Transport.UNSPEC, b"")
