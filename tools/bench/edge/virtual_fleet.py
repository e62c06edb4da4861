"""A fleet in simulated time, whose devices compute nothing, or train on scikit-learn's digits.

Usage: virtual_fleet.py DEVICES AT_ONCE SIMULATED_SECONDS none|digits

It prints how often devices asked for work in an hour of real time.
"""

import sys

from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.virtual import DigitsTraining, FleetModel, NoTraining, Simulation


def main():
    devices, at_once, seconds = (int(each) for each in sys.argv[1:4])
    models = ModelManagerConfig(
        max_num_active_model_versions=None,
        max_model_version=10**9,
        num_updates_for_model=10,
        max_model_history=None,
        staleness_weight=True,
    )
    simulation = Simulation(
        FedBuffSettings(models, DeviceManagerConfig(at_once)),
        FleetModel(devices, num_gateways=10).devices(),
        NoTraining() if sys.argv[4] == "none" else DigitsTraining(devices),
        limit_s=seconds,
    )
    history = simulation.run()
    print("checkins", round(history.check_ins / history.wall_s * 3600))


if __name__ == "__main__":
    main()
