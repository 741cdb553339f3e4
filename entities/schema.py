"""The application's tables, from the models: for tests and demonstrations, where no application has made them.

In production the tables are the application's own, and this module is not used. MariaDB and MySQL get the contract's
names and types; SQLite, the database of a demonstration, gets what comes nearest, so that it refuses what they
refuse.
"""

from __future__ import annotations

from typing import Final

from entities.base import Entity, database
from entities.registry import all_entities
from entities.values import Attribute, ForeignKey, Timestamp, Varchar

MYSQL_TABLE_OPTIONS: Final = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"


def create_application_tables() -> None:
    """Makes the tables that are missing in the bound database."""
    dialect = "sqlite" if "sqlite" in type(database.obj).__name__.lower() else "mysql"
    for statement in application_ddl(dialect):
        database.execute_sql(statement)


def application_ddl(dialect: str) -> list[str]:
    """The statements that make what is missing, parents first; `dialect` is "mysql" or "sqlite"."""
    if dialect not in ("mysql", "sqlite"):
        raise ValueError(f'the dialect must be "mysql" or "sqlite", not {dialect!r}')
    statements = [_table(entity, dialect) for entity in all_entities()]
    if dialect == "sqlite":  # MySQL indexes foreign keys by itself
        statements += [_index(field) for entity in all_entities() for field in entity.attributes().foreign_keys]
    return statements


def _table(entity: type[Entity], dialect: str) -> str:
    table = entity.attributes()
    lines = [_column(field, dialect) for field in table.fields]
    for key in table.unique_keys:
        columns = ", ".join(_quoted(entity._meta.fields[name].column_name, dialect) for name in key.attributes)
        lines.append(f"UNIQUE ({columns})")
    for field in table.foreign_keys:
        parent = _quoted(field.rel_model._meta.table_name, dialect)
        parent_id = _quoted(field.rel_field.column_name, dialect)
        column = _quoted(field.column_name, dialect)
        lines.append(f"FOREIGN KEY ({column}) REFERENCES {parent} ({parent_id}) ON DELETE CASCADE")
    body = ",\n  ".join(lines)
    options = f" {MYSQL_TABLE_OPTIONS}" if dialect == "mysql" else ""
    return f"CREATE TABLE IF NOT EXISTS {_quoted(entity._meta.table_name, dialect)} (\n  {body}\n){options}"


def _index(field: ForeignKey) -> str:
    table = field.model._meta.table_name
    return f'CREATE INDEX IF NOT EXISTS "{table}_{field.column_name}" ON "{table}" ("{field.column_name}")'


def _column(field: Attribute, dialect: str) -> str:
    parts = [_quoted(field.column_name, dialect), field.sql_type(dialect)]
    if field.required:
        parts.append("NOT NULL")
    if field.default is not None:
        parts.append(f"DEFAULT '{field.default}'")
    elif isinstance(field, Timestamp) and field.default_now:
        parts.append("DEFAULT CURRENT_TIMESTAMP")
    if dialect == "sqlite" and isinstance(field, Varchar) and field.unique:
        parts.append("COLLATE NOCASE")  # as near as SQLite comes to MySQL's collations
    return " ".join(parts)


def _quoted(name: str, dialect: str) -> str:
    return f"`{name}`" if dialect == "mysql" else f'"{name}"'
