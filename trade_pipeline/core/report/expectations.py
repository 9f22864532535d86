"""Rules about the columns of a table, and how Great Expectations judges them.

Each rule is one expectation of a suite (https://docs.greatexpectations.io, version 1.24); its
severity travels with it.  Missing values are judged by `NotNull` alone.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd

# Values that are shown of what a rule found.
EXAMPLES = 3


class Severity(StrEnum):
    """What a failure means: ``CRITICAL`` stops what comes after, ``WARNING`` is told."""

    CRITICAL = "critical"
    WARNING = "warning"


# Columns and the values that select the rows a rule is about.
Where = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """What is expected of one column.

    Attributes:
        where: the rows it is about; empty: all.
    """

    column: str
    severity: Severity = field(default=Severity.CRITICAL, kw_only=True)
    where: Where = field(default=(), kw_only=True)

    @property
    @abstractmethod
    def expected(self) -> str:
        """The rule in words, without its column."""

    @abstractmethod
    def expectation(self) -> tuple[str, dict[str, Any]]:
        """The class in ``great_expectations.expectations``, and its arguments."""


@dataclass(frozen=True, slots=True)
class HasType(Rule):
    """A column's type in pandas: ``str``, ``int64``, ``float64`` or ``Timestamp``."""

    kind: str

    @property
    def expected(self) -> str:
        return f"type {self.kind}"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToBeOfType", {"column": self.column, "type_": self.kind}


@dataclass(frozen=True, slots=True)
class NotNull(Rule):
    """No value is missing; NaN counts as missing."""

    @property
    def expected(self) -> str:
        return "not missing"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToNotBeNull", {"column": self.column}


@dataclass(frozen=True, slots=True)
class Between(Rule):
    """Finite numbers in ``low``..``high``, both included; None: no bound.

    Attributes:
        above: ``low`` itself is excluded.
    """

    low: float | None = None
    high: float | None = None
    above: bool = field(default=False, kw_only=True)

    @property
    def expected(self) -> str:
        low = "" if self.low is None else f"{'>' if self.above else '>='} {self.low:g}"
        high = "" if self.high is None else f"<= {self.high:g}"
        return ", ".join(part for part in ("finite", low, high) if part)

    def expectation(self) -> tuple[str, dict[str, Any]]:
        largest = sys.float_info.max
        return "ExpectColumnValuesToBeBetween", {
            "column": self.column,
            "min_value": -largest if self.low is None else self.low,
            "max_value": largest if self.high is None else self.high,
            "strict_min": self.above,
        }


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """Values of a set."""

    values: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.values)

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToBeInSet", {
            "column": self.column,
            "value_set": list(self.values),
        }


@dataclass(frozen=True, slots=True)
class Matches(Rule):
    """Texts of a form, given as a regular expression."""

    pattern: str

    @property
    def expected(self) -> str:
        return f"matches {self.pattern}"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnValuesToMatchRegex", {"column": self.column, "regex": self.pattern}


@dataclass(frozen=True, slots=True)
class Unique(Rule):
    """No two rows have the same value, or the same values in this and ``others``."""

    others: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *self.others)

    @property
    def expected(self) -> str:
        return f"unique with {', '.join(self.others)}" if self.others else "unique"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        if self.others:
            return "ExpectCompoundColumnsToBeUnique", {"column_list": list(self.columns)}
        return "ExpectColumnValuesToBeUnique", {"column": self.column}


@dataclass(frozen=True, slots=True)
class NotAbove(Rule):
    """A value, or a moment, is at most that of another column, where both are there."""

    other: str

    @property
    def expected(self) -> str:
        return f"<= {self.other}"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnPairValuesAToBeGreaterThanB", {
            "column_A": self.other,
            "column_B": self.column,
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        }


@dataclass(frozen=True, slots=True)
class EqualTo(Rule):
    """A value is that of another column, where both are there."""

    other: str

    @property
    def expected(self) -> str:
        return f"= {self.other}"

    def expectation(self) -> tuple[str, dict[str, Any]]:
        return "ExpectColumnPairValuesToBeEqual", {
            "column_A": self.column,
            "column_B": self.other,
            "ignore_row_if": "either_value_is_missing",
        }


