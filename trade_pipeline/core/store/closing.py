"""What is opened for the length of a ``with`` block, and given back at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Closes itself when its ``with`` block ends, however it ends."""

    __slots__ = ()

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
