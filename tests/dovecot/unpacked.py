"""Mail servers that are unpacked, not installed: Debian allows one IMAP server a machine (Conflicts: imap-server).

tools/install_packages puts them here; nothing of them is registered, configured or started by the system.
"""

import os
import pathlib

FOLDER = pathlib.Path(os.environ.get("IMAPMESH_SERVERS") or "/opt/imapmesh-test-servers")
LIBRARIES = ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib"]


def find(server, program):
    """The path of a program of an unpacked server; None when the server is not there."""
    path = FOLDER / server / program
    return path if path.exists() else None


def library_path(server):
    """LD_LIBRARY_PATH for its programs."""
    return ":".join(str(FOLDER / server / folder) for folder in LIBRARIES)
