"""Participants of the kind ``gateway``: they are connected, and take no jobs."""

import threading

from flare_deploy.participants import ParticipantKind
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.provision.kit import Kit
from flare_transport import Cell


class GatewayDaemon:
    def __init__(self, folder):
        self.kit = Kit.load(folder, kind="gateway")
        self._lock_file = LockFile(folder / "lock", f"the gateway of {folder}")
        self._stopped = threading.Event()
        self.cell = Cell(self.kit.info.name)

    def run(self, connected, waiting):
        info = self.kit.info
        self.cell.connect(info.address, credentials=self.kit.credentials, peer=info.listener, uplink=True)
        connected()
        self._stopped.wait()

    def stop(self):
        self._stopped.set()

    def close(self):
        self.cell.close()
        self._lock_file.release()


GATEWAY = ParticipantKind(daemon=GatewayDaemon, kit_folder="gateways")
