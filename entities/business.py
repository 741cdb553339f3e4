"""A user's business."""

from __future__ import annotations

from entities.base import Entity
from entities.conversions import EMAIL
from entities.user import User
from entities.values import Choice, ForeignKey, Integer, Timestamp, Varchar


class Business(Entity):
    user = ForeignKey(User, column_name="usuario_id", on_delete="CASCADE", required=True)
    name = Varchar(255, column_name="nombre_emprendimiento", required=True, may_be_blank=False)
    creation_year = Integer(column_name="año_creacion")
    economic_sector = Varchar(100, column_name="sector_economico")
    manager_name = Varchar(200, column_name="nombre_encargado")
    manager_contact = Varchar(20, column_name="contacto_encargado")
    manager_email = Varchar(255, column_name="email_encargado", form=EMAIL)
    operation_months = Choice(
        ["0_6_meses", "6_12_meses", "12_24_meses", "mas_24_meses"], column_name="tiempo_operacion_meses"
    )
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "emprendimientos"