@dataclass(frozen=True, slots=True)
class Contract:
    """What a table promises to those who read it."""

    asset: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What came of one rule.

    Attributes:
        checked: values that the rule looked at.
        unexpected: those that break it; None where it cannot be counted.
        examples: some of them, each with its row's UUID; or why the rule could not be judged.
    """

    column: str
    expectation: str
    expected: str
    checked: int
    unexpected: int | None
    examples: str
    severity: Severity
    passed: bool


@dataclass(frozen=True, slots=True)
class ContractResult:
    """What came of a contract, one row a rule in the contract's order."""

    asset: str
    rows: list[RuleResult]

    def failures(self, severity: Severity) -> list[RuleResult]:
        return [row for row in self.rows if not row.passed and row.severity is severity]

    @property
    def passed(self) -> bool:
        """Whether no critical rule failed."""
        return not self.failures(Severity.CRITICAL)


def check_contract(
    contract: Contract, frame: pd.DataFrame, rows: int | None = None
) -> ContractResult:
    """Judge every rule of a contract on a table.

    Args:
        frame: the table, or a sample of it that holds every row whose key is not unique; with a
            column ``uuid``.
        rows: of the whole table, which the rules of uniqueness speak of; None: those of the frame.
    """
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    # The index is what Great Expectations names a row by.
    frame = frame.set_axis(frame["uuid"].to_numpy(), axis=0)
    numbered: dict[Where, dict[int, Rule]] = {}
    for number, rule in enumerate(contract.rules):
        numbered.setdefault(rule.where, {})[number] = rule
    found: dict[int, RuleResult] = {}
    for where, rules in numbered.items():
        part = frame
        for column, values in where:
            part = part[part[column].isin(values)]
        judged = _judge(context, part, rules, "BASIC")
        # The rows are named for failures alone: it takes as long again.
        failed = {number: rules[number] for number, one in judged.items() if not one.success}
        if failed:
            judged |= _judge(context, part, failed, "SUMMARY")
        for number, rule in rules.items():
            total = rows if rows is not None and isinstance(rule, Unique) else len(part)
            found[number] = _result(rule, judged[number], total)
    return ContractResult(contract.asset, [found[number] for number in range(len(found))])


def suite(rules: Mapping[int, Rule]) -> gx.ExpectationSuite:
    """Numbered rules as a Great Expectations suite; ``meta`` holds the number of each."""
    import great_expectations as gx
    import great_expectations.expectations as expect

    expectations = []
    for number, rule in rules.items():
        name, arguments = rule.expectation()
        expectations.append(
            getattr(expect, name)(**arguments, severity=rule.severity.value, meta={"rule": number})
        )
    return gx.ExpectationSuite(name="contract", expectations=expectations)


def _judge(
    context: Any, frame: pd.DataFrame, rules: Mapping[int, Rule], detail: str
) -> dict[int, Any]:
    validated = context.data_sources.pandas_default.read_dataframe(frame).validate(
        suite(rules), result_format={"result_format": detail, "partial_unexpected_count": EXAMPLES}
    )
    # They come in an order of their own.
    return {one.expectation_config.meta["rule"]: one for one in validated.results}


def _result(rule: Rule, judged: Any, rows: int) -> RuleResult:
    result = judged.result
    return RuleResult(
        column=rule.column,
        expectation=judged.expectation_config.type,
        expected=rule.expected + _only(rule.where),
        checked=rows - (result.get("missing_count") or 0),
        unexpected=result.get("unexpected_count"),
        examples="" if judged.success else _examples(judged),
        severity=rule.severity,
        passed=bool(judged.success),
    )


def _only(where: Where) -> str:
    parts = [f"{column} is {' or '.join(values)}" for column, values in where]
    return f" where {' and '.join(parts)}" if parts else ""


def _examples(judged: Any) -> str:
    """Values that break a rule, or the error that kept it from being judged."""
    result = judged.result
    if "partial_unexpected_list" in result:
        values, rows = result["partial_unexpected_list"], result["partial_unexpected_index_list"]
        return "; ".join(
            f"{_text(value)} (uuid {uuid})" for value, uuid in zip(values, rows, strict=True)
        )
    if "observed_value" in result:
        return f"type {result['observed_value']}"
    errors = judged.exception_info
    if "exception_message" not in errors:
        errors = next(iter(errors.values()))
    return str(errors["exception_message"])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, tuple):
        return " and ".join(map(str, value))
    return str(value)
