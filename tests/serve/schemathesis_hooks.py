"""Lets half of the generated requests name things that exist; see test_openapi.py."""

import os
import random
import re
import uuid
from typing import Any

import schemathesis

# Not the module's functions: hypothesis seeds those anew for every example.
chance = random.Random(1)
JOBS = os.environ["FARM_TEST_JOBS"].split()
SOURCE = os.environ["FARM_TEST_SOURCE"]
KINDS = ("image", "video", "audio")
BOTH = ("standard", "preview")
MANIFEST = os.environ["FARM_TEST_MANIFEST"]
BATCHES = os.environ["FARM_TEST_BATCHES"].split()
KNOWN = {"batch_id": BATCHES, "job_id": JOBS, "media_id": ["clip"], "name": ["standard"], "code": ["not_found"]}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    for name, values in KNOWN.items():
        # What was made wrong on purpose stays wrong: its request is expected to be refused.
        right = path_parameters and name in path_parameters and _is_right(context, name, path_parameters[name])
        if path_parameters and right and chance.random() < 0.5:
            path_parameters[name] = chance.choice(values)
    return path_parameters


def _is_right(context: Any, name: str, value: Any) -> bool:
    return bool(context.operation.path_parameters.get(name).is_valid(value))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("source"), str) and chance.random() < 0.5:
        is_batch = context.operation.path == "/v1/batches"
        body["source"] = MANIFEST if is_batch else SOURCE
        if is_batch and re.match("(s3|file)://", str(body.get("results"))):  # what is wrong is to be refused for that
            body.pop("results", None)
    # A recipe that makes nothing of the kind is refused, which no schema can say: keep to those that make everything.
    if isinstance(body, dict) and body.get("kind") in KINDS and body.get("recipe", "standard") not in BOTH:
        body["kind"] = "auto"
    return body


@schemathesis.hook
def map_headers(context: Any, headers: dict[str, Any] | None) -> dict[str, Any] | None:
    """A valid idempotency key that two generated requests share is refused, rightly: make each one new."""
    for name, value in (headers or {}).items():
        if name.lower() == "idempotency-key" and re.fullmatch("[!-~]{1,255}", str(value)):
            headers[name] = uuid.UUID(int=chance.getrandbits(128)).hex  # type: ignore[index]
    return headers
