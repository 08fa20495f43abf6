"""Memories of user, session, agent and run scopes: write, search, prune, archive, erase, transfer, LangGraph's store.

Owns `memories` and `memory_*`. Called by the API, by planners and where a run ends. Scopes come from the access that a
transaction is entered with, never from arguments: row security shows and takes only those.
"""
