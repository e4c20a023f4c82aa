"""Globs say what the plain regular expressions of them would, in time that does not explode."""

import itertools
import re

import pytest

from cluster.batches.globs import parse_glob


def by_regex(glob: str) -> re.Pattern[str]:
    glob = re.sub(r"\*{3,}", "**", glob)
    pattern = re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(pattern, re.DOTALL)


def test_a_glob_says_what_its_regular_expression_would() -> None:
    names = ["".join(name) for length in range(6) for name in itertools.product("ab/", repeat=length)]
    for length in range(6):
        for parts in itertools.product("a*/", repeat=length):
            glob = "".join(parts)
            mine, its = parse_glob(glob), by_regex(glob)
            wrong = [name for name in names if mine.matches(name) != (its.fullmatch(name) is not None)]
            assert not wrong, glob


@pytest.mark.parametrize(
    ("glob", "name", "is_it"),
    [
        ("2019/**/*.jpg", "2019/a b/é.jpg", True),
        ("2019/**/*.jpg", "2019/x.jpg", True),
        ("2019/**/*.jpg", "2019/x.jpeg", False),
        ("**/raw/**/*_[1].*", "a/raw/b/c/d_[1].dng", True),
        ("**/**/**/x", "x", True),
        ("a**z", "a/b/z", True),
        ("a*z", "a/z", False),
        ("*", "line\nline", True),
    ],
)
def test_a_glob_of_real_names(glob: str, name: str, is_it: bool) -> None:
    assert parse_glob(glob).matches(name) is is_it


@pytest.mark.parametrize("part", ["*a", "**a", "**/a", "*a*/"])
def test_a_long_name_and_many_stars_are_told_at_once(part: str) -> None:
    assert not parse_glob(part * 20 + "b").matches("a" * 1000)
    assert not parse_glob(part * 20 + "b").matches("a/" * 500)
