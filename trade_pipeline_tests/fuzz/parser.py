"""What is fuzzed: a reader of somebody else's bytes, with valid samples to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline_tests.fuzz.mutations import Kind, mutate


@dataclass(frozen=True)
class Parser:
    """A reader.

    Attributes:
        samples: valid inputs, made by the product's own writers where it has any.
        parse: reads an input, and uses what it read as the product does.
        weight: its share of a whole run.
        clean: the errors by which it may refuse.
        make: how an input is made; None: by mutating a sample of ``kind``.
    """

    name: str
    kind: Kind
    samples: Sequence[bytes]
    parse: Callable[[bytes], object]
    weight: int = 1
    clean: tuple[type[Exception], ...] = (TradePipelineError,)
    make: Callable[[Random], bytes] | None = None

    def input(self, seed: int, number: int) -> bytes:
        """The input of a number; the same again for the same seed."""
        random = Random(f"{seed} {self.name} {number}")
        if self.make is not None and random.random() < 0.7:
            return self.make(random)
        return mutate(random, self.samples, self.kind)


def by_name(parsers: Sequence[Parser]) -> Mapping[str, Parser]:
    """The parsers by their names, of which no two are alike."""
    found = {parser.name: parser for parser in parsers}
    assert len(found) == len(parsers)
    return found
