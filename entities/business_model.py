"""How a business earns: four free texts."""

from __future__ import annotations

from entities.base import Entity
from entities.business import Business
from entities.values import ForeignKey, Text, Timestamp


class BusinessModel(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    value_proposition = Text(column_name="propuesta_valor")
    customer_segment = Text(column_name="segmento_clientes")
    sales_channels = Text(column_name="canales_venta")
    income_sources = Text(column_name="fuentes_ingreso")
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "modelo_negocio"
