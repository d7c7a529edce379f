#!/bin/sh
# Make the roles of the fleet on every shard: the program's, the proxy's, and yours.
#
# A user has the same verifier on every shard: the proxy logs in with the key that a client's proof
# reveals, and knows no password. So the first shard makes the verifiers, the others get copies.
set -eu

# run CONNECTION [psql options]: statements from standard input
run() {
  connection=$1
  shift
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$connection" "$@"
}

# make_role CONNECTION ROLE SECRET: the secret is a password or a verifier
make_role() {
  run "$1" --set=role="$2" --set=secret="$3" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'secret';
SQL
}

verifier_of() {
  run "$FIRST_SHARD" --set=role="$1" <<'SQL'
SELECT rolpassword FROM pg_authid WHERE rolname = :'role';
SQL
}

# What else a shard needs: the function that tells the proxy a verifier, and rights.
# The proxy's role may read positions (pg_monitor) and put guards on the program's tables.
grant_rights() {
  run "$1" --file="$LOGIN_FUNCTION"
  run "$1" <<'SQL'
GRANT USAGE, CREATE ON SCHEMA shardrouter TO shardrouter;
GRANT EXECUTE ON FUNCTION shardrouter.proxy_login(text) TO shardrouter;
GRANT pg_monitor, app TO shardrouter;
GRANT CREATE ON SCHEMA public TO app;
SELECT format('GRANT CREATE ON DATABASE %I TO shardrouter', current_database()) \gexec
SQL
}

for role in app shardrouter shardrouter_admin; do
  case $role in
    app) password=$APP_PASSWORD ;;
    shardrouter) password=$SHARDROUTER_PASSWORD ;;
    *) password=$ADMIN_PASSWORD ;;
  esac
  make_role "$FIRST_SHARD" "$role" "$password"
  verifier=$(verifier_of "$role")
  # One connection string a line.
  printf '%s\n' "$OTHER_SHARDS" | while read -r shard; do
    make_role "$shard" "$role" "$verifier"
  done
done

printf '%s\n%s\n' "$FIRST_SHARD" "$OTHER_SHARDS" | while read -r shard; do
  grant_rights "$shard" < /dev/null
done
echo "roles: done"
