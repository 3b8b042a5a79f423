"""A day of a large fleet in minutes: the real controllers, drivers in memory, a virtual clock."""
