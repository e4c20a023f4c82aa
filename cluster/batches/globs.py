"""Globs of object names, told in time that grows with the length of the name and of the glob, whatever they are.

No regular expression, of which Python's `fnmatch` is one too: many stars make it try their splits one by one, for
hours on a key of fifty letters, and nothing else of the process runs meanwhile. Here all splits are followed at once,
as the bits of one number: bit i stands for "the first i characters of the glob, its stars left out, are matched".
"""

import re
from dataclasses import dataclass

_STARS = re.compile(r"\*\*/|\*\*|\*")


@dataclass(frozen=True, slots=True)
class Glob:
    """``*`` is any part of a name within its folder, ``**`` any part of a path, ``**/`` any folders or none."""

    leads: dict[str, int]  # by character, the bits from which it leads to the next one
    within: int  # bits that stay at every character but a slash
    across: int  # bits that stay at every character
    folders: int  # of `across` those that came of ``**/``: whoever gets there is at the next bit as well
    end: int

    def matches(self, name: str) -> bool:
        """Whether the whole of `name` is as the glob says."""
        at = 1 | (1 & self.folders) << 1
        for character in name:
            led = (at & self.leads.get(character, 0)) << 1
            stay = self.across if character == "/" else self.across | self.within
            at = led | (led & self.folders) << 1 | at & stay
            if not at:
                return False
        return bool(at & self.end)


def parse_glob(glob: str) -> Glob:
    """The glob that `glob` says; more than two stars in a row are two."""
    glob = re.sub(r"\*{3,}", "**", glob)
    while "**/**/" in glob:
        glob = glob.replace("**/**/", "**/")
    leads: dict[str, int] = {}
    within = across = folders = 0
    bit, place = 1, 0
    while place < len(glob):
        stars = _STARS.match(glob, place)
        found = stars[0] if stars is not None else glob[place]
        place += len(found)
        if found == "*":
            within |= bit
        elif found == "**":
            across |= bit
        else:
            if found == "**/":
                across |= bit
                folders |= bit
            leads[found[-1]] = leads.get(found[-1], 0) | bit
            bit <<= 1
    return Glob(leads, within, across, folders, bit)
