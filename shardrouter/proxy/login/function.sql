-- Lets the proxy ask for one user's verifier at a time, and nothing else. Run it as a superuser on
-- every shard, in the database that proxy_auth.function_dsn names.
--
-- The search path belongs to the function, names are qualified: nothing that a user made is called.
-- Roles that may not log in, whose password has expired, and superusers have no verifier here.
CREATE SCHEMA IF NOT EXISTS shardrouter;

CREATE OR REPLACE FUNCTION shardrouter.proxy_login(wanted pg_catalog.text)
  RETURNS pg_catalog.text
  LANGUAGE sql STABLE STRICT SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT role.rolpassword
    FROM pg_catalog.pg_authid AS role
   WHERE role.rolname OPERATOR(pg_catalog.=) wanted
     AND role.rolcanlogin
     AND NOT role.rolsuper
     AND (role.rolvaliduntil IS NULL
          OR role.rolvaliduntil OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp())
$function$;

REVOKE ALL ON FUNCTION shardrouter.proxy_login(pg_catalog.text) FROM PUBLIC;
