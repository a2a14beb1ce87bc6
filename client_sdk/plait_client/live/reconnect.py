"""When to connect again."""

from dataclasses import dataclass

from plait_client.live.follower import SentAway
from plait_client.wire.retry import Clock, Uniform, full_jitter


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Come back after 0 to `base_s * 2**n` seconds, `cap_s` at most, where n counts the losses since a
    connection was last stable for `stable_s`."""

    base_s: float = 0.5
    cap_s: float = 30.0
    stable_s: float = 10.0


class Losses:
    """How often in a row a connection was lost, and what the server asked for."""

    def __init__(self, policy: Reconnect, clock: Clock, uniform: Uniform) -> None:
        self._policy = policy
        self._clock = clock
        self._uniform = uniform
        self._in_a_row = 0
        self._connected_at: float | None = None
        self._away: SentAway | None = None

    @property
    def is_connected(self) -> bool:
        return self._connected_at is not None

    def connected(self) -> None:
        self._connected_at = self._clock()

    def sent_away(self, away: SentAway) -> None:
        """The server is about to close."""
        self._away = away

    def lost(self) -> bool:
        """Note a loss; tell whether there was a connection at all."""
        connected_at, self._connected_at = self._connected_at, None
        if connected_at is None:
            return False
        if self._clock() - connected_at >= self._policy.stable_s:
            self._in_a_row = 0
        return True

    def wait_s(self, *, careful: bool = False) -> float:
        """Draw the wait before the next connection; a careful one is long, whatever came before."""
        away, self._away = self._away, None
        if away is not None:
            return self._uniform(away.wait_s_min, away.wait_s_max)
        losses, self._in_a_row = self._in_a_row, self._in_a_row + 1
        if careful:
            return self._uniform(self._policy.cap_s / 2, self._policy.cap_s)
        return full_jitter(self._policy.base_s, losses, self._policy.cap_s, self._uniform)
