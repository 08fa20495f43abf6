"""The workflow: words become a plan, a plan becomes actions, one LangGraph flow leads from role to role.

`state` and `planning` are the lowest; above them `execution`, `nodes` and `flows`. Nothing here speaks SQL.
"""
