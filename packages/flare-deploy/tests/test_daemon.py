"""Signals stop a daemon."""

from __future__ import annotations

import subprocess
import sys

WAITS = """
import os
import signal
import threading

from flare_deploy.serve import _StopRequest

stop = _StopRequest()
stop.set_by(signal.SIGTERM)
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
stop.wait()
print("stopped")
"""


def test_a_signal_stops_a_daemon_whichever_thread_receives_it():
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=20)
    assert done.stdout == "stopped\n", done.stderr
