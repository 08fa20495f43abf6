"""The nodes of the flow, one file each, made by factories that take exactly what the node may use.

Called by the flows, which alone know the edges.
"""
