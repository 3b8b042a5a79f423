"""The Terraform and OpenTofu provider of Clonepool: plugin protocol 6, served by gRPC itself."""
