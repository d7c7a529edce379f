#!/bin/sh
# Install the catalog, and add the shards that are named and not there yet: fleet.sh s0 s1
# The nodes of shard s0 are in the environment: s0_primary, and s0_replica.
set -eu

shardrouter init
known=$(shardrouter shard list --output json)
for shard in "$@"; do
  if printf '%s' "$known" | grep -q "\"$shard\""; then
    echo "shard $shard: is there"
    continue
  fi
  primary=$(printenv "${shard}_primary")
  replica=$(printenv "${shard}_replica")
  shardrouter shard add "$shard" --primary "$primary" --replica "$replica" --reason "docker compose"
done
