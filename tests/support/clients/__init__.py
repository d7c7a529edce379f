"""Programs and scripts of other makers that are run against the proxy."""
