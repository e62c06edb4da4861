"""Federated gradient-boosted trees that equal XGBoost's."""
