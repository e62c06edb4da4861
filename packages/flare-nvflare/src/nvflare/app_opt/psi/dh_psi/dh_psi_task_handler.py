"""DhPSITaskHandler, which names what supplies a site's ids."""

from nvflare._flare.intersections import PSIPart


class DhPSITaskHandler(PSIPart):
    """Names the object that supplies a site's ids; flare_psi computes with them.

    Args:
        local_psi_id: the id of the object, a :class:`~nvflare.app_common.psi.psi_spec.PSI`.
    """

    def __init__(self, local_psi_id: str) -> None:
        super().__init__()
        self.local_psi_id = local_psi_id
