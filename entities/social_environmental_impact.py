"""What a business does for people and surroundings."""

from __future__ import annotations

from entities.base import Entity
from entities.business import Business
from entities.values import Boolean, ForeignKey, Integer, Text, Timestamp


class SocialEnvironmentalImpact(Entity):
    business = ForeignKey(Business, column_name="emprendimiento_id", on_delete="CASCADE", required=True)
    jobs_generated = Integer(column_name="empleos_generados", default=0)
    has_environmental_contribution = Boolean(column_name="contribucion_ambiental")
    environmental_strategies = Text(column_name="estrategias_ambientales")
    has_social_innovation = Boolean(column_name="innovacion_social")
    innovation_implementation = Text(column_name="implementacion_innovacion")
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "impacto_social_ambiental"
