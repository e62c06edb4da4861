"""Training on fleets of devices: gateways at sites, asynchronous aggregation, and a simulator of fleets."""
