"""Generated from tfplugin6.proto by tools/generate_stubs.py; do not edit."""
