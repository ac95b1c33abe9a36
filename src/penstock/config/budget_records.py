"""Budgets set while running: records of the store, and what they and the config come to together. Pure.

A record has the fields of a budget in the file, whole; it replaces the config's budget of its name, or removes it. What
a record says is read and checked as if it stood in the file.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from penstock.config.budgets import Around, budget_of, check_budget
from penstock.config.document import Document, Map, tree_of
from penstock.config.schema import BudgetSection
from penstock.config.settings import Settings
from penstock.config.validation import read_section
from penstock.core.budget import Budget
from penstock.errors import ConfigError

Fields = Mapping[str, Any]
"""A budget as JSON, spelled as in the file."""

VALUE: Final = "value"
"""The field of a change that says whose limit it is."""


class Record(Protocol):
    """``ports.BudgetRecord``."""

    @property
    def name(self) -> str:
        """Of the budget."""
        ...

    @property
    def fields(self) -> Fields:
        """All of it, but for its name."""
        ...

    @property
    def removed(self) -> bool:
        """There is no such budget."""
        ...


def budgets_in_force(settings: Settings, records: Iterable[Record]) -> tuple[Budget, ...]:
    """The config's budgets in its order, as the records replace and remove them; then the records' own, by name.

    Raises ConfigError with every mistake in every record, such as a currency that has lost its ``fx``.
    """
    around, mistakes = Around.of(settings), []
    found = {budget.name: budget for budget in settings.budgets}
    for record in sorted(records, key=lambda record: record.name):
        if record.removed:
            found.pop(record.name, None)
            continue
        try:
            found[record.name] = read_budget(record.name, record.fields, around)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(found.values())


def read_budget(name: str, fields: Fields, around: Around) -> Budget:
    """The budget that these fields write. Raises ConfigError: ``budget NAME: field: what is wrong; what to do``."""
    document = Document(source_of(name))
    tree = tree_of({**fields, "name": name}, ())
    document.root = tree if isinstance(tree, Map) else document.root
    section = read_section(document, BudgetSection)
    check_budget(document, section, around)
    if document.mistakes:
        raise document.error()
    return budget_of(section, around)


def source_of(name: str) -> str:
    """How mistakes in a budget begin."""
    return f"budget {name[:64]}"


def changed_fields(name: str, change: Fields, settings: Settings, records: Iterable[Record]) -> dict[str, Any]:
    """The record's fields that make ``change`` true of the budget of that name, or of a new one.

    What ``change`` does not name stays as it is; null puts a field back to its default. With ``value`` the ``limit`` is
    that of this scope value alone, and null takes its entry away. Raises ConfigError when what would come of it is
    wrong.
    """
    if change.get("name", name) != name:
        raise _wrong(name, "name", "a budget keeps its name; remove this one and add the other")
    fields = _fields_now(name, settings, records)
    fields |= {field: given for field, given in change.items() if field not in _of_one(change)}
    if VALUE in change:
        fields["entries"] = _with_entry(name, fields, change)
    fields = {field: given for field, given in fields.items() if given is not None and field != "name"}
    read_budget(name, fields, Around.of(settings))
    return fields


def is_there(name: str, settings: Settings, records: Iterable[Record]) -> bool:
    """Whether there is a budget of that name, right or wrong: a wrong one can be removed too."""
    return bool(_fields_now(name, settings, records))


def _fields_now(name: str, settings: Settings, records: Iterable[Record]) -> dict[str, Any]:
    record = next((record for record in records if record.name == name), None)
    if record is not None:
        return {} if record.removed else dict(record.fields)
    return dict(settings.written_budgets.get(name, {}))


def _of_one(change: Fields) -> tuple[str, ...]:
    """The fields of a change that are about one value only."""
    return (VALUE, "limit") if VALUE in change else ()


def _with_entry(name: str, fields: Fields, change: Fields) -> dict[str, Any]:
    value, entries = change[VALUE], dict(fields.get("entries") or {})
    if not isinstance(value, str):
        raise _wrong(name, VALUE, "must be text: a team, key, user, model or tag=value")
    if "limit" not in change:
        raise _wrong(name, "limit", f"is missing; say what the limit of {value!r} is")
    if change["limit"] is not None:
        return entries | {value: change["limit"]}
    if value not in entries:
        raise _wrong(name, VALUE, f"{value!r} has no limit of its own; there is {', '.join(entries) or 'none'}")
    del entries[value]
    return entries


def _wrong(name: str, field: str, what: str) -> ConfigError:
    return ConfigError([f"{source_of(name)}: {field}: {what}"])
