"""The merge gives one order, whatever the polls bring."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.merge import FetchedRecord, Merge, order_timestamp


def a_record(partition: int, offset: int, timestamp: int) -> FetchedRecord:
    return FetchedRecord("topic", partition, offset, timestamp, timestamp, b"{}")


def serial_merge(lanes: list[list[FetchedRecord]]) -> list[FetchedRecord]:
    """The order by definition: always the smallest head of the whole partitions."""
    heads = [list(lane) for lane in lanes]
    merged = []
    while any(heads):
        head = min((lane[0] for lane in heads if lane), key=lambda r: (r.order_timestamp, r.partition, r.offset))
        heads[head.partition].remove(head)
        merged.append(head)
    return merged


absurd_timestamps = st.one_of(st.integers(0, 5), st.sampled_from([0, 1, 2**53, 2**63 - 1]))
topics = st.lists(st.lists(absurd_timestamps, max_size=12), min_size=1, max_size=4).map(
    lambda lanes: [[a_record(p, o, ts) for o, ts in enumerate(lane)] for p, lane in enumerate(lanes)]
)


@given(topics, st.data())
def test_one_order_whatever_the_polls_bring(lanes: list[list[FetchedRecord]], data: st.DataObject) -> None:
    merge = Merge(buffer_limit=4)
    merge.assign(range(len(lanes)))
    fetched = [0] * len(lanes)
    paused: set[int] = set()
    released: list[FetchedRecord] = []

    while len(released) < sum(map(len, lanes)):
        paused = (paused | merge.partitions_ahead()) - merge.partitions_drained()
        partition = data.draw(st.integers(0, len(lanes) - 1))
        if partition not in paused:
            count = data.draw(st.integers(0, 5))
            lane = lanes[partition]
            merge.add(partition, lane[fetched[partition] : fetched[partition] + count])
            fetched[partition] = min(len(lane), fetched[partition] + count)
            merge.note_end(partition, fetched[partition] == len(lane))
        released += merge.release(data.draw(st.integers(1, 8)))

    assert released == serial_merge(lanes)


@given(topics)
def test_it_never_waits_with_everything_read(lanes: list[list[FetchedRecord]]) -> None:
    merge = Merge(buffer_limit=4)
    merge.assign(range(len(lanes)))
    for partition, lane in enumerate(lanes):
        merge.add(partition, lane)
        merge.note_end(partition, True)

    released = merge.release(1000)

    assert released == serial_merge(lanes)


def test_nothing_is_released_while_a_partition_is_unknown() -> None:
    merge = Merge(buffer_limit=4)
    merge.assign([0, 1])

    merge.add(0, [a_record(0, 0, 10)])

    assert merge.release(10) == []


def test_an_idle_partition_holds_nothing_back() -> None:
    merge = Merge(buffer_limit=4)
    merge.assign([0, 1])
    merge.add(0, [a_record(0, 0, 10)])

    merge.note_end(1, True)

    assert merge.release(10) == [a_record(0, 0, 10)]


def test_a_partition_that_is_no_longer_read_to_its_end_holds_the_others_back() -> None:
    merge = Merge(buffer_limit=4)
    merge.assign([0, 1])
    merge.note_end(1, True)
    merge.note_end(1, False)

    merge.add(0, [a_record(0, 0, 10)])

    assert merge.release(10) == []


def test_a_clock_that_runs_ahead_cannot_hold_its_partition_back() -> None:
    assert order_timestamp(operation_timestamp=99_999, kafka_timestamp=1_000) == 1_000
    assert order_timestamp(operation_timestamp=500, kafka_timestamp=1_000) == 500
    assert order_timestamp(operation_timestamp=None, kafka_timestamp=1_000) == 1_000


def test_without_a_timestamp_of_kafka_s_the_operation_s_own_tells_its_place() -> None:
    assert order_timestamp(operation_timestamp=500, kafka_timestamp=0) == 500
    assert order_timestamp(operation_timestamp=None, kafka_timestamp=0) == 0


def test_an_assignment_forgets_what_was_buffered() -> None:
    merge = Merge(buffer_limit=4)
    merge.assign([0])
    merge.add(0, [a_record(0, 0, 10)])

    merge.assign([0, 1])

    assert len(merge) == 0
    assert merge.release(10) == []


def test_a_partition_is_ahead_by_its_bytes_too() -> None:
    merge = Merge(buffer_limit=100, buffer_bytes=1_000)
    merge.assign([0, 1])
    big = [FetchedRecord("topic", 0, offset, 0, offset, b"x" * 600) for offset in range(2)]

    merge.add(0, big)
    assert (merge.partitions_ahead(), merge.partitions_drained()) == ({0}, {1})
    merge.note_end(1, True)
    merge.release(10)

    assert (merge.partitions_ahead(), merge.partitions_drained()) == (set(), {0, 1})


def test_a_portion_is_bounded_in_bytes_but_never_empty_for_that() -> None:
    merge = Merge(buffer_limit=100)
    merge.assign([0])
    merge.add(0, [FetchedRecord("topic", 0, offset, 0, offset, b"x" * 600) for offset in range(3)])

    assert [len(merge.release(10, max_bytes=700)) for _ in range(3)] == [2, 1, 0]
