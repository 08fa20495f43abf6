"""The demo: two acts on fresh data and a proof of both, for people who see Countersign for the first time.

`countersign demo` and its test call `story.play`; everything else here belongs to the story.
"""
