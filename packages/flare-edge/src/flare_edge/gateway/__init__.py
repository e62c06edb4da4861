"""A gateway: devices connect to it over HTTPS, fetch orders and report results, which it keeps, sums up and reports."""
