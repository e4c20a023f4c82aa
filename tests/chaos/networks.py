"""A network of its own for a node, which can be cut off and brought back."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

NOBODY = "02:00:00:00:00:fe"


@dataclass(frozen=True)
class Network:
    """A namespace with a pair of interfaces between it and this machine."""

    name: str
    here: str  # this machine's address
    there: str  # the node's

    @property
    def inside(self) -> list[str]:
        """What goes before a command that runs in there."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """From here on all that is sent goes to nobody, without a word to either side."""
        _ip("neigh", "replace", self.there, "lladdr", NOBODY, "dev", self.name, "nud", "permanent")
        _ip("-n", self.name, "neigh", "replace", self.here, "lladdr", NOBODY, "dev", "uplink", "nud", "permanent")

    def mend(self) -> None:
        """Everything arrives again."""
        _ip("neigh", "del", self.there, "dev", self.name)
        _ip("-n", self.name, "neigh", "del", self.here, "dev", "uplink")


@contextmanager
def network(number: int) -> Iterator[Network]:
    """A fresh network; OSError or CalledProcessError where none may be made."""
    name = f"farm{os.getpid() % 100000}n{number}"  # 15 characters are the most that an interface's name may have
    made = Network(name, f"10.213.{number}.1", f"10.213.{number}.2")
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", name)
        _ip("addr", "add", f"{made.here}/24", "dev", name)
        _ip("link", "set", name, "up")
        for words in (("lo", "up"), ("uplink", "up")):
            _ip("-n", name, "link", "set", *words)
        _ip("-n", name, "addr", "add", f"{made.there}/24", "dev", "uplink")
        _ip("-n", name, "route", "add", "default", "via", made.here)
        yield made
    finally:
        with suppress(subprocess.CalledProcessError, OSError):
            _ip("link", "del", name)
        with suppress(subprocess.CalledProcessError, OSError):
            _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
