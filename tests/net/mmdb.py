"""A writer of small MaxMind databases, for tests: record size 24, a tree of IPv6 with IPv4 under ::/96."""

from ipaddress import ip_network

MARKER = b"\xab\xcd\xefMaxMind.com"
_STRING, _UINT32, _MAP, _UINT64, _ARRAY = 2, 6, 7, 9, 11


def place(country, continent):
    """Return a record as GeoLite2-Country has them."""
    return {
        "continent": {"code": continent, "names": {"en": f"continent {continent}"}},
        "country": {"iso_code": country, "geoname_id": 7},
    }


def mmdb(networks, ip_version=6):
    """Return a database of `networks`, a mapping from network to record, without networks inside others."""
    tree = [[None, None]]
    data, offsets = b"", []
    for number, (network, record) in enumerate(networks.items()):
        _insert(tree, _bits(ip_network(network), ip_version), -1 - number)
        offsets.append(len(data))
        data += encode(record)
    nodes = b"".join(_pointer(side, len(tree), offsets).to_bytes(3, "big") for node in tree for side in node)
    metadata = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-Country",
        "description": {"en": "a test"},
        "ip_version": ip_version,
        "languages": ["en"],
        "node_count": len(tree),
        "record_size": 24,
    }
    return nodes + bytes(16) + data + MARKER + encode(metadata)


def encode(value):
    """Return a value in the data section's format."""
    if isinstance(value, str):
        return _control(_STRING, len(value.encode())) + value.encode()
    if isinstance(value, int):
        size = (value.bit_length() + 7) // 8
        return _control(_UINT64 if size > 4 else _UINT32, size) + value.to_bytes(size, "big")
    if isinstance(value, list):
        return _control(_ARRAY, len(value)) + b"".join(map(encode, value))
    return _control(_MAP, len(value)) + b"".join(encode(key) + encode(inner) for key, inner in value.items())


def _control(kind, size):
    assert size < 285
    length, more = (size, b"") if size < 29 else (29, bytes((size - 29,)))
    # Types above 7 stand in a byte of their own.
    return (bytes((kind << 5 | length,)) if kind < 8 else bytes((length, kind - 7))) + more


def _bits(network, ip_version):
    width = network.max_prefixlen
    bits = f"{int(network.network_address):0{width}b}"[: network.prefixlen]
    return "0" * 96 + bits if network.version == 4 and ip_version == 6 else bits


def _insert(tree, bits, leaf):
    node = 0
    for bit in map(int, bits[:-1]):
        if tree[node][bit] is None:
            tree.append([None, None])
            tree[node][bit] = len(tree) - 1
        node = tree[node][bit]
    tree[node][int(bits[-1])] = leaf


def _pointer(side, nodes, offsets):
    if side is None:
        return nodes
    return side if side >= 0 else nodes + 16 + offsets[-1 - side]
