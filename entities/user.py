"""A person of the application."""

from __future__ import annotations

from entities.base import Entity
from entities.conversions import EMAIL, MOBILE_PHONE
from entities.values import Choice, Timestamp, Varchar


class User(Entity):
    first_name = Varchar(100, column_name="nombre", required=True, may_be_blank=False)
    last_name = Varchar(100, column_name="apellido", required=True, may_be_blank=False)
    email = Varchar(255, required=True, unique=True, form=EMAIL)
    password_hash = Varchar(255, required=True, secret=True)
    phone_contact = Varchar(20, column_name="contacto_celular", required=True, form=MOBILE_PHONE)
    role = Choice(["emprendedor", "administrador"], column_name="rol", default="emprendedor")
    registration_date = Timestamp(column_name="fecha_registro", default_now=True)

    class Meta:
        table_name = "usuarios"
