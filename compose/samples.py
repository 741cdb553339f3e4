"""What people fill into the application's forms: values as the cache shows them, and the shapes in which they arrive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from compose.world import Row

FIRST_NAMES = ("María José", "Andrés", "Luz Marina", "Jhon", "Sofía", "Óscar", "Yurani", "Camilo", "Inés", "Nicolás")
LAST_NAMES = ("Rodríguez", "Peña", "Güiza", "Sánchez", "D'Angelo", "Muñoz", "Cárdenas", "Ñáñez", "Buitrago", "Rojas")
TRADES = ("Panadería", "Tejidos", "Café", "Miel", "Artesanías", "Lácteos", "Quesos", "Viveros", "Turismo", "Muebles")
PLACES = ("La Esquina", "del Páramo", "Boyacá", "de la Abuela", "El Trébol", "Río Chicamocha", "«Sumercé»", "Los Andes")
SECTORS = ("alimentos", "textil", "turismo", "agropecuario", "servicios", "tecnología")
PHRASES = (
    "Productos hechos a mano por familias del campo",
    "Venta en ferias, plazas de mercado y redes sociales",
    "Mayoristas y tiendas de barrio; 'clientes' que vuelven",
    "Compostaje de residuos; menos empaques plásticos 🌱",
    "Línea 1\nLínea 2: envíos a todo el país",
)

#: Of the lists in which the application and the database differ, what both hold and what the database alone does.
NET_SALES = ("menos_1_smmlv", "1_3_smmlv", "3_mas_smmlv")
PROFITABILITY = ("menos_medio_smmlv", "medio_1_smmlv", "2_mas_smmlv")
FINANCING = ("recursos_propios", "credito_bancario", "inversionistas", "subsidios", "mixto")

_BOGOTA = timezone(timedelta(hours=-5))


def user(random: Random, email: str) -> Row:
    row = {
        "firstName": random.choice(FIRST_NAMES),
        "lastName": f"{random.choice(LAST_NAMES)} {random.choice(LAST_NAMES)}",
        "email": email,
        "passwordHash": f"$2b$10${random.getrandbits(128):032x}",
        "phoneContact": f"3{random.randrange(10**9):09d}",
    }
    return row | _some(
        random, {"role": random.choice(("emprendedor", "administrador")), "registrationDate": date(random)}
    )


def business(random: Random, user_id: int) -> Row:
    row = {"userId": user_id, "name": f"{random.choice(TRADES)} {random.choice(PLACES)}"}
    return row | _some(random, _business_details(random))


def part(random: Random, entity: str, business_id: int) -> Row:
    """A row of one of the entities that hang on a business."""
    return {"businessId": business_id} | _some(random, _part_details(random, entity))


def change(random: Random, entity: str) -> Row:
    """Attributes to change, at least one; null clears one now and then."""
    if entity == "User":
        details: Row = {"firstName": random.choice(FIRST_NAMES), "phoneContact": f"3{random.randrange(10**9):09d}"}
    elif entity == "Business":
        details = _business_details(random)
    else:
        details = _part_details(random, entity)
    names = random.sample(sorted(details), k=random.randint(1, min(3, len(details))))
    may_clear = entity != "User"
    return {name: None if may_clear and random.random() < 0.05 else details[name] for name in names}


def date(random: Random) -> str:
    """A moment of the last years."""
    moment = datetime(2021, 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(4 * 365 * 86_400))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"


def as_sent(random: Random, row: Row) -> Row:
    """The row as a browser's form may send it: numbers as text, truth as 1, dates with an offset, columns' names."""
    return {_name_as_sent(random, name): _value_as_sent(random, name, value) for name, value in row.items()}


def _business_details(random: Random) -> Row:
    return {
        "creationYear": random.randint(1985, 2025),
        "economicSector": random.choice(SECTORS),
        "managerName": f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
        "managerContact": f"3{random.randrange(10**9):09d}",
        "managerEmail": f"contacto{random.randrange(10**6)}@negocio.example.co",
        "operationMonths": random.choice(("0_6_meses", "6_12_meses", "12_24_meses", "mas_24_meses")),
    }


def _part_details(random: Random, entity: str) -> Row:
    match entity:
        case "BusinessModel":
            names = ("valueProposition", "customerSegment", "salesChannels", "incomeSources")
            return {name: random.choice(PHRASES) for name in names}
        case "Finance":
            return {
                "monthlyNetSales": random.choice(NET_SALES),
                "monthlyProfitability": random.choice(PROFITABILITY),
                "financingSources": random.choice(FINANCING),
                "monthlyFixedCosts": random.choice(PROFITABILITY),
            }
        case "WorkTeam":
            levels = ("sin_formacion", "tecnica_profesional", "administracion_emprendimiento")
            return {
                "businessTrainingLevel": random.choice(levels),
                "hasTrainedStaff": random.random() < 0.5,
                "hasDefinedRoles": random.random() < 0.5,
                "employeeCount": random.randint(0, 60),
            }
        case "SocialEnvironmentalImpact":
            return {
                "jobsGenerated": random.randint(0, 40),
                "hasEnvironmentalContribution": random.random() < 0.5,
                "environmentalStrategies": random.choice(PHRASES),
                "hasSocialInnovation": random.random() < 0.5,
                "innovationImplementation": random.choice(PHRASES),
            }
        case _:
            return {
                "generalDataScore": random.randint(0, 20),
                "financeScore": random.randint(0, 20),
                "totalScore": random.randint(0, 100),
                "totalPercentage": f"{random.randrange(10_000) / 100:.2f}",
                "globalClassification": random.choice(("idea_inicial", "en_desarrollo", "consolidado")),
                "calculationDate": date(random),
            }


def _some(random: Random, details: Row) -> Row:
    return {name: value for name, value in details.items() if random.random() < 0.75}


def _name_as_sent(random: Random, name: str) -> str:
    columns = {"userId": "usuario_id", "businessId": "emprendimiento_id"}
    return columns[name] if name in columns and random.random() < 0.1 else name


def _value_as_sent(random: Random, name: str, value: Any) -> Any:
    if random.random() >= 0.15:
        return value
    if isinstance(value, bool):
        return random.choice((int(value), "true" if value else "false"))
    if isinstance(value, int):
        return random.choice((str(value), float(value)))
    if name == "totalPercentage" and value is not None:
        return float(value)
    if name.endswith("Date") and value is not None:
        moment = datetime.fromisoformat(value)
        return random.choice((int(moment.timestamp() * 1000), moment.astimezone(_BOGOTA).isoformat()))
    return value
