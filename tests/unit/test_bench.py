"""The parts of the measurements that are functions of values: the streams, the report, the picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from typing import Any

import pytest

from entities.envelope import decode
from entities.errors import InvalidOperation
from entities.operations import actions_of
from tests.bench.latency import percentile
from tests.bench.picture import draw
from tests.bench.report import TARGETS, Target, as_json
from tests.bench.streams import CONFLICT_ROWS, Stream, conflicts, creates, mixed, poisoned_creates

COUNT = 5_000


def messages_of(stream: Stream) -> list[dict[str, Any]]:
    return [json.loads(message) for message in stream.messages]


def is_invalid(message: bytes) -> bool:
    try:
        actions_of(decode(message))
    except InvalidOperation:
        return True
    return False


def test_the_mixed_stream_has_all_types_in_their_parts_and_all_entities() -> None:
    messages = messages_of(mixed(COUNT))[100:]

    parts = Counter(message["type"].split("_")[0] for message in messages)

    for type, part in {"CREATE": 0.45, "UPDATE": 0.40, "DELETE": 0.10, "BULK": 0.05}.items():
        assert parts[type] / len(messages) == pytest.approx(part, abs=0.02)
    assert len({message["entity"] for message in messages}) == 7


def test_the_mixed_stream_has_a_hot_row() -> None:
    updates = [message for message in messages_of(mixed(COUNT)) if message["type"] == "UPDATE"]

    [(_, times)] = Counter((message["entity"], message["data"]["id"]) for message in updates).most_common(1)

    assert times / len(updates) > 0.2


@pytest.mark.parametrize("stream", [creates(COUNT), mixed(COUNT), conflicts(COUNT)], ids=lambda stream: stream.name)
def test_all_operations_of_a_stream_without_poison_are_in_form(stream: Stream) -> None:
    assert not any(is_invalid(message) for message in stream.messages)
    assert len({message["metadata"]["operationId"] for message in messages_of(stream)}) == COUNT


def test_the_conflicts_are_updates_of_a_hundred_rows_each_of_which_is_hit() -> None:
    messages = messages_of(conflicts(COUNT))

    assert {message["type"] for message in messages} == {"UPDATE"}
    assert {message["data"]["id"] for message in messages} == set(range(1, CONFLICT_ROWS + 1))


def test_one_operation_in_a_thousand_is_poison_and_half_of_it_invalid() -> None:
    stream = poisoned_creates(10_000)

    poison = [stream.messages[number] for number in sorted(stream.poison)]

    assert len(poison) == 10
    assert sum(is_invalid(message) for message in poison) == 5
    assert stream.good_messages(len(stream.messages)) == list(creates(10_000).messages)


def test_a_ratio_is_taken_repeat_by_repeat() -> None:
    target = Target("ours of theirs", "ours", "theirs", reach=2)

    assert target.values({"ours": [10, 20], "theirs": [5, 5]}) == [2, 4]
    assert target.values({"ours": [10, 20]}) == []


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target("rate", "it", reach=2, aim=4), 1.9, "missed"),
        (Target("rate", "it", reach=2, aim=4), 2, "reached"),
        (Target("rate", "it", reach=2, aim=4), 4, "aim"),
        (Target("rate", "it", reach=2), 9, "reached"),
        (Target("wait", "it", reach=50, aim=20, is_ceiling=True), 51, "missed"),
        (Target("wait", "it", reach=50, aim=20, is_ceiling=True), 50, "reached"),
        (Target("wait", "it", reach=50, aim=20, is_ceiling=True), 20, "aim"),
    ],
)
def test_the_median_is_held_against_the_target(target: Target, value: float, verdict: str) -> None:
    assert target.verdict({"it": [value - 1, value, value + 1]}) == verdict


def test_the_json_names_the_machine_all_values_and_the_targets_that_were_measured() -> None:
    measured = {"creates: this service": [30.0, 10.0, 20.0], "poisoned: this service": [15.0, 5.0, 10.0]}

    told = json.loads(as_json(measured, {"machine": {"cores": "2"}}))

    assert told["machine"] == {"cores": "2"}
    assert told["measured"]["creates: this service"]["median"] == 20
    assert told["measured"]["creates: this service"]["values"] == [30, 10, 20]
    assert [one["target"] for one in told["targets"]] == ["with poison, of without"]


def test_the_targets_have_titles_of_their_own() -> None:
    assert len({target.title for target in TARGETS}) == len(TARGETS)


def test_the_picture_is_xml_with_a_bar_for_each_rate_and_no_other() -> None:
    svg = draw({"creates: one by one": [1, 2, 3], "creates: this service": [10, 12, 11], "latency idle: p50": [1]})

    root = ElementTree.fromstring(svg)

    bars = [rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if rect.get("class") in ("ours", "other")]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert len(bars) == 2
    assert widths[0] / widths[1] == pytest.approx(2 / 11, abs=0.01)


def test_nothing_measured_is_an_empty_picture() -> None:
    assert ElementTree.fromstring(draw({})).tag.endswith("svg")


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 0.99) == 7
