"""The people of a business."""

from __future__ import annotations

from entities.base import Entity
from entities.business import Business
from entities.values import Boolean, Choice, ForeignKey, Integer, Timestamp


class WorkTeam(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    business_training_level = Choice(
        ["sin_formacion", "tecnica_profesional", "administracion_emprendimiento"],
        column_name="nivel_formacion_empresarial",
    )
    has_trained_staff = Boolean(column_name="personal_capacitado")
    has_defined_roles = Boolean(column_name="roles_definidos")
    employee_count = Integer(column_name="cantidad_empleados")
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "equipo_trabajo"
