"""Generated from engine.proto by tools/generate_stubs.py; do not edit."""
