"""The roles of a flow, one node each, made by factories that receive exactly what the role may use."""
