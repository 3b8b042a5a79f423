"""The state in PostgreSQL, which several engines share; needs the extra ``postgres``."""
