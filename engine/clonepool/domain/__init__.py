"""The pure part: what the things are, which moves they may make, what should be done next."""
