"""From a source to an image portion: fetched, checked, converted, grown, configured, digested."""
