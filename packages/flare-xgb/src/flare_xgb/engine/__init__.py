"""Histogram boosting by XGBoost's rules. Nothing here knows of sites."""
