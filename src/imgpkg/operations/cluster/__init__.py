"""The executor of a Dask cluster: its address, its workers, and what they do with a unit."""
