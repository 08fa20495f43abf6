"""From words to a valid plan: runbooks, slots, candidates, drafts by a model, and the validation of any plan.

Pure functions over texts and schemas; called by the planner node, by the API for given plans, and by tests of runbooks.
"""
