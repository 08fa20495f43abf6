"""Versioned items that plans pin, and the search in them: runbooks, facts, configuration.

Owns `knowledge` and `knowledge_*`. Called by planners, by the start-up that publishes what is shipped, and by the API.
"""
