"""How a business was rated."""

from __future__ import annotations

from decimal import Decimal

from entities.base import Entity
from entities.business import Business
from entities.values import Choice, FixedPoint, ForeignKey, Integer, Timestamp


class Rating(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    general_data_score = Integer(column_name="puntaje_datos_generales", default=0)
    business_model_score = Integer(column_name="puntaje_modelo_negocio", default=0)
    finance_score = Integer(column_name="puntaje_finanzas", default=0)
    work_team_score = Integer(column_name="puntaje_equipo_trabajo", default=0)
    social_impact_score = Integer(column_name="puntaje_impacto_social", default=0)
    total_score = Integer(column_name="puntaje_total", default=0)
    total_percentage = FixedPoint(
        max_digits=5, decimal_places=2, column_name="porcentaje_total", default=Decimal("0.00")
    )
    global_classification = Choice(["idea_inicial", "en_desarrollo", "consolidado"], column_name="clasificacion_global")
    calculation_date = Timestamp(column_name="fecha_calculo", default_now=True)

    class Meta:
        table_name = "calificaciones"
