"""Trees that each site grows from its own rows, as parts of a FedJob."""
