"""The plainest model of what the operations of a stream come to: rows by entity and id, applied one after the other.

It shares nothing with the service but the contract: a run is compared with it. Values stand as the cache shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]

#: A date that the database fills in: any date will do.
TIME_OF_WRITE = "(time of the write)"

#: Every attribute of an entity, with what CREATE stores where it is absent.
ATTRIBUTES: dict[str, Row] = {
    "User": {
        "firstName": None,
        "lastName": None,
        "email": None,
        "passwordHash": None,
        "phoneContact": None,
        "role": "emprendedor",
        "registrationDate": TIME_OF_WRITE,
    },
    "Business": {
        "userId": None,
        "name": None,
        "creationYear": None,
        "economicSector": None,
        "managerName": None,
        "managerContact": None,
        "managerEmail": None,
        "operationMonths": None,
        "registrationDate": TIME_OF_WRITE,
    },
    "BusinessModel": {
        "businessId": None,
        "valueProposition": None,
        "customerSegment": None,
        "salesChannels": None,
        "incomeSources": None,
        "registrationDate": TIME_OF_WRITE,
    },
    "Finance": {
        "businessId": None,
        "monthlyNetSales": None,
        "monthlyProfitability": None,
        "financingSources": None,
        "monthlyFixedCosts": None,
        "registrationDate": TIME_OF_WRITE,
    },
    "WorkTeam": {
        "businessId": None,
        "businessTrainingLevel": None,
        "hasTrainedStaff": None,
        "hasDefinedRoles": None,
        "employeeCount": None,
        "registrationDate": TIME_OF_WRITE,
    },
    "SocialEnvironmentalImpact": {
        "businessId": None,
        "jobsGenerated": 0,
        "hasEnvironmentalContribution": None,
        "environmentalStrategies": None,
        "hasSocialInnovation": None,
        "innovationImplementation": None,
        "registrationDate": TIME_OF_WRITE,
    },
    "Rating": {
        "businessId": None,
        "generalDataScore": 0,
        "businessModelScore": 0,
        "financeScore": 0,
        "workTeamScore": 0,
        "socialImpactScore": 0,
        "totalScore": 0,
        "totalPercentage": "0.00",
        "globalClassification": None,
        "calculationDate": TIME_OF_WRITE,
    },
}

#: The attribute that names the parent, which takes the row with it when it is deleted.
PARENTS = {"Business": ("userId", "User")} | {
    entity: ("businessId", "Business") for entity in ATTRIBUTES if "businessId" in ATTRIBUTES[entity]
}

#: The entities that hang on a business and on nothing else.
PARTS = tuple(entity for entity, parent in PARENTS.items() if parent == ("businessId", "Business"))


class World:
    """The rows. One whose id the database generates has a negative id here: its value is no part of the promise."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Row]] = {entity: {} for entity in ATTRIBUTES}
        #: The ids that operations can name, oldest first.
        self.known_ids: dict[str, list[int]] = {entity: [] for entity in ATTRIBUTES}
        self.deleted: set[tuple[str, int]] = set()
        self._generated = 0

    def create(self, entity: str, values: Mapping[str, Any]) -> None:
        row = {**ATTRIBUTES[entity], **values}
        row_id = row.pop("id", None)
        if row_id is None:
            self._generated += 1
            row_id = -self._generated
        else:
            self.known_ids[entity].append(row_id)
        self.rows[entity][row_id] = row

    def update(self, entity: str, values: Mapping[str, Any]) -> None:
        self.rows[entity][values["id"]] |= {name: value for name, value in values.items() if name != "id"}

    def delete(self, entity: str, row_id: int) -> None:
        del self.rows[entity][row_id]
        if row_id > 0:
            self.known_ids[entity].remove(row_id)
            self.deleted.add((entity, row_id))
        for child, (attribute, parent) in PARENTS.items():
            if parent == entity:
                for child_id in [key for key, row in self.rows[child].items() if row[attribute] == row_id]:
                    self.delete(child, child_id)
