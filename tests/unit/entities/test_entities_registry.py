"""Who the registry finds, without a list, and what follows from the models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import entities
from entities.base import Entity
from entities.errors import InvalidOperation
from entities.rating import Rating
from entities.registry import all_entities, cascade_below, cascade_reach, children_of, entity_named
from entities.values import ForeignKey

#: CONTRACT, section 2: tables, and columns by the names on the wire.
CONTRACT = {
    "User": (
        "usuarios",
        "id id, firstName nombre, lastName apellido, email email, passwordHash password_hash, "
        "phoneContact contacto_celular, role rol, registrationDate fecha_registro",
    ),
    "Business": (
        "emprendimientos",
        "id id, userId usuario_id, name nombre_emprendimiento, creationYear año_creacion, "
        "economicSector sector_economico, managerName nombre_encargado, managerContact contacto_encargado, "
        "managerEmail email_encargado, operationMonths tiempo_operacion_meses, registrationDate fecha_registro",
    ),
    "BusinessModel": (
        "modelo_negocio",
        "id id, businessId emprendimiento_id, valueProposition propuesta_valor, customerSegment segmento_clientes, "
        "salesChannels canales_venta, incomeSources fuentes_ingreso, registrationDate fecha_registro",
    ),
    "Finance": (
        "finanzas",
        "id id, businessId emprendimiento_id, monthlyNetSales ventas_netas_mes, "
        "monthlyProfitability rentabilidad_mensual, financingSources fuentes_financiamiento, "
        "monthlyFixedCosts costos_fijos_mensuales, registrationDate fecha_registro",
    ),
    "WorkTeam": (
        "equipo_trabajo",
        "id id, businessId emprendimiento_id, businessTrainingLevel nivel_formacion_empresarial, "
        "hasTrainedStaff personal_capacitado, hasDefinedRoles roles_definidos, employeeCount cantidad_empleados, "
        "registrationDate fecha_registro",
    ),
    "SocialEnvironmentalImpact": (
        "impacto_social_ambiental",
        "id id, businessId emprendimiento_id, jobsGenerated empleos_generados, "
        "hasEnvironmentalContribution contribucion_ambiental, environmentalStrategies estrategias_ambientales, "
        "hasSocialInnovation innovacion_social, innovationImplementation implementacion_innovacion, "
        "registrationDate fecha_registro",
    ),
    "Rating": (
        "calificaciones",
        "id id, businessId emprendimiento_id, generalDataScore puntaje_datos_generales, "
        "businessModelScore puntaje_modelo_negocio, financeScore puntaje_finanzas, "
        "workTeamScore puntaje_equipo_trabajo, socialImpactScore puntaje_impacto_social, totalScore puntaje_total, "
        "totalPercentage porcentaje_total, globalClassification clasificacion_global, calculationDate fecha_calculo",
    ),
}


def names(found: frozenset[type[Entity]]) -> set[str]:
    return {entity.__name__ for entity in found}


def test_the_seven_models_are_found() -> None:
    assert {entity.__name__ for entity in all_entities()} == set(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_tables_columns_and_wire_names_are_the_contracts(name: str) -> None:
    entity = entity_named(name)
    table, attributes = CONTRACT[name]

    assert entity._meta.table_name == table
    assert [f"{field.wire_name} {field.column_name}" for field in entity.attributes().fields] == attributes.split(", ")


def test_parents_come_before_their_children() -> None:
    order = [entity.__name__ for entity in all_entities()]

    assert order.index("User") < order.index("Business") < min(map(order.index, CONTRACT.keys() - {"User", "Business"}))


@pytest.mark.parametrize("name", ["user", "USER", "Users", "Entity", "", " User", "User\n", "\ud800", "x" * 10_000])
def test_an_unknown_entity_is_refused_with_the_names_that_there_are(name: str) -> None:
    with pytest.raises(InvalidOperation) as caught:
        entity_named(name)

    assert caught.value.field == "entity"
    assert "Business, BusinessModel, Finance, Rating, SocialEnvironmentalImpact, User, WorkTeam" in caught.value.reason
    assert len(caught.value.reason) < 300


def test_a_delete_of_a_user_reaches_everything() -> None:
    assert names(cascade_reach(entity_named("User"))) == set(CONTRACT)


def test_a_delete_of_a_business_reaches_its_five_parts_and_itself() -> None:
    assert names(cascade_reach(entity_named("Business"))) == CONTRACT.keys() - {"User"}
    assert names(cascade_below(entity_named("Business"))) == CONTRACT.keys() - {"User", "Business"}


def test_a_delete_of_a_leaf_reaches_nothing_else() -> None:
    assert cascade_reach(entity_named("Rating")) == {entity_named("Rating")}
    assert cascade_below(entity_named("Rating")) == frozenset()


def test_children_are_told_with_the_foreign_keys_that_name_the_parent() -> None:
    assert [(child.__name__, key.path) for child, key in children_of(entity_named("User"))] == [
        ("Business", "Business.userId")
    ]


def test_a_foreign_key_that_does_not_cascade_is_no_part_of_this_world() -> None:
    with pytest.raises(ValueError, match="ON DELETE CASCADE"):
        ForeignKey(entity_named("User"), on_delete="SET NULL")


def test_a_foreign_key_arrives_under_either_name_and_other_attributes_under_one() -> None:
    by_wire_name = entity_named("Business").attributes().by_wire_name

    assert by_wire_name["userId"] is by_wire_name["usuario_id"]
    assert "nombre_emprendimiento" not in by_wire_name


EIGHTH_MODEL = """
from entities.base import Entity
from entities.business import Business
from entities.rating import Rating
from entities.registry import all_entities, cascade_reach, entity_named

before = all_entities()


class Invoice(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    number = Integer(column_name="numero", required=True)
    note = Varchar(40, column_name="nota", may_be_blank=False)

    class Meta:
        table_name = "facturas"
        indexes = ((("business", "number"), True),)
"""

EIGHTH_MODEL_IS_USED = """
from entities.envelope import Envelope
from entities.errors import InvalidOperation
from entities.operations import actions_of
from entities.schema import application_ddl
from entities.user import User
from entities.writesets import writeset

assert len(before) == 7 and len(all_entities()) == 8
assert entity_named("Invoice") is Invoice
assert Invoice in cascade_reach(User)

[insert] = actions_of(Envelope("CREATE", "Invoice", {"emprendimiento_id": "5", "number": 17}))
assert insert.values == {"business": 5, "number": 17}
assert "Invoice.businessId+number=5+17" in writeset("op", [insert]).exclusive
assert "Invoice" in writeset("op", actions_of(Envelope("DELETE", "User", {"id": 1}))).exclusive
assert any("UNIQUE (`emprendimiento_id`, `numero`)" in statement for statement in application_ddl("mysql"))
try:
    actions_of(Envelope("CREATE", "Invoice", {"number": "x", "note": " "}))
except InvalidOperation as refused:
    assert "Invoice.number" in refused.reason and "Invoice.note" in refused.reason, refused
    assert "Invoice.businessId: is required" in refused.reason, refused
else:
    raise AssertionError("taken")
"""


def test_an_eighth_model_from_outside_needs_its_class_and_nothing_else() -> None:
    imports = "from entities.values import ForeignKey, Integer, Varchar\n"
    script = imports + EIGHTH_MODEL + EIGHTH_MODEL_IS_USED

    # In a process of its own, so that the other tests go on seeing seven.
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(entities.__file__).parents[1]
    )

    assert run.returncode == 0, run.stderr


def test_a_default_is_known_to_peewee_as_well() -> None:
    assert Rating().total_score == 0
