#!/bin/sh
# Entrypoint of a replica: copies its primary when there are no data yet, then becomes the server.
# The password for the primary comes by PGPASSWORD.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  rm -rf "$PGDATA" # what an interrupted copy left
  pg_basebackup --host="$PRIMARY_HOST" --port="${PRIMARY_PORT:-5432}" --username=replicator \
                --pgdata="$PGDATA" --wal-method=stream --checkpoint=fast --write-recovery-conf
fi
exec "$@"
