"""A business's figures, in brackets.

The application's lists and the database's differ: either is taken here, and the database has the last word.
"""

from __future__ import annotations

from entities.base import Entity
from entities.business import Business
from entities.values import Choice, ForeignKey, Timestamp


class Finance(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    monthly_net_sales = Choice(
        ["menos_1_smmlv", "1_3_smmlv", "3_mas_smmlv"],
        application_choices=["menos_1_smmlv", "1_3_smmlv", "3_6_smmlv", "mas_6_smmlv"],
        column_name="ventas_netas_mes",
    )
    monthly_profitability = Choice(
        ["menos_medio_smmlv", "medio_1_smmlv", "2_mas_smmlv"],
        application_choices=["baja_menos_1_smmlv", "medio_1_smmlv", "alta_mas_3_smmlv"],
        column_name="rentabilidad_mensual",
    )
    financing_sources = Choice(
        ["recursos_propios", "credito_bancario", "inversionistas", "subsidios", "mixto"],
        application_choices=["propios", "credito_bancario", "inversion_externa", "otro"],
        column_name="fuentes_financiamiento",
    )
    monthly_fixed_costs = Choice(
        ["menos_medio_smmlv", "medio_1_smmlv", "2_mas_smmlv"],
        application_choices=["bajo_menos_1_smmlv", "medio_1_smmlv", "alto_mas_3_smmlv"],
        column_name="costos_fijos_mensuales",
    )
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "finanzas"
