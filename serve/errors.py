"""What can be wrong with a request, as opposed to with media (pipelines.errors) or with the farm (cluster.errors).

ApiError                        code, retryable, public_message
├── MalformedJson               malformed_json
├── InvalidRequest              invalid_request        (names each field by a JSON pointer)
├── UnsupportedKind             unsupported_kind
├── NotAuthenticated            not_authenticated
├── Forbidden                   forbidden
├── CallbackRefused             callback_refused       (a host that callbacks may not go to)
├── NotFound                    not_found
├── MethodNotAllowed            method_not_allowed
├── BodyTooLarge                body_too_large
├── UnsupportedBody             unsupported_body       (not JSON)
├── TooManyWatchers             too_many_watchers      (event streams of one replica; retryable)
├── Overloaded                  overloaded             (this replica answers as many calls as it may; retryable)
├── NotServing                  not_serving            (the API starts, or a replica died with the call; retryable)
├── LimitReached                limit_reached          (the org's own limit of the policy; retryable)
├── HttpError                   http_error             (anything else that the framework refuses)
├── InternalError               internal_error         (a bug; carries the error_id that the log has)
├── UsageError                  usage                  (of the `farm` command)
├── BatchFailed                 batch_failed           (its list could not be read, or its results not be written)
├── FarmRefused                 any                    (a running farm said no; carries its code and status)
└── FarmUnreachable             farm_unreachable
"""

from typing import Any

from ladders.errors import FarmError


class ApiError(FarmError):
    """A request that is not served as asked; `errors` are parts of a problem document (pointer, detail, code)."""

    code = "api_error"

    def __init__(self, message: str, *, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class MalformedJson(ApiError):
    """The body is not JSON."""

    code = "malformed_json"


class InvalidRequest(ApiError):
    """A field is missing, unknown or has a value that it cannot have."""

    code = "invalid_request"


class UnsupportedKind(ApiError):
    """The kind of media is not turned by this farm."""

    code = "unsupported_kind"


class NotAuthenticated(ApiError):
    """No key, or none that is known."""

    code = "not_authenticated"


class Forbidden(ApiError):
    """The key is known and may not do this."""

    code = "forbidden"


class CallbackRefused(ApiError):
    """The callback's host is not one that the farm may call."""

    code = "callback_refused"


class NotFound(ApiError):
    """There is nothing of that name, or nothing that the caller may see."""

    code = "not_found"


class MethodNotAllowed(ApiError):
    """The path exists, the method on it does not."""

    code = "method_not_allowed"


class BodyTooLarge(ApiError):
    """The body is larger than the API reads."""

    code = "body_too_large"


class UnsupportedBody(ApiError):
    """The body is not declared as JSON."""

    code = "unsupported_body"


class TooManyWatchers(ApiError):
    """This replica follows as many jobs as it may; poll, or come back."""

    code = "too_many_watchers"
    retryable = True


class Overloaded(ApiError):
    """This replica has as many calls in hand as it may; come back."""

    code = "overloaded"
    retryable = True


class NotServing(ApiError):
    """The API is starting, or the process that had the call in hand has ended: send the call again, with its key."""

    code = "not_serving"
    retryable = True
    retry_after_s = 1  # a replica that died is left out at once, the first one of a new head starts within seconds


class LimitReached(ApiError):
    """The org has as many jobs, or has handed over as many bytes, as the policy lets it."""

    code = "limit_reached"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HttpError(ApiError):
    """Any other refusal of the HTTP framework."""

    code = "http_error"


class InternalError(ApiError):
    """A bug of the farm; the log has the rest under the same error_id."""

    code = "internal_error"
    retryable = True


class UsageError(ApiError):
    """Something on the command line or in the environment that cannot work; the message says what would."""

    code = "usage"


class BatchFailed(ApiError):
    """A batch of a running farm ended without all of its items, or without its results.

    `detail` has its `batch_id`, and the `code` of what it failed by.
    """

    code = "batch_failed"

    def __init__(self, message: str, *, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.detail = detail or {}


class FarmRefused(ApiError):
    """A running farm answered with a problem document."""

    def __init__(self, message: str, *, status: int = 500, code: str = "http_error", retryable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable


class FarmUnreachable(ApiError):
    """No farm answers."""

    code = "farm_unreachable"
    retryable = True
