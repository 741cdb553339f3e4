"""What the desk shows as plain values, for ``--json`` and for other programs. Secrets are masked, times are in ms."""

from __future__ import annotations

from typing import Any

import msgspec

from outbox import DeskResult, Entry, HistoryLine, State
from outbox.masking import mask_json, mask_string, mask_text
from outbox.records import DeskAction, PayloadEdit
from worker.desk.causes import Group, cause_of
from worker.desk.later import Since
from worker.desk.overview import Overview
from worker.desk.waiting import Blocker, Waiting
from worker.rehearsal import Rehearsed


def entry_values(entry: Entry, *, with_payload: bool = True) -> dict[str, Any]:
    """Every column; the payload as text."""
    values = msgspec.structs.asdict(entry)
    raw = values.pop("raw")
    values["operation_id"] = mask_string(entry.operation_id)
    values["state"] = entry.state.label
    values["value_hash"] = entry.value_hash.hex()
    values["came_as"] = entry.came_as.hex() if entry.came_as is not None else None
    values["is_edited"] = entry.came_as is not None
    values["reason"] = mask_text(entry.reason) if entry.reason is not None else None
    if entry.state == State.DEAD:
        values["group"] = cause_of(entry).key
    if with_payload:
        values["payload"] = mask_json(raw, indent=None)
    return values


def history_values(line: HistoryLine) -> dict[str, Any]:
    values = msgspec.structs.asdict(line)
    values |= {"from_state": line.from_state.label, "to_state": line.to_state.label}
    values["why"] = mask_text(line.why) if line.why is not None else None
    return values


def edit_values(edit: PayloadEdit) -> dict[str, Any]:
    return {
        "at": edit.at,
        "who": edit.who,
        "why": mask_text(edit.why),
        "payload_before": mask_json(edit.raw_before, None),
    }


def group_values(group: Group) -> dict[str, Any]:
    example = entry_values(group.example, with_payload=False)
    cause = msgspec.structs.asdict(group.cause)
    return {
        "group": group.cause.key,
        **cause,
        "count": group.count,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "example": {name: example[name] for name in ("entry_id", "operation_id", "type", "reason")},
    }


def blocker_values(blocker: Blocker) -> dict[str, Any]:
    values = msgspec.structs.asdict(blocker)
    values["operation_id"] = mask_string(blocker.operation_id)
    values["state"] = blocker.state.label
    values["reason"] = mask_text(blocker.reason) if blocker.reason is not None else None
    return values


def waiting_values(waiting: Waiting) -> dict[str, Any]:
    return {
        "entry": entry_values(waiting.entry, with_payload=False),
        "why": waiting.why.value,
        "blocked_by": waiting.blocked_by,
        "blockers": [blocker_values(one) for one in waiting.blockers],
        "chain": [blocker_values(one) for one in waiting.chain],
        "earlier": waiting.earlier,
        "is_cut": waiting.is_cut,
        "paused_because": waiting.paused_because,
    }


def since_values(since: Since) -> dict[str, Any]:
    later = [msgspec.structs.asdict(one) | {"state": one.state.label} for one in since.later]
    return {"later": later, "is_unsure": since.is_unsure}


def rehearsed_values(letter: Entry, rehearsed: Rehearsed, since: Since) -> dict[str, Any]:
    return {
        "entry_id": letter.entry_id,
        "operation_id": mask_string(letter.operation_id),
        "would_be": rehearsed.outcome.value,
        "is_duplicate": rehearsed.is_duplicate,
        "error_kind": rehearsed.error_kind,
        "reason": mask_text(rehearsed.reason),
        "touched": rehearsed.touched,
        **since_values(since),
    }


def result_values(result: DeskResult) -> dict[str, Any]:
    return msgspec.structs.asdict(result) | {"state": result.state.label if result.state is not None else None}


def action_values(action: DeskAction) -> dict[str, Any]:
    return msgspec.structs.asdict(action)


def overview_values(view: Overview) -> dict[str, Any]:
    oldest = {"seq": view.oldest_seq, "order_timestamp": view.oldest_timestamp} if view.oldest_seq is not None else None
    partitions = []
    for one in view.partitions:
        position = msgspec.structs.asdict(one.position)
        position["last_hash"] = one.position.last_hash.hex() if one.position.last_hash is not None else None
        partitions.append({**position, "first_unsettled": one.first_unsettled, "lag": one.lag})
    return {
        "outbox_id": view.outbox_id,
        "at": view.at,
        "counts": {state.label: view.counts.of(state) for state in State},
        "oldest_unsettled": oldest,
        "ingest": msgspec.to_builtins(view.note) if view.note is not None else None,
        "ingest_told_at": view.told_at,
        "ingest_is_fresh": view.is_fresh,
        "paused_because": view.paused_because,
        "lag": view.lag,
        "drains_in_s": view.drains_in_s,
        "partitions": partitions,
        "groups": [group_values(group) for group in view.groups] if view.groups is not None else None,
    }
