"""A clock for the time limits of connections, which tests can put forward."""


class Clock:
    """A clock that stands still, and counts the sweeps over the connections that have read it."""

    def __init__(self):
        self._seconds = 0.0
        self._asked = 0

    def sweeps(self):
        self._asked += 1
        return self._seconds

    def put_forward(self, server, seconds):
        """Put the clock forward, and wait for the end of a sweep that began afterwards."""
        self._seconds += seconds
        begun = self._asked
        wait_until(server, lambda: self._asked >= begun + 2)


def wait_until(server, condition):
    """Wait until a condition is true, and send requests meanwhile."""
    while not condition():
        assert server.http.get("/health").status_code == 200
