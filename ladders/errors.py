"""What can be wrong with asking for a recipe.

    LadderError                     code, retryable, public_message, detail
    ├── UnknownRecipe               unknown_recipe      (there is none of this name, or no such file)
    └── InvalidRecipe               invalid_recipe      (the file says something that no recipe can say)

The shape is that of the media errors, so that one table maps both; every class takes ``(message, *, detail=None)`` and
survives pickling across processes.
"""

from typing import Any


class LadderError(Exception):
    """An error about a recipe; `code` is stable, `public_message` is for the person who asked."""

    code = "ladder_error"
    retryable = False

    def __init__(self, message: str, *, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.public_message = message
        self.detail = detail or {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.public_message, self.detail))

    def to_wire(self) -> dict[str, Any]:
        """The error as plain JSON values: ``code``, ``message``, ``retryable``, ``detail``."""
        return {
            "code": self.code,
            "message": self.public_message,
            "retryable": self.retryable,
            "detail": self.detail,
        }


def _rebuild(cls: type[LadderError], message: str, detail: dict[str, Any]) -> LadderError:
    return cls(message, detail=detail)


class UnknownRecipe(LadderError):
    """No packaged recipe has this name, or no file is at this path."""

    code = "unknown_recipe"


class InvalidRecipe(LadderError):
    """The recipe was found, but it cannot be used; `detail["problems"]` lists every reason."""

    code = "invalid_recipe"
