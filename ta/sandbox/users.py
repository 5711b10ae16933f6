"""The users that workers run as if the grader is root."""

import contextlib
import os
import socket
import tempfile

UIDS = range(60600, 60900)  # no distribution assigns these numbers


class Users:
    """Gives each slot a uid that no other grader on this machine uses at the same time: two students with the same uid
    could signal each other and would share a limit on processes."""

    def __init__(self):
        self.claims = {}

    def of(self, slot):
        """Return a slot's uid. A bound abstract socket reserves it until this process ends."""
        if slot not in self.claims:
            for uid in UIDS:
                claim = socket.socket(socket.AF_UNIX)
                with contextlib.suppress(OSError):  # in use
                    claim.bind(f"\0vae-lab-{uid}")
                    self.claims[slot] = uid, claim
                    break
                claim.close()
            else:
                raise OSError(f"all the uids from {UIDS[0]} to {UIDS[-1]} are in use by other graders")
        return self.claims[slot][0]


def can_become_other_users():
    """Return whether this process is root and may start its workers as other users."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chown(folder, UIDS[0], UIDS[0])
        except OSError:  # root of a user namespace without other users
            return False
    return True
