"""The gRPC service: requests checked, handed to the controllers, answers made."""
