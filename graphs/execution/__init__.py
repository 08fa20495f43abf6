"""From a plan to actions and back: binding of steps, batches, results, taking back, and the audit's comparison.

Called by the nodes; nothing here performs an action: the gateway reaches the nodes as a callable.
"""
