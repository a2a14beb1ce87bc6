"""The outbox: what waits leaves in order, some of it together."""

from hypothesis import given
from hypothesis import strategies as st

from plait_server.service.frame import Frame
from plait_server.service.outbox import Outbox

TOGETHER = 100


def frame(size: int) -> Frame:
    return Frame("rev", b"x" * size)


def outbox_of(*frames: Frame) -> Outbox:
    outbox = Outbox(256, 1 << 20)
    for each in frames:
        outbox.put(each)
    return outbox


@given(st.lists(st.integers(1, 2 * TOGETHER)))
def test_frames_leave_in_order_however_many_leave_together(sizes: list[int]) -> None:
    frames = [frame(size) for size in sizes]
    outbox = outbox_of(*frames)
    left: list[Frame] = []
    while taken := outbox.take_together(TOGETHER):
        assert len(taken) == 1 or sum(len(each.text) for each in taken) <= TOGETHER
        left += taken
    assert left == frames
    assert (outbox.empty, outbox.waiting_bytes, outbox.taken) == (True, 0, len(frames))


def test_as_many_leave_together_as_may() -> None:
    first, second, third = frame(60), frame(40), frame(1)
    assert outbox_of(first, second, third).take_together(TOGETHER) == [first, second]


def test_a_frame_that_is_longer_leaves_alone() -> None:
    long, short = frame(TOGETHER + 1), frame(1)
    outbox = outbox_of(long, short)
    assert outbox.take_together(TOGETHER) == [long]
    assert outbox.take_together(TOGETHER) == [short]


def test_presence_leaves_last() -> None:
    presence, revision = frame(1), frame(1)
    outbox = outbox_of()
    outbox.put_presence("orders/1", "s1", presence)
    outbox.put(revision)
    assert outbox.take_together(TOGETHER) == [revision]
    assert not outbox.empty
    assert outbox.take_together(TOGETHER) == [presence]
    assert outbox.empty
