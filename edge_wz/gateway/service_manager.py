"""What a service manager is told (systemd's sd_notify protocol): ready, alive, stopping. Without one, nothing.

Reference: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket


def tell(state: str) -> None:
    """`READY=1`, `WATCHDOG=1`, `STOPPING=1`; a manager that does not listen is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract, of no file
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), address)
