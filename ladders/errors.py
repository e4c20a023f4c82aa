"""The shape of every error of the farm, and what can be wrong with asking for a recipe.

    FarmError                       code, retryable, public_message, detail
    └── LadderError
        ├── UnknownRecipe           unknown_recipe      (there is none of this name, or no such file)
        └── InvalidRecipe           invalid_recipe      (the file says something that no recipe can say)

The other rooms hang their trees below FarmError: MediaError, InfraError, ApiError.
"""

from typing import Any, Self


class FarmError(Exception):
    """What every error of the farm has: `code` is stable, `public_message` is for the person who asked.

    ``(message, *, detail=None)`` in every subclass, so that it survives pickling across processes and Ray.
    """

    code = "farm_error"
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

    @classmethod
    def every_class(cls) -> list[type[Self]]:
        """This class and all below it, each once."""
        return [cls] + [c for sub in cls.__subclasses__() for c in sub.every_class()]

    @classmethod
    def from_wire(cls, error: dict[str, Any]) -> Self:
        """The typed error that `to_wire` wrote; a code that no class below this one has becomes a plain `cls`."""
        by_code = {kind.code: kind for kind in cls.every_class()}
        return by_code.get(error["code"], cls)(error["message"], detail=error.get("detail"))


def _rebuild(cls: type[FarmError], message: str, detail: dict[str, Any]) -> FarmError:
    return cls(message, detail=detail)


class LadderError(FarmError):
    """An error about a recipe."""

    code = "ladder_error"


class UnknownRecipe(LadderError):
    """No packaged recipe has this name, or no file is at this path."""

    code = "unknown_recipe"


class InvalidRecipe(LadderError):
    """The recipe was found, but it cannot be used; `detail["problems"]` lists every reason."""

    code = "invalid_recipe"
