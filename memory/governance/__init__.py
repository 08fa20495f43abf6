"""Principals, approvals, the policy version in force and the journal: who may, what people decided, what was recorded.

Owns `tenants principals keys authority kills approvals approval_items votes journal`. Called by the door, by the flow's
nodes and by the API; knows nothing of memories or knowledge.
"""
