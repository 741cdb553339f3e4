"""Who of a consumer group reads: one member gets all partitions, since order needs one planner. The others stand by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from kafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class SoleActiveAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Gives all partitions to one member: order needs one planner. The others stand by.

    The member that has them keeps them when others join: its metadata says how many it owns. It also says how many it
    has seen the topic to have: Kafka answers a member whose metadata is unchanged without assigning anew.

    ``is_chosen``: this member is the one, also while the topic is not there and it owns none.
    """

    name = "sole-active"
    version = 0

    def __init__(self) -> None:
        self.owned = 0
        self.seen = 0
        self.is_chosen = False

    def metadata(self, topics: set[str]) -> Any:
        user_data = b"%d,%d" % (self.owned, self.seen)
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), user_data)

    def on_assignment(self, assignment: Any) -> None:
        self.owned = sum(len(partitions) for _, partitions in assignment.assignment)
        self.is_chosen = bool(assignment.assignment)  # a topic that is not there stands in it too, without partitions

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        active = max(sorted(members), key=lambda member: _owned(members[member].user_data))
        partitions = [
            (topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(members[active].subscription)
        ]
        return {
            member: ConsumerProtocolMemberAssignment(self.version, partitions if member == active else [], b"")
            for member in members
        }


def _owned(user_data: bytes) -> int:
    owned = user_data.partition(b",")[0]
    return int(owned) if owned.isdigit() else 0
