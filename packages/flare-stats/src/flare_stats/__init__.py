"""Statistics of the data of many sites, privately."""
