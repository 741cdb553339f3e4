"""The simplest thing that can be right: operations applied one by one with plain SQL, to compare the service with.

It shares nothing with the service: the names of the columns stand here once more, and its rules are the ones a reader
would write down first. It knows only operations in form; what the database refuses is a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pymysql

#: Generated ids begin here, explicit ones stay below: what a generated id is, is not part of the promise.
FIRST_GENERATED = 1_000_000

TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "User": (
        "usuarios",
        {
            "firstName": "nombre",
            "lastName": "apellido",
            "email": "email",
            "passwordHash": "password_hash",
            "phoneContact": "contacto_celular",
            "role": "rol",
            "registrationDate": "fecha_registro",
        },
    ),
    "Business": (
        "emprendimientos",
        {
            "userId": "usuario_id",
            "name": "nombre_emprendimiento",
            "creationYear": "año_creacion",
            "economicSector": "sector_economico",
            "managerName": "nombre_encargado",
            "managerContact": "contacto_encargado",
            "managerEmail": "email_encargado",
            "operationMonths": "tiempo_operacion_meses",
            "registrationDate": "fecha_registro",
        },
    ),
    "BusinessModel": (
        "modelo_negocio",
        {
            "businessId": "emprendimiento_id",
            "valueProposition": "propuesta_valor",
            "customerSegment": "segmento_clientes",
            "salesChannels": "canales_venta",
            "incomeSources": "fuentes_ingreso",
            "registrationDate": "fecha_registro",
        },
    ),
    "Finance": (
        "finanzas",
        {
            "businessId": "emprendimiento_id",
            "monthlyNetSales": "ventas_netas_mes",
            "monthlyProfitability": "rentabilidad_mensual",
            "financingSources": "fuentes_financiamiento",
            "monthlyFixedCosts": "costos_fijos_mensuales",
            "registrationDate": "fecha_registro",
        },
    ),
    "WorkTeam": (
        "equipo_trabajo",
        {
            "businessId": "emprendimiento_id",
            "businessTrainingLevel": "nivel_formacion_empresarial",
            "hasTrainedStaff": "personal_capacitado",
            "hasDefinedRoles": "roles_definidos",
            "employeeCount": "cantidad_empleados",
            "registrationDate": "fecha_registro",
        },
    ),
    "SocialEnvironmentalImpact": (
        "impacto_social_ambiental",
        {
            "businessId": "emprendimiento_id",
            "jobsGenerated": "empleos_generados",
            "hasEnvironmentalContribution": "contribucion_ambiental",
            "environmentalStrategies": "estrategias_ambientales",
            "hasSocialInnovation": "innovacion_social",
            "innovationImplementation": "implementacion_innovacion",
            "registrationDate": "fecha_registro",
        },
    ),
    "Rating": (
        "calificaciones",
        {
            "businessId": "emprendimiento_id",
            "generalDataScore": "puntaje_datos_generales",
            "businessModelScore": "puntaje_modelo_negocio",
            "financeScore": "puntaje_finanzas",
            "workTeamScore": "puntaje_equipo_trabajo",
            "socialImpactScore": "puntaje_impacto_social",
            "totalScore": "puntaje_total",
            "totalPercentage": "porcentaje_total",
            "globalClassification": "clasificacion_global",
            "calculationDate": "fecha_calculo",
        },
    ),
}

#: Set by the database to the time of the write, unless the operation names it.
TIMES = {"fecha_registro", "fecha_calculo"}
BOOLEANS = {"personal_capacitado", "roles_definidos", "contribucion_ambiental", "innovacion_social"}


def keep_generated_ids_apart(connection: pymysql.Connection[Any]) -> None:
    """Let generated ids begin where no explicit id is."""
    with connection.cursor() as cursor:
        for table, _ in TABLES.values():
            cursor.execute(f"ALTER TABLE `{table}` AUTO_INCREMENT = {FIRST_GENERATED}")
    connection.commit()


def apply_one_by_one(connection: pymysql.Connection[Any], messages: Iterable[bytes]) -> list[str]:
    """Apply each message in a transaction of its own; the ids of those that the database refused."""
    refused = []
    seen = set()
    for raw in messages:
        message = json.loads(raw)
        operation_id = message["metadata"]["operationId"]
        if operation_id in seen:
            continue
        seen.add(operation_id)
        try:
            with connection.cursor() as cursor:
                _apply(cursor, message["type"], message["entity"], message["data"])
            connection.commit()
        except (pymysql.MySQLError, LookupError):
            connection.rollback()
            refused.append(operation_id)
    return refused


def _apply(cursor: Any, type: str, entity: str, data: dict[str, Any]) -> None:
    if type == "BULK_CREATE":
        for record in data["records"]:
            _apply(cursor, "CREATE", entity, record)
        return
    if type == "BULK_UPDATE":
        for record in data["updates"]:
            _apply(cursor, "UPDATE", entity, record)
        return
    table, columns = TABLES[entity]
    row = {columns.get(name, name): value for name, value in data.items()}
    if type == "CREATE":
        names = ", ".join(f"`{name}`" for name in row)
        places = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO `{table}` ({names}) VALUES ({places})", list(row.values()))
        return
    row_id = row.pop("id")
    if type == "DELETE":
        cursor.execute(f"DELETE FROM `{table}` WHERE id = %s", [row_id])
        return
    cursor.execute(f"SELECT 1 FROM `{table}` WHERE id = %s FOR UPDATE", [row_id])
    if cursor.fetchone() is None:
        raise LookupError(row_id)
    if row:
        changes = ", ".join(f"`{name}` = %s" for name in row)
        cursor.execute(f"UPDATE `{table}` SET {changes} WHERE id = %s", [*row.values(), row_id])


def all_rows(connection: pymysql.Connection[Any]) -> dict[str, list[dict[str, Any]]]:
    """Every row of every entity, for comparison: generated ids and times of the write are left out."""
    connection.rollback()
    return {entity: _rows(connection, table) for entity, (table, _) in TABLES.items()}


def _rows(connection: pymysql.Connection[Any], table: str) -> list[dict[str, Any]]:
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"SELECT * FROM `{table}`")
        rows = [dict(row) for row in cursor.fetchall()]
    for row in rows:
        if row["id"] >= FIRST_GENERATED:
            row["id"] = "generated"
        for name in TIMES & row.keys():
            del row[name]
    return sorted(rows, key=repr)


def expected_cache(connection: pymysql.Connection[Any], entity: str) -> dict[str, dict[str, Any]]:
    """What the cache must hold of each row of an entity, as the contract says it."""
    table, columns = TABLES[entity]
    connection.rollback()
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"SELECT * FROM `{table}`")
        rows = [dict(row) for row in cursor.fetchall()]
    return {f"{entity}:{row['id']}": as_cached(columns, row) for row in rows}


def as_cached(columns: dict[str, str], row: dict[str, Any]) -> dict[str, Any]:
    cached = {"id": row["id"]}
    for name, column in columns.items():
        if name != "passwordHash":
            cached[name] = _wire(column, row[column])
    return cached


def _wire(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column in BOOLEANS:
        return bool(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    assert not isinstance(value, date)
    return value
