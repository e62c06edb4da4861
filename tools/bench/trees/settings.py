"""The parameters of every system."""

PARAMS = {"objective": "binary:logistic", "max_depth": 6}
