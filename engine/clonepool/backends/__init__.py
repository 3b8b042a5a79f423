"""Storage backends: one class a driver behind one small interface."""
