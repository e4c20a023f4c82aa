"""The listener that no file of the collection may reach."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.corpus import CANARY_PORT


@pytest.fixture(scope="module")
def connections() -> Iterator[list[object]]:
    """Who connected to the address that the hostile files name."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", CANARY_PORT)) as listener:
        listener.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    peer, address = listener.accept()
                except TimeoutError:
                    continue
                peer.close()
                seen.append(address)

        thread = threading.Thread(target=accept)
        thread.start()
        yield seen
        done.set()
        thread.join()
    assert not seen, "an address inside one of the files was followed"
