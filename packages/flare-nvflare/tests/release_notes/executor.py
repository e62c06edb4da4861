"""An executor, which the notes call deprecated."""

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.executor import Executor


class MyTrainer(Executor):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        return DXO(DataKind.METRICS, {"accuracy": 1.0}).to_shareable()


trainer = MyTrainer()
