"""What waits to be sent over one connection: bounded, whatever the reader does."""

from collections import deque

from plait_server.service.frame import Frame

CROWDED = 2
"""Over one part in so many a document's revisions are no longer queued one by one."""
CALM = 8
"""Up to one part in so many there is room for whatever is next, however large."""


class Outbox:
    """Frames in order, and presence, of which only the newest counts and which goes last."""

    __slots__ = ("_bytes", "_bytes_max", "_frames", "_frames_max", "_presence", "empty", "taken")

    def __init__(self, frames_max: int, bytes_max: int) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._presence: dict[tuple[str, str], Frame] | None = None
        self.empty = True
        """Whether nothing waits."""
        self.taken = 0
        """Frames that left, ever."""

    def __len__(self) -> int:
        return len(self._frames) + len(self._presence or ())

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    @property
    def crowded(self) -> bool:
        """Whether it is over half full."""
        return len(self._frames) * CROWDED > self._frames_max or self._bytes * CROWDED > self._bytes_max

    @property
    def calm(self) -> bool:
        """Whether there is room for a frame of any size."""
        return len(self._frames) * CALM <= self._frames_max and self._bytes * CALM <= self._bytes_max

    def put(self, frame: Frame) -> None:
        self.empty = False
        self._frames.append(frame)
        self._bytes += len(frame.text)

    def put_presence(self, document: str, session: str, frame: Frame) -> None:
        """Queue where somebody is, in place of where he was. Dropped where there is no room."""
        if self.crowded:
            self._presence = None  # frames wait: it is not empty
            return
        if self._presence is None:
            self._presence = {}
        if len(self._presence) < self._frames_max or (document, session) in self._presence:
            self.empty = False
            self._presence[document, session] = frame

    def take(self) -> Frame | None:
        """Take the next frame to send."""
        if self._frames:
            return self._take_first()
        if not self._presence:
            return None
        frame = self._presence.pop(next(iter(self._presence)))
        self.empty = not self._presence
        return frame

    def take_together(self, bytes_max: int) -> list[Frame]:
        """Take the next frames, as many as are so long together; a longer one, or presence, alone."""
        frame = self.take()
        if frame is None:
            return []
        taken, frames, size = [frame], self._frames, len(frame.text)
        while frames and (size := size + len(frames[0].text)) <= bytes_max:
            taken.append(self._take_first())
        return taken

    def _take_first(self) -> Frame:
        frame = self._frames.popleft()
        self._bytes -= len(frame.text)
        self.taken += 1
        self.empty = not self._frames and not self._presence
        return frame
