"""The flights of New York 2013, in a compact copy. PROVENANCE.md says where they come from."""
