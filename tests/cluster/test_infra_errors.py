"""Errors of the cluster's own: told apart by code, also on the other side of a process border."""

import copy
import pickle

import pytest

from cluster import errors
from cluster.errors import InfraError


@pytest.mark.parametrize("kind", InfraError.every_class())
def test_an_error_crosses_processes_with_its_type_message_and_detail(kind: type[InfraError]) -> None:
    error = kind("what happened", detail={"key": "a/b"})
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), InfraError.from_wire(error.to_wire())):
        assert type(other) is kind
        assert (str(other), other.public_message, other.detail) == ("what happened", "what happened", {"key": "a/b"})


def test_every_code_is_of_one_class_and_stands_in_the_tree_of_the_docstring() -> None:
    codes = [kind.code for kind in InfraError.every_class()]
    assert len(codes) == len(set(codes))
    assert errors.__doc__ is not None
    for kind in InfraError.every_class():
        assert kind.__name__ in errors.__doc__
        if not kind.__subclasses__():
            line = next(line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)
            assert kind.code in line
            assert kind.retryable == ("retryable" in line)


def test_an_error_of_a_newer_farm_is_still_an_error() -> None:
    assert type(InfraError.from_wire({"code": "from_the_future", "message": "x"})) is InfraError
