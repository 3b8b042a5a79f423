"""The figures, each beside the floor that it is held against."""
