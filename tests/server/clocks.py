"""The time that connections are watched by, for tests that put it forward."""


class Clock:
    """A time that stands still, and how many sweeps over the connections have asked for it."""

    def __init__(self):
        self._seconds = 0.0
        self._asked = 0

    def sweeps(self):
        self._asked += 1
        return self._seconds

    def put_forward(self, server, seconds):
        """Put it forward, and wait until a sweep that began after it is over."""
        self._seconds += seconds
        begun = self._asked
        wait_until(server, lambda: self._asked >= begun + 2)


def wait_until(server, condition):
    """Ask the server until it is so."""
    while not condition():
        assert server.http.get("/health").status_code == 200
