"""Names of Postgres' own functions and operators, by what they depend on."""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


OPERATORS: Final = _words(
    "+ - * / % ^ || = <> != < <= > >= ~ ~* !~ !~* ~~ ~~* !~~ !~~* @> <@ && -> ->> #> #>> ? ?| ?& "
    "@? @@ & | # << >> -|- &< &> #- ## AND OR XOR"
) | {"AT TIME ZONE", "IS DISTINCT FROM", "IS NOT DISTINCT FROM", "SIMILAR TO"}

FUNCTIONS: Final = _words(
    """
    abs ceil ceiling floor round trunc sign sqrt cbrt exp ln log log10 power pow mod div gcd lcm
    width_bucket greatest least coalesce nullif num_nulls num_nonnulls
    degrees radians sin cos tan asin acos atan atan2 scale min_scale trim_scale factorial
    lower upper initcap length char_length character_length octet_length bit_length substr
    substring left right lpad rpad ltrim rtrim btrim trim replace translate reverse repeat
    split_part strpos position starts_with concat concat_ws md5 sha224 sha256 sha384 sha512
    encode decode chr ascii format overlay normalize quote_ident quote_literal to_hex
    to_char to_date to_timestamp to_number
    regexp_replace regexp_match regexp_count regexp_like regexp_substr regexp_instr
    date_trunc date_part date_bin make_date make_time make_timestamp make_timestamptz
    make_interval justify_days justify_hours justify_interval isfinite timezone
    array_length array_ndims array_lower array_upper cardinality array_position array_positions
    array_to_string array_append array_prepend array_cat array_remove array_replace
    string_to_array
    json_array_length jsonb_array_length json_extract_path jsonb_extract_path
    json_extract_path_text jsonb_extract_path_text json_typeof jsonb_typeof json_build_object
    jsonb_build_object json_build_array jsonb_build_array jsonb_path_exists jsonb_path_match
    jsonb_path_query_first jsonb_strip_nulls jsonb_set to_json to_jsonb
    host family masklen netmask network broadcast abbrev set_masklen
    isempty lower_inc upper_inc lower_inf upper_inf range_merge
    to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_rank
    ts_rank_cd ts_headline setweight numnode strip
    hashtext hashtextextended hashint4 hashint8 hashint8extended uuid_hash_extended
    any all some
    """
)

LOCAL_AGGREGATES: Final = _words(
    """
    array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bit_and bit_or
    bit_xor stddev stddev_pop stddev_samp variance var_pop var_samp
    """
)
"""Aggregates that need all rows of a group in one place."""

CLOCKS: Final = _words(
    """
    now current_timestamp current_date current_time localtime localtimestamp clock_timestamp
    statement_timestamp transaction_timestamp timeofday age sysdate
    """
)

VOLATILE: Final = _words(
    """
    random random_normal setseed gen_random_uuid uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v4
    nextval next_value currval lastval setval txid_current pg_current_xact_id pg_backend_pid
    pg_sleep set_config
    """
)

GROUPING_SETS: Final = _words("rollup cube grouping_sets")
