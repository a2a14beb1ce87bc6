"""Where the server of a test listens."""

from aiohttp import ClientSession


def address_of(client: ClientSession) -> tuple[str, int]:
    """Give the host and the port that a client's requests go to."""
    url = client._base_url
    assert url is not None
    assert url.host is not None
    assert url.port is not None
    return url.host, url.port
