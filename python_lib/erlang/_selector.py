"""The selector of ErlangEventLoop. In the port program only."""

from __future__ import annotations

import selectors

import _erlang_loop


class Selector(selectors.EpollSelector):
    """CPython's, on an epoll set that sleeps in libuv and that other threads can wake."""

    _selector_cls = _erlang_loop.Epoll
    _selector: _erlang_loop.Epoll
    _fd_to_key: dict[int, selectors.SelectorKey]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As ``EpollSelector.select``, with an exact timeout. ``wake`` ends it too."""
        ready: list[tuple[selectors.SelectorKey, int]] = self._selector.select(self._fd_to_key, timeout)
        return ready

    def wake(self) -> None:
        """End ``select``, or the next one when none runs. Any thread; nothing after ``close``."""
        self._selector.wake()
