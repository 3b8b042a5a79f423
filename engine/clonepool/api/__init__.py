"""The wire: engine.proto, its stubs, the client and the mapping of errors."""
