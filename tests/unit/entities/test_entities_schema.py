"""The application's tables as the contract describes them, and on SQLite as tables that refuse what MySQL refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from entities.schema import application_ddl


@pytest.fixture
def tables() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA foreign_keys = ON")
    for statement in application_ddl("sqlite"):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO usuarios (nombre, apellido, email, password_hash, contacto_celular) "
        "VALUES ('A', 'B', 'a@x.co', '', '3')"
    )
    connection.execute("INSERT INTO emprendimientos (usuario_id, nombre_emprendimiento) VALUES (1, 'x')")
    connection.execute("INSERT INTO calificaciones (emprendimiento_id) VALUES (1)")
    yield connection
    connection.close()


def mysql_table(name: str) -> str:
    [statement] = [statement for statement in application_ddl("mysql") if f"EXISTS `{name}`" in statement]
    return statement


def test_the_tables_of_mysql_have_the_contracts_columns() -> None:
    assert mysql_table("emprendimientos").splitlines() == [
        "CREATE TABLE IF NOT EXISTS `emprendimientos` (",
        "  `id` INT AUTO_INCREMENT PRIMARY KEY,",
        "  `usuario_id` INT NOT NULL,",
        "  `nombre_emprendimiento` VARCHAR(255) NOT NULL,",
        "  `año_creacion` INT,",
        "  `sector_economico` VARCHAR(100),",
        "  `nombre_encargado` VARCHAR(200),",
        "  `contacto_encargado` VARCHAR(20),",
        "  `email_encargado` VARCHAR(255),",
        "  `tiempo_operacion_meses` ENUM('0_6_meses','6_12_meses','12_24_meses','mas_24_meses'),",
        "  `fecha_registro` TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,",
        "  FOREIGN KEY (`usuario_id`) REFERENCES `usuarios` (`id`) ON DELETE CASCADE",
        ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
    ]


def test_the_enums_of_mysql_are_the_databases_and_not_the_applications() -> None:
    assert "`ventas_netas_mes` ENUM('menos_1_smmlv','1_3_smmlv','3_mas_smmlv')" in mysql_table("finanzas")
    assert "mas_6_smmlv" not in mysql_table("finanzas")


def test_the_other_types_of_mysql() -> None:
    assert "`porcentaje_total` DECIMAL(5,2) DEFAULT '0.00'" in mysql_table("calificaciones")
    assert "`puntaje_total` INT DEFAULT '0'" in mysql_table("calificaciones")
    assert "`personal_capacitado` TINYINT(1)" in mysql_table("equipo_trabajo")
    assert "`propuesta_valor` TEXT" in mysql_table("modelo_negocio")
    assert "UNIQUE (`email`)" in mysql_table("usuarios")
    assert "`rol` ENUM('emprendedor','administrador') DEFAULT 'emprendedor'" in mysql_table("usuarios")


def test_sqlite_fills_in_the_defaults(tables: sqlite3.Connection) -> None:
    [row] = tables.execute("SELECT rol, fecha_registro IS NOT NULL FROM usuarios").fetchall()

    assert row == ("emprendedor", 1)


def test_sqlite_refuses_what_the_databases_enum_does_not_hold(tables: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="ventas_netas_mes"):
        tables.execute("INSERT INTO finanzas (emprendimiento_id, ventas_netas_mes) VALUES (1, 'mas_6_smmlv')")


def test_sqlite_holds_an_email_once_whatever_its_case(tables: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"usuarios\.email"):
        tables.execute(
            "INSERT INTO usuarios (nombre, apellido, email, password_hash, contacto_celular) "
            "VALUES ('A', 'B', 'A@X.CO', '', '3')"
        )


def test_sqlite_refuses_a_child_without_its_parent(tables: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        tables.execute("INSERT INTO calificaciones (emprendimiento_id) VALUES (99)")


def test_sqlite_cascades(tables: sqlite3.Connection) -> None:
    tables.execute("DELETE FROM usuarios")

    assert tables.execute("SELECT count(*) FROM calificaciones").fetchone() == (0,)


def test_there_is_no_third_dialect() -> None:
    with pytest.raises(ValueError, match="postgres"):
        application_ddl("postgres")
