"""End another thread's select()."""

import os
from contextlib import suppress


class Wake:
    """A pipe: `ring` from any thread makes `fd` readable until `clear`."""

    def __init__(self) -> None:
        self.fd, self._in = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._in, False)

    def ring(self) -> None:
        """Wake whoever selects on `fd`."""
        with suppress(BlockingIOError):  # full: it is awake already
            os.write(self._in, b"!")

    def clear(self) -> None:
        """Make `fd` unreadable again."""
        with suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        """Give both ends back."""
        os.close(self.fd)
        os.close(self._in)
