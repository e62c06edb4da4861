"""Thousands of simulated devices in few processes, which speak the real protocol over real sockets."""
